"""The recipe of Mandarin words: pinyin and its tokens, who trains and who tests, training strings, the result table."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from mooer.common.errors import ConfigError, DataError, PathError
from mooer.data.lists import read_table, write_table
from mooer.text.tokenizer import build_bpe_tokenizer, encode_ctc_targets

pytest.importorskip("pypinyin")

ROOT = Path(__file__).resolve().parents[3]
sys.path.append(str(ROOT / "egs" / "hsk" / "local"))

from arrange_recordings import arrange  # noqa: E402
from word_directories import write_strings, write_words  # noqa: E402
from word_pinyin import transcript  # noqa: E402
from word_recordings import Recording, list_recordings, split_recordings  # noqa: E402
from word_strings import StringConfig, make_string, plan_strings, speech_bounds  # noqa: E402
from word_table import error_rates, size  # noqa: E402

RATE = 22050


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("一下儿", "yi1 xia4 r5"),
        ("一定", "yi1 ding4"),
        ("一点儿", "yi1 dian3 r5"),
        ("不是", "bu4 shi4"),
        ("差不多", "cha4 bu5 duo1"),
        ("所以", "suo3 yi3"),
        ("女儿", "nv3 er2"),
        ("儿童", "er2 tong2"),
        ("幼儿园", "you4 er2 yuan2"),
        ("什么", "shen2 me5"),
        ("银行", "yin2 hang2"),
        ("旅行", "lv3 xing2"),
        ("略", "lve4"),
    ],
)
def test_transcripts_have_the_tones_of_the_dictionary(word, expected):
    assert transcript(word) == expected


@pytest.mark.parametrize("word", ["卡拉OK", "A", "天。"])
def test_what_is_not_chinese_has_no_transcript(word):
    with pytest.raises(DataError, match="only Chinese characters"):
        transcript(word)


def test_syllables_are_initial_final_and_tone():
    script = (ROOT / "egs" / "hsk" / "run.sh").read_text(encoding="utf-8")
    initial = re.search(r"^initial='(.*)'$", script, re.MULTILINE)[1]
    text = "xia4 yi1 xia4 er2 zhong1 shui3 wo3 lve4 an1 r5"
    tokenizer = build_bpe_tokenizer([text] * 3, 400, [], initial)
    (ids,) = encode_ctc_targets(tokenizer, [text])
    tokens = [tokenizer.decode([token]) for token in ids]
    expected = " x|ia|4| y|i|1| x|ia|4| er|2| zh|ong|1| sh|ui|3| w|o|3| l|ve|4| an|1| r|5"
    assert "|".join(tokens) == expected
    assert len(build_bpe_tokenizer([text] * 3, 400, [])) != len(tokenizer)


def tone(path, frequency, seconds=0.3):
    """A tone between two silences of 0.2 s."""
    path.parent.mkdir(parents=True, exist_ok=True)
    silence = np.zeros(int(0.2 * RATE))
    spoken = 0.5 * np.sin(2 * np.pi * frequency * np.arange(int(seconds * RATE)) / RATE)
    soundfile.write(path, np.concatenate([silence, spoken, silence]), RATE, format="MP3")


WORDS = [first + second for first in "天地人山水火" for second in "日月星辰风云"]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """36 words, each a tone of its own."""
    folder = tmp_path_factory.mktemp("words")
    for number in range(len(WORDS)):
        tone(folder / "mp3" / f"w{number:02d}.mp3", 400 + 50 * number)
    write_table(folder / "words.txt", {f"w{number:02d}": word for number, word in enumerate(WORDS)})
    return folder


def test_recordings_have_words_and_transcripts(corpus):
    recordings = list_recordings(corpus)
    assert [recording.word for recording in recordings] == WORDS
    assert recordings[1].transcript == "tian1 yue4"
    assert recordings[1].path == (corpus / "mp3" / "w01.mp3").resolve()


def test_recordings_and_words_that_do_not_match_are_named(tmp_path):
    with pytest.raises(PathError, match="does not exist"):
        list_recordings(tmp_path / "absent")
    tone(tmp_path / "mp3" / "a.mp3", 500)
    write_table(tmp_path / "words.txt", {"a": "天", "b": "地"})
    with pytest.raises(DataError, match=r"lacks the recordings of words\.txt: b$"):
        list_recordings(tmp_path)
    write_table(tmp_path / "words.txt", {"a": "天"})
    for number in range(7):
        tone(tmp_path / "mp3" / f"c{number}.mp3", 500)
    with pytest.raises(DataError, match=r"lacks the words of mp3: c0, c1, c2, c3, c4 and 2 more$"):
        list_recordings(tmp_path)


def recordings_of(words):
    return [Recording(f"w{number}", Path("x.mp3"), word, transcript(word)) for number, word in enumerate(words)]


def test_words_that_sound_alike_are_in_one_set():
    recordings = recordings_of(
        [*(a + b for a in "天地人山水火木金土" for b in "天地人山水火木金土"), "填", "公式", "攻势", "公事"]
    )
    split = split_recordings(recordings)
    sets = [{recording.transcript for recording in part} for part in (split.train, split.dev, split.test)]
    assert sum(map(len, sets)) == len(set.union(*sets)) == len({recording.transcript for recording in recordings})
    assert sum(map(len, (split.train, split.dev, split.test))) == len(recordings)
    assert len(split.train) > 60


def test_a_word_stays_in_its_set_whatever_else_there_is():
    words = [a + b for a in "天地人山水火木金土" for b in "天地人山水火木金土"]
    tested = {recording.word for recording in split_recordings(recordings_of(words)).test}
    fewer = {recording.word for recording in split_recordings(recordings_of(words[::-1][:70])).test}
    assert fewer == tested & set(words[::-1][:70])
    with pytest.raises(DataError, match="1 words are too few"):
        split_recordings(recordings_of(["天"]))


def test_every_word_occurs_once_in_a_pass(corpus):
    recordings = list_recordings(corpus)
    config = StringConfig(passes=3, length_weights=(1.0, 1.0, 2.0))
    strings = list(plan_strings(recordings, config, 1))
    assert sorted(word for string in strings for word in string) == sorted(3 * recordings)
    assert {len(string) for string in strings} == {1, 2, 3}
    assert strings == list(plan_strings(recordings, config, 1))
    assert strings != list(plan_strings(recordings, config, 2))
    alone = StringConfig(passes=1, length_weights=(1.0,))
    assert len(list(plan_strings(recordings, alone, 1))) == len(recordings)


def frequencies(waveform):
    """The strongest frequency of each stretch of sound, in hertz."""
    active = np.convolve(np.abs(waveform) > 0.05, np.ones(41), "same") > 0
    edges = np.flatnonzero(np.diff(active.astype(int), prepend=0, append=0))
    pieces = [waveform[first + 400 : stop - 400] for first, stop in zip(edges[::2], edges[1::2], strict=True)]
    return [np.argmax(np.abs(np.fft.rfft(piece * np.hanning(len(piece)), 32000))) / 2 for piece in pieces]


def test_a_string_has_its_words_in_order(corpus):
    recordings = list_recordings(corpus)
    words = [recordings[20], recordings[3], recordings[30]]
    config = StringConfig(silence_seconds=(0.05, 0.05))
    waveform = make_string(words, config, 1, "a")
    assert frequencies(waveform) == pytest.approx([1400, 550, 1900], abs=4)
    # Each has 0.3 s of sound and 0.05 s before and after it, as far as 10 ms tell.
    assert len(waveform) / 16000 == pytest.approx(3 * 0.4, abs=0.1)
    faster = make_string(words, StringConfig(silence_seconds=(0.05, 0.05), speed=(1.1, 1.1)), 1, "a")
    assert frequencies(faster) == pytest.approx([1540, 605, 2090], abs=4)
    np.testing.assert_array_equal(waveform, make_string(words, config, 1, "a"))


def test_levels_and_silences_are_drawn(corpus):
    recordings = list_recordings(corpus)[:1]
    config = StringConfig(silence_seconds=(0.0, 0.2), gain_db=(-20.0, 0.0))
    strings = [make_string(recordings, config, 1, str(number)) for number in range(20)]
    peaks = [np.abs(string).max() for string in strings]
    assert min(peaks) < 0.2 < 0.3 < max(peaks) < 0.6
    assert min(map(len, strings)) < 16000 * 0.45 < 16000 * 0.55 < max(map(len, strings))


def test_speech_is_found_between_silences():
    waveform = np.zeros(16000)
    waveform[4800:8000] = 0.5
    assert speech_bounds(waveform, 40.0) == (4800, 8000)
    waveform[8000:9600] = 0.001
    assert speech_bounds(waveform, 40.0) == (4800, 8000)
    assert speech_bounds(waveform, 60.0) == (4800, 9600)
    assert speech_bounds(np.zeros(16000), 40.0) == (0, 0)


def test_a_silent_recording_is_named(tmp_path):
    path = tmp_path / "quiet.wav"
    soundfile.write(path, np.zeros(8000), 16000)
    with pytest.raises(DataError, match=r"quiet\.wav is silent"):
        make_string([Recording("w", path, "天", "tian1")], StringConfig(), 1, "a")


@pytest.mark.parametrize(
    "wrong",
    [
        {"passes": 0},
        {"length_weights": ()},
        {"length_weights": (0.0, 0.0)},
        {"length_weights": (1.0, -1.0)},
        {"speed": (1.2, 0.9)},
        {"silence_seconds": (-0.1, 0.1)},
        {"silence_db": 0.0},
    ],
)
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(ConfigError):
        StringConfig(**wrong)


def test_data_directories_say_the_same_in_every_table(corpus, tmp_path):
    recordings = list_recordings(corpus)[:9]
    config = StringConfig(passes=2)
    for name, workers in (("a", 1), ("b", 2)):
        write_strings(tmp_path / name / "train", recordings, config, seed=3, num_workers=workers)
    write_words(tmp_path / "test", recordings)
    assert read_table(tmp_path / "test" / "text")["test_w03"] == "tian1 chen2"
    assert read_table(tmp_path / "test" / "text.zh")["test_w03"] == "天辰"
    assert read_table(tmp_path / "test" / "wav.scp")["test_w03"] == str(recordings[3].path)
    tables = ("wav.scp", "text", "text.zh")
    first, second = ({table: read_table(tmp_path / name / "train" / table) for table in tables} for name in "ab")
    assert first == second
    assert len({tuple(table) for table in first.values()}) == 1
    for identity, text in first["text"].items():
        assert transcript_of(first["text.zh"][identity]) == text
        paths = [tmp_path / name / "train" / first["wav.scp"][identity] for name in "ab"]
        assert paths[0].read_bytes() == paths[1].read_bytes()
    # A rerun leaves nothing of a larger set behind.
    write_strings(tmp_path / "a" / "train", recordings[:1], StringConfig(passes=1), seed=3, num_workers=1)
    assert len(list((tmp_path / "a" / "train" / "wav").iterdir())) == 1


def transcript_of(words):
    """Pinyin of words of two characters, one after another."""
    return " ".join(transcript(words[place : place + 2]) for place in range(0, len(words), 2))


def test_published_recordings_get_ids_in_the_order_of_their_words(tmp_path):
    source = tmp_path / "hsk"
    source.mkdir()
    for name in ("cmn-水.mp3", "cmn-一下.mp3", "cmn-一_就_.mp3", "cmn-山.mp3", "readme.mp3"):
        (source / name).write_text(name)
    assert arrange(source, tmp_path / "out") == ["cmn-一_就_.mp3", "readme.mp3"]
    assert read_table(tmp_path / "out" / "words.txt") == {"hsk00000": "一下", "hsk00001": "山", "hsk00002": "水"}
    assert (tmp_path / "out" / "mp3" / "hsk00001.mp3").read_text() == "cmn-山.mp3"
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"holds no cmn-WORD\.mp3"):
        arrange(tmp_path / "empty", tmp_path / "out")


def test_error_rates_tell_tones_from_syllables():
    references = {"a": "yi1 xia4", "b": "suo3 yi3", "c": "ren2"}
    figures = error_rates(references, {"a": "yi1 xia4", "b": "suo2 yi3", "c": "len2"})
    assert figures == {"toned": 40.0, "toneless": 20.0, "tones": 20.0, "exact": pytest.approx(100 / 3)}
    assert error_rates(references, {"b": "suo3 yi3", "c": ""})["toned"] == 60.0


def test_syllables_that_were_never_trained_on_are_counted():
    references = {"a": "yi1 xia4", "b": "yi4 yi4"}
    assert size(references, {"x": "yi1", "y": "xia4"}) == "2 words, 4 syllables, 2 of them in no training word"
