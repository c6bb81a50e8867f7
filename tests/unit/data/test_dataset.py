"""The loader: all utterances once over all ranks, equal batches with any number of workers, bad utterances counted."""

import dataclasses
import gc

import numpy as np
import pytest
import soundfile
import torch

from mooer.common.errors import ConfigError, DataError, PathError
from mooer.common.lengths import fbank_frames, lfr_frames
from mooer.data.batch import CtcBatch, SpeechLlmBatch
from mooer.data.dataset import AugmentConfig, DataConfig, TaskConfig, build_loader
from mooer.data.directory import read_data_dir
from mooer.data.packing import PackOptions, make_raw_list, make_shards
from mooer.data.statistics import dump_feats
from mooer.data.tasks import CtcSamples, SpeechLlmSamples
from mooer.data.worker import BatchDataset
from mooer.text.tokenizer import decode_text

from .conftest import SECONDS, ctc_loader, write_data_dir

SAMPLES = {"ctc": CtcSamples, "speech_llm": SpeechLlmSamples}
ALL = [f"utt{number:02d}" for number in range(len(SECONDS))]


def batches(config, tokenizer, family="ctc", split="train", epoch=0, skip=0, **place):
    loader = build_loader(config, split, SAMPLES[family].of(config, tokenizer), **place)
    found = list(loader.epoch(epoch, skip))
    loader.close()
    return found


def equal(left, right):
    if left is None or right is None:
        return left is right
    pairs = [(getattr(left, field.name), getattr(right, field.name)) for field in dataclasses.fields(left)]
    return all(torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b for a, b in pairs)


def ids(batch_list):
    return [identity for batch in batch_list if batch is not None for identity in batch.ids]


@pytest.mark.parametrize("world_size", [1, 2, 3, 5, 40])
def test_every_utterance_once_and_ranks_even(config, tokenizer, world_size):
    ranks = [batches(config, tokenizer, rank=rank, world_size=world_size) for rank in range(world_size)]
    assert len({len(found) for found in ranks}) == 1
    assert sorted(identity for found in ranks for identity in ids(found)) == ALL


