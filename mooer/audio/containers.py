"""Everything that libsndfile opens (flac, ogg, opus, mp3, aiff, compressed wav and more), decoded in bounded blocks."""

import contextlib
import os
import re
import tempfile
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
import soundfile

from mooer.audio.limits import AudioLimits, check_format
from mooer.audio.segment import frame_range
from mooer.audio.source import AudioStream
from mooer.common.errors import AudioError

_BLOCK_SAMPLES = 1 << 20
# More samples a channel than a byte of the file can hold are a forged or damaged header. FLAC packs at most 65,535 samples of
# silence into about ten bytes; MPEG at least 24 bytes for 576.
_MOST_FRAMES_A_BYTE = {"MP3": 64}
_MOST_FRAMES_A_BYTE_ELSEWHERE = 8192
_PROMISE = re.compile(r"(\w+)\s*:\s*(\d+) \(should be (\d+)\)")
_OGG_MAGIC = b"OggS"
_OGG_TAIL_BYTES = 1 << 17
_OGG_HEADER_BYTES = 27
_OGG_END_FLAG = 4


@contextlib.contextmanager
def open_container(audio: AudioStream) -> Iterator[soundfile.SoundFile]:
    """Open with libsndfile.

    Raises:
        AudioError: unreadable (no format that libsndfile knows, or a damaged one), truncated (the container itself shows that
            its end is missing), unsupported (rate, channels).
    """
    _check_ogg_end(audio)
    with _descriptor(audio) as descriptor:
        try:
            sound = soundfile.SoundFile(descriptor, closefd=False)
        except soundfile.LibsndfileError as error:
            raise AudioError(
                f"{audio.name}: not an audio file of a known format ({error.error_string})", "unreadable"
            ) from error
        with sound:
            check_format(audio.name, sound.samplerate, sound.channels)
            _check_promises(audio, sound)
            yield sound


@contextlib.contextmanager
def _descriptor(audio: AudioStream) -> Iterator[int]:
    """A descriptor at the first byte: soundfile may take a file's name for raw samples, and is slow on Python streams."""
    audio.stream.seek(0)
    if audio.path is not None:
        os.lseek(audio.stream.fileno(), 0, os.SEEK_SET)
        yield audio.stream.fileno()
        return
    with _memory_file() as copy:
        copy.write(audio.stream.read())
        copy.seek(0)
        yield copy.fileno()


def _memory_file() -> BinaryIO:
    if hasattr(os, "memfd_create"):
        return open(os.memfd_create("mooer"), "w+b", buffering=0)
    return tempfile.TemporaryFile(buffering=0)


def decode_container(
    audio: AudioStream, sound: soundfile.SoundFile, start: float | None, end: float | None, limits: AudioLimits
) -> np.ndarray:
    """Samples [S, channels] float32 from `start` to `end` seconds. Raises AudioError as `container_blocks` does."""
    blocks = list(container_blocks(audio, sound, start, end, limits))
    return blocks[0] if len(blocks) == 1 else np.concatenate(blocks)


def container_blocks(
    audio: AudioStream, sound: soundfile.SoundFile, start: float | None, end: float | None, limits: AudioLimits
) -> Iterator[np.ndarray]:
    """The samples [S, channels] float32 from `start` to `end` seconds, block by block.

    Raises:
        AudioError: truncated (decoding stops before the promised end), too_long, and as `frame_range` does.
    """
    first, stop = frame_range(audio.name, sound.frames, sound.samplerate, start, end)
    done, wanted = 0, stop - first
    most = limits.max_frames(sound.samplerate, sound.channels)
    try:
        if first:
            sound.seek(first)
        while done < wanted:
            block = sound.read(min(wanted - done, _BLOCK_SAMPLES // sound.channels), dtype="float32", always_2d=True)
            if not len(block):
                raise _cut_off(audio, first + done, sound)
            done += len(block)
            if done > most:
                limits.check(audio.name, done, sound.samplerate, sound.channels)
            yield block
    except soundfile.LibsndfileError as error:
        raise _cut_off(audio, first + done, sound, f" ({error.error_string})") from error


def _cut_off(audio: AudioStream, position: int, sound: soundfile.SoundFile, why: str = "") -> AudioError:
    where = f"decoding stopped at {position / sound.samplerate:.3f} s of {sound.frames / sound.samplerate:.3f} s"
    return AudioError(f"{audio.name}: {where}{why}", "truncated")


def _check_promises(audio: AudioStream, sound: soundfile.SoundFile) -> None:
    """Raise AudioError truncated if the header promises more than the file can hold."""
    if sound.frames > audio.size * _MOST_FRAMES_A_BYTE.get(sound.format, _MOST_FRAMES_A_BYTE_ELSEWHERE):
        message = f"the header promises {sound.frames} samples, which cannot be in {audio.size} bytes"
        raise AudioError(f"{audio.name}: {message}", "truncated")
    # libsndfile shortens such files in silence, but its log of the header names the sizes that do not fit.
    for chunk, promised, held in _PROMISE.findall(sound.extra_info):
        if int(promised) > int(held) and chunk not in ("RIFF", "FORM"):
            message = f"the header promises {promised} bytes of {chunk} but the file holds {held}"
            raise AudioError(f"{audio.name}: {message}", "truncated")


def _check_ogg_end(audio: AudioStream) -> None:
    """Raise AudioError truncated for an ogg file whose last page is not whole or not marked as the end of its stream."""
    audio.stream.seek(0)
    if audio.stream.read(len(_OGG_MAGIC)) != _OGG_MAGIC:
        return
    audio.stream.seek(max(0, audio.size - _OGG_TAIL_BYTES))
    tail = audio.stream.read()
    page = tail[max(0, tail.rfind(_OGG_MAGIC)) :]
    lacing = page[_OGG_HEADER_BYTES : _OGG_HEADER_BYTES + page[26]] if len(page) >= _OGG_HEADER_BYTES else b""
    if not lacing or len(page) < _OGG_HEADER_BYTES + len(lacing) + sum(lacing) or not page[5] & _OGG_END_FLAG:
        raise AudioError(f"{audio.name}: the ogg file has no last page", "truncated")
