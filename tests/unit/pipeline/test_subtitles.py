"""Files in the formats are read back by readers of their own, written here from the specifications."""

import itertools
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mooer.common.errors import DataError
from mooer.decode.hypothesis import Word
from mooer.pipeline.speaker_turns import Turn
from mooer.pipeline.subtitles import ctm, rttm, srt, textgrid, vtt
from mooer.pipeline.transcription import Sentence, Transcription

HOUR = 3_600_000


def transcription(sentences, words=(), turns=None, seconds=10.0, key="a"):
    text = " ".join(word.text for word in words)
    return Transcription(
        key=key,
        text=text,
        raw_text=text,
        segments=(),
        sentences=tuple(sentences),
        words=tuple(words),
        turns=turns,
        score=0.0,
        flags=(),
        failures=(),
        seconds=seconds,
        elapsed_seconds=1.0,
    )


def milliseconds(clock):
    hours, minutes, seconds, thousandths = map(int, re.fullmatch(r"(\d{2,}):(\d\d):(\d\d)[.,](\d{3})", clock).groups())
    assert minutes < 60
    assert seconds < 60
    return ((hours * 60 + minutes) * 60 + seconds) * 1000 + thousandths


def read_srt(content):
    for number, block in enumerate(content.rstrip("\n").split("\n\n") if content else [], start=1):
        index, times, text = block.split("\n")
        assert int(index) == number
        yield (*map(milliseconds, times.split(" --> ")), text)


def read_vtt(content):
    head, *blocks = content.rstrip("\n").split("\n\n")
    assert head == "WEBVTT"
    for block in blocks:
        times, text = block.split("\n")
        yield (*map(milliseconds, times.split(" --> ")), text)


def read_textgrid(content):
    tiers = {}
    for part in content.split("    item [")[1:]:
        name = re.search(r'name = "(.*)"', part)[1]
        end = float(re.search(r"xmax = (.*)", part)[1])
        rows = re.findall(r'xmin = (\S+)\n +xmax = (\S+)\n +text = "((?:[^"]|"")*)"\n', part)
        assert len(rows) == int(re.search(r"intervals: size = (\d+)", part)[1])
        tiers[name] = (end, [(float(start), float(stop), text.replace('""', '"')) for start, stop, text in rows])
    assert f"size = {len(tiers)}\nitem []:" in content
    return tiers


TEXTS = st.text(alphabet='ab<>&" \n\t-你。', max_size=12)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9000), st.integers(0, 4000), TEXTS), max_size=8))
def test_intervals_never_overlap_and_lose_no_text(rows):
    sentences = [Sentence(text, start, start + length, None, ()) for start, length, text in sorted(rows)]
    wanted = [" ".join(item.text.split()) for item in sentences if item.text.strip()]
    result = transcription(sentences)
    cues = list(read_srt(srt(result)))
    assert [" ".join(text.split()) for *_, text in cues] == wanted
    before = 0
    for start, end, _ in cues:
        assert before <= start < end
        before = end
    escaped = [text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;") for text in wanted]
    assert [" ".join(text.split()) for *_, text in read_vtt(vtt(result))] == escaped
    end, intervals = read_textgrid(textgrid(result))["sentences"]
    assert [" ".join(text.split()) for *_, text in intervals if text] == wanted
    assert intervals[0][0] == 0
    assert intervals[-1][1] == end >= 10
    assert all(left[1] == right[0] for left, right in itertools.pairwise(intervals))


def test_long_recordings_and_speakers():
    sentence = Sentence("好。", 123 * HOUR + 61_001, 123 * HOUR + 62_000, 1, ())
    assert srt(transcription([sentence])) == "1\n123:01:01,001 --> 123:01:02,000\n[spk1] 好。\n"
    assert vtt(transcription([sentence])) == "WEBVTT\n\n123:01:01.001 --> 123:01:02.000\n<v spk1>好。</v>\n"


def test_nothing_was_said():
    empty = transcription([], turns=())
    assert (srt(empty), vtt(empty), ctm(empty), rttm(empty)) == ("", "WEBVTT\n", "", "")
    assert read_textgrid(textgrid(empty)) == {"sentences": (10.0, [(0.0, 10.0, "")]), "speakers": (10.0, [(0.0, 10.0, "")])}


def test_tables_of_words_and_turns():
    words = [Word("我", 1005, 1500, 0.5), Word("ok", 1500, 1400, 0.123456)]
    result = transcription([], words, turns=(Turn(1000, 2500, 0),))
    assert ctm(result) == "a 1 1.005 0.495 我 0.5000\na 1 1.500 0 ok 0.1235\n"
    assert rttm(result) == "SPEAKER a 1 1.000 1.500 <NA> <NA> spk0 <NA> <NA>\n"
    tiers = read_textgrid(textgrid(result))
    assert [text for *_, text in tiers["words"][1] if text] == ["我", "ok"]
    assert [row for row in tiers["speakers"][1] if row[2]] == [(1.0, 2.5, "spk0")]


def test_what_a_format_cannot_say():
    with pytest.raises(DataError, match="no spaces"):
        ctm(transcription([], key="a b"))
    with pytest.raises(DataError, match=";;"):
        ctm(transcription([], key=";;a"))
    with pytest.raises(DataError, match="no speakers"):
        rttm(transcription([]))
