"""Recordings of single words, `mp3/ID.mp3` with `words.txt`, and which of them train and which test."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from word_pinyin import transcript

from mooer.common.errors import DataError
from mooer.common.files import require_dir
from mooer.common.seed import derived_seed
from mooer.data.lists import read_table

# Hundredths of the transcripts that are for the test set and for the development set.
TEST_SHARE, DEV_SHARE = 8, 5
_NAMED = 5


@dataclass(frozen=True, order=True)
class Recording:
    """One spoken word."""

    id: str
    path: Path
    word: str
    """Chinese characters."""
    transcript: str
    """Toned pinyin."""


def list_recordings(folder: str | Path) -> list[Recording]:
    """The words of `folder`, sorted by id.

    Raises:
        PathError: no such folder, or no words.txt in it.
        DataError: words.txt and mp3/ do not name the same recordings, or a word has no pinyin.
    """
    folder = require_dir(folder, "folder of recordings")
    words = read_table(folder / "words.txt")
    paths = {path.stem: path.resolve() for path in (folder / "mp3").glob("*.mp3")}
    _require_none(f"{folder}/mp3 lacks the recordings of words.txt", set(words) - set(paths))
    _require_none(f"{folder}/words.txt lacks the words of mp3", set(paths) - set(words))
    return sorted(Recording(name, paths[name], word, transcript(word)) for name, word in words.items())


def _require_none(what: str, names: Iterable[str]) -> None:
    names = sorted(names)
    if names:
        more = "" if len(names) <= _NAMED else f" and {len(names) - _NAMED} more"
        raise DataError(f"{what}: {', '.join(names[:_NAMED])}{more}")


@dataclass(frozen=True)
class Split:
    """Recordings by what they are for. A transcript is in one of them only."""

    train: list[Recording]
    dev: list[Recording]
    test: list[Recording]


def split_recordings(recordings: Sequence[Recording]) -> Split:
    """A fixed share of the transcripts for dev and test, by their hash: words that sound alike stay together, and neither the
    order nor the number of the recordings matters.

    Raises:
        DataError: too few words for three sets.
    """
    split = Split(train=[], dev=[], test=[])
    for recording in recordings:
        place = derived_seed("hsk", recording.transcript) % 100
        chosen = split.test if place < TEST_SHARE else split.dev if place < TEST_SHARE + DEV_SHARE else split.train
        chosen.append(recording)
    if not (split.train and split.dev and split.test):
        sizes = f"{len(split.train)} to train on, {len(split.dev)} for dev and {len(split.test)} for the test"
        raise DataError(f"{len(recordings)} words are too few: {sizes}")
    return split
