"""RIFF/WAVE headers, read strictly: what the header promises must be in the file.

libsndfile quietly shortens a recording whose header promises more than there is; here that is an error. Source:
Multimedia Programming Interface and Data Specifications 1.0 (RIFF), and WAVE_FORMAT_EXTENSIBLE.
"""

import dataclasses
import struct

from mooer.audio.limits import check_format
from mooer.audio.pcm import sample_bytes
from mooer.audio.source import AudioStream
from mooer.common.errors import AudioError

_ENCODINGS = {(1, 8): "u8", (1, 16): "s16le", (1, 24): "s24le", (1, 32): "s32le", (3, 32): "f32le", (3, 64): "f64le"}
_PLAIN_TAGS = {tag for tag, _ in _ENCODINGS}
_EXTENSIBLE = 0xFFFE
_FMT_BYTES = 16
_SUBFORMAT_OFFSET = 24
# A header has a handful of chunks; a file made of nothing but tiny ones must not be walked to its end.
_MAX_CHUNKS = 1000


@dataclasses.dataclass(frozen=True)
class WavHeader:
    """Where the samples of a wav file lie."""

    sample_rate: int
    channels: int
    encoding: str | None
    """A name of `pcm.ENCODINGS`, or None for compressed formats (G.711, ADPCM)."""
    data_start: int
    """Offset of the first sample, in bytes."""
    num_frames: int
    """Samples a channel; for compressed formats the number of blocks."""
    frame_bytes: int
    """Bytes of one sample of all channels, or of one compressed block."""


def read_wav_header(audio: AudioStream) -> WavHeader | None:
    """The header of a little-endian RIFF wav file; None if the file is something else.

    Raises:
        AudioError: truncated (less data than promised), unreadable (broken header), unsupported (rate, channels).
    """
    audio.stream.seek(0)
    start = audio.stream.read(12)
    if start[:4] != b"RIFF" or start[8:12] != b"WAVE":
        return None
    fmt, position = None, 12
    for _ in range(_MAX_CHUNKS):
        chunk = audio.stream.read(8)
        if len(chunk) < 8:
            raise AudioError(f"{audio.name}: the wav file ends before its data", "truncated")
        name, size = chunk[:4], int.from_bytes(chunk[4:], "little")
        position += 8
        if name == b"data":
            return _located(audio, fmt, position, size)
        if name == b"fmt ":
            fmt = audio.stream.read(min(size, 64))
        position += size + (size & 1)
        audio.stream.seek(position)
    raise AudioError(f"{audio.name}: no data among the first {_MAX_CHUNKS} chunks of the wav file", "unreadable")


def _located(audio: AudioStream, fmt: bytes | None, data_start: int, data_size: int) -> WavHeader:
    if fmt is None or len(fmt) < _FMT_BYTES:
        raise AudioError(f"{audio.name}: the wav file has no complete fmt chunk before its data", "unreadable")
    tag, channels, sample_rate, _, frame_bytes, bits = struct.unpack("<HHIIHH", fmt[:_FMT_BYTES])
    if tag == _EXTENSIBLE and len(fmt) >= _SUBFORMAT_OFFSET + 2:
        tag = int.from_bytes(fmt[_SUBFORMAT_OFFSET : _SUBFORMAT_OFFSET + 2], "little")
    check_format(audio.name, sample_rate, channels)
    # Fewer bits lie in the upper part of a sample of whole bytes.
    encoding = _ENCODINGS.get((tag, -(-bits // 8) * 8))
    if frame_bytes == 0 or (tag in _PLAIN_TAGS and (not encoding or frame_bytes != channels * sample_bytes(encoding))):
        message = f"{frame_bytes} bytes a frame do not fit {channels} channels of {bits} bits"
        raise AudioError(f"{audio.name}: {message}", "unreadable")
    held = audio.size - data_start
    if data_size > held:
        message = f"{audio.name}: the header promises {data_size} bytes of samples but the file holds {held}"
        raise AudioError(message, "truncated")
    if encoding and data_size % frame_bytes:
        raise AudioError(f"{audio.name}: the data end within a sample", "truncated")
    return WavHeader(sample_rate, channels, encoding, data_start, data_size // frame_bytes, frame_bytes)
