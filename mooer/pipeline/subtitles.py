"""A transcription as subtitles (SubRip, WebVTT), as annotation (Praat's TextGrid), and as a table of timed words (NIST's CTM).

Sources: https://www.w3.org/TR/webvtt1 ; Praat's manual, "TextGrid file formats"; NIST's sctk, "ctm". Times are ms.
"""

import html
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from mooer.common.errors import DataError
from mooer.decode.writer import one_line
from mooer.pipeline.speaker_turns import rttm_lines
from mooer.pipeline.transcription import Sentence, Transcription


@dataclass(frozen=True)
class _Interval:
    """A stretch of time with a label."""

    start: int
    end: int
    text: str


def _apart(intervals: Iterable[_Interval]) -> Iterator[_Interval]:
    """The intervals in time order without overlap, each at least 1 ms long: none begins before the last one has ended."""
    before = 0
    for interval in intervals:
        start = max(interval.start, before)
        before = max(interval.end, start + 1)
        yield _Interval(start, before, one_line(interval.text).strip())


def _cues(transcription: Transcription, label: Callable[[Sentence], str]) -> list[_Interval]:
    sentences = [sentence for sentence in transcription.sentences if sentence.text.strip()]
    return list(_apart(_Interval(sentence.start, sentence.end, label(sentence)) for sentence in sentences))


def _clock(milliseconds: int, separator: str) -> str:
    """HH:MM:SS and thousandths; hours have as many digits as they need, at least two."""
    seconds, thousandths = divmod(milliseconds, 1000)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}{separator}{thousandths:03d}"


def srt(transcription: Transcription) -> str:
    """SubRip: a numbered cue a sentence, with `[speaker]` before it where speakers are known."""
    cues = _cues(transcription, _bracketed)
    blocks = (
        f"{number}\n{_clock(cue.start, ',')} --> {_clock(cue.end, ',')}\n{cue.text}\n"
        for number, cue in enumerate(cues, start=1)
    )
    return "\n".join(blocks)


def _bracketed(sentence: Sentence) -> str:
    return sentence.text if sentence.speaker is None else f"[spk{sentence.speaker}] {sentence.text.strip()}"


def vtt(transcription: Transcription) -> str:
    """WebVTT: a cue a sentence, with the speaker as its voice; what would be markup is escaped."""
    cues = _cues(transcription, _voiced)
    blocks = (f"{_clock(cue.start, '.')} --> {_clock(cue.end, '.')}\n{cue.text}\n" for cue in cues)
    return "\n".join(["WEBVTT\n", *blocks])


def _voiced(sentence: Sentence) -> str:
    text = html.escape(sentence.text.strip(), quote=False)
    return text if sentence.speaker is None else f"<v spk{sentence.speaker}>{text}</v>"


def textgrid(transcription: Transcription) -> str:
    """Praat's long TextGrid: tiers of sentences, of words where they have times, of turns where speakers are known."""
    tiers = {"sentences": _cues(transcription, lambda sentence: sentence.text)}
    if transcription.words:
        tiers["words"] = list(_apart(_Interval(word.start, word.end, word.text) for word in transcription.words))
    if transcription.turns is not None:
        turns = (_Interval(turn.start, turn.end, f"spk{turn.speaker}") for turn in transcription.turns)
        tiers["speakers"] = list(_apart(turns))
    end = max(1, round(1000 * transcription.seconds), *(tier[-1].end for tier in tiers.values() if tier))
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0", f"xmax = {_seconds(end)}"]
    lines += ["tiers? <exists>", f"size = {len(tiers)}", "item []:"]
    for number, (name, intervals) in enumerate(tiers.items(), start=1):
        lines += _tier(number, name, _filled(intervals, end), end)
    return "\n".join(lines) + "\n"


def _filled(intervals: Sequence[_Interval], end: int) -> list[_Interval]:
    """The intervals with empty ones between them: Praat's tiers have no gaps."""
    filled, before = [], 0
    for interval in intervals:
        if interval.start > before:
            filled.append(_Interval(before, interval.start, ""))
        filled.append(interval)
        before = interval.end
    return [*filled, _Interval(before, end, "")] if before < end else filled


def _tier(number: int, name: str, intervals: Sequence[_Interval], end: int) -> list[str]:
    lines = [f"    item [{number}]:", '        class = "IntervalTier"', f"        name = {_quoted(name)}"]
    lines += ["        xmin = 0", f"        xmax = {_seconds(end)}", f"        intervals: size = {len(intervals)}"]
    for place, interval in enumerate(intervals, start=1):
        lines += [
            f"        intervals [{place}]:",
            f"            xmin = {_seconds(interval.start)}",
            f"            xmax = {_seconds(interval.end)}",
            f"            text = {_quoted(interval.text)}",
        ]
    return lines


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def _seconds(milliseconds: int) -> str:
    return f"{milliseconds // 1000}.{milliseconds % 1000:03d}" if milliseconds else "0"


def ctm(transcription: Transcription) -> str:
    """A line a word: recording, channel, start and length in seconds, word, confidence.

    Raises:
        DataError: words without times, or a name of the recording that would not be one field or a comment.
    """
    key = transcription.key
    check_ctm_key(key)
    if transcription.raw_text and not transcription.words:
        raise DataError(f"recording {key!r} has no times of words, which CTM is made of")
    lines = (
        f"{key} 1 {_seconds(word.start)} {_seconds(max(0, word.end - word.start))} {word.text} {word.confidence:.4f}\n"
        for word in transcription.words
    )
    return "".join(lines)


def check_ctm_key(key: str) -> None:
    """Raise DataError for a name of a recording that would not be one field, or would begin a comment."""
    if not key or key.split() != [key] or key.startswith(";;"):
        raise DataError(f"recording {key!r} cannot stand in CTM; its name must have no spaces and not begin with ;;")


def rttm(transcription: Transcription) -> str:
    """A line a turn of a speaker. Raises DataError where speakers are not known, or as `rttm_lines`."""
    if transcription.turns is None:
        raise DataError(f"recording {transcription.key!r} has no speakers, which RTTM is made of")
    return "".join(f"{line}\n" for line in rttm_lines(transcription.key, transcription.turns))


FORMATS: dict[str, Callable[[Transcription], str]] = {"srt": srt, "vtt": vtt, "textgrid": textgrid, "rttm": rttm, "ctm": ctm}
# What a file of a format is called.
SUFFIXES = {"srt": ".srt", "vtt": ".vtt", "textgrid": ".TextGrid", "rttm": ".rttm", "ctm": ".ctm"}
