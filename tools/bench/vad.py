"""Voice activity detection on one thread: a full-size FSMN-VAD with random weights on noise, whole, by parts, in pieces.

    python tools/bench/vad.py [--seconds 60] [--rounds 15]

Prints processor time, medians over interleaved rounds, and the share of the audio's length. Where the package funasr can be
imported, its front end and its model run in turn with ours, on the same audio and weights.
"""

import argparse
import contextlib
import io
import math
import statistics
import time
from collections.abc import Callable

import torch

from mooer.common.torchaudio_compat import ensure_torchaudio
from mooer.features.frame_stream import FrameStream
from mooer.features.frontend import Frontend, FrontendConfig
from mooer.models.vad import FsmnConfig, FsmnVad
from mooer.pipeline.speech_segments import SpeechOptions, SpeechSegmenter
from mooer.pipeline.voice_activity import BLOCK_SAMPLES, VoiceActivityDetector, find_speech

SAMPLE_RATE = 16000
PIECE_SAMPLES = 3200


def make_audio(seconds: float) -> torch.Tensor:
    """Noise that comes and goes every two seconds."""
    count = round(seconds * SAMPLE_RATE)
    volume = torch.arange(count).mul(math.pi / (2 * SAMPLE_RATE)).sin().clamp(min=0.001)
    return 0.1 * volume * torch.randn(count)


def ours(detector: VoiceActivityDetector, audio: torch.Tensor) -> dict[str, Callable[[], object]]:
    """What is measured of this package."""
    frames = detector.frontend(audio)
    silence = detector.model(frames[None])[0][0].numpy()

    def front_end() -> None:
        stream = FrameStream(detector.frontend)
        for block in audio.split(BLOCK_SAMPLES):
            stream.accept(block)
        stream.finish()

    def network() -> None:
        memories = None
        with torch.inference_mode():
            for piece in frames.split(BLOCK_SAMPLES // 160):
                _, memories = detector.model(piece[None], memories)

    return {
        "whole recording": lambda: find_speech(detector, audio),
        "  front end and energies": front_end,
        "  network": network,
        "  segments": lambda: SpeechSegmenter(SpeechOptions()).accept(silence, 0.0 * silence),
        "in pieces of 200 ms": lambda: find_speech(detector, audio.split(PIECE_SAMPLES)),
    }


def theirs(detector: VoiceActivityDetector, audio: torch.Tensor) -> dict[str, Callable[[], object]]:
    """The same of funasr, if it is there."""
    ensure_torchaudio()
    try:
        from funasr.frontends.wav_frontend import WavFrontendOnline
        from funasr.models.fsmn_vad_streaming.model import FsmnVADStreaming
    except ImportError:
        return {}
    model = FsmnVADStreaming(encoder="FSMN", encoder_conf=vars(FsmnConfig())).eval()
    model.load_state_dict(detector.model.state_dict())
    front_end = WavFrontendOnline(fs=SAMPLE_RATE, window="hamming", n_mels=80, lfr_m=5, lfr_n=1, dither=0.0)

    def whole() -> None:
        cache, features = {}, {}
        model.init_cache(cache)
        with torch.no_grad(), contextlib.redirect_stdout(io.StringIO()):
            frames, _ = front_end(audio[None], [len(audio)], cache=features, is_final=True, return_waveform=True)
            model(frames, features["aligned_waveforms"], cache=cache, is_final=True, is_streaming_input=False)

    return {"funasr, whole recording": whole}


def medians(functions: dict[str, Callable[[], object]], rounds: int, warm_up: int = 2) -> dict[str, float]:
    """Median processor seconds of each function over rounds in which each runs once, after some that do not count."""
    times = {name: [] for name in functions}
    for number in range(rounds + warm_up):
        for name, function in functions.items():
            start = time.thread_time()
            function()
            if number >= warm_up:
                times[name].append(time.thread_time() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = FsmnVad(FsmnConfig()).eval().requires_grad_(False)
    detector = VoiceActivityDetector(Frontend(FrontendConfig(lfr_m=5, lfr_n=1)), model)
    audio = make_audio(arguments.seconds)
    found = medians(ours(detector, audio) | theirs(detector, audio), arguments.rounds)
    base = found["whole recording"]
    for name, seconds in found.items():
        print(f"{name:26s} {1e3 * seconds:8.1f} ms  {seconds / arguments.seconds:8.3%} of the audio  {seconds / base:6.2f}")


if __name__ == "__main__":
    main()
