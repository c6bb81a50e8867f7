import math
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mooer.common.errors import AudioError
from mooer.common.lengths import fbank_frames
from mooer.features.fbank import MEL_FLOOR, fbank, fbank_batch, mel_filters

SILENCE = math.log(MEL_FLOOR)


def noise(samples, seed=0):
    return torch.randn(samples, generator=torch.Generator().manual_seed(seed)) * 0.1


def plain_fbank(waveform):
    """The rule of Kaldi, frame by frame in float64."""
    frames = []
    window = torch.hamming_window(400, periodic=False, dtype=torch.float64)
    for start in range(0, len(waveform) - 399, 160):
        frame = waveform[start : start + 400].double() * 32768
        frame = frame - frame.mean()
        frame = frame - 0.97 * torch.cat([frame[:1], frame[:-1]])
        power = torch.fft.rfft(frame * window, n=512).abs().square()
        frames.append((power @ mel_filters(80)).clamp(min=MEL_FLOOR).log())
    return torch.stack(frames).float()


@pytest.mark.parametrize("samples", [400, 401, 559, 560, 4000, 12345])
def test_equal_to_the_rule_in_double_precision(samples):
    assert torch.allclose(fbank(noise(samples)), plain_fbank(noise(samples)), atol=3e-3, rtol=0)


@given(st.integers(400, 20_000))
@settings(max_examples=30, deadline=None)
def test_number_of_frames(samples):
    assert fbank(torch.zeros(samples)).shape == (fbank_frames(samples), 80)


@pytest.mark.parametrize("num_mel_bins", [3, 40, 80, 128])
def test_other_numbers_of_mel_bins(num_mel_bins):
    frames = fbank(noise(1600), num_mel_bins)
    assert frames.shape == (8, num_mel_bins)
    assert torch.isfinite(frames).all()


def test_filters_are_triangles_that_add_up_to_one():
    filters = mel_filters(80)
    assert filters.min() >= 0
    assert filters.max() <= 1
    total = filters.sum(1)
    inner = (filters.argmax(1) > 0) & (filters.argmax(1) < 79)
    assert torch.allclose(total[inner], torch.ones(int(inner.sum()), dtype=torch.float64))


def test_silence_is_the_floor():
    assert torch.allclose(fbank(torch.zeros(2000)), torch.tensor(SILENCE))
    assert pytest.approx(-15.9424, abs=1e-4) == SILENCE


@pytest.mark.parametrize("level", [0.25, -1.0, 3 / 32768, 0.75, 1000 / 32768])
def test_a_constant_is_silence(level):
    if level == 1000 / 32768 and torch.backends.cpu.get_cpu_capability() == "DEFAULT":
        pytest.skip("without fused multiply-add a little rounding noise remains")
    assert torch.allclose(fbank(torch.full((4000,), level)), torch.tensor(SILENCE), atol=0.05)


def test_an_added_constant_changes_nothing():
    waveform = (noise(8000) * 4096).round() / 32768
    assert torch.allclose(fbank(waveform), fbank(waveform + 0.5), atol=5e-3)


def test_clipped_speech_is_finite():
    assert torch.isfinite(fbank((noise(8000) * 1000).clamp(-1, 1))).all()


@pytest.mark.parametrize(("samples", "reason"), [(0, "empty"), (1, "too_short"), (399, "too_short")])
def test_too_short(samples, reason):
    with pytest.raises(AudioError) as caught:
        fbank(torch.zeros(samples))
    assert caught.value.reason == reason


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("position", [0, 200, 559])
def test_not_finite_is_an_error_that_names_the_recording(value, position):
    waveform = noise(640)
    waveform[position] = value
    with pytest.raises(AudioError, match="waveform 1") as caught:
        fbank_batch([noise(800), waveform, noise(800)])
    assert caught.value.reason == "not_finite"


@pytest.mark.parametrize("waveform", [torch.zeros(1, 1600), torch.zeros(1600, dtype=torch.float64), torch.zeros(2, 800).T])
def test_other_shapes_and_types_are_refused(waveform):
    with pytest.raises(AudioError) as caught:
        fbank(waveform)
    assert caught.value.reason == "unsupported"


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(400, 30_000), min_size=1, max_size=9), st.integers(0, 1000))
def test_bit_identical_alone_and_in_company(lengths, seed):
    waveforms = [noise(length, seed + index) for index, length in enumerate(lengths)]
    for waveform, frames in zip(waveforms, fbank_batch(waveforms), strict=True):
        assert torch.equal(fbank(waveform), frames)


def test_bit_identical_over_the_border_of_a_chunk_and_with_threads():
    """Twenty seconds alone and after twenty others; in a process of its own, because the number of threads is global."""
    program = (
        "import torch\n"
        "from mooer.features.fbank import fbank, fbank_batch\n"
        "waveforms = [torch.randn(n) for n in (300_000, 500, 300_001, 90_000)]\n"
        "torch.set_num_threads(1)\n"
        "alone = [fbank(w) for w in waveforms]\n"
        "for threads in (1, 2):\n"
        "    torch.set_num_threads(threads)\n"
        "    for one, both in zip(alone, fbank_batch(waveforms)):\n"
        "        assert torch.equal(one, both), threads\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


def test_input_stays_and_gradients_are_not_followed():
    waveform = noise(1600).requires_grad_()
    before = waveform.detach().clone()
    frames = fbank(waveform)
    assert not frames.requires_grad
    assert torch.equal(waveform.detach(), before)


def test_a_strided_waveform():
    stereo = noise(3200).view(1600, 2)
    assert torch.equal(fbank(stereo[:, 0]), fbank(stereo[:, 0].contiguous()))


def test_constants_made_in_inference_mode_serve_training_too():
    program = (
        "import torch\n"
        "from mooer.features.frontend import Frontend\n"
        "waveform = torch.randn(4000)\n"
        "with torch.inference_mode():\n"
        "    first = Frontend()(waveform)\n"
        "second = Frontend()(waveform)\n"
        "torch.nn.Linear(560, 2)(second).sum().backward()\n"
        "assert torch.equal(first, second)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
