"""The recipe of long audio: its sentences, how recordings are put together with their labels, and its table."""

import itertools
import json
import random
import sys
from pathlib import Path

import numpy as np
import pytest

from mooer.common.marks import COMMA, NO_MARK, PAUSE, PERIOD, QUESTION
from mooer.common.speech_times import parse_speech_times
from mooer.data.check import check_data_dir
from mooer.data.lists import read_table
from mooer.features.speech_energy import speech_by_energy
from mooer.text.marks import read_marks
from mooer.text.rttm import read_rttm

pytest.importorskip("espeakng_loader")

ROOT = Path(__file__).resolve().parents[3]
sys.path.append(str(ROOT / "egs" / "long_audio" / "local"))

from conversation_table import score  # noqa: E402
from join_sentences import joined  # noqa: E402
from marked_sentences import LANGUAGES, Sentences  # noqa: E402
from other_sounds import background, event  # noqa: E402
from speak_conversations import main as speak_conversations  # noqa: E402
from spoken import level_of, write_recordings  # noqa: E402
from write_text import broken_off, join, paragraphs  # noqa: E402


@pytest.mark.parametrize("language", LANGUAGES)
def test_said_sentences_end_as_their_words_tell(language):
    source = Sentences(language, 3, held_out=False)
    for sentence in (source.said() for _ in range(200)):
        read = read_marks(sentence.text)
        asks = sentence.clauses[-1].startswith(("does", "where")) or "哪里" in sentence.text or sentence.text.endswith("吗？")
        assert read.marks[-1] == (QUESTION if asks else PERIOD)
        assert sum(mark == COMMA for mark in read.marks) == len(sentence.clauses) - 1
        assert "".join(read.words) == "".join(sentence.clauses).replace(" ", "")


@pytest.mark.parametrize("language", LANGUAGES)
def test_nothing_held_out_is_trained_on(language):
    texts = []
    for held_out in (False, True):
        source = Sentences(language, 5, held_out)
        texts.append([source.said() for _ in range(400)])
    trained, tested = ({clause for sentence in row for clause in sentence.clauses} for row in texts)
    assert not trained & tested


def test_written_text_has_every_mark():
    for language, marks in (("en", {COMMA, PERIOD, QUESTION}), ("zh", {COMMA, PERIOD, QUESTION, PAUSE})):
        rows = itertools.islice(paragraphs(language, 1, held_out=False), 60)
        assert {mark for row in rows for mark in read_marks(join(row)).marks} == marks | {NO_MARK}


def test_a_broken_paragraph_is_its_beginning():
    draw = random.Random(0)
    for language in LANGUAGES:
        for row in itertools.islice(paragraphs(language, 2, held_out=False), 30):
            whole = join(row)
            part = broken_off(whole, draw)
            assert whole.startswith(part) and read_marks(part).marks[-1] == NO_MARK
            assert len(read_marks(part).words) >= 2


def test_other_sounds_have_the_level_that_is_asked_for():
    generator = np.random.default_rng(0)
    sounds = [background(16000, generator), *(event(generator) for _ in range(12))]
    assert [level_of(sound) for sound in sounds] == pytest.approx([1.0] * 13, rel=1e-3)


def test_labels_move_with_the_sentences():
    """The sentences are long loud tones, the only thing there is at their pitch."""
    tone = np.sin(2 * np.pi * 5000 * np.arange(24000) / 16000).astype(np.float32)
    speech = {}
    made = dict(joined([(tone, [(0, 1500)])], 12, 7, speech))
    assert sorted(made) == sorted(speech) and any(label != "-" for label in speech.values())
    for name, samples in made.items():
        assert 8 * 16000 <= len(samples) <= 18 * 16000
        for start, end in parse_speech_times(speech[name]):
            assert end - start == 1500
            before, inside = samples[(start - 80) * 16 : start * 16], samples[start * 16 : end * 16]
            assert _share_at(inside) > 0.3 and _share_at(inside) > 10 * _share_at(before)


def _share_at(samples, hertz=5000):
    spectrum = np.abs(np.fft.rfft(samples)) ** 2
    place = round(hertz * len(samples) / 16000)
    return spectrum[place - 1 : place + 2].sum() / spectrum.sum()


