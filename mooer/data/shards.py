"""Tar shards: `ID.txt`, `ID.LABEL` and `ID.wav` (or flac, ogg, mp3, opus) one after the other, read in place, never extracted.

A group is made of consecutive members with the same name up to the last dot. A shard is indexed once: where each recording
starts, how long it is, its labels. After that any utterance is one read at a known offset, in any order.
"""

import io
import json
import os
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from mooer.audio.info import AudioInfo
from mooer.audio.source import AudioStream
from mooer.audio.wav import read_wav_header
from mooer.common.errors import AudioError, DamagedArchiveError, DataError
from mooer.common.files import atomic_write, iterate_tar
from mooer.data.utterance import TRANSCRIPT, AudioRef, Problem, Utterance, from_json, to_json

AUDIO_EXTENSIONS = ("wav", "flac", "ogg", "opus", "mp3")
TRANSCRIPT_EXTENSION = "txt"
MAX_LABEL_BYTES = 1 << 20

_INDEX_FORMAT = "mooer shard index 1"


@dataclass(frozen=True, slots=True)
class ShardEntry:
    """What a shard stores of one utterance."""

    id: str
    """May hold slashes, but must stay inside the archive."""
    labels: dict[str, str]
    """Texts by label name, at least one."""
    audio: bytes
    """A complete audio file."""
    extension: str
    """One of AUDIO_EXTENSIONS."""


@dataclass(frozen=True, slots=True)
class ShardIndex:
    """The usable utterances of a shard, in its order, and what could not be used."""

    utterances: list[Utterance]
    problems: list[Problem]


def check_label_name(name: str) -> None:
    """Raise DataError unless `name` can be the ending of a label file and of a shard member."""
    if not name.replace("-", "").replace("_", "").isalnum() or not name.isascii():
        raise DataError(f"label name {name!r} must be made of ASCII letters, digits, '-' and '_'")
    if name.lower() in (*AUDIO_EXTENSIONS, TRANSCRIPT_EXTENSION):
        raise DataError(f"label name {name!r} is the ending of an audio or transcript file; choose another")


def check_id(identity: str) -> None:
    """Raise DataError unless `identity` can name a shard's members: inside of the archive, without white space."""
    parts = identity.split("/")
    if not identity or identity.split() != [identity] or "" in parts or "." in parts or ".." in parts:
        raise DataError(f"id {identity!r} cannot name a member of a shard: no white space, empty parts, '.' or '..'")


def write_shard(path: str | Path, entries: Iterable[ShardEntry]) -> None:
    """Write a shard atomically; the same entries always make the same bytes.

    Raises:
        DataError: an id, label name or audio ending that could not be read back.
    """
    with atomic_write(path, "wb") as stream, tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for entry in entries:
            check_id(entry.id)
            if entry.extension not in AUDIO_EXTENSIONS:
                raise DataError(f"audio ending {entry.extension!r} is unknown; allowed: {', '.join(AUDIO_EXTENSIONS)}")
            for name, text in entry.labels.items():
                if name != TRANSCRIPT:
                    check_label_name(name)
                ending = TRANSCRIPT_EXTENSION if name == TRANSCRIPT else name
                _add_member(archive, f"{entry.id}.{ending}", text.encode("utf-8"))
            _add_member(archive, f"{entry.id}.{entry.extension}", entry.audio)


