"""Containers that libsndfile does not know (mp4, webm, aac, ...), through an ffmpeg process where one is installed.

Only files that begin like one of the known containers are handed over, only those demuxers are allowed (no playlists, which
name further files), and only local files: no shell, no network, no terminal, a time limit, and output read in bounded blocks.
"""

import contextlib
import dataclasses
import math
import re
import shutil
import signal
import struct
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO, BinaryIO

import numpy as np

from mooer.audio.limits import AudioLimits, check_format
from mooer.audio.pcm import decode_pcm
from mooer.audio.segment import check_times, frame_range
from mooer.audio.source import AudioStream
from mooer.common.errors import AudioError

# container -> offset and bytes of its beginning
_BEGINNINGS = {
    "mp4": (4, b"ftyp"),
    "matroska or webm": (0, b"\x1a\x45\xdf\xa3"),
    "asf or wma": (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11"),
    "avi": (8, b"AVI "),
    "flv": (0, b"FLV\x01"),
    "amr": (0, b"#!AMR"),
    "aac": (0, b"\xff\xf1"),
    "aac (MPEG-2)": (0, b"\xff\xf9"),
    "ac3": (0, b"\x0b\x77"),
    "ape": (0, b"MAC "),
    "wavpack": (0, b"wvpk"),
    "mpeg": (0, b"\x00\x00\x01\xba"),
}
_DEMUXERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,asf,avi,flv,amr,amrnb,amrwb,aac,mp3,ac3,eac3,ape,wv,mpeg,ogg,flac,wav"
_BLOCK_BYTES = 1 << 20
_MESSAGE_BYTES = 1 << 16
# Sun au header: magic, offset of the samples, size, encoding, rate, channels.
_AU_HEADER = struct.Struct(">4s5I")
_AU_FLOAT32 = 6


def container_name(audio: AudioStream) -> str | None:
    """Which container that only ffmpeg reads a file begins like, or None."""
    audio.stream.seek(0)
    head = audio.stream.read(16)
    for name, (offset, magic) in _BEGINNINGS.items():
        if head[offset : offset + len(magic)] == magic:
            return name
    return None


@dataclasses.dataclass(frozen=True)
class FfmpegBlock:
    """A stretch of what comes out of ffmpeg."""

    samples: np.ndarray
    """[S, channels] float32, of the wanted part."""
    sample_rate: int
    num_frames: int
    """Samples a channel read so far, from the beginning of the recording."""
    at_end: bool
    """Whether the output ended; False where the wanted part was complete before."""


def decode_with_ffmpeg(
    audio: AudioStream, start: float | None, end: float | None, limits: AudioLimits
) -> tuple[np.ndarray, int]:
    """Samples [S, channels] float32 from `start` to `end` seconds of the first audio track, and their rate.

    Raises:
        AudioError: unsupported (no ffmpeg here), unreadable, truncated, too_long, and as `frame_range` does.
    """
    blocks = list(ffmpeg_blocks(audio, start, end, limits))
    return np.concatenate([block.samples for block in blocks]), blocks[0].sample_rate


def ffmpeg_blocks(
    audio: AudioStream, start: float | None, end: float | None, limits: AudioLimits, patient: bool = False
) -> Iterator[FfmpegBlock]:
    """The same, block by block, at least one.

    Args:
        patient: whether the limit of time holds for each block alone, as for one who works on them in between.

    Raises:
        AudioError: as `decode_with_ffmpeg`.
    """
    program = shutil.which("ffmpeg")
    if program is None:
        message = f"{container_name(audio)} files need the program ffmpeg, which is not installed"
        raise AudioError(f"{audio.name}: {message}", "unsupported")
    check_times(audio.name, start, end)
    with (
        _as_file(audio) as path,
        tempfile.TemporaryFile() as messages,
        _started(_arguments(program, path), audio.name, messages) as process,
    ):
        watchdog, block = _Watchdog(process, limits.decoder_seconds), None
        try:
            for block in _read_au(process.stdout, audio.name, start, end, limits):
                if patient:
                    watchdog.cancel()
                yield block
                if patient:
                    watchdog = _Watchdog(process, limits.decoder_seconds)
            if block is None or block.at_end:
                _check_finished(process, audio.name, messages, limits)
        finally:
            watchdog.cancel()
            process.kill()
    if block is None:
        raise AudioError(f"{audio.name}: ffmpeg found no audio", "unreadable")
    frame_range(audio.name, block.num_frames, block.sample_rate, start, end)


class _Watchdog(threading.Timer):
    """Ends a process after some seconds, unless it is cancelled; runs from the start."""

    def __init__(self, process: subprocess.Popen, seconds: float) -> None:
        super().__init__(seconds, process.kill)
        self.daemon = True
        self.start()


def _arguments(program: str, path: Path) -> list[str]:
    reading = ["-protocol_whitelist", "file,pipe", "-format_whitelist", _DEMUXERS, "-i", f"file:{path}"]
    writing = ["-map", "0:a:0", "-vn", "-sn", "-dn", "-c:a", "pcm_f32be", "-f", "au", "pipe:1"]
    return [program, "-nostdin", "-hide_banner", "-loglevel", "error", "-xerror", *reading, *writing]


def _started(arguments: list[str], name: str, messages: IO[bytes]) -> subprocess.Popen:
    try:
        return subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=messages)
    except OSError as error:
        raise AudioError(f"{name}: {arguments[0]} cannot be started: {error.strerror}", "unsupported") from error


