"""Global mean and variance normalisation: its files (am.mvn, Kaldi nnet text; WeNet's sums, JSON) and its estimation."""

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mooer.common.errors import DataError
from mooer.common.files import atomic_write, require_file

MAX_FILE_BYTES = 16 << 20
VARIANCE_FLOOR = 1e-10
SUMS_KEYS = ("mean_stat", "var_stat", "frame_num")
# Sums of float32 may leave a constant bin with a variance that is negative by so much of the mean's square.
ROUNDING = 1e-3


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
    """Read a CMVN file in either form.

    An am.mvn has AddShift then Rescale, each vector inside the brackets after its LearnRateCoef. A JSON object has the sums of
    the values (mean_stat) and of their squares (var_stat) over all frames, and how many frames those are (frame_num).

    Raises:
        PathError: no such file.
        DataError: anything else than one of these with vectors of one size and finite numbers; the message names the file.
    """
    path = require_file(path, "CMVN file")
    forms = "an am.mvn is Kaldi nnet text, a global_cmvn is JSON"
    if path.stat().st_size > MAX_FILE_BYTES:
        raise DataError(f"CMVN file {path} is larger than {MAX_FILE_BYTES} bytes; {forms}")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"CMVN file {path} is not text; {forms}") from error
    try:
        return _parse_sums(text) if text.lstrip().startswith("{") else _parse(_Tokens(text))
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


def write_cmvn_sums(path: str | Path, sums: "CmvnAccumulator") -> None:
    """Write the sums as the JSON that WeNet and 3M-ASR read, and `read_cmvn` too."""
    values = (sums.sums.tolist(), sums.squares.tolist(), sums.num_frames)
    with atomic_write(path) as stream:
        stream.write(json.dumps(dict(zip(SUMS_KEYS, values, strict=True))) + "\n")


def _parse_sums(text: str) -> Cmvn:
    record = json.loads(text)
    if sorted(record) != sorted(SUMS_KEYS):
        raise ValueError(f"must have the keys {', '.join(SUMS_KEYS)}; found {', '.join(record) or 'none'}")
    sums, squares = (_numbers(record[name], name) for name in SUMS_KEYS[:2])
    if len(sums) != len(squares):
        raise ValueError(f"mean_stat has {len(sums)} values but var_stat {len(squares)}")
    count = record["frame_num"]
    if type(count) is not int or count < 1:
        raise ValueError(f"frame_num must be a whole number from 1 up, found {count!r}")
    if (squares * count < np.square(sums) * (1.0 - ROUNDING)).any():
        raise ValueError("var_stat is too small for mean_stat and frame_num: a variance would be negative")
    total = CmvnAccumulator(len(sums))
    total.num_frames, total.sums, total.squares = count, sums, squares
    return total.finish(lfr_m=1)


def _numbers(values: object, name: str) -> np.ndarray:
    is_list = isinstance(values, list) and all(type(value) in (int, float) for value in values)
    if not is_list or not values or not all(map(math.isfinite, values)):
        raise ValueError(f"{name} must be a list of finite numbers, not empty")
    return np.array(values, dtype=np.float64)


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
