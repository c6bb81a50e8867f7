"""Long audio against the reference's results for tiny models in the published layout, and the command over all of it."""

import functools
import json
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from click.testing import CliRunner

from mooer import Transcriber, TranscriberConfig
from mooer.audio.io import RawPcm, load_audio
from mooer.cli.transcribe import main
from mooer.decode.recognizer import DecodeConfig, Recognizer

FOLDERS = {"vad_dir": "vad", "punc_dir": "punc", "spk_dir": "spk"}
# Runs of the reference, which switches dynamic silence on unless told otherwise, and how to ask for the same here.
DYNAMIC = {"silence_mode": "dynamic"}
VAD, PUNC, SPK = (("vad_dir",), ("vad_dir", "punc_dir"), ("vad_dir", "punc_dir", "spk_dir"))
WHOLE_RUNS = {
    "full_default": (SPK, DYNAMIC),
    "full_end800": (SPK, {}),
    "full_preset_spk2": (SPK, DYNAMIC | {"num_speakers": 2}),
    "full_raw_text": (SPK, DYNAMIC),
    "spacejoin_full_default": (SPK, DYNAMIC),
    "spacejoin_full_preset_spk2": (SPK, DYNAMIC | {"num_speakers": 2}),
    "spacejoin_vad_punc_sentence_timestamp": (PUNC, DYNAMIC),
    "vad_punc": (PUNC, DYNAMIC),
    "vad_punc_sentence_timestamp": (PUNC, DYNAMIC),
    "vad_punc_en_post": (PUNC, DYNAMIC),
    "vad_only": (VAD, DYNAMIC),
    "vad_only_end800": (VAD, {}),
    "vad_kwargs_end800": (VAD, {"max_end_silence_ms": 800}),
}


@pytest.fixture(scope="module")
def folder(golden_paraformer):
    return golden_paraformer / "e2e"


