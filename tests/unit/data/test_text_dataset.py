"""The loader of text: every usable line once over all ranks, the same batches however it is spread, bad lines counted."""

import dataclasses
from dataclasses import dataclass

import pytest
import torch

from mooer.common.errors import ConfigError, DataError, PathError
from mooer.data.text_config import TextDataConfig
from mooer.data.text_dataset import build_text_loader
from mooer.data.text_lines import TextIndex, TextLine, iterate_text
from mooer.data.utterance import Problem

LINES = [" ".join("abcdefgh"[number % 8] for number in range(length)) for length in (3, 9, 1, 5, 7, 2, 8, 4, 6, 3, 12, 1, 2)]
NAMES = [f"text.txt:{number}" for number in range(1, len(LINES) + 1)]


@dataclass(frozen=True)
class Batch:
    ids: list
    codes: torch.Tensor

    def to(self, device):
        return dataclasses.replace(self, codes=self.codes.to(device))


class LetterSamples:
    """A sample is the codes of a line's words; a line with a word `bad` has none."""

    def make(self, lines):
        return ["bad_word" if "bad" in line.text else (line.id, *map(ord, line.text.split())) for line in lines]

    def collate(self, samples):
        width = max(map(len, samples))
        return Batch([sample[0] for sample in samples], torch.tensor([[*s[1:], *[0] * (width - len(s))] for s in samples]))


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("".join(line + "\n" for line in LINES), encoding="utf-8")
    return path


@pytest.fixture
def config(path):
    return TextDataConfig(train_list=str(path), dev_list=str(path), max_batch_tokens=30, num_buckets=3, seed=5)


def batches(config, split="train", epoch=0, done=0, **place):
    loader = build_text_loader(config, split, LetterSamples(), **place)
    found = list(loader.epoch(epoch, done))
    loader.close()
    return found


def ids(found):
    return [identity for batch in found if batch is not None for identity in batch.ids]


@pytest.mark.parametrize("world_size", [1, 2, 3, 40])
def test_every_line_once_and_ranks_even(config, world_size):
    ranks = [batches(config, rank=rank, world_size=world_size) for rank in range(world_size)]
    assert len({len(found) for found in ranks}) == 1
    assert sorted(identity for found in ranks for identity in ids(found)) == sorted(NAMES)


def test_epochs_differ_and_repeat(config):
    first, again, second = (ids(batches(config, epoch=epoch)) for epoch in (0, 0, 1))
    assert first == again
    assert first != second
    assert ids(batches(config, "dev", epoch=0)) == ids(batches(config, "dev", epoch=7))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_going_on_in_the_middle(config, num_workers):
    config = dataclasses.replace(config, num_workers=num_workers)
    whole = [batch.ids for batch in batches(config, epoch=1)]
    assert len(whole) > 3
    assert [batch.ids for batch in batches(config, epoch=1, done=2)] == whole[2:]


def test_a_batch_keeps_to_the_budget(config):
    found = batches(config)
    assert all(batch.codes.shape[0] * (batch.codes.shape[1] + 1) <= 30 for batch in found)
    assert any(len(batch.ids) > 1 for batch in found)


def test_the_size_is_told_before(config):
    loader = build_text_loader(config, "train", LetterSamples())
    assert loader.frames_in_epoch(0) == sum(len(line.split()) + 1 for line in LINES)
    assert loader.batches_in_epoch(0) == len(batches(config))


def test_bad_lines_are_counted_and_named(path, config):
    content = "a b c\n\nbad a\nfine\r\na\x01b\n" + "a " * 40 + "\n"
    path.write_bytes(content.encode() + b"\xff\n")
    loader = build_text_loader(dataclasses.replace(config, max_tokens=20), "train", LetterSamples())
    assert {problem.id: problem.reason for problem in loader.problems} == {
        "text.txt:2": "empty_text",
        "text.txt:3": "bad_word",
        "text.txt:4": "damaged",
        "text.txt:5": "damaged",
        "text.txt:6": "too_long",
        "text.txt:7": "damaged",
    }
    assert ids(loader.epoch(0)) == ["text.txt:1"]
    dev = build_text_loader(dataclasses.replace(config, max_tokens=20), "dev", LetterSamples())
    assert ids(dev.epoch(0)) == ["text.txt:1", "text.txt:6"]


def test_kaldi_lines(tmp_path):
    path = tmp_path / "text"
    path.write_text("u1 a b\nu2\nu1 c\n begins\nu3 c\n", encoding="utf-8")
    found = list(iterate_text(path, "kaldi"))
    assert [entry.text for entry in found if isinstance(entry, TextLine)] == ["a b", "c"]
    assert [(entry.id, entry.reason) for entry in found if isinstance(entry, Problem)] == [
        ("u2", "empty_text"),
        ("text:3", "damaged"),
        ("text:4", "damaged"),
    ]


def test_the_index_gives_lines_back(path):
    lines = list(iterate_text(path, "plain"))
    index = TextIndex((line, len(line.text)) for line in lines)
    assert [index[position] for position in range(len(index))] == lines


def test_refusals(path, config):
    with pytest.raises(PathError, match="nowhere"):
        build_text_loader(dataclasses.replace(config, train_list="nowhere"), "train", LetterSamples())
    with pytest.raises(ConfigError, match="dev_list is not set"):
        build_text_loader(dataclasses.replace(config, dev_list=None), "dev", LetterSamples())
    with pytest.raises(ConfigError, match="split 'test'"):
        build_text_loader(config, "test", LetterSamples())
    path.write_text("bad\n\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"no line can be used \(bad_word 1, empty_text 1\)"):
        build_text_loader(config, "train", LetterSamples())
    with pytest.raises(ConfigError, match="max_tokens 1 must be at least"):
        dataclasses.replace(config, min_tokens=2, max_tokens=1)
