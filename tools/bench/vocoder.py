#!/usr/bin/env python3
"""How long the vocoder takes: real-time factor at full size with random weights, one answer at a time and several together.

python tools/bench/vocoder.py [--seconds 5] [--batch 4] [--threads 1]
"""

import argparse
import time

import torch

from mooer.models.vocoder import Vocoder, VocoderConfig


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=5.0, help="Length of an answer.")
    parser.add_argument("--batch", type=int, default=4, help="Answers spoken together.")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    config = VocoderConfig()
    vocoder = Vocoder(config).eval().requires_grad_(False)
    num_latents = round(options.seconds * config.sampling_rate / config.samples_of_a_latent)
    seconds = num_latents * config.samples_of_a_latent / config.sampling_rate
    alone = min(_elapsed(vocoder, 1, num_latents) for _ in range(3)) / seconds
    together = _elapsed(vocoder, options.batch, num_latents) / (options.batch * seconds)
    print(f"alone: real-time factor {alone:.3f}; {options.batch} together: {together:.3f}; ratio {together / alone:.2f}")


@torch.inference_mode()
def _elapsed(vocoder: Vocoder, batch: int, num_latents: int) -> float:
    latents = torch.randn(batch, num_latents, vocoder.config.input_num_mels)
    started = time.perf_counter()
    vocoder(latents, torch.full((batch,), num_latents))
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