def _add_member(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    archive.addfile(member, io.BytesIO(data))


def index_shard(path: str | Path) -> ShardIndex:
    """The index of a shard, from the cache beside it if that is of this very file, else made and (where allowed) cached.

    Damage is a Problem, and the utterances before it are used.

    Raises:
        DataError: links, special files, absolute names or `..` in the archive: such a shard is refused as a whole.
    """
    path = Path(path)
    status = path.stat()
    header = {"format": _INDEX_FORMAT, "size": status.st_size, "mtime_ns": status.st_mtime_ns}
    cache = path.with_name(path.name + ".index")
    index = _read_cache(cache, header, str(path))
    if index is None:
        index = _build_index(path)
        _write_cache(cache, header, index)
    return index


def _build_index(path: Path) -> ShardIndex:
    utterances: list[Utterance] = []
    problems: list[Problem] = []
    damage: list[str] = []
    seen: set[str] = set()
    with path.open("rb") as stream:
        for identity, members in groupby(_whole_members(stream, str(path), damage), key=_group_name):
            entry = _index_group(stream, str(path), identity, list(members))
            if entry.id in seen:
                entry = Problem(entry.id, "duplicate_id", f"{path}: id {entry.id!r} occurs twice")
            seen.add(entry.id)
            (utterances if isinstance(entry, Utterance) else problems).append(entry)
    for message in damage:
        problems.append(Problem(str(path), "damaged_shard", f"{message}; {len(utterances)} utterances before it are used"))
    return ShardIndex(utterances, problems)


def _group_name(member: tarfile.TarInfo) -> str:
    return member.name.rpartition(".")[0] or member.name


def _index_group(stream: io.BufferedReader, path: str, identity: str, members: list[tarfile.TarInfo]) -> Utterance | Problem:
    """The utterance of one group of members, or what is wrong with it."""
    audio = [member for member in members if _ending(member) in AUDIO_EXTENSIONS]
    texts = [member for member in members if member not in audio]
    where = f"{path}: {identity!r}"
    if identity.split() != [identity]:
        return Problem(identity, "bad_id", f"{where}: the id holds white space")
    if len(audio) != 1:
        return Problem(identity, "no_audio" if not audio else "bad_group", f"{where}: {len(audio)} recordings in its group")
    if any(member.size > MAX_LABEL_BYTES for member in texts):
        return Problem(identity, "bad_label", f"{where}: a label of more than {MAX_LABEL_BYTES} bytes")
    try:
        labels = {_label_name(member): _read(stream, member).decode("utf-8").strip("\r\n") for member in texts}
    except UnicodeDecodeError:
        return Problem(identity, "encoding", f"{where}: a label is not UTF-8")
    try:
        num_samples = _count_samples(stream, audio[0])
    except AudioError as error:
        return Problem(identity, error.reason, f"{where}: {error}")
    reference = AudioRef(path=path, offset=audio[0].offset_data, size=audio[0].size)
    return Utterance(id=identity, audio=reference, labels=labels, num_samples=num_samples)


def _ending(member: tarfile.TarInfo) -> str:
    return member.name.rpartition(".")[2].lower()


def _label_name(member: tarfile.TarInfo) -> str:
    ending = member.name.rpartition(".")[2]
    return TRANSCRIPT if ending == TRANSCRIPT_EXTENSION else ending


def _whole_members(stream: io.BufferedReader, name: str, damage: list[str]) -> Iterator[tarfile.TarInfo]:
    """The members that the file holds to their last byte; what is wrong after them goes to `damage`."""
    size = os.fstat(stream.fileno()).st_size
    try:
        for member in iterate_tar(stream, name):
            if member.offset_data + member.size > size:
                raise DamagedArchiveError(f"{name} ends inside of member {member.name!r}")
            yield member
    except DamagedArchiveError as error:
        damage.append(str(error))


def _read(stream: io.BufferedReader, member: tarfile.TarInfo) -> bytes:
    return os.pread(stream.fileno(), member.size, member.offset_data)


def _count_samples(stream: io.BufferedReader, member: tarfile.TarInfo) -> int:
    """Samples at 16 kHz that the header of a recording promises: to plan with; what is there is seen when it is decoded.

    Raises:
        AudioError: a header that cannot be read, or a wav header that promises more than there is.
    """
    import soundfile

    data = _FileSlice(stream, member.offset_data, member.size)
    header = read_wav_header(AudioStream(io.BufferedReader(data), member.size, member.name))
    if header is not None and header.encoding is not None:
        return AudioInfo(header.sample_rate, header.channels, header.num_frames).num_samples
    data.seek(0)
    try:
        info = soundfile.info(data)
    except (soundfile.LibsndfileError, RuntimeError) as error:
        raise AudioError(f"{member.name} is no audio that can be read: {error}", "unreadable") from error
    return AudioInfo(info.samplerate, info.channels, info.frames).num_samples


class _FileSlice(io.RawIOBase):
    """A stretch of an open file as a file of its own, for readers that need only its header."""

    def __init__(self, stream: io.BufferedReader, offset: int, size: int) -> None:
        self._descriptor, self._offset, self._size = stream.fileno(), offset, size
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:
        wanted = max(0, min(len(buffer), self._size - self._position))
        data = os.pread(self._descriptor, wanted, self._offset + self._position)
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        origin = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = max(0, origin + offset)
        return self._position

    def tell(self) -> int:
        return self._position


def _write_cache(cache: Path, header: dict[str, object], index: ShardIndex) -> None:
    lines = [json.dumps(header)]
    lines += [json.dumps([problem.id, problem.reason, problem.message], ensure_ascii=False) for problem in index.problems]
    lines += [to_json(utterance) for utterance in index.utterances]
    try:
        with atomic_write(cache) as stream:
            stream.writelines(line + "\n" for line in lines)
    except OSError:
        return  # a folder that cannot be written to has no cache


def _read_cache(cache: Path, header: dict[str, object], path: str) -> ShardIndex | None:
    """The cached index; None where there is none, or one of another file, or a damaged one."""
    try:
        lines = cache.read_text(encoding="utf-8").split("\n")
        if json.loads(lines[0]) != header:
            return None
        problems = [Problem(*json.loads(line)) for line in lines[1:] if line.startswith("[")]
        found = [from_json(line, None, str(cache)) for line in lines[1:] if line.startswith("{")]
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, TypeError, DataError):
        return None
    if any(item.audio is None or item.audio.offset is None or item.num_samples is None for item in found):
        return None
    return ShardIndex([_within(path, utterance) for utterance in found], problems)


def _within(path: str, utterance: Utterance) -> Utterance:
    """The utterance with `path` as its shard, whatever the cache calls it."""
    reference = utterance.audio
    return Utterance(
        id=utterance.id,
        audio=AudioRef(path=path, offset=reference.offset, size=reference.size),
        labels=utterance.labels,
        num_samples=utterance.num_samples,
    )
