import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mooer.common.errors import AudioError, ConfigError
from mooer.features.cmvn import Cmvn
from mooer.features.frame_stream import FrameStream, frame_decibels
from mooer.features.frontend import Frontend, FrontendConfig


def frontend(lfr_m=5, window="hamming"):
    generator = torch.Generator().manual_seed(lfr_m)
    cmvn = Cmvn(torch.randn(80 * lfr_m, generator=generator), torch.rand(80 * lfr_m, generator=generator) + 0.5)
    return Frontend(FrontendConfig(lfr_m=lfr_m, lfr_n=1, window=window), cmvn)


@settings(max_examples=40, deadline=None)
@given(
    num_samples=st.integers(400, 12000),
    cuts=st.lists(st.integers(0, 12000), max_size=8),
    lfr_m=st.sampled_from([1, 2, 5, 9]),
    seed=st.integers(0, 9),
    window=st.sampled_from(["hamming", "povey"]),
)
def test_pieces_give_the_frames_and_energies_of_the_whole(num_samples, cuts, lfr_m, seed, window):
    samples = torch.randn(num_samples, generator=torch.Generator().manual_seed(seed)) * 0.1
    whole = frontend(lfr_m, window)(samples)
    stream = FrameStream(frontend(lfr_m, window))
    bounds = [0, *sorted(min(cut, num_samples) for cut in cuts), num_samples]
    parts = [stream.accept(samples[start:end]) for start, end in itertools.pairwise(bounds)]
    parts.append(stream.finish())
    assert torch.equal(torch.cat([frames for frames, _ in parts]), whole)
    assert np.array_equal(np.concatenate([decibels for _, decibels in parts]), frame_decibels(samples, len(whole)))
    assert all(len(frames) == len(decibels) for frames, decibels in parts)


def test_a_frame_comes_out_with_the_last_sample_it_needs():
    stream, samples = FrameStream(frontend()), torch.randn(2000)
    needed = 400 + 2 * 160  # two more frames are stacked on the right of the first one
    assert len(stream.accept(samples[: needed - 1])[0]) == 0
    assert len(stream.accept(samples[needed - 1 : needed])[0]) == 1


@pytest.mark.parametrize("num_samples", [0, 160, 399])
def test_no_frame(num_samples):
    stream = FrameStream(frontend())
    for frames, decibels in (stream.accept(torch.zeros(num_samples)), stream.finish()):
        assert frames.shape == (0, 400)
        assert decibels.shape == (0,)


def test_what_is_kept_does_not_grow():
    stream = FrameStream(frontend())
    for _ in range(50):
        stream.accept(torch.randn(16000))
        kept = (stream._samples, stream._rows)
        assert sum(tensor.untyped_storage().nbytes() for tensor in kept) <= 4 * (560 + 4 * 80)
        assert len(stream._decibels) <= 2


def test_decibels_of_known_signals():
    assert frame_decibels(torch.zeros(720), 3) == pytest.approx([-60.0] * 3)
    assert frame_decibels(torch.ones(400), 1) == pytest.approx([10 * math.log10(400)])
    one_loud_sample = torch.zeros(1040)
    one_loud_sample[500] = 0.5
    assert frame_decibels(one_loud_sample, 5) == pytest.approx([-60.0, *[10 * math.log10(0.250001)] * 3, -60.0])


def test_not_finite_says_where():
    stream = FrameStream(frontend())
    stream.accept(torch.zeros(16000))
    bad = torch.zeros(8000)
    bad[7] = float("nan")
    with pytest.raises(AudioError, match=r"not finite.*between 1\.00 and 1\.50 s") as error:
        stream.accept(bad)
    assert error.value.reason == "not_finite"


@pytest.mark.parametrize("samples", [torch.zeros(1, 800), torch.zeros(800, dtype=torch.int16), torch.zeros(800).double()])
def test_what_is_no_waveform_is_refused(samples):
    with pytest.raises(AudioError, match="must be float32 samples") as error:
        FrameStream(frontend()).accept(samples)
    assert error.value.reason == "unsupported"


def test_other_front_ends_are_refused():
    for config in (FrontendConfig(), FrontendConfig(kind="whisper")):
        with pytest.raises(ConfigError, match="lfr_n 1"):
            FrameStream(Frontend(config))
