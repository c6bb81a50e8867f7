"""Outputs of a frozen encoder kept on disk, so that only the first epoch runs it.

An output is found by the frames themselves: whatever changes them (another front end, CMVN, recording) is another entry, so
what is found is right by construction. A folder holds one pair of files for each process that wrote to it: NAME.bin with the
outputs, NAME.idx with a record of fixed size for each. Both only grow; a record is written after its output and holds
its checksum, so that a killed process leaves nothing that could be taken for an output.

Shapes: B batch, T frames, U frames of the encoder, D its width.
"""

import hashlib
import os
import struct
import zlib
from pathlib import Path
from typing import BinaryIO, NamedTuple

import torch
from torch import Tensor, nn

from mooer.common.errors import ConfigError

# Key, first byte, U, D, code of the dtype, CRC-32 of the bytes.
_RECORD = struct.Struct("<16sQIIII")
_KEY_SIZE = 16
_DTYPES = (torch.float32, torch.bfloat16, torch.float16)


class _Place(NamedTuple):
    """Where an output is."""

    path: Path
    start: int
    shape: tuple[int, int]
    dtype: torch.dtype
    crc: int


class EncoderCache:
    """The outputs of one encoder; several processes may share the folder.

    Args:
        folder: is made if it is not there; encoders with other weights get folders of their own in it.

    Raises:
        ConfigError: `folder` is a file.
    """

    def __init__(self, folder: str | Path, encoder: nn.Module) -> None:
        self._folder = Path(folder) / _fingerprint(encoder)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"the encoder's outputs cannot be kept in {folder}: {error}") from error
        self._places: dict[bytes, _Place] = {}
        self._read_until: dict[Path, int] = {}
        self._written: tuple[BinaryIO, BinaryIO] | None = None
        self.hits, self.misses = 0, 0
        self._read_records()

    def run(self, encoder: nn.Module, frames: Tensor, frame_lengths: Tensor) -> tuple[Tensor, Tensor]:
        """What `encoder(frames, frame_lengths)` returns, read from disk for the utterances that are there.

        Args:
            frames: [B, T, features], padded on the right.
            frame_lengths: [B].

        Returns:
            [B, U, D], zeros in the padding, and [B].
        """
        precision = _precision(frames.device.type)
        items = zip(frames.cpu(), frame_lengths.tolist(), strict=True)
        keys = [_key(item[:length], precision) for item, length in items]
        if any(key not in self._places for key in keys):
            self._read_records()
        found = [self._read(key) for key in keys]
        missing = [row for row, output in enumerate(found) if output is None]
        self.hits, self.misses = self.hits + len(keys) - len(missing), self.misses + len(missing)
        if missing:
            longest = int(frame_lengths[missing].max())
            encoded, lengths = encoder(frames[missing][:, :longest], frame_lengths[missing])
            for row, output, length in zip(missing, encoded, lengths.tolist(), strict=True):
                found[row] = output[:length]
                self._write(keys[row], output[:length])
        lengths = torch.tensor([len(output) for output in found], device=frame_lengths.device)
        return nn.utils.rnn.pad_sequence([output.to(frames.device) for output in found], batch_first=True), lengths

    def _read(self, key: bytes) -> Tensor | None:
        place = self._places.get(key)
        if place is None:
            return None
        size = place.shape[0] * place.shape[1] * place.dtype.itemsize
        with place.path.open("rb") as stream:
            stream.seek(place.start)
            data = bytearray(stream.read(size))
        if len(data) != size or zlib.crc32(data) != place.crc:
            return None
        return torch.frombuffer(data, dtype=place.dtype).view(place.shape) if data else torch.zeros(place.shape)

    def _write(self, key: bytes, output: Tensor) -> None:
        data = output.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes()
        outputs, records = self._written = self._written or self._open_own()
        start = outputs.seek(0, os.SEEK_END)
        outputs.write(data)
        outputs.flush()
        place = _Place(Path(outputs.name), start, tuple(output.shape), output.dtype, zlib.crc32(data))
        records.write(_RECORD.pack(key, start, *place.shape, _DTYPES.index(place.dtype), place.crc))
        records.flush()
        self._places[key] = place

    def _open_own(self) -> tuple[BinaryIO, BinaryIO]:
        """Files that no other process writes."""
        number = 0
        while True:
            try:
                outputs = (self._folder / f"{number:05d}.bin").open("xb")
            except FileExistsError:
                number += 1
                continue
            return outputs, Path(outputs.name).with_suffix(".idx").open("xb")

    def _read_records(self) -> None:
        """Take in what was written since the last time, by whomever."""
        for path in sorted(self._folder.glob("*.idx")):
            with path.open("rb") as stream:
                stream.seek(self._read_until.get(path, 0))
                data = stream.read()
            whole = len(data) - len(data) % _RECORD.size
            self._read_until[path] = self._read_until.get(path, 0) + whole
            for key, start, length, width, code, crc in _RECORD.iter_unpack(data[:whole]):
                self._places[key] = _Place(path.with_suffix(".bin"), start, (length, width), _DTYPES[code], crc)


def _key(frames: Tensor, precision: str) -> bytes:
    digest = hashlib.blake2b(f"{precision} {frames.dtype} {tuple(frames.shape)}".encode(), digest_size=_KEY_SIZE)
    digest.update(frames.contiguous().view(torch.uint8).numpy())
    return digest.digest()


def _precision(device: str) -> str:
    """What the encoder computes in, besides its weights."""
    return str(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else "as weights"


def _fingerprint(encoder: nn.Module) -> str:
    """A digest of the encoder's kind and weights."""
    digest = hashlib.sha256(type(encoder).__name__.encode())
    for name, value in encoder.state_dict().items():
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()[:16]