@pytest.fixture(scope="module")
def expected(folder):
    return json.loads((folder / "expected.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def transcriber(folder):
    @functools.cache
    def make(model, names, settings):
        models = {name: str(folder / FOLDERS[name]) for name in names}
        return Transcriber(TranscriberConfig(model_dir=str(folder / model), device="cpu", **models, **dict(settings)))

    return lambda model="asr", names=(), **settings: make(model, tuple(names), tuple(settings.items()))


def stamps(result):
    return [list(span) for span in result.timestamp]


def sentences(result):
    return [(item.text, item.start, item.end, item.speaker) for item in result.sentences]


def wanted_sentences(run):
    return [(item["text"].strip(), item["start"], item["end"], item.get("spk")) for item in run["sentence_info"]]


@pytest.mark.parametrize("run", WHOLE_RUNS)
def test_text_and_times(transcriber, folder, expected, run):
    names, settings = WHOLE_RUNS[run]
    (wanted,) = expected[run]
    result = transcriber(names=names, **settings)(folder / "audio.wav", key="audio")
    assert result.text == wanted["text"]
    assert stamps(result) == wanted["timestamp"]
    assert result.raw_text == wanted.get("raw_text", result.raw_text)
    assert len(result.raw_text.split()) == len(result.timestamp)


@pytest.mark.parametrize("run", [run for run in WHOLE_RUNS if run.startswith("spacejoin")])
def test_sentences_and_speakers(transcriber, folder, expected, run):
    names, settings = WHOLE_RUNS[run]
    result = transcriber(names=names, **settings)(folder / "audio.wav")
    assert sentences(result) == wanted_sentences(expected[run][0])
    assert [word for item in result.sentences for word in item.words] == list(result.words)


@pytest.mark.parametrize("run", ["full_default", "full_preset_spk2", "full_end800"])
def test_where_the_references_sentences_are_shifted(transcriber, folder, expected, run):
    """It loses a token where Chinese meets Chinese between segments, so that each later sentence has its neighbour's words."""
    names, settings = WHOLE_RUNS[run]
    result = transcriber(names=names, **settings)(folder / "audio.wav")
    wanted = wanted_sentences(expected[run][0])
    found = sentences(result)
    assert found != wanted
    assert found[:3] == wanted[:3]
    bare = str.maketrans("", "", " ，。？、")
    assert "".join(text for text, *_ in found).translate(bare) == result.raw_text.translate(bare)


def test_short_silence_and_segments(transcriber, folder, expected):
    full = transcriber(names=SPK, **DYNAMIC)
    short = full(folder / "short.wav")
    assert short.text == expected["full_short"][0]["text"]
    assert sentences(short) == wanted_sentences(expected["full_short"][0])
    silence = full(folder / "silence.wav", key="silence").to_dict()
    assert silence["text"] == expected["full_silence"][0]["text"] == silence["raw_text"]
    assert silence["timestamp"] == silence["segments"] == silence["sentences"] == []


def test_without_punctuation_a_segment_is_a_sentence(transcriber, folder, expected):
    result = transcriber(names=("vad_dir", "spk_dir"), **DYNAMIC)(folder / "audio.wav")
    wanted = expected["full_vad_segment_mode"][0]["sentence_info"]
    assert [(item.start, item.end, item.speaker) for item in result.sentences] == [
        (item["start"], item["end"], item["spk"]) for item in wanted
    ]
    assert [" ".join(word.text for word in item.words) for item in result.sentences] == [item["text"] for item in wanted]
    assert list(map(list, result.segments)) == expected["vad_alone_default"][0]["value"]


@pytest.mark.parametrize(
    ("dtype", "voices"), [("int8", ["float32"]), ("bfloat16", ["bfloat16"]), ("fast", ["float32", "bfloat16"])]
)
def test_voices_in_other_formats(transcriber, folder, expected, dtype, voices):
    """Who speaks does not change with the format; what is said may, so speakers are asked of the segments."""
    told = transcriber(names=("vad_dir", "spk_dir"), **DYNAMIC, dtype=dtype)
    assert told.models.settings()["voices_dtype"] in voices
    wanted = expected["full_vad_segment_mode"][0]["sentence_info"]
    found = [(item.start, item.end, item.speaker) for item in told(folder / "audio.wav").sentences]
    assert found == [(item["start"], item["end"], item["spk"]) for item in wanted]


def test_all_kinds_of_input(transcriber, folder, expected):
    alone = transcriber()
    (wanted,) = expected["asr_only"]
    samples, rate = soundfile.read(folder / "short.wav", dtype="int16")
    contents = (folder / "short.wav").read_bytes()
    array = samples.astype(np.float32) / 32768
    given = [
        (folder / "short.wav", None),
        (str(folder / "short.wav"), None),
        (contents, None),
        (RawPcm(data=samples.astype("<i2").tobytes(), sample_rate=rate), None),
        (samples, rate),
        (array, rate),
        (torch.from_numpy(array), rate),
    ]
    for source, sample_rate in given:
        result = alone(source, sample_rate=sample_rate)
        assert (result.text, stamps(result)) == (wanted["text"], wanted["timestamp"])
    for run in ("asr_ndarray", "asr_bytes_wav", "asr_bytes_pcm"):
        assert expected[run][0]["text"] == wanted["text"]
    audio, short = expected["asr_wav_scp"]
    assert short["text"] == wanted["text"]
    result = alone(folder / "audio.wav")
    assert (result.text, stamps(result)) == (audio["text"], audio["timestamp"])
    assert expected["asr_list_batch2"][0]["text"] != wanted["text"], "its batch-mates change the reference's texts"


def test_punctuation_without_a_detector(transcriber, folder, expected):
    result = transcriber(names=("punc_dir",))(folder / "short.wav")
    (wanted,) = expected["asr_punc_no_vad"]
    assert (result.text, result.raw_text, stamps(result)) == (wanted["text"], wanted["raw_text"], wanted["timestamp"])


def test_a_paraformer_without_timestamps(transcriber, folder, expected):
    """The reference takes weights for sums, so its times are its own; what is said, and how much, is equal."""
    result = transcriber("asr_v2", PUNC, **DYNAMIC)(folder / "audio.wav")
    (wanted,), (timed,) = expected["v2_vad_punc"], expected["v2_vad_punc_output_timestamp"]
    assert result.text == wanted["text"] == timed["text"]
    assert len(result.timestamp) == len(timed["timestamp"]) == len(result.raw_text.split())
    starts = np.array(stamps(result))[:, 0] - np.array(timed["timestamp"])[:, 0]
    assert np.abs(starts).max() <= 6 * 60, "frames of 60 ms"


def test_a_longest_segment(transcriber, folder, expected):
    """The reference loses 120 ms after a cut, so segments are equal but for that one, and so is what is said in them."""
    result = transcriber(names=VAD, **DYNAMIC, max_segment_ms=3000)(folder / "audio.wav")
    wanted = expected["vad_alone_ctor_max3s"][0]["value"]
    assert [list(item) for item in result.segments if tuple(item) != (18540, 18660)] == wanted
    heard = [stamp for stamp in stamps(result) if not 18540 <= stamp[0] < 18660]
    assert heard == expected["vad_kwargs_max3s"][0]["timestamp"]


def test_the_references_merged_segments(folder, expected):
    """They begin at 0 ms, which is no speech; given the same stretches, the recogniser says the same."""
    audio = load_audio(folder / "audio.wav")
    merged = [(0, 13560), (13560, 28430), (28430, 30680)]
    stretches = [(str(start), audio[16 * start : 16 * end]) for start, end in merged]
    recognizer = Recognizer.from_model_dir(folder / "asr", DecodeConfig(device="cpu"))
    found = list(recognizer.recognize(stretches))
    times = [
        [word.start + start, word.end + start]
        for (start, _), item in zip(merged, found, strict=True)
        for word in item.answer.words
    ]
    assert times == expected["vad_punc_merge"][0]["timestamp"]


def test_texts_do_not_depend_on_what_is_recognised_together(transcriber, folder):
    one, two = (transcriber(names=SPK, batch_seconds=seconds)(folder / "audio.wav").to_dict() for seconds in (300.0, 0.1))
    confidences = []
    for result in (one, two):
        confidences.append([word.pop("confidence") for item in result["sentences"] for word in vars_of(item)])
    assert json.dumps(one) == json.dumps(two)
    assert np.abs(np.subtract(*confidences)).max() < 1e-4


def vars_of(sentence):
    """Plain copies of a sentence's words, in their place."""
    sentence["words"] = [dict(word) for word in sentence["words"]]
    return sentence["words"]


def run(*arguments, **options):
    logging.getLogger().handlers.clear()
    return CliRunner().invoke(main, [*map(str, arguments), "--device", "cpu"], catch_exceptions=False, **options)


def models(folder, *names):
    return ["--model_dir", folder / "asr", *(part for name in names for part in (f"--{name}", folder / FOLDERS[name]))]


def results(output):
    return [json.loads(line) for line in (output / "results.jsonl").read_text(encoding="utf-8").splitlines()]


def test_command(folder, expected, tmp_path):
    output = tmp_path / "out"
    formats = ("srt", "vtt", "textgrid", "rttm", "ctm")
    options = ["--num_speakers", 2, "--silence_mode", "dynamic", "--formats", ",".join(formats), "--output_dir", output]
    done = run(*models(folder, *SPK), *options, folder / "audio.wav", folder / "silence.wav")
    assert done.exit_code == 0
    (wanted,) = expected["spacejoin_full_preset_spk2"]
    assert done.stdout == f"audio\t{wanted['text']}\nsilence\t\n"
    audio, silence = results(output)
    assert list(audio) == ["key", "text", "raw_text", "timestamp", "segments", "sentences"]
    assert audio["timestamp"] == wanted["timestamp"]
    first = audio["sentences"][0]
    assert list(first) == ["text", "start", "end", "speaker", "words"]
    assert list(first["words"][0]) == ["text", "start", "end", "confidence"]
    assert silence["sentences"] == []
    best = output / "1best_recog"
    assert (best / "text").read_text(encoding="utf-8") == f"audio {wanted['text']}\nsilence\n"
    assert json.loads((best / "time_stamp").read_text().splitlines()[0].split(" ", 1)[1]) == wanted["timestamp"]
    assert {path.name for path in best.iterdir()} == {"text", "score", "rtf", "time_stamp"}
    assert json.loads((output / "run.json").read_text())["complete"] is True
    assert sorted(path.parent.name for path in output.rglob("audio.*")) == sorted((*formats, "journal"))
    assert run(*models(folder), folder / "short.wav", "--output_dir", output).exit_code == 2, "it is not empty"


def test_command_reads_standard_input(folder, expected):
    contents = (folder / "short.wav").read_bytes()
    wanted = f"stdin\t{expected['asr_only'][0]['text']}\n"
    assert run(*models(folder), "--stdin", input=contents).stdout == wanted
    assert run(*models(folder), "--stdin", "--raw_pcm", 16000, input=contents[44:]).stdout == wanted


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    """Recordings that are no speech, and such as are no recordings."""
    folder, random = tmp_path_factory.mktemp("odd"), np.random.default_rng(0)
    seconds = np.arange(5 * 16000) / 16000
    noise = random.normal(0, 0.1, len(seconds))
    sounds = {
        "silence": 0 * noise,
        "noise": noise,
        "tone": 0.5 * np.sin(2 * np.pi * 440 * seconds),
        "chords": sum(0.1 * np.sin(2 * np.pi * frequency * seconds) for frequency in (220, 277, 330, 440)),
        "ten_ms": noise[:160],
        "zero": noise[:0],
        "eight": random.normal(0, 0.1, (len(seconds), 8)),
    }
    for name, samples in sounds.items():
        soundfile.write(folder / f"{name}.wav", samples, 16000)
    broken = noise.astype(np.float32)
    broken[40000] = np.nan
    soundfile.write(folder / "nan.wav", broken, 16000, subtype="FLOAT")
    contents = (folder / "noise.wav").read_bytes()
    (folder / "forged.wav").write_bytes(contents[:40] + (2**31).to_bytes(4, "little") + contents[44:])
    return folder


def test_odd_recordings(folder, odd, expected, tmp_path):
    files = sorted(odd.iterdir())
    done = run(*models(folder, *SPK), *files, folder / "short.wav", "--output_dir", tmp_path / "out")
    assert done.exit_code == 1
    found = {item["key"]: item["text"] for item in results(tmp_path / "out")}
    failed = [json.loads(line) for line in (tmp_path / "out" / "failed.jsonl").read_text().splitlines()]
    assert {item["id"]: item["reason"] for item in failed} == {"forged": "truncated", "nan": "not_finite", "zero": "empty"}
    assert set(found) == {"chords", "eight", "noise", "silence", "ten_ms", "tone", "short"}
    assert found["silence"] == found["ten_ms"] == ""
    assert found["short"] == expected["full_short"][0]["text"], "the others do not change it"


@pytest.mark.slow
def test_a_killed_run_goes_on(folder, tmp_path):
    """Without loss or doubling, and with equal files at the end."""
    recording = tmp_path / "long.wav"
    audio, rate = soundfile.read(folder / "audio.wav", dtype="int16")
    soundfile.write(recording, np.tile(audio, 8), rate)
    options = [*models(folder, *SPK), "--num_speakers", 2, "--batch_seconds", 5, "--formats", "srt,ctm", recording]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert run(*options, "--output_dir", whole).exit_code == 0
    command = [sys.executable, Path(__file__).parents[2] / "bin" / "transcribe.py", *options, "--device", "cpu"]
    process = subprocess.Popen([*map(str, command), "--output_dir", str(killed)], stderr=subprocess.DEVNULL)
    journal = killed / "journal" / "long.jsonl"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not (journal.exists() and journal.read_bytes().count(b"\n") > 5):
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    lines = journal.read_bytes().count(b"\n")
    assert 5 < lines < (whole / "journal" / "long.jsonl").read_bytes().count(b"\n"), "it was killed on its way"
    with journal.open("ab") as stream:
        stream.write(b'{"segments":[{"st')  # what a kill in the midst of writing leaves
    assert run(*options, "--output_dir", killed).exit_code == 2, "only with --resume"
    changed = run(*options, "--output_dir", killed, "--resume", "--max_segment_ms", 9000)
    assert changed.exit_code == 2
    assert "max_segment_ms" in changed.stderr
    assert run(*options, "--output_dir", killed, "--resume").exit_code == 0
    for name in (
        "results.jsonl",
        "1best_recog/text",
        "1best_recog/score",
        "1best_recog/time_stamp",
        "srt/long.srt",
        "ctm/long.ctm",
    ):
        assert (killed / name).read_bytes() == (whole / name).read_bytes(), name
    soundfile.write(recording, np.tile(audio, 9), rate)
    other = run(*options, "--output_dir", killed, "--resume")
    assert other.exit_code == 2
    assert "sha256" in other.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "exactly one of"),
        (["http://localhost/a.wav"], "--allow_url"),
        (["none.wav"], "does not exist"),
        (["--stdin", "a.wav"], "exactly one of"),
        (["--raw_pcm", "16000", "a.wav"], "--stdin"),
        (["--stdin", "--formats", "srt"], "--output_dir"),
        (["--stdin", "--formats", "mp4", "--output_dir", "x"], "allowed are srt"),
        (["--stdin", "--formats", "rttm", "--output_dir", "x"], "--spk_dir"),
        (["--stdin", "--num_speakers", "2"], "spk_dir"),
        (["--stdin", "--max_end_silence_ms", "500"], "vad_dir"),
        (["--stdin", "--resume"], "--output_dir"),
        (["--stdin", "--align_dir", "asr"], "align_dir"),
    ],
)
def test_wrong_use(folder, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    arguments = [str(folder / "asr") if value == "asr" else value for value in arguments]
    done = run("--model_dir", folder / "asr", *arguments, input=b"")
    assert done.exit_code == 2
    assert message in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_long_recording_needs_a_detector(folder, tmp_path):
    soundfile.write(tmp_path / "long.wav", np.zeros(61 * 16000), 16000)
    done = run(*models(folder), tmp_path / "long.wav")
    assert done.exit_code == 1
    assert "vad_dir" in done.stderr
