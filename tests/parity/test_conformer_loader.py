"""Shards, batches, learning rate and averages of 3M-ASR's reference; `test_conformer_data` says what is not comparable."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file

from mooer.data.dataset import DataConfig, build_loader
from mooer.data.lists import iterate_data_list, read_data_list
from mooer.data.packing import PackOptions, make_shards
from mooer.data.reader import AudioReader
from mooer.data.sampler import BatchRules, Sizes, plan_epoch
from mooer.data.shards import index_shard
from mooer.data.tasks import CtcSamples
from mooer.data.utterance import AudioRef, Problem, Utterance
from mooer.features.frontend import FrontendConfig
from mooer.text.characters import read_dictionary
from mooer.train.checkpoint import Checkpoint, Layout, Progress, average
from mooer.train.config import ScheduleConfig
from mooer.train.optim import learning_rate_share

FEATURE_TOLERANCE = 2e-3
SHARDS = ("shards_000000000.tar", "shards_000000001.tar")


def read_json(path):
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture
def shards(golden_conformer, tmp_path):
    """A copy of the reference's shards, as the index of a shard is written beside it."""
    return shutil.copytree(golden_conformer / "shards", tmp_path / "shards", copy_function=shutil.copyfile)


@pytest.fixture
def shard_list(shards):
    """The reference's list: one shard a line, with its whole path."""
    path = shards / "data.list"
    path.write_text("".join(f"{shards / name}\n" for name in SHARDS), encoding="utf-8")
    return path


