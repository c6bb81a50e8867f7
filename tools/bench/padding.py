#!/usr/bin/env python3
"""Share of padding in the batches of an epoch: fixed batches of 8 against buckets, 2-D buckets and packed rows.

Lengths are drawn to be like LibriSpeech's: up to 17 s, 12 s on the average, two thirds of them between 13 and 16; 3.6 tokens a
second, give or take a sixth; a prompt of 30 tokens; an audio embedding each 120 ms. Run from the repository:
python tools/bench/padding.py
"""

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mooer.data.sampler import BatchRules, Columns, EpochPlan, Sizes, plan_epoch

PLAIN_BATCH = 8
WAYS = {
    "20 ranges of length": {"num_buckets": 20},
    "50 ranges of length": {"num_buckets": 50},
    "50 x 8 ranges (audio, answer)": {"num_buckets": 50, "num_token_buckets": 8},
    "50 ranges, packed rows": {"num_buckets": 50, "packing": True},
}


def draw_sizes(count):
    """Frames of 10 ms and LLM columns of `count` utterances."""
    generator = np.random.default_rng(0)
    short = generator.uniform(1.5, 12.0, count)
    seconds = np.where(generator.random(count) < 0.3, short, generator.normal(14.3, 1.3, count).clip(8, 17))
    frames = (seconds * 100).astype(np.int64)
    answers = (seconds * 3.6 * generator.normal(1, 1 / 6, count).clip(0.4, 1.8)).astype(np.int64) + 1
    return Sizes(num_frames=frames, groups=np.zeros(count, np.int64), columns=Columns(frames // 12 + 30, answers))


def padding(plan, sizes, packing):
    """Share of padding among the encoder's frames and among the LLM's columns, in percent."""
    frames = columns = 0
    for batch in (plan[number] for number in range(len(plan))):
        prefixes, answers = sizes.columns.prefixes[batch], sizes.columns.answers[batch]
        frames += len(batch) * sizes.num_frames[batch].max()
        columns += (prefixes + answers).sum() if packing else len(batch) * (prefixes.max() + answers.max())
    real = (sizes.columns.prefixes + sizes.columns.answers).sum()
    return round(100 * float(1 - sizes.num_frames.sum() / frames), 2), round(100 * float(1 - real / columns), 2)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--num_utterances", type=int, default=100_000)
    parser.add_argument("--max_batch_frames", type=int, default=12_000)
    arguments = parser.parse_args()
    sizes = draw_sizes(arguments.num_utterances)
    order = np.random.default_rng(1).permutation(arguments.num_utterances).tolist()
    plain = EpochPlan([order[first : first + PLAIN_BATCH] for first in range(0, len(order), PLAIN_BATCH)])
    found = {f"fixed batches of {PLAIN_BATCH}": (*padding(plain, sizes, False), len(plain), 0.0)}
    for name, values in WAYS.items():
        rules = BatchRules(
            max_batch_frames=arguments.max_batch_frames,
            max_batch_size=200,
            shuffle_buffer=20_000,
            **{"num_buckets": 1, **values},
        )
        started = time.perf_counter()
        plan = plan_epoch(sizes, rules, seed=0, epoch=0)
        seconds = time.perf_counter() - started
        found[name] = (*padding(plan, sizes, rules.packing), len(plan), round(seconds, 2))
    columns = ("frames_percent", "columns_percent", "batches", "planning_seconds")
    print(json.dumps({name: dict(zip(columns, values, strict=True)) for name, values in found.items()}, indent=2))


if __name__ == "__main__":
    main()
