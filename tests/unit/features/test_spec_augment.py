from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mooer.common.errors import ConfigError
from mooer.features.spec_augment import SpecAugmentConfig, apply_masks, spec_augment


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def masks_of(masked):
    """Which frames and which mel bins (in all stacked frames) are zero throughout."""
    stacked = masked.view(len(masked), -1, 80)
    return (masked == 0).all(1), (stacked == 0).all(1).all(0)


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 100), st.integers(0, 2**31))
def test_only_whole_frames_and_whole_bands_within_their_bounds(num_frames, seed):
    frames = torch.ones(num_frames, 560)
    config = SpecAugmentConfig()
    masked = spec_augment(frames, seeded(seed), config)
    times, bands = masks_of(masked)
    assert torch.equal(masked.view(-1, 7, 80) == 0, (times[:, None, None] | bands).expand(-1, 7, 80))
    assert times.sum() <= config.num_time_masks * min(config.max_time_width, int(config.max_time_share * num_frames))
    assert bands.sum() <= config.num_frequency_masks * config.max_frequency_width
    assert torch.equal(frames, torch.ones(num_frames, 560))


def test_the_same_generator_state_gives_the_same_masks():
    frames = torch.randn(50, 560)
    assert torch.equal(spec_augment(frames, seeded(1)), spec_augment(frames, seeded(1)))
    assert len({spec_augment(frames, seeded(seed)).sum().item() for seed in range(20)}) > 15


def test_every_width_and_every_place_is_drawn():
    config = SpecAugmentConfig(num_time_masks=1, max_time_width=2, max_time_share=1.0, num_frequency_masks=0)
    seen = {tuple(masks_of(spec_augment(torch.ones(3, 560), seeded(seed), config))[0].tolist()) for seed in range(300)}
    none, one, two = (False,) * 3, (True, False, False), (True, True, False)
    assert seen == {none, one, (False, True, False), (False, False, True), two, (False, True, True)}


def test_every_width_and_every_place_with_what_passes_the_end_cut_off():
    settings_ = {"num_time_masks": 1, "max_time_width": 2, "num_frequency_masks": 0, "placing": "anywhere"}
    config = SpecAugmentConfig(max_time_share=1.0, **settings_)
    seen = Counter(tuple(masks_of(spec_augment(torch.ones(3, 560), seeded(seed), config))[0].tolist()) for seed in range(600))
    first, middle, last = (True, False, False), (False, True, False), (False, False, True)
    assert seen.keys() == {first, middle, last, (True, True, False), (False, True, True)}
    assert seen[last] > 1.5 * max(seen[first], seen[middle])  # of either width
    shorter = SpecAugmentConfig(max_time_share=0.34, **settings_)
    masks = [masks_of(spec_augment(torch.ones(3, 560), seeded(seed), shorter))[0] for seed in range(50)]
    assert all(mask.sum() == 1 for mask in masks)


def test_bands_anywhere_are_cut_off_in_all_stacked_frames():
    config = SpecAugmentConfig(num_time_masks=0, num_frequency_masks=1, max_frequency_width=200, placing="anywhere")
    masked = apply_masks(torch.ones(4, 160), [(0.5, 0.25)], config)
    assert torch.equal(masked.view(4, 2, 80), torch.cat((torch.ones(4, 2, 20), torch.zeros(4, 2, 60)), dim=2))


@pytest.mark.parametrize("placing", ["inside", "anywhere"])
def test_nothing_to_mask(placing):
    frames = torch.randn(30, 560)
    off = SpecAugmentConfig(num_time_masks=0, num_frequency_masks=0, placing=placing)
    assert torch.equal(spec_augment(frames, seeded(0), off), frames)
    no_width = SpecAugmentConfig(max_time_width=0, max_frequency_width=0, placing=placing)
    assert torch.equal(spec_augment(frames, seeded(0), no_width), frames)


@pytest.mark.parametrize(
    "settings_", [{"num_time_masks": -1}, {"max_frequency_width": -2}, {"max_time_share": 1.5}, {"placing": "out"}]
)
def test_impossible_settings(settings_):
    with pytest.raises(ConfigError):
        SpecAugmentConfig(**settings_)
