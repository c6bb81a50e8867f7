"""What the demo page asks of its models, with the packaged one; the page itself is tested in a browser, in tests/recipe."""

import logging

import numpy as np
import pytest
import soundfile
import torch
from click.testing import CliRunner

from mooer.cli.demo import main
from mooer.common.errors import AudioError, ConfigError
from mooer.decode.recognizer import DecodeConfig, Recognizer
from mooer.serve.demo_model import DemoConfig, DemoModel


@pytest.fixture(scope="module")
def model():
    return DemoModel(DemoConfig(task="mtl", target_language="zh", device="cpu", max_seconds=400))


def noise(seconds, rate=16000):
    return np.random.default_rng(0).normal(0, 0.1, round(seconds * rate)).astype(np.float32)


def test_answers_are_the_recognizers(model):
    samples = torch.from_numpy(noise(2))
    config = DecodeConfig(task="mtl", target_language="zh", device="cpu")
    (wanted,) = Recognizer.from_model_dir("mini", config).recognize([("a", samples)])
    assert model.recognize(samples).tokens == wanted.answer.tokens
    *_, grown = model.grow(samples)
    assert grown.text
    assert model.writes_tokens


def test_a_broken_file_is_named_without_its_folder(model, tmp_path):
    (tmp_path / "broken.wav").write_bytes(b"no sound")
    with pytest.raises(AudioError) as caught:
        model.read(str(tmp_path / "broken.wav"))
    assert "broken.wav" in str(caught.value)
    assert str(tmp_path) not in str(caught.value)


def test_long_recordings_are_refused(model, tmp_path):
    samples = torch.zeros(301 * 16000)
    for ask in (model.recognize, lambda samples: next(model.grow(samples))):
        with pytest.raises(AudioError, match="--vad_dir") as caught:
            ask(samples)
        assert caught.value.reason == "too_long"
    soundfile.write(tmp_path / "long.wav", np.zeros(401 * 8000), 8000)
    with pytest.raises(AudioError, match=r"long\.wav") as caught:
        model.read(str(tmp_path / "long.wav"))
    assert caught.value.reason == "too_long"


@pytest.mark.parametrize("channels", [1, 2])
def test_a_microphone_is_resampled_and_cut(model, channels):
    """Two bursts of 0.8 s at 48 kHz, in pieces; each is a line, or two with its translation."""
    rate = 48000
    volume = np.repeat([0.0, 1.0, 0.0, 1.0, 0.0], [rate, 4 * rate // 5, rate, 4 * rate // 5, rate])
    samples = (volume * noise(len(volume) / rate, rate) * 32767).astype(np.int16)
    listener = model.listen()
    texts = []
    for piece in np.array_split(samples, 20):
        listener.accept(rate, piece if channels == 1 else np.stack([piece, piece], axis=1))
        texts.append(listener.text)
    listener.finish()
    assert listener.text.startswith(texts[-1])
    assert len(set(texts)) > 2, "partial texts, then final ones"
    assert len(listener._lines) == 2
    with pytest.raises(AudioError, match="rate"):
        listener.accept(16000, samples[:10])


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"max_seconds": 0}, "max_seconds"),
        ({"target_language": "zh"}, "target_language"),
        ({"task": "ast", "vad_dir": "vad"}, "task ast"),
        ({"beam_size": 2, "punc_dir": "punc"}, "beam_size"),
    ],
)
def test_settings_that_make_no_sense(values, named):
    with pytest.raises(ConfigError, match=named):
        DemoConfig(**values)


def test_the_command_names_what_is_missing(tmp_path):
    pytest.importorskip("gradio")
    logging.getLogger().handlers.clear()
    result = CliRunner().invoke(main, ["--model_dir", str(tmp_path / "none")])
    assert result.exit_code == 2
    assert "none" in result.stderr
