import json
import logging
import shutil

import numpy as np
import pytest
import soundfile
import torch
from click.testing import CliRunner

from mooer.cli.decode import main
from mooer.common.errors import WeightsError
from mooer.decode.hypothesis import Failure, Refusal
from mooer.decode.paraformer_decoder import ParaformerDecoder
from mooer.decode.recognizer import DecodeConfig, Recognizer
from mooer.features.frontend import FrontendConfig
from mooer.models.paraformer_dir import load_paraformer
from mooer.text.pieces import read_token_list


def waveforms():
    """Recordings of many lengths, not in their order."""
    generator = np.random.default_rng(0)
    seconds = (1.3, 0.2, 3.1, 0.03, 2.2, 1.31, 0.7)
    return [
        (f"w{number}", torch.from_numpy(generator.normal(0, 0.1, int(16000 * s)).astype(np.float32)))
        for number, s in enumerate(seconds)
    ]


@pytest.fixture(scope="module")
def recognizer(paraformer_folder):
    return Recognizer.from_model_dir(paraformer_folder(), DecodeConfig(device="cpu"))


def test_alone_and_together(recognizer):
    together = list(recognizer.recognize(waveforms()))
    assert [result.id for result in together] == [f"w{number}" for number in range(7)]
    for result, waveform in zip(together, waveforms(), strict=True):
        (alone,) = recognizer.recognize([waveform])
        assert alone.answer.tokens == result.answer.tokens
        assert alone.answer.text == result.answer.text
        assert alone.answer.score == pytest.approx(result.answer.score, abs=1e-4)
        assert [word.text for word in alone.answer.words] == result.answer.text.split()
        for word, same in zip(alone.answer.words, result.answer.words, strict=True):
            assert abs(word.start - same.start) <= 20 >= abs(word.end - same.end)
    assert sum(len(result.answer.tokens) for result in together) > 20


def test_words(recognizer):
    answer = next(iter(recognizer.recognize(waveforms()[2:3]))).answer
    times = [time for word in answer.words for time in (word.start, word.end)]
    assert times == sorted(times)
    assert 0 <= times[0] < times[-1] <= 3160
    assert all(0 < word.confidence <= 1 for word in answer.words)


def test_an_utterance_without_tokens(recognizer):
    """It has an empty text, and is not left out."""
    (result,) = recognizer.recognize([("short", torch.zeros(480))])
    assert (result.answer.text, result.answer.tokens, result.answer.words) == ("", (), ())
    assert result.answer.mean_log_prob is None


def test_too_short_a_recording_fails_alone(recognizer):
    first, second = recognizer.recognize([("short", torch.zeros(300)), waveforms()[0]])
    assert isinstance(first, Failure)
    assert first.reason == "too_short"
    assert second.answer.tokens


def test_token_list_of_another_model(paraformer_folder):
    folder = paraformer_folder()
    model, _ = load_paraformer(folder)
    with pytest.raises(WeightsError, match="puts out 10 tokens, but the token list has 9"):
        ParaformerDecoder(model, read_token_list(folder / "tokens.json")[:9], FrontendConfig())


def test_output_that_is_not_finite(paraformer_folder):
    folder = paraformer_folder()
    model, _ = load_paraformer(folder)
    model.decoder.output_layer.bias[3] = float("nan")
    decoder = ParaformerDecoder(model, read_token_list(folder / "tokens.json"), FrontendConfig())
    (refusal,) = decoder.decode([torch.zeros(30, 560)])
    assert isinstance(refusal, Refusal)
    assert refusal.reason == "not_finite"


def run(*arguments):
    logging.getLogger().handlers.clear()
    return CliRunner().invoke(main, [*map(str, arguments), "--device", "cpu"], catch_exceptions=False)


def test_later_run_without_times_removes_them(paraformer_folder, tmp_path):
    recording, output = tmp_path / "a.wav", tmp_path / "out"
    soundfile.write(recording, waveforms()[0][1].numpy(), 16000)
    for name, has_times in (("BiCifParaformer", True), ("Paraformer", False)):
        assert run("--model_dir", paraformer_folder(name), recording, "--output_dir", output).exit_code == 0
        assert (output / "1best_recog" / "time_stamp").exists() == has_times
        assert ("timestamp" in json.loads((output / "results.jsonl").read_text(encoding="utf-8"))) == has_times


def test_another_cmvn(paraformer_folder, tmp_path):
    recording, other = tmp_path / "a.wav", tmp_path / "other.mvn"
    soundfile.write(recording, waveforms()[0][1].numpy(), 16000)
    folder = paraformer_folder()
    shutil.copy(folder / "am.mvn", other)
    plain = run("--model_dir", folder, recording)
    assert run("--model_dir", folder, recording, "--cmvn_path", other).stdout == plain.stdout
    assert plain.stdout.startswith("a\t")
    other.write_text("nonsense")
    assert run("--model_dir", folder, recording, "--cmvn_path", other).exit_code == 2
