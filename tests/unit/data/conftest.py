"""A small data directory of noise with texts, as files and as shards, and a tokenizer for it."""

import dataclasses

import numpy as np
import pytest
import soundfile

from mooer.data.dataset import DataConfig, build_loader
from mooer.data.directory import read_data_dir
from mooer.data.packing import PackOptions, make_shards
from mooer.data.tasks import CtcSamples
from mooer.text.prompts import TASKS, chat_prompt, instruction
from mooer.text.tokenizer import build_bpe_tokenizer

SECONDS = [0.3, 0.5, 0.8, 1.1, 1.6, 0.4, 0.9, 0.7, 1.3, 0.35, 0.6, 2.0, 0.45]


def write_data_dir(folder, seconds=SECONDS, rate=16000):
    """utt00, utt01, ...: every one has a transcript, every second one a translation `en`."""
    (folder / "wav").mkdir(parents=True)
    tables = {"wav.scp": [], "text": [], "text.en": []}
    for number, length in enumerate(seconds):
        samples = np.random.default_rng(number).uniform(-0.3, 0.3, int(length * rate))
        soundfile.write(folder / "wav" / f"utt{number:02d}.wav", samples, rate, "PCM_16")
        tables["wav.scp"].append(f"utt{number:02d} wav/utt{number:02d}.wav")
        tables["text"].append(f"utt{number:02d} 词 {number}")
        if number % 2:
            tables["text.en"].append(f"utt{number:02d} word {number}")
    for name, lines in tables.items():
        (folder / name).write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return folder


@pytest.fixture
def data_dir(tmp_path):
    return write_data_dir(tmp_path / "data")


@pytest.fixture(scope="session")
def shards(tmp_path_factory):
    """data.list of uneven shards: 13 utterances, 3 a shard."""
    root = tmp_path_factory.mktemp("shards")
    utterances = read_data_dir(write_data_dir(root / "data")).utterances
    make_shards(utterances, root / "shards", PackOptions(num_utts_per_shard=3))
    return root / "shards" / "data.list"


@pytest.fixture(scope="session")
def tokenizer():
    prompts = [instruction(task) for task in TASKS]
    plain = build_bpe_tokenizer(["word 1 2 3", "词"], 300, [])
    return build_bpe_tokenizer(["word 1 2 3", "词"], 600, [chat_prompt(plain, text) for text in prompts])


@pytest.fixture
def config(shards):
    return DataConfig(
        train_list=str(shards), dev_list=str(shards), num_workers=0, max_batch_frames=250, num_buckets=3, min_frames=5, seed=7
    )


@pytest.fixture
def changed(config):
    return lambda **values: dataclasses.replace(config, **values)


def ctc_loader(config, tokenizer, split="train", **place):
    """The loader of an encoder with CTC."""
    return build_loader(config, split, CtcSamples.of(config, tokenizer), **place)