def test_the_number_of_batches_is_told_before(config, tokenizer):
    loader = ctc_loader(config, tokenizer, rank=1, world_size=2)
    assert -(-loader.batches_in_epoch(3) // 2) == len(list(loader.epoch(3)))


def test_columns_are_counted_before_anything_is_read(changed, tokenizer):
    """With several tasks drawn anew in each epoch, no batch is wider than max_batch_tokens."""
    tasks = (TaskConfig(task="asr"), TaskConfig(task="ast"), TaskConfig(task="mtl"))
    config = changed(tasks=tasks, max_batch_tokens=140, max_batch_frames=2000)
    widths = set()
    for epoch in range(3):
        found = batches(config, tokenizer, "speech_llm", epoch=epoch)
        assert sorted(ids(found)) == ALL
        assert all(batch.input_ids.numel() <= 140 or len(batch.ids) == 1 for batch in found)
        widths.add(tuple(batch.input_ids.numel() for batch in found))
    assert len(widths) == 3
    assert any(len(batch.ids) > 1 for batch in found)


def test_a_packed_batch_is_its_rows_without_padding(changed, tokenizer):
    padded, packed = (batches(changed(packing=packing), tokenizer, "speech_llm") for packing in (False, True))
    for left, right in zip(padded, packed, strict=True):
        assert left.ids == right.ids
        assert torch.equal(left.frames, right.frames)
        assert torch.equal(left.input_ids[left.attention_mask], right.input_ids[0])
        assert torch.equal(left.labels[left.attention_mask], right.labels[0])
        widths = left.attention_mask.sum(1).tolist()
        assert right.position_ids[0].tolist() == [column for width in widths for column in range(width)]


@pytest.mark.parametrize("values", [{"max_batch_tokens": 100}, {"num_token_buckets": 2}, {"packing": True}])
def test_ctc_has_no_columns(changed, tokenizer, values):
    with pytest.raises(ConfigError, match="has no LLM"):
        ctc_loader(changed(**values), tokenizer)


@pytest.mark.parametrize("family", ["ctc", "speech_llm"])
def test_workers_change_nothing(changed, tokenizer, family):
    noisy = AugmentConfig(speeds=(0.9, 1.1), gain_db=(-6, 6), num_time_masks=1, num_frequency_masks=1)
    found = [batches(changed(num_workers=n, augment=noisy), tokenizer, family, epoch=2) for n in (0, 1, 2)]
    for others in found[1:]:
        assert len(others) == len(found[0])
        assert all(equal(left, right) for left, right in zip(found[0], others, strict=True))


def test_a_worker_destroys_nothing_that_it_inherited(changed, tokenizer, monkeypatch, tmp_path):
    class Cycle:
        def __init__(self):
            self.itself = self

        def __del__(self):
            (tmp_path / "destroyed").touch()

    load = BatchDataset.__getitem__
    monkeypatch.setattr(BatchDataset, "__getitem__", lambda self, key: (gc.collect(), load(self, key))[1])
    gc.collect()
    gc.disable()
    try:
        Cycle()
        assert ids(batches(changed(num_workers=1), tokenizer))
        assert not (tmp_path / "destroyed").exists()
    finally:
        gc.enable()
        gc.collect()
    assert (tmp_path / "destroyed").exists()


def test_resuming_is_the_rest_of_the_epoch(changed, tokenizer):
    config = changed(augment=AugmentConfig(speeds=(0.9, 1.1)))
    whole = batches(config, tokenizer, "speech_llm", epoch=1)
    for skip in (1, len(whole) - 1, len(whole)):
        rest = batches(config, tokenizer, "speech_llm", epoch=1, skip=skip)
        assert len(rest) == len(whole) - skip
        assert all(equal(left, right) for left, right in zip(whole[skip:], rest, strict=True))


def test_epochs_differ_and_repeat_whatever_was_read_before(changed, tokenizer):
    config = changed(num_workers=2)
    loader = ctc_loader(config, tokenizer)
    first = list(loader.epoch(0))
    for _ in loader.epoch(1):
        break  # an epoch may be left
    second = list(loader.epoch(1))
    assert ids(first) != ids(second)
    assert all(equal(left, right) for left, right in zip(loader.epoch(0), first, strict=True))
    assert ids(batches(config, tokenizer, epoch=1)) == ids(second)


def test_dev_is_the_same_in_every_epoch(config, tokenizer):
    first, later = (batches(config, tokenizer, "speech_llm", "dev", epoch=epoch) for epoch in (0, 5))
    assert all(equal(left, right) for left, right in zip(first, later, strict=True))


def test_the_global_random_state_is_left_alone(changed, tokenizer):
    torch.manual_seed(3)
    before = torch.get_rng_state()
    batches(changed(num_workers=1, augment=AugmentConfig(speeds=(0.9, 1.1), num_time_masks=2)), tokenizer)
    assert torch.equal(torch.get_rng_state(), before)


def test_ctc_batches(config, tokenizer):
    for batch in batches(config, tokenizer):
        assert isinstance(batch, CtcBatch)
        for row, identity in enumerate(batch.ids):
            number = int(identity[3:])
            length = lfr_frames(fbank_frames(int(SECONDS[number] * 16000)))
            assert batch.frame_lengths[row] == length
            assert not batch.frames[row, length:].any()
            targets = batch.targets[row, : batch.target_lengths[row]].tolist()
            assert decode_text(tokenizer, targets) == f"词 {number}"


def test_tasks_follow_the_labels(changed, tokenizer):
    tasks = (TaskConfig(task="asr"), TaskConfig(task="ast"), TaskConfig(task="mtl", weight=3.0))
    seen = {}
    for epoch in range(12):
        for batch in batches(changed(tasks=tasks), tokenizer, "speech_llm", epoch=epoch):
            assert isinstance(batch, SpeechLlmBatch)
            for row, identity in enumerate(batch.ids):
                answer = decode_text(tokenizer, batch.labels[row][batch.labels[row] != -100].tolist())
                seen.setdefault(identity, []).append(answer)
    assert set(seen["utt00"]) == {"词 0"}
    assert set(seen["utt01"]) == {"词 1", "word 1", "词 1\nword 1"}
    drawn = [answer for number in range(1, len(ALL), 2) for answer in seen[f"utt{number:02d}"]]
    assert 0.4 < sum("\n" in answer for answer in drawn) / len(drawn) < 0.8


def test_a_free_task(changed, tokenizer):
    task = TaskConfig(task="free", instruction="Say it in English. ", labels=("en",))
    loader = build_loader(changed(tasks=(task,)), "train", SpeechLlmSamples.of(changed(tasks=(task,)), tokenizer))
    found = list(loader.epoch(0))
    assert sorted(ids(found)) == ALL[1::2]
    assert loader.skipped == {"no_label": len(ALL[::2])}
    prompt = decode_text(tokenizer, found[0].input_ids[0][found[0].attention_mask[0] & (found[0].input_ids[0] >= 0)].tolist())
    assert "Say it in English. " in prompt


def test_limits_of_length_are_counted_and_hold_in_training_only(changed, tokenizer):
    config = changed(min_frames=40, max_frames=160)
    loader = ctc_loader(config, tokenizer)
    assert loader.skipped == {"too_short": 2, "too_long": 1}
    assert [item.id for item in loader.problems if item.reason == "too_long"] == ["utt11"]
    assert len(ids(loader.epoch(0))) == len(ALL) - 3
    assert ctc_loader(config, tokenizer, "dev").skipped == {}


def test_bad_recordings_are_counted_and_the_batch_goes_on(tmp_path, changed, tokenizer):
    folder = write_data_dir(tmp_path / "data", SECONDS[:6])
    make_raw_list(read_data_dir(folder).utterances, tmp_path / "list")
    wav = folder / "wav"
    (wav / "utt01.wav").unlink()
    (wav / "utt02.wav").write_bytes((wav / "utt02.wav").read_bytes()[:5000])
    (wav / "utt03.wav").write_bytes(b"no audio")
    soundfile.write(wav / "utt04.wav", np.full(8000, np.nan, np.float32), 16000, "FLOAT")
    soundfile.write(wav / "utt05.wav", np.zeros(300), 16000)
    config = changed(train_list=str(tmp_path / "list" / "data.list"), num_workers=1)
    loader = ctc_loader(config, tokenizer)
    for epoch in (0, 1):
        assert ids(loader.epoch(epoch)) == ["utt00"]
    assert loader.skipped == {"missing": 1, "truncated": 1, "unreadable": 1, "not_finite": 1, "too_short": 1}


def test_a_batch_of_nothing_is_a_step(tmp_path, changed, tokenizer):
    folder = write_data_dir(tmp_path / "data", [0.5, 1.0])
    make_raw_list(read_data_dir(folder).utterances, tmp_path / "list")
    (folder / "wav" / "utt00.wav").unlink()
    config = changed(train_list=str(tmp_path / "list" / "data.list"), max_batch_size=1)
    found = batches(config, tokenizer)
    assert len(found) == 2
    assert ids(found) == ["utt01"]
    (folder / "wav" / "utt01.wav").unlink()
    with pytest.raises(DataError, match="not one utterance"):
        batches(config, tokenizer)
    assert batches(config, tokenizer, rank=1, world_size=2) == [None]


def test_ctc_leaves_out_what_cannot_be_aligned(tmp_path, changed, tokenizer):
    folder = write_data_dir(tmp_path / "data", [0.5, 0.5])
    (folder / "text").write_text("utt00 short\nutt01 " + "far too many words " * 9 + "\n")
    make_raw_list(read_data_dir(folder).utterances, tmp_path / "list")
    config = changed(train_list=str(tmp_path / "list" / "data.list"))
    loader = ctc_loader(config, tokenizer)
    assert ids(loader.epoch(0)) == ["utt00"]
    assert loader.skipped == {"too_long_for_ctc": 1}
    assert sorted(ids(batches(config, tokenizer, "speech_llm"))) == ["utt00", "utt01"]


@pytest.mark.parametrize("kind", ["shards", "raw", "resampled", "features"])
def test_the_form_of_the_data_changes_no_frame(tmp_path, changed, tokenizer, shards, kind):
    utterances = read_data_dir(write_data_dir(tmp_path / "data")).utterances
    if kind == "shards":
        make_shards(utterances, tmp_path / "out", PackOptions(num_utts_per_shard=20, audio_format="flac"))
    elif kind == "features":
        dump_feats(utterances, tmp_path / "out")
    else:
        make_raw_list(utterances, tmp_path / "out", resample=kind == "resampled")
    wanted, found = {}, {}
    for path, frames in ((shards, wanted), (tmp_path / "out" / "data.list", found)):
        for batch in batches(changed(train_list=str(path)), tokenizer):
            for row, identity in enumerate(batch.ids):
                frames[identity] = batch.frames[row, : batch.frame_lengths[row]]
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[identity], wanted[identity]) for identity in wanted)


