"""Hours and weights of the sources of an epoch, on lengths alone and through the loader."""

from collections import Counter

import numpy as np
import pytest
import yaml

from mooer.common.errors import ConfigError, DataError
from mooer.data.dataset import AugmentConfig, build_loader
from mooer.data.directory import read_data_dir
from mooer.data.mixture import FRAMES_AN_HOUR, Mixture, MixtureConfig, SourceConfig
from mooer.data.packing import PackOptions, make_raw_list, make_shards
from mooer.data.statistics import dump_feats
from mooer.data.tasks import CtcSamples

from .conftest import ctc_loader, write_data_dir


def _mixture(*sources, size=4000, seed=0):
    frames = np.random.default_rng(1).integers(200, 1600, size * len(sources))
    configs = tuple(SourceConfig(name=f"s{number}", list="x", **source) for number, source in enumerate(sources))
    return Mixture(configs, [size] * len(sources), frames, seed), frames


def test_hours_are_the_same_utterances_in_every_epoch():
    mixture, frames = _mixture({"hours": 2.0}, {}, {"hours": 3.5})
    first = mixture.entries(0)
    assert np.array_equal(first, mixture.entries(1))
    sources = first // 4000
    hours = [frames[first[sources == source]].sum() / FRAMES_AN_HOUR for source in range(3)]
    assert hours[0] == pytest.approx(2.0, abs=1600 / FRAMES_AN_HOUR)
    assert (sources == 1).sum() == 4000
    assert hours[2] == pytest.approx(3.5, abs=1600 / FRAMES_AN_HOUR)
    assert not np.array_equal(first, _mixture({"hours": 2.0}, {}, {"hours": 3.5}, seed=1)[0].entries(0))


def test_weights_are_visits():
    mixture, _ = _mixture({"weight": 0.25}, {"weight": 2.5})
    drawn = [Counter((mixture.entries(epoch) % 8000).tolist()) for epoch in range(2)]
    for counts in drawn:
        assert sum(counts[position] for position in range(4000)) == 1000
        assert {counts[position] for position in range(4000, 8000)} == {2, 3}
        assert sum(counts[position] for position in range(4000, 8000)) == 10000
    assert drawn[0] != drawn[1]
    entries = mixture.entries(0)
    assert len(set(entries.tolist())) == len(entries)


def test_the_table_adds_up():
    table = _mixture({"hours": 1.0, "weight": 2}, {"weight": 0.5})[0].table().splitlines()
    assert len(table) == 4
    hours = [float(line.split()[-2]) for line in table[1:]]
    assert hours[0] == pytest.approx(2.0, abs=0.02)
    assert hours[2] == pytest.approx(sum(hours[:2]), abs=0.02)


def test_more_hours_than_there_are():
    with pytest.raises(ConfigError, match=r"source s0: 99 h are asked for, x has \d+\.\d\d h that can be used"):
        _mixture({"hours": 99})


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        ([], "at least one source"),
        ([{"name": "a", "list": "x"}, {"name": "a", "list": "y"}], "names a more than once"),
        ([{"name": "a b", "list": "x"}], "must be a word"),
        ([{"name": "a", "list": "x", "hours": 0}], "hours must be positive"),
        ([{"name": "a", "list": "x", "weight": 0}], "weight must be over 0"),
    ],
)
def test_mixtures_that_cannot_be(sources, message):
    with pytest.raises(ConfigError, match=message):
        MixtureConfig(sources=tuple(SourceConfig(**source) for source in sources))


@pytest.fixture
def three_forms(tmp_path):
    """The same recordings as raw list, shards and features, one source each."""
    utterances = read_data_dir(write_data_dir(tmp_path / "data")).utterances
    make_raw_list(utterances, tmp_path / "raw")
    make_shards(utterances, tmp_path / "shards", PackOptions(num_utts_per_shard=5))
    dump_feats(utterances, tmp_path / "feats")
    sources = [
        {"name": "raw", "list": str(tmp_path / "raw" / "data.list")},
        {"name": "shards", "list": str(tmp_path / "shards" / "data.list"), "weight": 3},
        {"name": "feats", "list": str(tmp_path / "feats" / "data.list"), "weight": 0.5},
    ]
    path = tmp_path / "mixture.yaml"
    path.write_text(yaml.safe_dump({"sources": sources}))
    return path


@pytest.mark.parametrize("cached", [False, True])
def test_raw_shards_and_features_in_one_epoch(three_forms, changed, tokenizer, cached, caplog):
    augment = AugmentConfig(num_time_masks=1, num_frequency_masks=1)
    config = changed(train_list=None, mixture=str(three_forms), augment=augment, cache_features=cached)
    with caplog.at_level("INFO", logger="mooer"):
        loader = ctc_loader(config, tokenizer)
    found = [(name, batch.frames[row]) for batch in loader.epoch(0) for row, name in enumerate(batch.ids)]
    seen = Counter(name for name, _ in found)
    assert len(found) == 13 + 3 * 13 + 6
    assert set(seen.values()) == {4, 5}
    # Each visit of an utterance has masks of its own.
    assert len({tuple(frames[0, :80].tolist()) for name, frames in found if name == "utt11"}) > 2


def test_a_source_of_nothing_is_an_error(three_forms, changed, tokenizer, tmp_path):
    (tmp_path / "raw" / "data.list").write_text("")
    with pytest.raises(DataError, match="no utterance can be used"):
        build_loader(
            changed(train_list=None, mixture=str(three_forms)),
            "train",
            CtcSamples.of(changed(train_list=None, mixture=str(three_forms)), tokenizer),
        )


def test_a_list_and_a_mixture_exclude_each_other(changed):
    with pytest.raises(ConfigError, match="exclude each other"):
        changed(mixture="mixture.yaml")
