"""Long audio with recognisers of other families than the golden ones, and the library's names."""

import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

import mooer
from mooer import Transcriber, TranscriberConfig
from mooer.common.errors import ConfigError, DataError
from mooer.decode.hypothesis import Word
from mooer.decode.int8_linear import is_int8
from mooer.pipeline.journal import Journal
from mooer.pipeline.long_audio import windows_of_segments
from mooer.pipeline.long_result import assemble
from mooer.pipeline.speech_cutter import SpokenSegment
from mooer.pipeline.transcription import DecodedSegment

NOISE = np.random.default_rng(0).normal(0, 0.1, 3 * 16000)


def transcriber(folder, **settings):
    return Transcriber(TranscriberConfig(model_dir=str(folder), device="cpu", **settings))


def test_import_is_light():
    code = "import sys, mooer; assert 'torch' not in sys.modules; assert 'Transcriber' in dir(mooer)"
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="Transcriber"):
        mooer.transcriber  # noqa: B018


def test_a_ctc_model_tells_times(recognisers):
    result = transcriber(recognisers["ctc"])(NOISE, sample_rate=16000, key="noise")
    assert len(result.raw_text.split()) == len(result.timestamp) > 0
    assert result.timestamp == sorted(result.timestamp)
    (sentence,) = result.sentences
    assert (sentence.start, sentence.end, sentence.speaker) == (0, 3000, None)
    assert result.to_dict()["key"] == "noise"


def test_a_language_model(recognisers, lm_folder):
    folder = lm_folder(recognisers["ctc"] / "tokenizer")
    told = transcriber(recognisers["ctc"], lm_dir=str(folder), lm_weight=5.0)
    result = told(NOISE, sample_rate=16000)
    assert result.raw_text != transcriber(recognisers["ctc"])(NOISE, sample_rate=16000).raw_text
    assert len(result.raw_text.split()) == len(result.timestamp)
    assert list(told.models.checksums()["lm"]) == ["model.safetensors"]
    with pytest.raises(ConfigError, match="--lm_dir means nothing"):
        transcriber("mini", lm_dir=str(folder))


def test_a_speech_llm_has_times_by_alignment_only(recognisers):
    plain = transcriber("mini")(NOISE, sample_rate=16000)
    assert plain.timestamp == []
    assert [(item.start, item.end, item.words) for item in plain.sentences] == [(0, 3000, ())]
    aligned = transcriber("mini", align_dir=str(recognisers["ctc"]))(NOISE, sample_rate=16000)
    assert aligned.text == plain.text
    assert len(aligned.raw_text.split()) == len(aligned.timestamp) > 0
    assert "".join(aligned.raw_text.split()) == "".join(plain.raw_text.split())


def test_an_aligner_that_says_nothing_new_is_refused(recognisers):
    with pytest.raises(ConfigError, match="align_dir means nothing"):
        transcriber(recognisers["ctc"], align_dir=str(recognisers["ctc"]))


@pytest.mark.parametrize(("family", "dtype"), [("paraformer", "int8"), ("ctc", "int8"), ("paraformer", "fast")])
def test_formats_of_a_cpu(recognisers, paraformer_folder, family, dtype):
    told = transcriber(paraformer_folder() if family == "paraformer" else recognisers[family], dtype=dtype)
    chosen = told.models.recognizer.config.dtype
    assert is_int8(told.models.recognizer.loaded.model) == (chosen == "int8")
    assert chosen in (["int8"] if dtype == "int8" else ["float32", "bfloat16", "int8"])
    result = told(NOISE, sample_rate=16000)
    assert len(result.raw_text.split()) == len(result.timestamp) > 0
    assert told.models.settings()["dtype"] == told.models.record()["transcribe"]["dtype"] == chosen


@pytest.mark.parametrize("dtype", ["int8", "fast"])
def test_a_speech_llm_has_no_formats_of_a_cpu(recognisers, dtype):
    with pytest.raises(ConfigError, match=f"dtype {dtype} is for models of family paraformer or ctc.*found speech_llm"):
        transcriber("mini", dtype=dtype, align_dir=str(recognisers["ctc"]))


@pytest.mark.parametrize(
    "settings",
    [
        {"max_segment_ms": 10},
        {"max_segment_ms": 10**6},
        {"max_end_silence_ms": 800},
        {"silence_mode": "dynamic"},
        {"num_speakers": 0},
        {"lm_weight": 0.5},
        {"num_speakers": 2},
        {"batch_seconds": 0},
        {"silence_mode": "dynamic", "max_end_silence_ms": 500, "vad_dir": "vad"},
    ],
)
def test_settings_that_make_no_sense(settings):
    with pytest.raises(ConfigError):
        TranscriberConfig(model_dir="mini", **settings)


def test_windows_are_the_same_whatever_comes_later():
    segments = [SpokenSegment(1000 * index, 1000 * index + 900, NOISE[: 160 * (index % 7 + 1)]) for index in range(50)]
    windows = list(windows_of_segments(segments, 0.2))
    assert [item for window in windows for item in window] == segments
    assert all(sum(len(item.samples) for item in window) >= 3200 for window in windows[:-1])
    for end in (1, 17, 49):
        *complete, _ = windows_of_segments(segments[:end], 0.2)
        assert list(map(len, complete)) == list(map(len, windows[: len(complete)]))


def test_a_journal_of_another_recording(recognisers):
    recognise, journal = transcriber(recognisers["ctc"]), Journal()
    recognise(NOISE, sample_rate=16000, journal=journal)
    assert recognise(NOISE, sample_rate=16000, journal=journal).segments == ((0, 3000),), "nothing is read again"
    journal.num_samples = None
    with pytest.raises(DataError, match="other segments"):
        recognise(NOISE[:32000], sample_rate=16000, journal=journal)


def test_a_segment_without_words_or_with_a_failure_empties_nothing_else():
    journal, models = Journal(), SimpleNamespace(punctuator=None, diarizer=None, style="published")
    place = {"num_samples": 16000, "words": ()}
    said = DecodedSegment(start=0, end=1000, **(place | {"words": (Word("好", 100, 200, 0.5),)}), text="好", score=-1.0)
    silent = DecodedSegment(start=2000, end=3000, **place, text="")
    failed = DecodedSegment(start=4000, end=5000, **place, text="", failure=("not_finite", "why"))
    later = replace(said, start=6000, end=7000, words=(Word("的", 6100, 6200, 0.5),))
    journal.add([said, silent, failed, later], 1.0)
    journal.finish(8 * 16000, 0.0)
    result = assemble("a", journal, models, None)
    assert (result.text, result.timestamp) == ("好 的", [(100, 200), (6100, 6200)])
    assert [(item.text, item.start) for item in result.sentences] == [("好", 0), ("的", 6000)]
    assert [(item.start, item.reason) for item in result.failures] == [(4000, "not_finite")]
    assert len(result.segments) == 4
    assert (result.score, result.seconds, result.real_time_factor) == (-2.0, 8.0, 0.125)