def test_cached_features_are_the_same(changed, tokenizer):
    masks = AugmentConfig(num_time_masks=1, num_frequency_masks=1)
    plain, cached = (
        build_loader(
            changed(cache_features=keep, augment=masks),
            "train",
            CtcSamples.of(changed(cache_features=keep, augment=masks), tokenizer),
        )
        for keep in (False, True)
    )
    for epoch in range(3):
        assert all(equal(left, right) for left, right in zip(plain.epoch(epoch), cached.epoch(epoch), strict=True))


def test_damaged_and_empty_shards(tmp_path, changed, tokenizer):
    utterances = read_data_dir(write_data_dir(tmp_path / "data")).utterances
    make_shards(utterances, tmp_path, PackOptions(num_utts_per_shard=5))
    shards = sorted(tmp_path.glob("*.tar"))
    shards[0].write_bytes(b"")
    shards[1].write_bytes(shards[1].read_bytes()[:70000])
    loader = build_loader(
        changed(train_list=str(tmp_path / "data.list")),
        "train",
        CtcSamples.of(changed(train_list=str(tmp_path / "data.list")), tokenizer),
    )
    found = ids(loader.epoch(0))
    assert found
    assert set(found) < set(ALL[5:])
    assert set(found) > set(ALL[10:])
    assert [item.id for item in loader.problems if item.reason == "damaged_shard"] == [str(shards[0]), str(shards[1])]


