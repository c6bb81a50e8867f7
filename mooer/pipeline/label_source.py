"""What is to be labelled, in a fixed order, and how a part of it is written as a data directory again."""

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mooer.common.errors import DataError, PathError
from mooer.common.files import require_dir
from mooer.common.log import get_logger
from mooer.data.directory import AUDIO_TABLE, FEATURE_TABLE, SEGMENT_TABLE, SPEAKER_TABLE, parse_segment, read_data_dir
from mooer.data.lists import iterate_data_list, read_table, write_data_list, write_table
from mooer.data.packing import LIST_NAME
from mooer.data.utterance import TRANSCRIPT, AudioRef, Problem, Utterance, to_json
from mooer.decode.writer import one_line

log = get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class LabelSource:
    """The utterances of a data directory or data list; of their labels, only transcripts, and only where they are asked for."""

    entries: Sequence[Utterance | Problem]
    """In their order, which gives each its position; those that cannot be used stand among them."""
    is_list: bool
    """Whether it is a data list."""
    segments: Mapping[str, str]
    """The values of `segments` by utterance; empty if there is no such table."""
    speakers: Mapping[str, str] | None
    """The speaker of each utterance; None if there is no utt2spk."""
    lines: Mapping[str, str] = field(default_factory=dict)
    """The lines of `text` by utterance, as they stand; empty for a list, and where transcripts are left aside."""

    def fingerprint(self) -> dict[str, str | int]:
        """The number of utterances, and a SHA-256 over their ids, places and the transcripts that are not left aside."""
        digest = hashlib.sha256()
        for entry in self.entries:
            line = json.dumps([entry.id, entry.reason]) if isinstance(entry, Problem) else to_json(entry)
            digest.update(line.encode("utf-8") + b"\n")
        return {"utterances": len(self.entries), "sha256": digest.hexdigest()}


def open_data_dir(directory: str | Path, with_transcripts: bool = False) -> LabelSource:
    """The utterances of a data directory.

    Args:
        with_transcripts: whether they come with their transcripts; those without one then become problems.

    Raises:
        PathError: no such directory, no wav.scp or feats.scp in it, or no text where transcripts are asked for.
        DataError: a table that breaks its format, a directory without utterances, an utterance without a speaker in utt2spk.
    """
    directory = require_dir(directory, "data directory")
    if with_transcripts and not (directory / "text").is_file():
        raise PathError(f"{directory} has no transcripts (text); a recogniser (--model_dir) makes them")
    data = read_data_dir(directory, (TRANSCRIPT,) if with_transcripts else ())
    has_segments = (directory / AUDIO_TABLE).is_file() and (directory / SEGMENT_TABLE).is_file()
    speakers = read_table(directory / SPEAKER_TABLE) if (directory / SPEAKER_TABLE).is_file() else None
    for utterance in data.utterances:
        if speakers is not None and utterance.id not in speakers:
            raise DataError(f"{directory / SPEAKER_TABLE} has no speaker for {utterance.id!r}; mooer-check-data names all")
    return LabelSource(
        entries=_not_empty([*data.utterances, *data.problems], directory),
        is_list=False,
        segments=read_table(directory / SEGMENT_TABLE) if has_segments else {},
        speakers=speakers,
        lines=_lines(directory / "text") if with_transcripts else {},
    )


def _lines(table: Path) -> dict[str, str]:
    """The lines of a sound table by id."""
    with table.open(encoding="utf-8", newline="\n") as stream:
        return {line.split(maxsplit=1)[0]: line.removesuffix("\n") for line in stream}


def open_data_list(path: str | Path, with_transcripts: bool = False) -> LabelSource:
    """The utterances of a data list, raw or of shards.

    Args:
        with_transcripts: as for `open_data_dir`.

    Raises:
        PathError, DataError: as `iterate_data_list`, and for a list without utterances.
    """
    label = _only_transcript if with_transcripts else _unlabelled
    entries = [label(entry) if isinstance(entry, Utterance) else entry for entry in iterate_data_list(path)]
    return LabelSource(entries=_not_empty(entries, path), is_list=True, segments={}, speakers=None)


def _unlabelled(utterance: Utterance) -> Utterance:
    return dataclasses.replace(utterance, labels={})


def _only_transcript(utterance: Utterance) -> Utterance | Problem:
    text = utterance.labels.get(TRANSCRIPT)
    if text is None:
        return Problem(utterance.id, "no_label", f"{utterance.id}: no label in {TRANSCRIPT}")
    if not text.strip():
        return Problem(utterance.id, "empty_text", f"{utterance.id}: empty text in {TRANSCRIPT}")
    if one_line(text) != text:
        return Problem(utterance.id, "bad_label", f"{utterance.id}: the transcript holds a line end or a control character")
    return dataclasses.replace(utterance, labels={TRANSCRIPT: text})


def _not_empty(entries: list[Utterance | Problem], where: str | Path) -> list[Utterance | Problem]:
    if not entries:
        raise DataError(f"{where} holds no utterances")
    return entries


def write_source(folder: Path, source: LabelSource, kept: Sequence[Utterance]) -> None:
    """Write the tables that name the recordings (or features) of some of a source's utterances, in the given order.

    Of a data list there is a data.list too, with the utterances' labels. Members of shards have no place in Kaldi's tables: of
    them there is nothing else. Paths become absolute. Tables of an earlier run that this one does not write are removed.
    """
    tables = _kaldi_tables(source, kept)
    if kept and AUDIO_TABLE not in tables and FEATURE_TABLE not in tables:
        log.warning("%s: only %s names the recordings, as no Kaldi table can name members of shards", folder, LIST_NAME)
    if source.is_list:
        write_data_list(folder / LIST_NAME, [to_json(utterance) for utterance in kept])
    for name in (AUDIO_TABLE, SEGMENT_TABLE, SPEAKER_TABLE, FEATURE_TABLE):
        if name in tables:
            write_table(folder / name, tables[name])
        else:
            (folder / name).unlink(missing_ok=True)


def _kaldi_tables(source: LabelSource, kept: Sequence[Utterance]) -> dict[str, dict[str, str]]:
    tables: dict[str, dict[str, str]] = {}
    if not kept:
        return tables
    if source.segments:
        recordings = {parse_segment(source.segments[item.id])[0]: os.path.abspath(item.audio.path) for item in kept}
        tables[AUDIO_TABLE] = dict(sorted(recordings.items(), key=lambda item: item[0].encode("utf-8")))
        tables[SEGMENT_TABLE] = {item.id: source.segments[item.id] for item in kept}
    else:
        by_table = {AUDIO_TABLE: {item.id: _audio_value(item.audio) for item in kept if item.audio is not None}}
        by_table[FEATURE_TABLE] = {item.id: _feature_value(item.feats) for item in kept if item.feats is not None}
        tables |= {name: table for name, table in by_table.items() if len(table) == len(kept) and all(table.values())}
    if source.speakers is not None:
        tables[SPEAKER_TABLE] = {item.id: source.speakers[item.id] for item in kept}
    return tables


def _audio_value(reference: AudioRef) -> str | None:
    """A value of wav.scp; None for what has no such form."""
    path = os.path.abspath(reference.path)
    if reference.offset is not None or (reference.start is not None and reference.end is None):
        return None
    if reference.end is None:
        return path
    start, end = (np.format_float_positional(seconds, trim="-") for seconds in (reference.start or 0.0, reference.end))
    return f"{path}#t={start},{end}"


def _feature_value(value: str) -> str:
    archive, _, offset = value.rpartition(":")
    return f"{os.path.abspath(archive)}:{offset}" if offset.isdigit() and archive else os.path.abspath(value)