@contextlib.contextmanager
def _as_file(audio: AudioStream) -> Iterator[Path]:
    """The recording as a file: containers such as mp4 cannot be read from a pipe."""
    if audio.path is not None:
        yield audio.path.absolute()
        return
    with tempfile.NamedTemporaryFile(prefix="mooer-") as copy:
        audio.stream.seek(0)
        shutil.copyfileobj(audio.stream, copy)
        copy.flush()
        yield Path(copy.name)


def _read_au(stream: BinaryIO, name: str, start: float | None, end: float | None, limits: AudioLimits) -> Iterator[FfmpegBlock]:
    """Read a stream in Sun au format until it ends or `end` seconds are there; nothing if not even a header comes."""
    header = stream.read(_AU_HEADER.size)
    if len(header) < _AU_HEADER.size:
        return
    _, data_start, _, encoding, sample_rate, channels = _AU_HEADER.unpack(header)
    check_format(name, sample_rate, channels)
    if encoding != _AU_FLOAT32:
        raise AudioError(f"{name}: ffmpeg wrote au encoding {encoding} instead of {_AU_FLOAT32}", "unreadable")
    stream.read(data_start - _AU_HEADER.size)
    first = round((start or 0.0) * sample_rate)
    stop = math.inf if end is None else round(end * sample_rate)
    block_bytes = _BLOCK_BYTES // (4 * channels) * 4 * channels
    kept, position, at_end = 0, 0, stop <= 0
    if at_end:
        yield FfmpegBlock(np.zeros((0, channels), np.float32), sample_rate, 0, False)
    while position < stop and not at_end:
        data = stream.read(block_bytes)
        at_end = len(data) < block_bytes
        block = decode_pcm(data[: len(data) // (4 * channels) * 4 * channels], channels, "f32be")
        part = block[max(0, first - position) : int(min(len(block), stop - position))]
        position += len(block)
        kept += len(part)
        limits.check(name, kept, sample_rate, channels)
        yield FfmpegBlock(part, sample_rate, position, at_end)


def _check_finished(process: subprocess.Popen, name: str, messages: IO[bytes], limits: AudioLimits) -> None:
    """Wait for ffmpeg and raise AudioError if it failed, was stopped by the watchdog, or says that the file is cut off."""
    code = process.wait()
    if code == -signal.SIGKILL:
        raise AudioError(f"{name}: ffmpeg took longer than {limits.decoder_seconds:g} s", "unreadable")
    messages.seek(0)
    text = messages.read(_MESSAGE_BYTES).decode("utf-8", "replace").strip()
    if code != 0 or text:
        reason = "truncated" if re.search("premature|truncat|partial file|moov atom", text, re.IGNORECASE) else "unreadable"
        last = text.splitlines()[-1] if text else f"exit status {code}"
        raise AudioError(f"{name}: ffmpeg: {last}", reason)
