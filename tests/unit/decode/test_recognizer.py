"""Model directories of ours, with small random models, through the recognizer and the command."""

import json
import logging
import math
import shutil

import numpy as np
import pytest
import soundfile
import torch
from click.testing import CliRunner

from mooer.cli.decode import main
from mooer.common.errors import ConfigError
from mooer.data.archives import write_archive
from mooer.decode import packed_linear
from mooer.decode.hypothesis import Failure
from mooer.decode.recognizer import WINDOW_BATCHES, DecodeConfig, Recognizer
from mooer.features.fbank import fbank
from mooer.models.model_dir import load_model_dir
from mooer.text.prompts import instruction


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tiny_recognisers):
    """A folder with a tokenizer, a model directory of each family, recordings and lists."""
    folder = tmp_path_factory.mktemp("models")
    tiny_recognisers(folder, ["one two three", "一二三"], ["<|im_start|>user\n"])
    generator = np.random.default_rng(0)
    waves = {f"w{index}": generator.normal(0, 0.1, 4000 * (index + 1)).astype(np.float32) for index in range(4)}
    for name, wave in waves.items():
        soundfile.write(folder / f"{name}.wav", wave, 16000, subtype="FLOAT")
    (folder / "wav.scp").write_text("".join(f"{name} {folder}/{name}.wav\n" for name in waves))
    (folder / "data.list").write_text(
        "".join(json.dumps({"id": name, "audio": f"{name}.wav", "labels": {}}) + "\n" for name in waves)
    )
    matrices = [(name, fbank(torch.from_numpy(wave)).numpy()) for name, wave in waves.items()]
    offsets = write_archive(folder / "feats.ark", matrices)
    (folder / "feats.scp").write_text("".join(f"{name} feats.ark:{offset}\n" for name, offset in offsets.items()))
    return folder


def run(*arguments):
    logging.getLogger().handlers.clear()
    return CliRunner().invoke(main, [*map(str, arguments), "--device", "cpu"], catch_exceptions=False)


def rows(result):
    return dict(line.split("\t", 1) for line in result.stdout.splitlines())


@pytest.mark.parametrize("family", ["ctc", "llm"])
def test_all_forms_of_input_give_the_same(folder, family):
    files = [folder / f"w{index}.wav" for index in range(4)]
    results = [
        run("--model_dir", folder / family, "--wav_path", *files),
        run("--model_dir", folder / family, "--wav_scp", folder / "wav.scp"),
        run("--model_dir", folder / family, "--data_list", folder / "data.list"),
        run("--model_dir", folder / family, "--feats_scp", folder / "feats.scp"),
    ]
    assert [result.exit_code for result in results] == [0] * 4
    assert list(rows(results[0])) == ["w0", "w1", "w2", "w3"]
    for result in results[1:]:
        assert rows(result) == rows(results[0])


@pytest.mark.parametrize("family", ["llm", "ctc"])
def test_what_is_prepared_apart_is_answered_as_ever(folder, family):
    recognizer = Recognizer.from_model_dir(folder / family, DecodeConfig(device="cpu"))
    generator = torch.Generator().manual_seed(0)
    lengths = {"a": 9000, "too short": 100, "b": 20_000, "c": 13_000}
    waveforms = [(name, 0.1 * torch.randn(length, generator=generator)) for name, length in lengths.items()]
    prepared = [*recognizer.prepare(waveforms[:3]), *recognizer.prepare(waveforms[3:])]
    expected = list(recognizer.recognize(waveforms))
    for found, known in zip(recognizer.answer(prepared), expected, strict=True):
        assert found.id == known.id
        if known.id == "too short":
            assert (found, found.reason) == (known, "too_short")
        else:
            assert (found.answer.text, found.answer.tokens) == (known.answer.text, known.answer.tokens)
            assert found.seconds == known.seconds


def test_ctc_tells_when_tokens_were_said(folder, tmp_path):
    result = run(
        "--model_dir", folder / "ctc", "--mode", "ctc_greedy", "--wav_scp", folder / "wav.scp", "--output_dir", tmp_path
    )
    assert result.exit_code == 0
    for line in (tmp_path / "results.jsonl").read_text().splitlines():
        values = json.loads(line)
        assert len(values["token_seconds"]) == len(values["tokens"]) > 0
        assert values["token_seconds"][-1][1] <= values["seconds"] + 0.06


