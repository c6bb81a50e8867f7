"""Augmentation: repeatable, different for each utterance and epoch, within its bounds."""

import math

import numpy as np
import pytest
import soundfile
import torch

from mooer.common.errors import ConfigError, DataError
from mooer.data.augment import Augmenter
from mooer.data.config import AugmentConfig

WAVEFORM = torch.from_numpy(np.random.default_rng(0).uniform(-0.2, 0.2, 16000).astype(np.float32))


def apply(config, identity="utt", epoch=0, seed=0):
    return Augmenter(config, seed, 80).waveform(WAVEFORM, identity, epoch)


@pytest.mark.parametrize(
    "config",
    [AugmentConfig(gain_db=(-10, 10)), AugmentConfig(noise_probability=1.0), AugmentConfig(speeds=(0.8, 0.9, 1.1, 1.2))],
)
def test_draws_depend_on_seed_epoch_and_id_alone(config):
    assert torch.equal(apply(config), apply(config))
    others = (
        [apply(config, identity=f"utt{n}") for n in range(5)]
        + [apply(config, epoch=n) for n in range(1, 5)]
        + [apply(config, seed=1)]
    )
    assert any(other.shape != WAVEFORM.shape or not torch.equal(other, apply(config)) for other in others)


def test_nothing_is_the_default():
    assert torch.equal(apply(AugmentConfig()), WAVEFORM)
    frames = torch.ones(5, 560)
    assert Augmenter(AugmentConfig(), 0, 80).frames(frames, "utt", 0) is frames


def test_speeds():
    lengths = {len(apply(AugmentConfig(speeds=(0.8, 1.0, 1.25)), identity=f"utt{n}")) for n in range(30)}
    assert lengths == {20000, 16000, 12800}


def test_gain_stays_within_bounds():
    gains = [20 * math.log10(apply(AugmentConfig(gain_db=(-6, 3)), epoch=n).norm() / WAVEFORM.norm()) for n in range(50)]
    assert -6 <= min(gains) < -4
    assert 1 < max(gains) <= 3.001


def test_noise_has_its_share_and_ratio(tmp_path):
    soundfile.write(tmp_path / "n.wav", np.random.default_rng(1).uniform(-0.9, 0.9, 5000), 16000)
    (tmp_path / "noise.scp").write_text("n n.wav\n")
    for noise_list in (None, str(tmp_path / "noise.scp")):
        config = AugmentConfig(noise_probability=0.5, noise_list=noise_list, noise_snr_db=(10, 20))
        added = [apply(config, epoch=n) - WAVEFORM for n in range(60)]
        ratios = [20 * math.log10(WAVEFORM.norm() / noise.norm()) for noise in added if noise.any()]
        assert 15 < len(ratios) < 45
        assert 9.9 < min(ratios) < max(ratios) < 20.1


def test_masks_leave_the_given_frames_alone():
    frames = torch.ones(40, 560)
    config = AugmentConfig(num_time_masks=2, max_time_width=5, num_frequency_masks=1)
    augmenter = Augmenter(config, 0, 80)
    masked = [augmenter.frames(frames, "utt", epoch) for epoch in range(5)]
    assert torch.equal(frames, torch.ones(40, 560))
    assert len({float(item.sum()) for item in masked}) > 1
    assert torch.equal(masked[0], Augmenter(config, 0, 80).frames(frames, "utt", 0))


@pytest.mark.parametrize("content", ["", "n none.wav\n", "n cat x |\n", "n\n"])
def test_bad_noise_lists(tmp_path, content):
    (tmp_path / "noise.scp").write_text(content)
    with pytest.raises(DataError):
        Augmenter(AugmentConfig(noise_list=str(tmp_path / "noise.scp"), noise_probability=0.5), 0, 80)


@pytest.mark.parametrize(
    "values",
    [
        {"speeds": (0.0,)},
        {"noise_probability": 1.5},
        {"noise_list": "noise.scp"},
        {"gain_db": (3.0, -3.0)},
        {"num_time_masks": -1},
        {"max_time_share": 2.0},
    ],
)
def test_configs_that_cannot_be(values):
    with pytest.raises(ConfigError):
        AugmentConfig(**values)
