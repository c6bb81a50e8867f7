"""Kaldi feature archives: matrices in ark files, named `ARK:OFFSET` (as in feats.scp), read and written through kaldiio."""

import struct
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mooer.common.errors import AudioError
from mooer.common.files import atomic_write

# kaldiio reads pickles and whole audio files too, and runs commands; only Kaldi's binary matrices are let through.
_BINARY_MARK = b"\0B"
_MATRIX_MARKS = (b"FM ", b"DM ", b"CM ", b"CM2", b"CM3")


def read_matrix(reference: str) -> Tensor:
    """The matrix [T, D] float32 at `ARK:OFFSET`, the offset being that of its binary mark.

    Raises:
        AudioError: missing file, no Kaldi binary matrix there (unreadable), NaN or infinity in it (not_finite).
    """
    from kaldiio.matio import read_kaldi

    path, separator, offset = reference.rpartition(":")
    if not separator or not offset.isdigit():
        path, offset = reference, "0"
    if not Path(path).is_file():
        raise AudioError(f"feature archive {path} does not exist", "missing")
    with open(path, "rb") as stream:
        stream.seek(int(offset))
        mark = stream.read(5)
        if mark[:2] != _BINARY_MARK or mark[2:] not in _MATRIX_MARKS:
            raise AudioError(f"{reference}: no Kaldi binary matrix begins there", "unreadable")
        stream.seek(int(offset))
        try:
            matrix = read_kaldi(stream)
        except (ValueError, AssertionError, OSError, OverflowError, MemoryError, struct.error) as error:
            raise AudioError(f"{reference}: the matrix is damaged: {error}", "truncated") from error
    if matrix.ndim != 2:
        raise AudioError(f"{reference}: a matrix is needed, found {matrix.ndim} dimensions", "unreadable")
    if not np.isfinite(matrix).all():
        raise AudioError(f"{reference}: holds values that are not finite", "not_finite")
    return torch.from_numpy(np.array(matrix, dtype=np.float32))


def write_archive(path: str | Path, matrices: Iterable[tuple[str, np.ndarray]]) -> dict[str, int]:
    """Write float32 matrices to one ark atomically; returns the byte offset of each by id."""
    import kaldiio

    offsets = {}
    with atomic_write(path, "wb") as stream:
        for identity, matrix in matrices:
            offsets[identity] = stream.tell() + len(identity.encode("utf-8")) + 1
            kaldiio.save_ark(stream, {identity: matrix.astype(np.float32, copy=False)})
    return offsets