def test_members_of_shards(golden_conformer, shards):
    for name, members in read_json(golden_conformer / "shards.json")["tars"].items():
        index = index_shard(shards / name)
        assert not index.problems
        texts = {member["name"].removesuffix(".txt"): member["text"] for member in members if member["text"] is not None}
        assert {item.id: item.labels["text"] for item in index.utterances} == texts
        assert list(texts) == [item.id for item in index.utterances]
        sizes = [member["size"] for member in members if member["name"].endswith(".wav")]
        assert [item.audio.size for item in index.utterances] == sizes
        assert [item.num_samples for item in index.utterances] == [(size - 44) // 2 for size in sizes]


def test_recordings_of_shards_are_the_files_they_were_made_of(golden_conformer, shard_list):
    reader, utterances = AudioReader(), read_data_list(shard_list)
    assert [item.id for item in utterances] == ["w0", "w1", "w2", "w3", "w4"]
    for utterance in utterances:
        file = AudioRef(path=str(golden_conformer / "wav" / f"{utterance.id}.wav"))
        assert torch.equal(reader.read(utterance.audio), reader.read(file))


def test_shards_are_written_as_the_reference_does_to_the_byte(golden_conformer, tmp_path):
    rules = read_json(golden_conformer / "shards.json")
    texts = {
        member["name"].removesuffix(".txt"): member["text"]
        for name in SHARDS
        for member in rules["tars"][name]
        if member["text"] is not None
    }
    wav = golden_conformer / "wav"
    utterances = [
        Utterance(name, AudioRef(path=str(wav / f"{name}.wav")), labels={"text": text}) for name, text in texts.items()
    ]
    report = make_shards(utterances, tmp_path / "out", PackOptions(audio_format="keep", num_utts_per_shard=3))
    assert not report.problems
    for name in SHARDS:
        assert (tmp_path / "out" / name).read_bytes() == (golden_conformer / "shards" / name).read_bytes()
    assert (tmp_path / "out" / "data.list").read_text().split() == rules["data_list"]


def test_a_bad_last_member_is_named_and_the_others_are_used(shards, shard_list):
    whole = (shards / SHARDS[0]).read_bytes()
    start = whole.index(b"w2.wav")
    (shards / SHARDS[0]).write_bytes(whole[: start + 5000])
    entries = list(iterate_data_list(shard_list))
    assert [item.id for item in entries if isinstance(item, Utterance)] == ["w0", "w1", "w3", "w4"]
    reasons = {item.id: item.reason for item in entries if isinstance(item, Problem)}
    assert reasons == {"w2": "no_audio", str(shards / SHARDS[0]): "damaged_shard"}


@pytest.fixture
def loader(golden_conformer, tmp_path):
    """The loader of one list, with the recipe's frames and characters."""

    def build(train_list, **settings):
        config = DataConfig(
            train_list=str(train_list),
            frontend=FrontendConfig(window="povey", lfr_m=1, lfr_n=1),
            num_workers=0,
            num_buckets=1,
            min_frames=10,
            max_frames=1200,
            **settings,
        )
        dictionary = read_dictionary(golden_conformer / "lang_char.txt")
        return build_loader(
            config, "train", CtcSamples(dictionary, encoder_frames=lambda num_frames: ((num_frames - 1) // 2 - 1) // 2)
        )

    return build


def rows_of(loader):
    """Frames and labels by utterance id."""
    rows = {}
    for batch in loader.epoch(0):
        for place, name in enumerate(batch.ids):
            frames = batch.frames[place, : batch.frame_lengths[place]]
            rows[name] = frames, batch.targets[place, : batch.target_lengths[place]]
    return rows


@pytest.mark.parametrize("form", ["shard", "raw"])
def test_frames_and_labels_of_batches(golden_conformer, shard_list, loader, form):
    tensors = load_file(golden_conformer / "dataset.safetensors")
    data_list = shard_list
    if form == "raw":
        texts = {item.id: item.labels for item in read_data_list(shard_list)}
        wav = golden_conformer / "wav"
        lines = [json.dumps({"id": name, "audio": str(wav / f"{name}.wav"), "labels": own}) for name, own in texts.items()]
        data_list = shard_list.with_name("raw.list")
        data_list.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    rows, compared = rows_of(loader(data_list)), 0
    for number, known in enumerate(read_json(golden_conformer / "dataset.json")[form]):
        frames, labels = (tensors[f"{form}.batch{number}.{name}"] for name in ("feats", "labels"))
        for place, name in enumerate(known["keys"]):
            length, size = known["feats_lengths"][place], known["label_lengths"][place]
            torch.testing.assert_close(rows[name][0], frames[place, :length], atol=FEATURE_TOLERANCE, rtol=0)
            assert torch.equal(rows[name][1], labels[place, :size])
            assert (labels[place, size:] == -1).all()
            compared += 1
    assert compared == len(rows) == 5


def test_frames_after_cmvn(golden_conformer, shard_list, loader):
    rows = rows_of(loader(shard_list, cmvn_path=str(golden_conformer / "global_cmvn.json")))
    known = read_json(golden_conformer / "dataset.json")["shard"][0]
    expected = load_file(golden_conformer / "dataset.safetensors")["shard.batch0.feats_after_cmvn"]
    for place, (name, length) in enumerate(zip(known["keys"], known["feats_lengths"], strict=True)):
        torch.testing.assert_close(rows[name][0], expected[place, :length], atol=FEATURE_TOLERANCE, rtol=0)


def test_what_the_loader_leaves_out_is_named(shards, shard_list, loader):
    """An empty transcript, and a shard that ends inside of its last recording."""
    shard_list.write_text("".join(f"{shards / name}\n" for name in ("segs_000000000.tar", *SHARDS)), encoding="utf-8")
    whole = (shards / SHARDS[1]).read_bytes()
    (shards / SHARDS[1]).write_bytes(whole[: whole.index(b"w4.wav") + 5000])
    found = loader(shard_list)
    assert set(rows_of(found)) == {"seg_a", "w0", "w1", "w2", "w3"}
    assert dict(found.skipped) == {"empty_text": 1, "no_audio": 1, "damaged_shard": 1}
    assert {problem.id for problem in found.problems} == {"seg_b", "w4", str(shards / SHARDS[1])}


def test_lengths_that_are_left_out(golden_conformer, tmp_path, loader):
    cases = read_json(golden_conformer / "dataset.json")["filter"]["cases"]
    wanted = {case["frames_10ms"]: case["kept"] for case in cases if case["label_len"] in (1, 5)}
    assert set(wanted.values()) == {True, False}
    audio = str(golden_conformer / "wav" / "w0.wav")
    lines = [
        json.dumps({"id": f"u{units}", "audio": audio, "num_samples": 160 * units, "labels": {"text": "好"}})
        for units in wanted
    ]
    (tmp_path / "list").write_text("\n".join(lines), encoding="utf-8")
    skipped = {problem.id for problem in loader(tmp_path / "list").problems}
    assert skipped == {f"u{units}" for units, is_kept in wanted.items() if not is_kept}


@pytest.mark.parametrize("kind", ["dynamic_batch", "static_batch"])
def test_bounds_of_batches(golden_conformer, kind):
    known = read_json(golden_conformer / "dataset.json")[kind]
    frames, size = known.get("max_frames_in_batch", 10**6), known.get("batch_size", 10**6)
    rules = BatchRules(max_batch_frames=frames, max_batch_size=size, num_buckets=1, shuffle_buffer=0)
    lengths = torch.tensor(known["lengths"]).numpy()
    plan = plan_epoch(Sizes(num_frames=lengths, groups=0 * lengths), rules, seed=0, epoch=0, shuffle=False)
    assert [plan[number] for number in range(len(plan))] == known["batches"]


def test_warmup_noam(golden_conformer):
    """Row N is the rate of step N - 1; row 0, before training, is of no step."""
    known = read_json(golden_conformer / "lr_schedule.json")["warmup_noam"]
    config = ScheduleConfig(name="noam", warmup_steps=known["conf"]["warmup_steps"])
    rows = known["values"][1:]
    assert len(rows) > 10
    for calls, _, rate in rows:
        assert known["lr"] * learning_rate_share(config, calls - 1, total_steps=10**6) == pytest.approx(rate, rel=1e-9)


def test_averaged_checkpoints(golden_conformer, tmp_path):
    """Counts of batches are no weights: the reference makes fractions of them, here they are the first's."""
    folder = golden_conformer / "average"
    checkpoints = []
    for number in range(3):
        (tmp_path / f"{number}").mkdir()
        shutil.copyfile(folder / f"in{number}.safetensors", tmp_path / f"{number}" / "weights.safetensors")
        place = {"progress": Progress(), "layout": Layout(world_size=1, zero_stage=0), "metric": None}
        checkpoints.append(Checkpoint(folder=tmp_path / f"{number}", **place))
    found, expected = average(checkpoints), load_file(folder / "out.safetensors")
    assert found.keys() == expected.keys()
    counts = [name for name, tensor in found.items() if not tensor.is_floating_point()]
    assert counts == ["blocks.0.conv_module.norm.num_batches_tracked"]
    for name in found.keys() - counts:
        torch.testing.assert_close(found[name], expected[name], atol=1e-6, rtol=0)
    assert torch.equal(found[counts[0]], load_file(folder / "in0.safetensors")[counts[0]])
