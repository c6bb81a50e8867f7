"""mooer-decode on published Paraformer directories, against the reference's results."""

import json
import logging

import pytest
from click.testing import CliRunner

from mooer.audio.io import load_audio
from mooer.cli.decode import main
from mooer.decode.recognizer import DecodeConfig, Recognizer


@pytest.fixture(scope="module")
def folder(golden_paraformer):
    return golden_paraformer / "e2e"


@pytest.fixture(scope="module")
def expected(folder):
    return json.loads((folder / "expected.json").read_text(encoding="utf-8"))


def run(*arguments):
    logging.getLogger().handlers.clear()
    return CliRunner().invoke(main, [*map(str, arguments), "--device", "cpu"], catch_exceptions=False)


def results(folder):
    return [json.loads(line) for line in (folder / "results.jsonl").read_text(encoding="utf-8").splitlines()]


def test_results(folder, expected, tmp_path):
    """In input order, each as the reference gives it for the recording alone."""
    result = run("--model_dir", folder / "asr", folder / "short.wav", folder / "audio.wav", "--output_dir", tmp_path)
    assert result.exit_code == 0
    audio, short = expected["asr_wav_scp"]
    assert short["text"] == expected["asr_only"][0]["text"]
    got = results(tmp_path)
    assert [item["id"] for item in got] == ["short", "audio"]
    for item, wanted in zip(got, (short, audio), strict=True):
        assert item["text"] == wanted["text"] == " ".join(word["text"] for word in item["words"])
        assert item["timestamp"] == wanted["timestamp"] == [[word["start"], word["end"]] for word in item["words"]]
        assert all(0 < word["confidence"] <= 1 for word in item["words"])
    assert result.stdout.splitlines() == [f"short\t{short['text']}", f"audio\t{audio['text']}"]
    best = tmp_path / "1best_recog"
    assert (best / "text").read_text(encoding="utf-8").splitlines()[0] == f"short {short['text']}"
    times = dict(line.split(" ", 1) for line in (best / "time_stamp").read_text(encoding="utf-8").splitlines())
    assert json.loads(times["audio"]) == audio["timestamp"]
    record = json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))
    assert record["model"]["family"] == "paraformer"
    assert list(record["model"]["weights_sha256"]) == [str(folder / "asr" / "model.pt")]


def test_the_reference_gives_other_texts_in_a_batch(expected):
    single, batched = expected["asr_only"][0], expected["asr_list_batch2"][0]
    assert single["key"] == batched["key"]
    assert single["text"] != batched["text"]


@pytest.mark.parametrize(("model", "wanted"), [("asr", "vad_punc"), ("asr_v2", "v2_vad_punc")])
def test_segments(folder, expected, model, wanted):
    """The stretches of speech of a long recording, recognised together; the reference takes them one by one."""
    waveform = load_audio(folder / "audio.wav")
    segments = expected["vad_alone_default"][0]["value"]
    recognizer = Recognizer.from_model_dir(folder / model, DecodeConfig(device="cpu"))
    stretches = [(str(begin), waveform[begin * 16 : end * 16]) for begin, end in segments]
    answers = [result.answer for result in recognizer.recognize(stretches)]
    said = "".join(answer.text for answer in answers).replace(" ", "")
    assert said == "".join(sign for sign in expected[wanted][0]["text"].lower() if sign not in " ，。？、,.?")
    if model == "asr_v2":
        assert all(answer.words is None for answer in answers)
        return
    times = [
        [word.start + begin, word.end + begin]
        for answer, (begin, _) in zip(answers, segments, strict=True)
        for word in answer.words
    ]
    assert times == expected[wanted][0]["timestamp"]


def test_model_without_timestamps(folder, tmp_path):
    assert run("--model_dir", folder / "asr_v2", folder / "audio.wav", "--output_dir", tmp_path / "plain").exit_code == 0
    timed = run("--model_dir", folder / "asr_v2", folder / "audio.wav", "--output_dir", tmp_path / "timed", "--estimate_times")
    assert timed.exit_code == 0
    (plain,), (estimated,) = results(tmp_path / "plain"), results(tmp_path / "timed")
    assert not {"words", "timestamp"} & plain.keys()
    assert not (tmp_path / "plain" / "1best_recog" / "time_stamp").exists()
    assert plain["tokens"] == estimated["tokens"]
    assert plain["text"].replace(" ", "") == estimated["text"].replace(" ", "")
    assert len(estimated["timestamp"]) == len(estimated["text"].split())
    ends = [end for _, end in estimated["timestamp"]]
    assert ends == sorted(ends)
    assert ends[-1] <= 1000 * plain["seconds"] + 60


@pytest.mark.parametrize(
    "option", [["--length_penalty", "2"], ["--instruction", "x"], ["--mode", "ctc_greedy"], ["--task", "ast"]]
)
def test_options_of_other_families(folder, option):
    result = run("--model_dir", folder / "asr", folder / "short.wav", *option)
    assert result.exit_code == 2
    assert "paraformer" in result.stderr
    assert result.stdout == ""


def test_parts_of_other_families(folder):
    for option in (["--llm_path", folder], ["--adapter_downsample_rate", 2]):
        result = run("--model_dir", folder / "asr", folder / "short.wav", *option)
        assert result.exit_code == 2
        assert "published Paraformer" in result.stderr
