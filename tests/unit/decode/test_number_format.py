import logging

import numpy as np
import pytest
import soundfile
import torch
from click.testing import CliRunner

from mooer.cli.decode import main
from mooer.common.errors import ConfigError
from mooer.decode import number_format
from mooer.decode.int8_linear import is_int8
from mooer.decode.number_format import put_into_format
from mooer.decode.recognizer import DecodeConfig, Recognizer
from mooer.models.released import open_model


@pytest.fixture(scope="module")
def folder(paraformer_folder):
    return paraformer_folder()


def recognizer_of(folder, dtype):
    return Recognizer.from_model_dir(folder, DecodeConfig(device="cpu", dtype=dtype))


def test_int8_gives_the_same_alone_and_together(folder):
    """To the last bit, although inputs share a scale with all that is computed together."""
    recognizer = recognizer_of(folder, "int8")
    assert is_int8(recognizer.loaded.model)
    generator = np.random.default_rng(0)
    waveforms = [torch.from_numpy(generator.normal(0, 0.1, size).astype(np.float32)) for size in (20800, 9000, 31000)]
    together = list(recognizer.recognize((str(index), waveform) for index, waveform in enumerate(waveforms)))
    for result, waveform in zip(together, waveforms, strict=True):
        (alone,) = recognizer.recognize([("alone", waveform)])
        assert alone.answer == result.answer
    assert sum(len(result.answer.tokens) for result in together) > 10


@pytest.mark.parametrize(
    ("times", "chosen"),
    [([1.0, 0.5, 0.3], "int8"), ([1.0, 0.5, 0.45], "bfloat16"), ([1.0, 0.9, 0.85], "float32"), ([1.0, 2.0, 0.7], "int8")],
)
def test_fast_is_what_gains_enough(monkeypatch, caplog, folder, times, chosen):
    remaining = iter(times)
    monkeypatch.setattr(number_format, "least_seconds", lambda *_: next(remaining))
    caplog.set_level(logging.INFO)
    recognizer = recognizer_of(folder, "fast")
    assert recognizer.config.dtype == chosen  # so that run.json says it
    assert f"dtype fast is {chosen} here; speed of a layer: float32 1.0, bfloat16 {1 / times[1]:.1f}" in caplog.text
    assert is_int8(recognizer.loaded.model) == (chosen == "int8")
    weight = recognizer.loaded.model.predictor.cif_output.weight
    assert weight.dtype == (torch.bfloat16 if chosen == "bfloat16" else torch.float32)


def test_fast_measures(folder):
    assert recognizer_of(folder, "fast").config.dtype in ("float32", "bfloat16", "int8")


@pytest.mark.parametrize("dtype", ["int8", "fast"])
def test_what_has_no_such_format(tmp_path, folder, dtype):
    recording = tmp_path / "a.wav"
    soundfile.write(recording, np.zeros(16000), 16000)
    result = CliRunner().invoke(main, ["--model_dir", "mini", "--dtype", dtype, "--device", "cpu", str(recording)])
    assert result.exit_code == 2
    assert f"dtype {dtype} is for models of family paraformer or ctc with SanmEncoder, found speech_llm" in result.stderr
    with pytest.raises(ConfigError, match=f"dtype {dtype} is for a CPU; use float16 or bfloat16 on cuda"):
        put_into_format(open_model(folder, "asr"), dtype, torch.device("cuda"))
