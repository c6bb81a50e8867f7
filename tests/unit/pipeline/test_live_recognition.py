"""Streams of noise with pauses through small random recognisers: what is found, and when one is told."""

import dataclasses
import itertools
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mooer.audio.io import load_audio
from mooer.common.errors import AudioError, ConfigError
from mooer.decode.recognizer import DecodeConfig, Recognizer
from mooer.pipeline.energy_detector import EnergyDetector, LevelRule
from mooer.pipeline.live_recognition import LiveConfig, LiveEvent, LiveRecognizer
from mooer.pipeline.speech_segments import SpeechOptions
from mooer.pipeline.vad_dir import read_detector
from mooer.pipeline.voice_activity import find_speech

RATE = 16000
DOCS = Path(__file__).resolve().parents[3] / "docs" / "live.md"
# Seconds of speech and silence; the last one but one is cut, the last one ended by the end of the stream.
SPEECH = ((0.5, 1.5), (2.3, 3.1), (4.0, 7.5), (9.0, 10.0))


def sound(speech=SPEECH, seconds=10.0, background=0.0003):
    """Noise in the stretches, over a background."""
    audio = np.random.default_rng(0).normal(0, 1, round(seconds * RATE)).astype(np.float32)
    level = np.full(len(audio), background, np.float32)
    for start, end in speech:
        level[round(start * RATE) : round(end * RATE)] = 0.1
    return audio * level


@pytest.fixture(scope="module")
def recognizer(recognisers):
    return Recognizer.from_model_dir(recognisers["llm"], DecodeConfig(device="cpu", beam_size=1, max_new_tokens=6))


def events_of(live, audio, sizes):
    found, start = [], 0
    for size in itertools.cycle(sizes):
        found.append(live.accept(audio[start : start + size]))
        start += size
        if start >= len(audio):
            break
    return [*itertools.chain(*found), *live.finish()]


def finals(events):
    return [event for event in events if event.kind == "final"]


CONFIG = LiveConfig(max_segment_seconds=2.0, end_silence_seconds=0.4)


def test_segments_hold_what_was_said_and_their_texts_are_the_recognizers(recognizer):
    audio = sound()
    found = finals(events_of(LiveRecognizer(recognizer, config=CONFIG), audio, [1600]))
    covered = np.zeros(len(audio), bool)
    for event in found:
        start, end = round(event.start * RATE), round(event.end * RATE)
        assert not covered[start:end].any()
        covered[start:end] = True
        (result,) = recognizer.recognize([("x", torch.from_numpy(audio[start:end]))])
        assert event == LiveEvent("final", result.answer.text, event.start, event.end)
        assert event.end - event.start < 2.011
    for start, end in SPEECH:
        assert covered[round(start * RATE) : round((end - 0.02) * RATE)].all(), "up to the last whole frame"
    assert covered.mean() < 0.9
    assert len(found) == 5, "the long stretch is cut once"


@settings(max_examples=10, deadline=None, derandomize=True)
@given(sizes=st.lists(st.integers(1, 30_000), min_size=1, max_size=4).filter(lambda sizes: sum(sizes) > 4000))
def test_sizes_of_the_pieces_change_no_final_text(recognizer, sizes):
    audio = sound()
    expected = finals(events_of(LiveRecognizer(recognizer, config=CONFIG), audio, [len(audio)]))
    config = LiveConfig(max_segment_seconds=2.0, end_silence_seconds=0.4, partial_seconds=None)
    assert events_of(LiveRecognizer(recognizer, config=config), audio, sizes) == expected


def test_partial_texts_come_in_time(recognizer):
    audio = sound()
    events = events_of(LiveRecognizer(recognizer, config=CONFIG), audio, [800])
    partials = [event for event in events if event.kind == "partial"]
    assert [event.end for event in events if event.kind == "partial"] == sorted(event.end for event in partials)
    segments = {event.start: event.end for event in finals(events)}
    for start, group in itertools.groupby(partials, key=lambda event: event.start):
        group = list(group)
        ends = [start, *(event.end for event in group)]
        assert all(600 <= round(1000 * (later - earlier)) <= 650 for earlier, later in itertools.pairwise(ends))
        *_, text = recognizer.stream(torch.from_numpy(audio[round(start * RATE) : round(group[-1].end * RATE)]))
        assert group[-1].text == text
        assert start in segments
    assert len(partials) >= sum(int((end - start) / 0.65) for start, end in segments.items())


def test_partial_texts_may_come_from_another_model(recognizer, recognisers):
    ctc = Recognizer.from_model_dir(recognisers["ctc"], DecodeConfig(device="cpu"))
    events = events_of(LiveRecognizer(recognizer, partials=ctc, config=CONFIG), sound(), [1600])
    first = next(event for event in events if event.kind == "partial")
    audio = torch.from_numpy(sound()[round(first.start * RATE) : round(first.end * RATE)])
    assert first.text == next(iter(ctc.recognize([("a", audio)]))).answer.text
    assert finals(events) == finals(events_of(LiveRecognizer(recognizer, config=CONFIG), sound(), [1600]))


