"""Global mean and variance normalisation: the am.mvn file (Kaldi nnet text) and its estimation."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mooer.common.errors import DataError
from mooer.common.files import atomic_write, require_file

MAX_FILE_BYTES = 16 << 20
VARIANCE_FLOOR = 1e-10


@dataclasses.dataclass(frozen=True, eq=False)
class Cmvn:
    """Normalises a vector x of D values to (x + shift) * scale."""

    shift: Tensor
    """[D] float32: minus the mean."""
    scale: Tensor
    """[D] float32: one over the standard deviation."""

    def __post_init__(self) -> None:
        if self.shift.dim() != 1 or self.shift.shape != self.scale.shape:
            raise DataError(f"CMVN needs shift and scale of equal length, found {self.shift.shape} and {self.scale.shape}")

    @property
    def dim(self) -> int:
        """The number of values D."""
        return self.shift.numel()

    def apply_(self, frames: Tensor) -> Tensor:
        """Normalise frames [..., D] in place and return them."""
        return frames.add_(self.shift).mul_(self.scale)


def read_cmvn(path: str | Path) -> Cmvn:
    """Read an am.mvn file: AddShift then Rescale, each vector inside the brackets after its LearnRateCoef.

    Raises:
        PathError: no such file.
        DataError: anything else than these two components of one size with finite numbers; the message names the file.
    """
    path = require_file(path, "CMVN file")
    if path.stat().st_size > MAX_FILE_BYTES:
        raise DataError(f"CMVN file {path} is larger than {MAX_FILE_BYTES} bytes; an am.mvn is Kaldi nnet text")
    try:
        tokens = _Tokens(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise DataError(f"CMVN file {path} is not text; an am.mvn is Kaldi nnet text") from error
    try:
        return _parse(tokens)
    except ValueError as error:
        raise DataError(f"CMVN file {path}: {error}") from error


def write_cmvn(path: str | Path, cmvn: Cmvn) -> None:
    """Write an am.mvn that `read_cmvn` reads back to the same float32 values."""
    size = f"{cmvn.dim} {cmvn.dim}"
    lines = ["<Nnet>", f"<Splice> {size}", "[ 0 ]"]
    for name, values in (("AddShift", cmvn.shift), ("Rescale", cmvn.scale)):
        numbers = " ".join(str(value) for value in values.to(torch.float32).numpy())
        lines += [f"<{name}> {size}", f"<LearnRateCoef> 0 [ {numbers} ]"]
    with atomic_write(path) as stream:
        stream.write("\n".join([*lines, "</Nnet>", ""]))


class _Tokens:
    """The words of a Kaldi text file, taken one by one; ValueError says what was expected and what was found."""

    def __init__(self, text: str) -> None:
        self._words = text.split()
        self._next = 0

    def peek(self) -> str:
        return self._words[self._next] if self._next < len(self._words) else "the end of the file"

    def take(self) -> str:
        word = self.peek()
        self._next += 1
        return word

    def expect(self, wanted: str) -> None:
        found = self.take()
        if found != wanted:
            raise ValueError(f"expected {wanted!r}, found {found[:40]!r}")

    def at_end(self) -> bool:
        return self._next >= len(self._words)

    def vector(self) -> list[str]:
        self.expect("[")
        try:
            end = self._words.index("]", self._next)
        except ValueError:
            raise ValueError("a '[' is never closed") from None
        values = self._words[self._next : end]
        self._next = end + 1
        return values


def _parse(tokens: _Tokens) -> Cmvn:
    tokens.expect("<Nnet>")
    if tokens.peek() == "<Splice>":
        tokens.take()
        _take_sizes(tokens)
        if tokens.vector() != ["0"]:
            raise ValueError("<Splice> must be [ 0 ]: splicing is done by LFR")
    shift = _component(tokens, "<AddShift>")
    scale = _component(tokens, "<Rescale>")
    tokens.expect("</Nnet>")
    if not tokens.at_end():
        raise ValueError("there is text after </Nnet>")
    if len(shift) != len(scale):
        raise ValueError(f"<AddShift> has {len(shift)} values but <Rescale> {len(scale)}")
    return Cmvn(torch.tensor(shift), torch.tensor(scale))


def _component(tokens: _Tokens, name: str) -> list[float]:
    tokens.expect(name)
    size = _take_sizes(tokens)
    tokens.expect("<LearnRateCoef>")
    float(tokens.take())
    values = [float(word) for word in tokens.vector()]
    if len(values) != size:
        raise ValueError(f"{name} says {size} values but has {len(values)}")
    if not all(map(math.isfinite, values)):
        raise ValueError(f"{name} holds a value that is not finite")
    return values


def _take_sizes(tokens: _Tokens) -> int:
    output, given = int(tokens.take()), int(tokens.take())
    if output != given or output < 1:
        raise ValueError(f"sizes {output} and {given} must be equal and positive")
    return output


class CmvnAccumulator:
    """Sums for a global CMVN over fbank frames; the sums of several processes can be merged."""

    def __init__(self, num_mel_bins: int = 80) -> None:
        self.num_frames = 0
        self.sums = np.zeros(num_mel_bins)
        self.squares = np.zeros(num_mel_bins)

    def accumulate(self, frames: Tensor) -> None:
        """Add fbank frames [T, num_mel_bins], before LFR."""
        values = frames.numpy().astype(np.float64)
        self.num_frames += len(values)
        self.sums += values.sum(0)
        self.squares += np.square(values).sum(0)

    def merge(self, other: "CmvnAccumulator") -> None:
        """Add the sums of another accumulator."""
        self.num_frames += other.num_frames
        self.sums += other.sums
        self.squares += other.squares

    def finish(self, lfr_m: int = 7) -> Cmvn:
        """The normalisation of frames stacked `lfr_m` times: minus the means and one over the standard deviations, repeated.

        Raises:
            DataError: no frame was accumulated.
        """
        if self.num_frames == 0:
            raise DataError("CMVN cannot be computed: there was not a single frame")
        mean = self.sums / self.num_frames
        variance = np.maximum(self.squares / self.num_frames - np.square(mean), VARIANCE_FLOOR)
        shift, scale = (np.tile(values, lfr_m).astype(np.float32) for values in (-mean, 1.0 / np.sqrt(variance)))
        return Cmvn(torch.from_numpy(shift), torch.from_numpy(scale))