def test_a_shard_that_shrinks_later_loses_only_its_utterances(tmp_path, changed, tokenizer):
    utterances = read_data_dir(write_data_dir(tmp_path / "data")).utterances
    make_shards(utterances, tmp_path, PackOptions(num_utts_per_shard=5))
    loader = build_loader(
        changed(train_list=str(tmp_path / "data.list")),
        "train",
        CtcSamples.of(changed(train_list=str(tmp_path / "data.list")), tokenizer),
    )
    (tmp_path / "shards_000000001.tar").write_bytes(b"")
    assert sorted(ids(loader.epoch(0))) == ALL[:5] + ALL[10:]
    assert loader.skipped == {"truncated": 5}


def test_what_cannot_be_used_at_all(tmp_path, changed, tokenizer):
    empty = tmp_path / "empty.list"
    empty.write_text("")
    with pytest.raises(DataError, match="list is empty"):
        ctc_loader(changed(train_list=str(empty)), tokenizer)
    with pytest.raises(DataError, match="no_label 13"):
        build_loader(
            changed(tasks=(TaskConfig(task="ast", labels=("fr",)),)),
            "train",
            CtcSamples.of(changed(tasks=(TaskConfig(task="ast", labels=("fr",)),)), tokenizer),
        )
    with pytest.raises(PathError):
        build_loader(
            changed(train_list=str(tmp_path / "none")),
            "train",
            CtcSamples.of(changed(train_list=str(tmp_path / "none")), tokenizer),
        )
    with pytest.raises(ConfigError, match="dev_list"):
        ctc_loader(changed(dev_list=None), tokenizer, "dev")
    with pytest.raises(ConfigError, match="split 'test' is unknown"):
        build_loader(changed(), "test", CtcSamples.of(changed(), tokenizer))


@pytest.mark.parametrize(
    "values",
    [
        {"max_batch_frames": 0},
        {"num_workers": -1},
        {"tasks": ()},
        {"min_frames": 50, "max_frames": 50},
        {"cache_features": True, "augment": AugmentConfig(speeds=(1.1,))},
    ],
)
def test_configs_that_contradict_themselves(values):
    with pytest.raises(ConfigError):
        DataConfig(**values)


@pytest.mark.parametrize(
    "values", [{"task": "free"}, {"task": "sing"}, {"task": "ast", "target_language": "xx"}, {"weight": 0.0}]
)
def test_tasks_that_cannot_be(values):
    with pytest.raises(ConfigError):
        TaskConfig(**values)
