"""Low frame rate: m neighbouring frames stacked, every n frames (Paraformer and MooER use 7 and 6: one vector each 60 ms)."""

from torch import Tensor

from mooer.common.lengths import lfr_frames


def apply_lfr(frames: Tensor, m: int = 7, n: int = 6) -> Tensor:
    """Stack frames.

    The first frame is repeated (m - 1) // 2 times on the left, the last one on the right as often as needed.

    Args:
        frames: [T, D], T >= 1.

    Returns:
        [ceil(T / n), m * D].
    """
    before, after = lfr_room(m)
    length, width = frames.shape
    rows = frames.new_empty(before + length + after, width)
    rows[before : before + length] = frames
    return stack_in_place(rows, before, length, m, n).contiguous()


def lfr_room(m: int) -> tuple[int, int]:
    """Rows that `stack_in_place` may overwrite before and after the frames of a recording."""
    before = (m - 1) // 2
    return before, m - 1 - before


def stack_in_place(rows: Tensor, start: int, length: int, m: int, n: int) -> Tensor:
    """The stacked frames [ceil(length / n), m * D] of the recording that starts at row `start`, as an overlapping view.

    Args:
        rows: [R, D] contiguous, with the room of `lfr_room` around the recording, which the repeated frames are written to.
    """
    before, _ = lfr_room(m)
    top, end = start - before, start + length
    stacked = lfr_frames(length, n)
    bottom = top + (stacked - 1) * n + m
    rows[top:start] = rows[start]
    if bottom > end:
        rows[end:bottom] = rows[end - 1]
    width = rows.size(1)
    return rows.as_strided((stacked, m * width), (n * width, 1), rows.storage_offset() + top * width)
