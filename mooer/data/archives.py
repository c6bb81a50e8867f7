"""Kaldi feature archives: matrices in ark files, named `ARK:OFFSET` (as in feats.scp), read and written through kaldiio."""

import struct
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mooer.common.errors import AudioError
from mooer.common.files import atomic_write
from mooer.data.open_files import OpenFiles

# kaldiio reads pickles and whole audio files too, and runs commands; only Kaldi's binary matrices are let through.
_BINARY_MARK = b"\0B"
_MATRIX_MARKS = (b"FM ", b"DM ", b"CM ", b"CM2", b"CM3")


# What comes before the values of a float32 matrix: marks, then the sizes of two int32 and those themselves.
_FLOAT_HEADER = struct.Struct("<5sbibi")
_FLOAT_MARKS = (_BINARY_MARK + b"FM ", 4, 4)


def read_matrix(reference: str, files: OpenFiles | None = None) -> Tensor:
    """The matrix [T, D] float32 at `ARK:OFFSET`, the offset being that of its binary mark.

    Args:
        files: keeps the archives open for the next matrix.

    Raises:
        AudioError: missing file, no Kaldi binary matrix there (unreadable), NaN or infinity in it (not_finite).
    """
    path, separator, offset = reference.rpartition(":")
    path, start = (path, int(offset)) if separator and offset.isdigit() else (reference, 0)
    try:
        matrix = _read(path, start, files or OpenFiles())
    except OSError as error:
        reason = "missing" if isinstance(error, FileNotFoundError) else "unreadable"
        raise AudioError(f"feature archive {path} cannot be read: {error.strerror}", reason) from error
    if matrix.ndim != 2:
        raise AudioError(f"{reference}: a matrix is needed, found {matrix.ndim} dimensions", "unreadable")
    if not np.isfinite(matrix).all():
        raise AudioError(f"{reference}: holds values that are not finite", "not_finite")
    return torch.from_numpy(matrix)


def _read(path: str, start: int, files: OpenFiles) -> np.ndarray:
    """A matrix as float32 that may be written to. Raises OSError or AudioError."""
    header = files.read(path, start, _FLOAT_HEADER.size)
    if header is not None:
        marks, row_size, rows, column_size, columns = _FLOAT_HEADER.unpack(header)
        if (marks, row_size, column_size) == _FLOAT_MARKS and min(rows, columns) >= 0:
            data = files.read(path, start + len(header), 4 * rows * columns)
            if data is None:
                raise AudioError(f"{path}:{start}: the matrix is damaged: the archive ends inside of it", "truncated")
            return np.frombuffer(bytearray(data), dtype="<f4").reshape(rows, columns)
    return _read_other(path, start)


def _read_other(path: str, start: int) -> np.ndarray:
    """The same for every other kind of matrix, such as compressed ones."""
    from kaldiio.matio import read_kaldi

    with open(path, "rb") as stream:
        stream.seek(start)
        mark = stream.read(5)
        if mark[:2] != _BINARY_MARK or mark[2:] not in _MATRIX_MARKS:
            raise AudioError(f"{path}:{start}: no Kaldi binary matrix begins there", "unreadable")
        stream.seek(start)
        try:
            return np.array(read_kaldi(stream), dtype=np.float32)
        except (ValueError, AssertionError, OSError, OverflowError, MemoryError, struct.error) as error:
            raise AudioError(f"{path}:{start}: the matrix is damaged: {error}", "truncated") from error


def write_archive(path: str | Path, matrices: Iterable[tuple[str, np.ndarray]]) -> dict[str, int]:
    """Write float32 matrices to one ark atomically; returns the byte offset of each by id."""
    import kaldiio

    offsets = {}
    with atomic_write(path, "wb") as stream:
        for identity, matrix in matrices:
            offsets[identity] = stream.tell() + len(identity.encode("utf-8")) + 1
            kaldiio.save_ark(stream, {identity: matrix.astype(np.float32, copy=False)})
    return offsets