@pytest.mark.parametrize("family", ["ctc", "llm"])
def test_confidence(folder, family):
    """It is the answer's probability, the n-th root of it for n tokens; a recording too short to decode has none."""
    recognizer = Recognizer.from_model_dir(folder / family, DecodeConfig(device="cpu", beam_size=1, length_penalty=0.0))
    waveform = torch.randn(16_000, generator=torch.Generator().manual_seed(0)) * 0.1
    long, short = (result.answer for result in recognizer.recognize([("long", waveform), ("short", waveform[:500])]))
    bias = recognizer.settings.generate.eos_bias if family == "llm" and not long.flags else 0.0
    count = len(long.tokens) + (family == "llm" and not long.flags)
    assert 0 < long.confidence < 1
    assert math.log(long.confidence) == pytest.approx((long.score - bias) / count, rel=1e-5)
    if family == "llm":
        assert (short.mean_log_prob, short.confidence) == (None, 0.0)


@pytest.mark.parametrize(
    "option",
    [["--beam_size", "2"], ["--instruction", "x"], ["--batch_seconds", "3"], ["--task", "mtl"], ["--estimate_times"]],
)
def test_ctc_knows_no_llm_options(folder, option):
    result = run("--model_dir", folder / "ctc", "--wav_scp", folder / "wav.scp", *option)
    assert result.exit_code == 2
    assert "ctc" in result.stderr
    assert result.stdout == ""


def test_multitask_lines_have_three_columns(folder):
    result = run("--model_dir", folder / "llm", "--wav_scp", folder / "wav.scp", "--task", "mtl", "--beam_size", 1)
    assert result.exit_code == 0
    assert {line.count("\t") for line in result.stdout.splitlines()} == {2}


def test_instructions(folder):
    def asked(**settings):
        return Recognizer.from_model_dir(folder / "llm", DecodeConfig(device="cpu", **settings)).settings.instruction

    assert asked() == instruction("asr")
    assert asked(task="mtl", target_language="zh") == instruction("mtl", "zh")
    assert asked(task="mtl", instruction="Sing. ") == "Sing. "
    with pytest.raises(ConfigError, match="fr"):
        asked(task="ast", target_language="fr")


def test_instructions_of_training(folder, tmp_path):
    shutil.copytree(folder / "llm", tmp_path / "own")
    record = tmp_path / "own" / "run.json"
    record.write_text(json.dumps({"instructions": {"asr": "Write. ", "mtl.zh": "Both. "}}))

    def asked(**settings):
        return Recognizer.from_model_dir(tmp_path / "own", DecodeConfig(device="cpu", **settings)).settings.instruction

    assert asked() == "Write. "
    assert asked(task="mtl", target_language="zh") == "Both. "
    assert asked(task="mtl") == instruction("mtl")
    assert asked(instruction="Sing. ") == "Sing. "
    record.write_text(json.dumps({"instructions": ["Write. "]}))
    with pytest.raises(ConfigError, match=r"run\.json"):
        asked()


def test_a_model_in_memory_is_left_as_it_is(folder, monkeypatch):
    monkeypatch.setattr(packed_linear, "MIN_WEIGHTS", 0)
    monkeypatch.setattr(packed_linear, "MIN_GAIN", 0.0)
    loaded = load_model_dir(folder / "llm")
    Recognizer(loaded, DecodeConfig(device="cpu"))
    assert not any(isinstance(module, packed_linear.PackedLinear) for module in loaded.model.modules())
    fresh = Recognizer.from_model_dir(folder / "llm", DecodeConfig(device="cpu"))
    assert any(isinstance(module, packed_linear.PackedLinear) for module in fresh.loaded.model.modules())


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("family", ["ctc", "llm"])
def test_half_precision(folder, family, dtype):
    result = run("--model_dir", folder / family, "--wav_scp", folder / "wav.scp", "--dtype", dtype)
    assert result.exit_code == 0
    assert len(rows(result)) == 4


def test_results_come_while_there_is_more_to_read(folder):
    """No more than a window of recordings is read ahead, and failures keep their place."""
    recognizer = Recognizer.from_model_dir(folder / "ctc", DecodeConfig(device="cpu", batch_size=1))
    read = []

    def endless():
        while True:
            read.append(None)
            yield f"u{len(read) - 1}", torch.zeros(300 if len(read) % 2 else 4000)

    results = recognizer.recognize(endless())
    first = [next(results) for _ in range(6)]
    assert [result.id for result in first] == [f"u{index}" for index in range(6)]
    assert [isinstance(result, Failure) for result in first] == [True, False] * 3
    assert len(read) <= 2 * WINDOW_BATCHES


def test_a_recording_beyond_the_context_fails_alone(folder):
    recognizer = Recognizer.from_model_dir(folder / "llm", DecodeConfig(device="cpu", beam_size=1, max_new_tokens=5))
    recognizer.loaded.model.llm.config.max_position_embeddings = 120
    results = list(recognizer.recognize([("long", torch.randn(400_000) * 0.1), ("short", torch.randn(16_000) * 0.1)]))
    assert isinstance(results[0], Failure)
    assert results[0].reason == "too_long"
    assert results[1].answer.tokens
