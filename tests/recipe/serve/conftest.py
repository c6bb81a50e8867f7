"""Server processes on the packaged model, speech that it knows, and what the recogniser makes of it."""

import io
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import wave
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[3]
NUM_TEST = 6


class ServerProcess:
    """A server in a process of its own, at a port that it chose."""

    def __init__(self, *options):
        command = [sys.executable, str(ROOT / "bin" / "serve.py"), "--port", "0", "--device", "cpu", *map(str, options)]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
        self.process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
        self.log, ports = [], queue.Queue()
        threading.Thread(target=self._read, args=(ports,), daemon=True).start()
        self.port = ports.get(timeout=120)
        assert self.port is not None, "".join(self.log)

    @property
    def url(self):
        """Without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"

    def end(self, timeout=60):
        """SIGTERM; returns the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=timeout)

    def _read(self, ports):
        for line in self.process.stderr:
            self.log.append(line)
            found = re.search(r"answers at http://[^ ]*:(\d+)", line)
            if found:
                ports.put(int(found[1]))
        ports.put(None)


@pytest.fixture(scope="session")
def start_server():
    """Starts a server with options; all are ended with the session."""
    pytest.importorskip("fastapi")
    started = []

    def start(*options):
        started.append(ServerProcess(*options))
        return started[-1]

    yield start
    for server in started:
        if server.process.poll() is None:
            server.process.kill()
        server.process.wait()


@pytest.fixture(scope="session")
def speech(tmp_path_factory):
    """Paths of test utterances of the packaged model, of both languages, and of noise of different lengths."""
    pytest.importorskip("espeakng_loader")
    folder = tmp_path_factory.mktemp("serve_speech")
    script = ROOT / "egs" / "mini" / "local" / "synthesize.py"
    sizes = ["--num_train", "2", "--num_test", str(NUM_TEST)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    subprocess.run(
        [sys.executable, str(script), "--output_dir", str(folder), *sizes], env=environment, capture_output=True, check=True
    )
    paths = sorted(folder.glob("test_*/wav/*.wav"))
    assert len(paths) == 2 * NUM_TEST
    rng = np.random.default_rng(0)
    for number in range(4):
        paths.append(folder / f"noise{number}.wav")
        paths[-1].write_bytes(wav_bytes(rng.normal(0, 2000, 9000 + 7000 * number).astype("<i2").tobytes()))
    return paths


@pytest.fixture(scope="session")
def expected(speech):
    """Text of each recording by the recogniser alone: `expected[task][path]`, tasks asr, ast.en and ast.zh."""
    from mooer.audio.io import load_audio
    from mooer.decode.recognizer import DecodeConfig, Recognizer

    found = {}
    for task in ("asr", "ast.en", "ast.zh"):
        name, _, language = task.partition(".")
        config = DecodeConfig(task=name, target_language=language or "en", batch_size=1, device="cpu")
        recognizer = Recognizer.from_model_dir("mini", config)
        found[task] = {path: next(recognizer.recognize([("x", load_audio(path))])).answer.text for path in speech}
    return found


def wav_bytes(data, rate=16000):
    """A wav file of int16 samples."""
    stream = io.BytesIO()
    with wave.open(stream, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(data)
    return stream.getvalue()


@pytest.fixture(scope="session")
def make_wav():
    """A function from int16 bytes to a wav file."""
    return wav_bytes
