#!/usr/bin/env python3
"""A whole recording on one thread beside the package funasr: activity of voice, recognition, punctuation, speakers.

    python tools/bench/transcribe.py --folders DIR [--model Paraformer] [--ways funasr float32 fast] RECORDING_OR_FOLDER...

Models of full size with random weights are written to DIR, where they are not there yet (3 GB; see full_size_folders.py), and
opened from there by funasr's AutoModel and by mooer's Transcriber, which so get the same stretches of speech. The recording is
joined from those that are given, each brought to one loudness, in a random order with pauses of faint noise of 0.9 to 2 s,
until --seconds are full; or it is the one of --wav. Each way runs in a process of its own, in turn, --rounds times; printed are
medians of processor time and of time on the clock without loading, the ratios to funasr's, and the parts' shares of processor
time. Both end a stretch of speech after 800 ms of silence. Needs the package funasr (`pip install funasr` beside mooer's
requirements, in an environment of its own) and 4 GB of memory.
"""

import argparse
import contextlib
import io
import json
import logging
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from full_size_folders import write_folders

from mooer.audio.io import load_audio
from mooer.common.lengths import SAMPLE_RATE
from mooer.common.torchaudio_compat import ensure_torchaudio

FUNASR = "funasr"
SUFFIXES = (".wav", ".flac", ".ogg", ".mp3")
LOUDNESS, NOISE = 0.05, 0.00005
PAUSES = (0.9, 2.0)
WARM_UP_SECONDS = 20
SPEAKERS = 2


class Stopwatch:
    """Processor time of the parts of a run."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def watch(self, owner: Any, name: str, part: str) -> None:
        """From now on count the time of a function of a module, a class or an object; what it yields is computed at once."""
        setattr(owner, name, self.timed(getattr(owner, name), lambda *_, **__: part))

    def timed(self, function: Callable[..., Any], part_of: Callable[..., str]) -> Callable[..., Any]:
        """The function with its time counted for the part that its arguments tell."""

        def run(*arguments: Any, **options: Any) -> Any:
            started = time.process_time()
            result = function(*arguments, **options)
            result = iter(list(result)) if hasattr(result, "__next__") else result
            part = part_of(*arguments, **options)
            self.seconds[part] = self.seconds.get(part, 0.0) + time.process_time() - started
            return result

        return run


def funasr_way(folders: Path, model: str, watch: Stopwatch) -> Callable[[str], dict[str, Any]]:
    """Opens funasr's models."""
    from funasr import AutoModel

    parts = {"vad_model": "vad", "punc_model": "punc", "spk_model": "spk"}
    quiet = {"disable_update": True, "disable_pbar": True, "log_level": "ERROR"}
    named = {name: str(folders / folder) for name, folder in parts.items()}
    opened = AutoModel(model=str(folders / model), **named, device="cpu", ncpu=1, **quiet)
    names = {id(opened.vad_model): "activity", id(opened.punc_model): "punctuation", id(opened.spk_model): "speakers"}
    found: dict[str, Any] = {}

    def part_of(*_: Any, model: Any = None, **__: Any) -> str:
        return names.get(id(model), "recognition")

    def keep_segments(inference: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **options: Any) -> Any:
            result = inference(*arguments, **options)
            if part_of(**options) == "activity":
                found["segments"] = result[0]["value"]
            return result

        return run

    opened.inference = watch.timed(keep_segments(opened.inference), part_of)
    watch.watch(opened.cb_model, "forward", "speakers")

    def transcribe(path: str) -> dict[str, Any]:
        settings = {"batch_size_s": 300, "max_end_silence_time": 800, "preset_spk_num": SPEAKERS}
        (result,) = opened.generate(input=path, **settings)
        return {"segments": found["segments"], "words": len(result["timestamp"])}

    return transcribe


def our_way(folders: Path, model: str, dtype: str, watch: Stopwatch) -> Callable[[str], dict[str, Any]]:
    """Opens our models."""
    from mooer import Transcriber, TranscriberConfig
    from mooer.pipeline import long_result
    from mooer.pipeline.punctuation import Punctuator
    from mooer.pipeline.voice_activity import SpeechStream

    named = {f"{name}_dir": str(folders / name) for name in ("vad", "punc", "spk")}
    settings = TranscriberConfig(
        model_dir=str(folders / model), **named, dtype=dtype, device="cpu", max_end_silence_ms=800, num_speakers=SPEAKERS
    )
    opened = Transcriber(settings)
    watch.watch(SpeechStream, "accept", "activity")
    watch.watch(SpeechStream, "finish", "activity")
    watch.watch(opened.models.recognizer, "recognize", "recognition")
    watch.watch(Punctuator, "__call__", "punctuation")
    watch.watch(opened.models.diarizer, "embed_segments", "speakers")
    watch.watch(long_result, "turns_of", "speakers")
    formats = opened.models.settings()

    def transcribe(path: str) -> dict[str, Any]:
        result = opened(path)
        found = {"segments": [list(segment) for segment in result.segments], "words": len(result.words)}
        return found | {"formats": f"recognition {formats['dtype']}, voices {formats['voices_dtype']}"}

    return transcribe


