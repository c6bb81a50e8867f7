import numpy as np
import pytest

from mooer.decode.firing import THRESHOLD, firing_frames, milliseconds, token_spans


def fired(weights):
    """A frame at a time: what is over the threshold stays for the next frame."""
    frames, total = [], 0.0
    for frame, weight in enumerate(weights):
        total += weight
        if total >= THRESHOLD:
            frames.append(frame)
            total -= THRESHOLD
    return frames


@pytest.mark.parametrize("largest", [0.1, 0.8, 1.7, 4.0])
def test_firing_is_that_of_the_loop(largest):
    for seed in range(20):
        weights = np.random.default_rng(seed).uniform(0, largest, 80)
        weights[40:60] = 0.0
        assert firing_frames(weights).tolist() == fired(weights)


def test_whole_sums_fire_in_spite_of_rounding():
    for number in range(1, 60):
        weights = np.random.default_rng(number).uniform(0, 0.3, 400).astype(np.float32)
        weights *= np.float32(number) / weights.sum()
        assert len(firing_frames(weights)) == number


def test_spans():
    """Firings at 4, 10, 30: minus 1.5, the second token cut at 12 frames."""
    weights = np.zeros(40)
    weights[[4, 10, 30]] = 1.0
    assert token_spans(weights, 2, 1.0) == [(2.5, 8.5), (8.5, 20.5)]


@pytest.mark.parametrize(("frames", "end"), [(20, 15.75), (16, 16.0), (13, 13.0)])
def test_silence_at_the_end(frames, end):
    """The last token shares more than five frames of it, and has fewer to itself."""
    weights = np.zeros(frames)
    weights[[4, 13 if frames > 13 else 12]] = 1.0
    wanted = end if frames > 13 else 13.0
    assert token_spans(weights, 1, 1.0) == [(2.5, wanted)]


def test_scaled_where_the_firings_do_not_fit():
    weights = np.full(40, 0.025)  # one firing; two tokens need three
    spans = token_spans(weights, 2, 1.0)
    assert len(spans) == 2
    assert spans[0][0] == pytest.approx(13 - 1.5)
    assert spans[1][0] == pytest.approx(26 - 1.5)


@pytest.mark.parametrize(("weights", "number"), [(np.zeros(9), 2), (np.ones(2), 3), (np.full(1, 0.5), 1)])
def test_evenly_spread_where_no_scale_helps(weights, number):
    spans = token_spans(weights, number, 1.0)
    assert len(spans) == number
    begins = [begin for begin, _ in spans]
    assert begins == sorted(set(begins))
    assert all(end > begin for begin, end in spans)


def test_no_tokens():
    assert token_spans(np.ones(5), 0, 1.0) == []


def test_milliseconds():
    assert milliseconds((0.0301, 0.4499)) == (30, 449)
    assert milliseconds((-0.03, 0.2)) == (0, 200)
