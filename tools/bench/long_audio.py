#!/usr/bin/env python3
"""What long recordings cost: time and memory of 1 hour and of N hours, side by side.

    python tools/bench/long_audio.py --hours 10 --silence 90 --model_dir asr --vad_dir vad --punc_dir punc --spk_dir spk FILE...

Each recording is made of FILEs and silence in turn, written as wav, and transcribed in a process of its own. Memory is the
largest resident size less what the process had when its models were loaded and a second of audio was done.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile
import torch

from mooer import Transcriber, TranscriberConfig
from mooer.audio.io import load_audio
from mooer.common.lengths import SAMPLE_RATE

MODELS = ("model_dir", "vad_dir", "punc_dir", "spk_dir")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("files", nargs="+", metavar="FILE")
    parser.add_argument("--hours", type=float, default=10.0)
    parser.add_argument("--silence", type=float, default=2.0, help="seconds after each file")
    parser.add_argument("--num_speakers", type=int)
    parser.add_argument("--measure", action="store_true", help="only transcribe the one file, in this process")
    for name in MODELS:
        parser.add_argument(f"--{name}", required=name == "model_dir")
    options = parser.parse_args()
    if options.measure:
        measure(options)
        return
    print(f"{'hours':>6} {'seconds':>9} {'of the audio':>13} {'CPU s':>8} {'memory MB':>10} {'segments':>9} {'words':>8}")
    with tempfile.TemporaryDirectory() as folder:
        for hours in (1.0, options.hours):
            path = Path(folder) / "long.wav"
            write_recording(path, options.files, hours, options.silence)
            print_row(hours, path, options)


def write_recording(path: Path, files: list[str], hours: float, silence: float) -> None:
    """The files, each with silence after it, over and over, until the hours are full."""
    gap = torch.zeros(round(silence * SAMPLE_RATE))
    parts = [part.numpy() for file in files for part in (load_audio(file), gap)]
    period, left = np.concatenate(parts), round(hours * 3600 * SAMPLE_RATE)
    with soundfile.SoundFile(path, "w", SAMPLE_RATE, 1, "PCM_16") as sound:
        while left:
            sound.write(period[:left])
            left -= min(left, len(period))


def print_row(hours: float, path: Path, options: argparse.Namespace) -> None:
    """Transcribe in a process of its own, and print what it cost."""
    models = [part for name in MODELS if getattr(options, name) for part in (f"--{name}", getattr(options, name))]
    speakers = ["--num_speakers", str(options.num_speakers)] if options.num_speakers else []
    done = subprocess.run(
        [sys.executable, __file__, "--measure", str(path), *models, *speakers], capture_output=True, text=True, check=True
    )
    row = json.loads(done.stdout.splitlines()[-1])
    share = row["seconds"] / (3600 * hours)
    numbers = f"{row['cpu']:8.1f} {row['memory']:10.1f} {row['segments']:9d} {row['words']:8d}"
    print(f"{hours:6.1f} {row['seconds']:9.1f} {share:13.4%} {numbers}", flush=True)


def measure(options: argparse.Namespace) -> None:
    """Print time and memory as one JSON object."""
    torch.set_num_threads(1)
    settings = {name: getattr(options, name) for name in (*MODELS, "num_speakers")}
    transcribe = Transcriber(TranscriberConfig(device="cpu", **settings))
    transcribe(np.random.default_rng(0).normal(0, 0.1, SAMPLE_RATE), sample_rate=SAMPLE_RATE)
    before, cpu, started = peak_megabytes(), time.process_time(), time.perf_counter()
    result = transcribe(options.files[0])
    row = {
        "seconds": time.perf_counter() - started,
        "cpu": time.process_time() - cpu,
        "memory": peak_megabytes() - before,
        "segments": len(result.segments),
        "words": len(result.words),
    }
    print(json.dumps(row))


def peak_megabytes() -> float:
    """The largest resident size of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
