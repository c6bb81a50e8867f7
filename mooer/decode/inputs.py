"""What is to be recognised, from the forms in which it is named on a command line."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from mooer.common.errors import DataError
from mooer.common.files import require_file
from mooer.data.lists import iterate_data_list, read_table
from mooer.data.utterance import AudioRef, Problem, Utterance, parse_audio, resolve_path


def from_files(paths: Sequence[str | Path]) -> list[Utterance]:
    """Recordings by path; the id is the name without its ending, and its number if several have the same.

    Raises:
        PathError: a file does not exist.
    """
    files = [require_file(path, "recording") for path in paths]
    names = unique_names([path.stem for path in files])
    return [Utterance(name, AudioRef(str(path))) for name, path in zip(names, files, strict=True)]


def unique_names(stems: Iterable[str]) -> list[str]:
    """Ids made of names: white space becomes `_`, and of equal ones all but the first get a number."""
    names: dict[str, None] = {}
    for stem in stems:
        stem = re.sub(r"\s+", "_", stem)
        name, number = stem, 2
        while name in names:
            name, number = f"{stem}-{number}", number + 1
        names[name] = None
    return list(names)


def from_wav_scp(path: str | Path) -> list[Utterance | Problem]:
    """Recordings of a table `ID PATH`; an entry that names no file (a command, a URL) is a Problem of its utterance.

    Raises:
        PathError, DataError: no such table, or lines that are no entries.
    """
    folder = Path(path).parent
    return [_entry(identity, value, folder, is_feats=False) for identity, value in read_table(path).items()]


def from_feats_scp(path: str | Path) -> list[Utterance | Problem]:
    """Features of a table `ID ARK:OFFSET`. Raises as `from_wav_scp` does."""
    folder = Path(path).parent
    return [_entry(identity, value, folder, is_feats=True) for identity, value in read_table(path).items()]


def _entry(identity: str, value: str, folder: Path, is_feats: bool) -> Utterance | Problem:
    try:
        if not is_feats:
            return Utterance(identity, parse_audio(value, folder))
        archive, _, offset = value.rpartition(":")
        if not offset.isdigit():
            return Utterance(identity, feats=resolve_path(value, folder))
        return Utterance(identity, feats=f"{resolve_path(archive, folder)}:{offset}")
    except DataError as error:
        return Problem(identity, "unsupported", str(error))


def from_data_list(path: str | Path) -> list[Utterance | Problem]:
    """The utterances of a data list, raw or of shards. Raises PathError or DataError."""
    return list(iterate_data_list(path))