@pytest.fixture(scope="module")
def conversations(tmp_path_factory):
    """A short conversation in each language; the folder of its data directory."""
    folder = tmp_path_factory.mktemp("conversations") / "conversations"
    arguments = ["--output_dir", str(folder), "--num_conversations", "1", "--minutes", "0.3"]
    speak_conversations.main(arguments, standalone_mode=False)
    return folder


def test_a_conversation_is_known_in_all_its_parts(conversations):
    import soundfile
    import torch

    assert check_data_dir(conversations).faults == []
    turns = read_rttm(conversations / "ref.rttm")
    speech = {name: parse_speech_times(label) for name, label in read_table(conversations / "text.speech").items()}
    texts, marked = (read_table(conversations / name) for name in ("text", "text.punctuated"))
    assert sorted(turns) == sorted(speech) == sorted(texts) == ["en_conversation_0", "zh_conversation_0"]
    for name, stretches in speech.items():
        assert "".join(read_marks(marked[name]).words) == texts[name].replace(" ", "")
        assert len({turn.speaker for turn in turns[name]}) >= 2
        covered = [(turn.start // 1000, turn.end // 1000) for turn in turns[name]]
        assert all(any(start <= first and last <= end for start, end in covered) for first, last in stretches)
        samples = torch.from_numpy(soundfile.read(conversations / "wav" / f"{name}.wav", dtype="float32")[0])
        loud = speech_by_energy(samples[: stretches[0][1] * 16 + 800])
        assert abs(loud[-1][1] - stretches[0][1]) < 100 or len(stretches) > 1


def test_the_table_scores_what_is_right_and_what_is_missing(conversations, tmp_path):
    data, exp = conversations.parent, tmp_path
    texts, marked = (read_table(conversations / name) for name in ("text", "text.punctuated"))
    speech = {name: parse_speech_times(label) for name, label in read_table(conversations / "text.speech").items()}
    (data / "punctuation").mkdir(exist_ok=True)
    (data / "punctuation" / "test.txt").write_text("en_1 yes, no.\nzh_1 好、好。\n", encoding="utf-8")
    (exp / "transcribed" / "rttm").mkdir(parents=True)
    (exp / "punctuated").write_text("en_1 Yes no.\nzh_1 好、好。\n", encoding="utf-8")
    turns = (conversations / "ref.rttm").read_text().splitlines(keepends=True)
    (exp / "transcribed" / "rttm" / "all.rttm").write_text("".join(line for line in turns if "en_" in line))
    results = [
        {"key": name, "text": marked[name], "raw_text": texts[name], "segments": [list(stretch) for stretch in speech[name]]}
        for name in texts
    ]
    results[1] |= {"text": "", "raw_text": "", "segments": []}
    lines = (json.dumps(result, ensure_ascii=False) + "\n" for result in results)
    (exp / "transcribed" / "results.jsonl").write_text("".join(lines), encoding="utf-8")
    figures = score(data, exp)
    right, nothing = figures["en"], figures["zh"]
    assert (right["error_rate"], right["marks"], right["missed"], right["false_alarm"], right["der"]) == (0, 100, 0, 0, 0)
    assert (nothing["error_rate"], nothing["marks"], nothing["missed"], nothing["der"]) == (100, 0, 100, 100)
    assert figures["text.en"]["marks"] == pytest.approx(66.667, abs=1e-3)
    assert figures["text.zh"] == {"marks": 100, "mark.。": 100, "mark.、": 100}


def test_recordings_are_written_one_after_another(tmp_path):
    texts = {}

    def recordings():
        for name in ("b", "a"):
            texts[name] = f"text of {name}"
            yield name, np.full(1600, 2.0, np.float32)
            assert (tmp_path / "wav" / f"{name}.wav").is_file()

    write_recordings(tmp_path, recordings(), {"text": texts})
    assert list(read_table(tmp_path / "text").items()) == [("a", "text of a"), ("b", "text of b")]
    assert check_data_dir(tmp_path).faults == []