def test_a_network_may_find_the_speech(recognizer, golden_paraformer):
    folder = golden_paraformer / "e2e"
    detector, audio = read_detector(folder / "vad"), load_audio(folder / "audio.wav")
    config = LiveConfig(end_silence_seconds=None, max_segment_seconds=20, partial_seconds=None)
    found = events_of(LiveRecognizer(recognizer, detector, config=config), audio.numpy(), [1600])
    options = dataclasses.replace(detector.options, max_single_segment_time=20_000)
    wanted = [(start / 1000, end / 1000) for start, end in find_speech(detector, audio, options)]
    assert [(event.start, event.end) for event in found] == wanted
    assert len(wanted) > 1


@pytest.mark.parametrize("level", [0.0, 0.0003])
def test_silence_gives_nothing(recognizer, level):
    assert events_of(LiveRecognizer(recognizer), sound((), 8.0, level), [1600]) == []


def test_integers_are_the_same_as_floats(recognizer):
    integers = np.clip(sound() * 32768, -32768, 32767).astype(np.int16)
    floats = integers.astype(np.float32) / 32768
    found = events_of(LiveRecognizer(recognizer, config=CONFIG), integers, [3200])
    assert found == events_of(LiveRecognizer(recognizer, config=CONFIG), floats, [3200])
    assert len(finals(found)) == 5


def test_what_has_passed_is_forgotten(recognizer):
    live = LiveRecognizer(recognizer, config=LiveConfig(max_segment_seconds=2.0, partial_seconds=None))
    kept = []
    for _ in range(6):
        live.accept(sound())
        kept.append(sum(len(piece) for piece in live._cutter._history._pieces))
    assert max(kept) < 3.5 * RATE


def test_what_is_no_stream_is_refused(recognizer):
    live, clean = LiveRecognizer(recognizer, config=CONFIG), LiveRecognizer(recognizer, config=CONFIG)
    audio = sound()
    for wrong in (audio[None], audio.astype(np.float64), audio.tolist(), torch.from_numpy(audio)):
        with pytest.raises(AudioError, match="float32 or int16") as caught:
            live.accept(wrong)
        assert caught.value.reason == "unsupported"
    with pytest.raises(AudioError) as caught:
        live.accept(np.array([0.0, np.nan], np.float32))
    assert caught.value.reason == "not_finite"
    assert live.accept(audio[:0]) == []
    assert events_of(live, audio, [1600]) == events_of(clean, audio, [1600]), "what was refused leaves no trace"
    with pytest.raises(ValueError, match="finished"):
        live.accept(audio)


def test_a_segment_that_fails_says_why(recognisers):
    broken = Recognizer.from_model_dir(recognisers["llm"], DecodeConfig(device="cpu", beam_size=1))
    broken.loaded.model.llm.get_input_embeddings().weight.data.fill_(float("nan"))
    events = events_of(LiveRecognizer(broken, config=CONFIG), sound(), [1600])
    assert {(event.text, event.failure[0]) for event in events} == {("", "not_finite")}
    assert len(finals(events)) == 5


@pytest.mark.parametrize(
    "values", [{"partial_seconds": 0}, {"max_segment_seconds": 0.5}, {"max_segment_seconds": 400}, {"end_silence_seconds": 0.1}]
)
def test_settings_that_make_no_sense(values):
    with pytest.raises(ConfigError, match=next(iter(values))):
        LiveConfig(**values)


def test_no_segment_is_longer_than_the_recogniser_reads(recognizer):
    with pytest.raises(ConfigError, match="max_segment_seconds"):
        LiveRecognizer(recognizer, config=LiveConfig(max_segment_seconds=300))


def test_a_louder_place_is_silence_after_a_while():
    audio = torch.from_numpy(sound(((12.0, 13.0),), 16.0, background=0.005))
    *_, last = find_speech(EnergyDetector(LevelRule(), SpeechOptions(max_end_silence_time=500)), audio)
    assert 11_600 <= last.start_ms <= 12_000
    assert 13_000 <= last.end_ms <= 13_300
    beginning = find_speech(EnergyDetector(LevelRule(min_db=-10)), audio)
    assert len(beginning) == 1


@pytest.mark.parametrize("values", [{"margin_db": 0}, {"memory_seconds": 0.01}])
def test_levels_that_make_no_sense(values):
    with pytest.raises(ConfigError, match=next(iter(values))):
        LevelRule(**values)


def test_the_example_of_the_documentation_runs(capsys):
    (example,) = re.findall(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    exec(compile(example, "docs/live.md", "exec"), {"microphone": np.split(sound(), 100)})
    lines = capsys.readouterr().out.splitlines()
    assert {line.split()[0] for line in lines} == {"partial", "final"}
    assert len([line for line in lines if line.startswith("final")]) == len(SPEECH)
