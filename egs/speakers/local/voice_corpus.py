"""Recordings of speakers: which there are, and the tables that say whose they are."""

import itertools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mooer.common.errors import DataError
from mooer.common.files import atomic_write, require_dir
from mooer.data.lists import write_table

TRAIN_DIR, TEST_DIR = "train", "test"
SUFFIXES = (".flac", ".ogg", ".wav", ".opus", ".mp3")
_NAME = re.compile(r"(?P<speaker>[^-\s]+)-[^\s]+")


@dataclass(frozen=True, order=True)
class Recording:
    """One utterance of one speaker."""

    id: str
    speaker: str
    path: Path


def list_recordings(folder: str | Path) -> list[Recording]:
    """All recordings SPEAKER-....SUFFIX of a folder or of its folders, sorted.

    Raises:
        PathError: no such folder.
        DataError: no recording, two of one name, or one whose name does not begin with a speaker.
    """
    folder = require_dir(folder, "folder of recordings")
    found: dict[str, Recording] = {}
    for path in sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES):
        match = _NAME.fullmatch(path.stem)
        if match is None:
            raise DataError(f"{path} is not named SPEAKER-..., as 103-1240-0000.ogg")
        if path.stem in found:
            raise DataError(f"{path} and {found[path.stem].path} have the same name")
        found[path.stem] = Recording(path.stem, match["speaker"], path.resolve())
    if not found:
        raise DataError(f"{folder} holds no recording ({', '.join(SUFFIXES)}), neither itself nor in its folders")
    return sorted(found.values())


def hold_out(recordings: Sequence[Recording], num_speakers: int) -> tuple[list[Recording], list[Recording]]:
    """The recordings without some speakers, evenly spread over the sorted names, and theirs.

    Raises:
        DataError: fewer than two speakers would be left.
    """
    speakers = sorted({recording.speaker for recording in recordings})
    if len(speakers) - num_speakers < 2:
        raise DataError(f"of {len(speakers)} speakers {num_speakers} cannot be held out: training takes at least two")
    held = {speakers[number * len(speakers) // num_speakers] for number in range(num_speakers)}
    kept = [recording for recording in recordings if recording.speaker not in held]
    return kept, [recording for recording in recordings if recording.speaker in held]


def write_directory(folder: Path, recordings: Sequence[Recording]) -> None:
    """A data directory: wav.scp, utt2spk, and text.speaker, the label that training reads."""
    speakers = {recording.id: recording.speaker for recording in recordings}
    write_table(folder / "wav.scp", {recording.id: str(recording.path) for recording in recordings})
    for name in ("utt2spk", "text.speaker"):
        write_table(folder / name, speakers)


def write_trials(path: Path, recordings: Iterable[Recording]) -> None:
    """All pairs of recordings, each once: `ID1 ID2 target` of one speaker, `ID1 ID2 nontarget` of two."""
    with atomic_write(path) as stream:
        for first, second in itertools.combinations(recordings, 2):
            kind = "target" if first.speaker == second.speaker else "nontarget"
            stream.write(f"{first.id} {second.id} {kind}\n")
