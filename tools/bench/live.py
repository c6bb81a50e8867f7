#!/usr/bin/env python3
"""How late the texts of a live stream are, on one thread.

    python tools/bench/live.py [--model_dir mini] [--vad_dir DIR] [--partials_dir DIR] [--beam_size N] RECORDING...

The recordings are joined with pauses of faint noise and come in pieces of --chunk_ms, each at the time on the clock at which a
microphone would have it; a piece waits while the one before it is worked on. That time is reckoned, not waited for: work counts
with its processor time, so that others on the machine change nothing. Printed are median and 95th percentile of

    final     from the end of a segment's speech, by its energy, to its text; the silence that ends a segment is in it
      of it after the last piece that was needed: what computation adds
    partial   from the last sample that a partial text knows of to the text

and the share of the stream's length that was worked.
"""

import argparse
import statistics
import time
from collections.abc import Iterator, Sequence

import numpy as np
import torch

from mooer.audio.io import load_audio
from mooer.common.lengths import SAMPLE_RATE
from mooer.decode.recognizer import DecodeConfig, Recognizer
from mooer.features.speech_energy import speech_by_energy
from mooer.pipeline.live_recognition import LiveConfig, LiveEvent, LiveRecognizer
from mooer.pipeline.vad_dir import read_detector

PAUSE_SECONDS = 1.2
NOISE = 0.0001


def make_stream(paths: Sequence[str]) -> np.ndarray:
    """The recordings one after another, a pause after each, as int16 [S]."""
    noise = np.random.default_rng(0)
    pieces = []
    for path in paths:
        pieces.append(load_audio(path).numpy())
        pieces.append(noise.normal(0, NOISE, round(PAUSE_SECONDS * SAMPLE_RATE)))
    return np.clip(np.concatenate(pieces) * 32768, -32768, 32767).astype(np.int16)


def play(live: LiveRecognizer, stream: np.ndarray, chunk: int) -> Iterator[tuple[LiveEvent, float, float]]:
    """Each event with the second at which its last piece came and the one at which it was known."""
    now = 0.0
    for start in range(0, len(stream), chunk):
        piece = stream[start : start + chunk]
        came = (start + len(piece)) / SAMPLE_RATE
        started = time.thread_time()
        events = live.accept(piece)
        now = max(now, came) + time.thread_time() - started
        yield from ((event, came, now) for event in events)


def speech_end(event: LiveEvent, stream: np.ndarray) -> float:
    """When the speech of a segment ended, in seconds."""
    first, last = (round(second * SAMPLE_RATE) for second in (event.start, event.end))
    found = speech_by_energy(torch.from_numpy(stream[first:last].astype(np.float32) / 32768))
    return event.start + found[-1][1] / 1000 if found else event.end


def show(name: str, values: Sequence[float]) -> None:
    if len(values) < 2:
        print(f"{name:36s} {len(values)} values, too few")
        return
    percentile = statistics.quantiles(values, n=20, method="inclusive")[-1]
    print(f"{name:36s} {1e3 * statistics.median(values):7.0f} ms   95 %: {1e3 * percentile:7.0f} ms   {len(values)} texts")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recordings", nargs="+")
    parser.add_argument("--model_dir", default="mini")
    parser.add_argument("--vad_dir")
    parser.add_argument("--partials_dir", help="a faster model for partial texts")
    parser.add_argument("--beam_size", type=int, help="of the final texts")
    parser.add_argument("--chunk_ms", type=int, default=100)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    recognizer = Recognizer.from_model_dir(arguments.model_dir, DecodeConfig(beam_size=arguments.beam_size))
    partials = Recognizer.from_model_dir(arguments.partials_dir) if arguments.partials_dir else None
    vad = read_detector(arguments.vad_dir) if arguments.vad_dir else None
    stream, chunk = make_stream(arguments.recordings), arguments.chunk_ms * SAMPLE_RATE // 1000
    for _ in play(LiveRecognizer(recognizer, vad, partials), stream[: 5 * SAMPLE_RATE], chunk):
        pass  # the first texts of a process take longer
    started = time.thread_time()
    known = list(play(LiveRecognizer(recognizer, vad, partials, LiveConfig()), stream, chunk))
    worked = time.thread_time() - started
    final = [item for item in known if item[0].kind == "final"]
    show("final, after the end of speech", [now - speech_end(event, stream) for event, _, now in final])
    show("  of it after the last piece", [now - came for _, came, now in final])
    show("partial, after its last sample", [now - event.end for event, _, now in known if event.kind == "partial"])
    seconds = len(stream) / SAMPLE_RATE
    print(f"worked {worked:.1f} s of {seconds:.1f} s: {worked / seconds:.1%}")


if __name__ == "__main__":
    main()
