#!/usr/bin/env python3
"""Utterances a second of one loading worker, from shards and from dumped features: mooer's loader against the plain way, at
equal output.

The plain way: tar stream -> soundfile -> torchaudio.compliance.kaldi.fbank -> a Python loop for LFR -> CMVN -> batches of 8.
Both tokenise the transcripts. Run from the repository: python tools/bench/loader.py
"""

import argparse
import io
import json
import sys
import tarfile
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile
import torch
from torch.utils.data import DataLoader, IterableDataset

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mooer.common.torchaudio_compat import ensure_torchaudio
from mooer.data.batch import CtcSample, collate_ctc
from mooer.data.dataset import DataConfig, build_loader
from mooer.data.lists import read_data_list
from mooer.data.shards import ShardEntry, write_shard
from mooer.data.statistics import dump_feats
from mooer.data.tasks import CtcSamples
from mooer.features.cmvn import Cmvn, read_cmvn, write_cmvn
from mooer.text.tokenizer import build_bpe_tokenizer, encode_text

SECONDS = 1.9
WORDS = ["the", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog", "and", "runs", "home"]
# The tolerance of the golden frames after CMVN.
TOLERANCE = 1e-3


def build_shards(folder, num_utterances, per_shard):
    """Synthetic utterances of 1.9 s, give or take a fifth, and a CMVN."""
    generator = np.random.default_rng(0)
    paths = []
    for first in range(0, num_utterances, per_shard):
        entries = []
        for number in range(first, min(first + per_shard, num_utterances)):
            count = int(SECONDS * 16000 * generator.uniform(0.8, 1.2))
            pitch = np.sin(np.arange(count) * generator.uniform(0.02, 0.2)) * generator.uniform(0.05, 0.5)
            stream = io.BytesIO()
            soundfile.write(stream, pitch + generator.normal(0, 0.01, count), 16000, "PCM_16", format="WAV")
            text = " ".join(generator.choice(WORDS, 6))
            entries.append(ShardEntry(f"utt{number:06d}", {"text": text}, stream.getvalue(), "wav"))
        paths.append(folder / f"shards_{first // per_shard:09d}.tar")
        write_shard(paths[-1], entries)
    (folder / "data.list").write_text("".join(f"{path.name}\n" for path in paths))
    # Values like those of a real am.mvn.
    shift, scale = (generator.uniform(low, high, 560).astype(np.float32) for low, high in ((-15, -8), (0.15, 0.25)))
    write_cmvn(folder / "am.mvn", Cmvn(torch.from_numpy(shift), torch.from_numpy(scale)))
    return paths


class PlainDataset(IterableDataset):
    """The plain way."""

    def __init__(self, shards, cmvn, tokenizer, batch_size=8):
        self.shards, self.cmvn, self.tokenizer, self.batch_size = shards, cmvn, tokenizer, batch_size

    def __iter__(self):
        samples = []
        for path in self.shards:
            with tarfile.open(path, "r|") as archive:
                for member in archive:
                    data = archive.extractfile(member).read()
                    if member.name.endswith(".txt"):
                        text = data.decode("utf-8")
                        continue
                    samples.append(CtcSample(member.name[:-4], self.frames(data), encode_text(self.tokenizer, text)))
                    if len(samples) == self.batch_size:
                        yield collate_ctc(samples)
                        samples = []
        if samples:
            yield collate_ctc(samples)

    def frames(self, data):
        from torchaudio.compliance import kaldi

        samples, _ = soundfile.read(io.BytesIO(data), dtype="float32")
        features = kaldi.fbank(
            torch.from_numpy(samples)[None] * 32768,
            num_mel_bins=80,
            frame_length=25,
            frame_shift=10,
            dither=0.0,
            energy_floor=0.0,
            window_type="hamming",
            sample_frequency=16000,
        )
        return (plain_lfr(features) + self.cmvn.shift) * self.cmvn.scale


def plain_lfr(features, m=7, n=6):
    features = torch.cat([features[:1].repeat((m - 1) // 2, 1), features])
    stacked = []
    for number in range(-(-(len(features) - (m - 1) // 2) // n)):
        window = features[number * n : number * n + m]
        if len(window) < m:
            window = torch.cat([window, features[-1:].repeat(m - len(window), 1)])
        stacked.append(window.reshape(-1))
    return torch.stack(stacked)


def rates(makers, num_utterances, repeats):
    """Utterances a second of each maker of batches: the best of some passes, in turns, as others may be using the machine."""
    best = [0.0] * len(makers)
    for _ in range(repeats):
        for number, make_batches in enumerate(makers):
            started = time.perf_counter()
            seen = sum(len(batch.ids) for batch in make_batches())
            best[number] = max(best[number], seen / (time.perf_counter() - started))
            assert seen == num_utterances
    return best


def frames_by_id(batches):
    return {
        identity: batch.frames[row, : batch.frame_lengths[row]] for batch in batches for row, identity in enumerate(batch.ids)
    }


def largest_difference(ours, plain):
    assert ours.keys() == plain.keys()
    return max((ours[identity] - plain[identity]).abs().max().item() for identity in ours)


def compare(folder, train_list, shards, tokenizer, workers, arguments):
    """Rates of both ways with so many worker processes, and how far their frames are apart."""
    config = DataConfig(train_list=str(train_list), cmvn_path=str(folder / "am.mvn"), num_workers=workers)
    loader = build_loader(config, "train", CtcSamples.of(config, tokenizer))
    plain = DataLoader(
        PlainDataset(shards, read_cmvn(folder / "am.mvn"), tokenizer),
        batch_size=None,
        num_workers=workers,
        persistent_workers=workers > 0,
        prefetch_factor=config.prefetch if workers else None,
    )
    difference = largest_difference(frames_by_id(loader.epoch(0)), frames_by_id(plain))
    ours, others = rates([lambda: loader.epoch(1), lambda: plain], arguments.num_utterances, arguments.repeats)
    loader.close()
    return {
        "mooer": round(ours),
        "plain": round(others),
        "ratio": round(ours / others, 2),
        "largest_difference": difference,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--num_utterances", type=int, default=800)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    ensure_torchaudio()
    tokenizer = build_bpe_tokenizer([" ".join(WORDS)], 400, [])
    with tempfile.TemporaryDirectory() as name:
        shards = build_shards(Path(name), arguments.num_utterances, 200)
        lists = {"shards": Path(name) / "data.list", "features": Path(name) / "features" / "data.list"}
        dump_feats(read_data_list(lists["shards"]), lists["features"].parent)
        found = {
            f"{source}_{what}": compare(Path(name), train_list, shards, tokenizer, workers, arguments)
            for source, train_list in lists.items()
            for what, workers in (("in_process", 0), ("one_worker_process", 1))
        }
    print(json.dumps({"utterances": arguments.num_utterances, "seconds_each": SECONDS, **found}, indent=2))
    sys.exit(any(result["largest_difference"] > TOLERANCE for result in found.values()))


if __name__ == "__main__":
    main()
