#!/usr/bin/env python3
"""What joining requests into batches is worth: the same load on mooer-serve with batches of one and with its own, in one run.

    python tools/bench/serve.py                        # 2000 requests to each server
    python tools/bench/serve.py --requests 200 --speech egs/mini/data

--clients threads ask a server on this machine, each as soon as it has its last answer. The recordings have 1 to 20 s and are
utterances of --speech (data directories test_en and test_zh as egs/mini makes them; they are synthesised where it is not given)
joined with short pauses; short ones are as much more frequent than long ones as they are shorter, or all lengths as frequent
with --lengths even. Every text is held against that of mooer-decode, which reads the same files. Printed are the median
and the 95th percentile of the time to an answer, requests and seconds of audio a second, the ratio of both servers, and the
largest resident memory of the server up to request 500 and up to the end (what is resident at a moment depends on the batch
that is decoded then). Beside the clock stands the servers' processor time, which other programs on the machine disturb less.
Exit status 1 if an answer is missing or differs.
"""

import argparse
import contextlib
import http.client
import json
import os
import random
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np
import soundfile

ROOT = Path(__file__).resolve().parents[2]
RATE = 16_000
SECONDS = (1.0, 20.0)
PAUSE_SECONDS = 0.2
MEMORY_REQUEST = 500
BOUNDARY = "mooer-bench"
WARM_UP = 8


@dataclass
class Load:
    """What one server did."""

    answers: dict[int, str]
    """Text, or what went wrong, by number of the request."""
    latencies: list[float]
    seconds: float
    cpu_seconds: float
    """Processor time of the server."""
    memory: dict[int, int]
    """Peak of the resident kilobytes by number of answered requests."""


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--recordings", type=int, default=100, help="different ones; requests take them in turn")
    parser.add_argument("--speech", type=Path, help="folder of the data directories test_en and test_zh")
    parser.add_argument("--batch_sizes", type=int, nargs="+", default=[1, 32])
    parser.add_argument("--batch_window_ms", type=float, default=10.0)
    parser.add_argument("--beam_size", type=int, default=4)
    parser.add_argument("--model_dir", default="mini")
    parser.add_argument("--lengths", choices=["short", "even"], default="short", help="which recordings are frequent")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def environment() -> dict[str, str]:
    """One thread for torch, so that readers and decoding share the cores in the same way everywhere."""
    return os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}


def utterances(options: argparse.Namespace, folder: Path) -> list[np.ndarray]:
    """Waveforms [S] int16 of both languages."""
    speech = options.speech
    if speech is None:
        speech = folder / "speech"
        script = ROOT / "egs" / "mini" / "local" / "synthesize.py"
        command = [sys.executable, script, "--output_dir", speech, "--num_train", "2", "--num_test", "60"]
        subprocess.run([str(part) for part in command], env=environment(), check=True, stderr=subprocess.DEVNULL)
    paths = sorted(speech.glob("test_*/wav/*.wav"))
    if not paths:
        sys.exit(f"{speech} has no test_*/wav/*.wav")
    return [soundfile.read(path, dtype="int16")[0] for path in paths]


def write_recordings(options: argparse.Namespace, folder: Path) -> list[Path]:
    """Recordings whose lengths are spread over SECONDS: utterances joined, and cut off where they are full."""
    draw, spoken = random.Random(options.seed), utterances(options, folder)
    spread = np.geomspace if options.lengths == "short" else np.linspace
    lengths = spread(*SECONDS, options.recordings).tolist()
    draw.shuffle(lengths)
    paths = []
    for number, seconds in enumerate(lengths):
        joined = np.zeros(0, np.int16)
        while len(joined) < seconds * RATE:
            joined = np.concatenate([joined, draw.choice(spoken), np.zeros(int(PAUSE_SECONDS * RATE), np.int16)])
        paths.append(folder / f"r{number:04d}.wav")
        soundfile.write(paths[-1], joined[: int(seconds * RATE)], RATE)
    return paths


def decoded(options: argparse.Namespace, paths: list[Path]) -> list[str]:
    """The text of each recording by mooer-decode."""
    script = [sys.executable, str(ROOT / "bin" / "decode.py"), "--model_dir", options.model_dir, "--device", "cpu"]
    command = [*script, "--beam_size", str(options.beam_size), *map(str, paths)]
    done = subprocess.run(command, env=environment(), check=True, capture_output=True, text=True)
    return [line.split("\t")[1].strip() for line in done.stdout.splitlines()]