def measure(options: argparse.Namespace) -> None:
    """Print what one way takes for one recording, as JSON."""
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    ensure_torchaudio()
    watch, way = Stopwatch(), options.measure
    with contextlib.redirect_stdout(io.StringIO()), tempfile.TemporaryDirectory() as temporary:
        folders = Path(options.folders)
        transcribe = funasr_way(folders, options.model, watch) if way == FUNASR else our_way(folders, options.model, way, watch)
        torch.set_num_threads(1)
        short = Path(temporary) / "short.wav"
        soundfile.write(short, soundfile.read(options.wav, frames=WARM_UP_SECONDS * SAMPLE_RATE)[0], SAMPLE_RATE)
        transcribe(str(short))
        watch.seconds.clear()
        cpu, clock = time.process_time(), time.perf_counter()
        found = transcribe(options.wav)
    times = {"cpu": time.process_time() - cpu, "clock": time.perf_counter() - clock}
    print(json.dumps(times | found | {"parts": watch.seconds}))


def write_recording(path: Path, sources: list[str], seconds: float) -> None:
    """Join recordings with pauses until the seconds are full."""
    given = [Path(source) for source in sources]
    files = [file for source in given for file in (sorted(source.rglob("*")) if source.is_dir() else [source])]
    files = [file for file in files if file.suffix in SUFFIXES]
    if not files:
        raise SystemExit(f"no recordings ({', '.join(SUFFIXES)}) in: {' '.join(sources) or 'nothing given'}")
    draw, noise = random.Random(0), np.random.default_rng(0)
    left = round(seconds * SAMPLE_RATE)
    with soundfile.SoundFile(path, "w", SAMPLE_RATE, 1, "PCM_16") as sound:
        while left:
            samples = load_audio(draw.choice(files)).numpy()
            samples *= LOUDNESS / max(1e-4, float(np.sqrt(np.mean(samples**2))))
            pause = np.zeros(round(draw.uniform(*PAUSES) * SAMPLE_RATE))
            samples = np.concatenate([samples, pause])[:left].clip(-1, 1)
            sound.write(samples + noise.normal(0, NOISE, len(samples)))
            left -= len(samples)


def run_way(way: str, wav: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Measure one way in a process of its own."""
    command = [sys.executable, __file__, "--measure", way, "--wav", wav, "--folders", options.folders, "--model", options.model]
    done = subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def report(runs: dict[str, list[dict[str, Any]]]) -> None:
    """Medians, ratios to the first way, shares of the parts, and whether all heard the same stretches of speech."""
    middle = {way: {name: statistics.median(run[name] for run in of) for name in ("cpu", "clock")} for way, of in runs.items()}
    base, first = next(iter(middle.values())), next(iter(runs.values()))[0]
    for way, times in middle.items():
        run = runs[way][0]
        gains = [base[name] / times[name] for name in ("cpu", "clock")]
        ratios = f"first / this {gains[0]:5.2f} by processor time, {gains[1]:5.2f} by the clock"
        print(f"{way:10s} {times['cpu']:7.1f} s of processor time, {times['clock']:7.1f} s on the clock, {ratios}")
        parts = {name: statistics.median(run["parts"].get(name, 0.0) for run in runs[way]) for name in run["parts"]}
        parts["rest"] = times["cpu"] - sum(parts.values())
        shares = ", ".join(f"{name} {seconds:.1f} s ({seconds / times['cpu']:.0%})" for name, seconds in parts.items())
        print(f"{'':10s} {shares}")
        same = "equal to the first way's" if run["segments"] == first["segments"] else "DIFFERENT from the first way's"
        print(f"{'':10s} {len(run['segments'])} stretches of speech, {same}; {run['words']} words; {run.get('formats', '')}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", nargs="*", metavar="RECORDING_OR_FOLDER")
    parser.add_argument("--folders", required=True, help="where the models lie, or are written to")
    parser.add_argument("--model", choices=["Paraformer", "BiCifParaformer"], default="BiCifParaformer")
    parser.add_argument("--ways", nargs="+", default=[FUNASR, "float32", "fast"], help="funasr, or a --dtype")
    parser.add_argument("--wav", help="a recording at 16 kHz, in place of a joined one")
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--measure", help="only run this way in this process")
    options = parser.parse_args()
    if options.measure:
        measure(options)
        return
    write_folders(Path(options.folders))
    with tempfile.TemporaryDirectory() as temporary:
        wav = Path(options.wav or Path(temporary) / "recording.wav")
        if not options.wav:
            write_recording(wav, options.sources, options.seconds)
        runs: dict[str, list[dict[str, Any]]] = {way: [] for way in options.ways}
        for _ in range(options.rounds):
            for way, of in runs.items():
                of.append(run_way(way, wav, options))
    report(runs)


if __name__ == "__main__":
    main()