@contextlib.contextmanager
def started(options: argparse.Namespace, batch_size: int) -> Iterator[tuple[subprocess.Popen, int]]:
    """A server and its port; it must end with exit status 0."""
    command = [sys.executable, str(ROOT / "bin" / "serve.py"), "--port", "0", "--device", "cpu"]
    command += ["--model_dir", options.model_dir, "--model_name", "served", "--beam_size", str(options.beam_size)]
    command += ["--batch_size", str(batch_size), "--batch_window_ms", str(options.batch_window_ms)]
    server = subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE, text=True)
    port = next((int(found[1]) for line in server.stderr if (found := re.search(r"answers at \S+:(\d+)", line))), None)
    if port is None:
        sys.exit("the server did not start")
    threading.Thread(target=server.stderr.read, daemon=True).start()
    try:
        yield server, port
    finally:
        server.send_signal(signal.SIGTERM)
        status = server.wait(timeout=120)
    if status:
        sys.exit(f"the server ended with exit status {status}")


def peak_kilobytes(server: subprocess.Popen) -> int:
    lines = Path(f"/proc/{server.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def cpu_seconds(server: subprocess.Popen) -> float:
    fields = Path(f"/proc/{server.pid}/stat").read_text().rsplit(") ", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def form(data: bytes) -> bytes:
    """The body of a request."""
    model = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="model"\r\n\r\nserved\r\n'
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
    return model.encode() + head.encode() + data + f"\r\n--{BOUNDARY}--\r\n".encode()


def ask(connection: http.client.HTTPConnection, body: bytes) -> str:
    """The text, or status and error."""
    headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    connection.request("POST", "/v1/audio/transcriptions", body, headers)
    answer = connection.getresponse()
    values = json.loads(answer.read())
    return values["text"] if answer.status == 200 else f"{answer.status}: {values}"


def drive(options: argparse.Namespace, bodies: list[bytes], server: subprocess.Popen, port: int) -> Load:
    """Send all requests."""
    load, numbers, lock = Load({}, [], 0.0, 0.0, {}), count(), threading.Lock()

    def client() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
        while True:
            with lock:
                number = next(numbers)
            if number >= options.requests:
                return
            began = time.perf_counter()
            try:
                text = ask(connection, bodies[number % len(bodies)])
            except (OSError, http.client.HTTPException) as error:
                text, _ = f"{type(error).__name__}: {error}", connection.close()
            with lock:
                load.answers[number] = text
                load.latencies.append(time.perf_counter() - began)
                if len(load.answers) in (min(MEMORY_REQUEST, options.requests), options.requests):
                    load.memory[len(load.answers)] = peak_kilobytes(server)

    warm = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
    for body in bodies[:WARM_UP]:
        ask(warm, body)
    threads = [threading.Thread(target=client) for _ in range(options.clients)]
    began, cpu_before = time.perf_counter(), cpu_seconds(server)
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    load.seconds, load.cpu_seconds = time.perf_counter() - began, cpu_seconds(server) - cpu_before
    return load


def report(options: argparse.Namespace, batch_size: int, load: Load, texts: list[str], audio: float) -> int:
    """Print what a server did; returns how many answers are missing or differ."""
    wrong = [number for number in range(options.requests) if load.answers.get(number) != texts[number % len(texts)]]
    percentiles = statistics.quantiles(load.latencies, n=100)
    memory = ", ".join(f"{kilobytes / 1024:.0f} MiB after {answered}" for answered, kilobytes in sorted(load.memory.items()))
    print(
        f"batch {batch_size:3d}: {load.seconds:.1f} s on the clock, {load.cpu_seconds:.1f} s of processor, "
        f"{options.requests / load.seconds:.1f} requests/s, {audio / load.seconds:.0f} s of audio/s, "
        f"p50 {percentiles[49]:.3f} s, p95 {percentiles[94]:.3f} s, "
        f"peak memory {memory}, {len(wrong)} answers missing or different",
        flush=True,
    )
    for number in wrong[:5]:
        print(f"  request {number}: {load.answers.get(number)!r} instead of {texts[number % len(texts)]!r}")
    return len(wrong)


def main() -> None:
    options = parse_options()
    wrong, took = 0, {}  # seconds on the clock and of the processor by batch size
    with tempfile.TemporaryDirectory() as temporary:
        paths = write_recordings(options, Path(temporary))
        texts = decoded(options, paths)
        lengths = [soundfile.info(path).duration for path in paths]
        audio = sum(lengths[number % len(paths)] for number in range(options.requests))
        bodies = [form(path.read_bytes()) for path in paths]
        for batch_size in options.batch_sizes:
            with started(options, batch_size) as (server, port):
                load = drive(options, bodies, server, port)
            wrong += report(options, batch_size, load, texts, audio)
            took[batch_size] = load.seconds, load.cpu_seconds
    first = options.batch_sizes[0]
    for batch_size in options.batch_sizes[1:]:
        clock, processor = (one / other for one, other in zip(took[first], took[batch_size], strict=True))
        print(f"throughput with batches of {batch_size} / of {first}: {clock:.2f} (by processor time {processor:.2f})")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
