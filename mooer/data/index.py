"""All utterances of a data set in little memory: one block of JSON lines and an array for each number that planning needs.

A million utterances take some 250 MB, and worker processes share them with their parent.
"""

from collections.abc import Iterable

import numpy as np

from mooer.common.errors import DataError
from mooer.data.utterance import Utterance, from_json, to_json


class UtteranceIndex:
    """A read-only sequence of utterances with known lengths."""

    def __init__(self, utterances: Iterable[Utterance]) -> None:
        """Take over the utterances in their order. Raises DataError for one whose `num_samples` is None."""
        block = bytearray()
        ends, frames, groups = [0], [], []
        group, shard = -1, None
        for utterance in utterances:
            if utterance.num_frames is None:
                raise DataError(f"the length of utterance {utterance.id!r} is not known")
            member = utterance.audio is not None and utterance.audio.offset is not None
            if not member or utterance.audio.path != shard:
                group += 1
            shard = utterance.audio.path if member else None
            block += to_json(utterance).encode("utf-8")
            ends.append(len(block))
            frames.append(utterance.num_frames)
            groups.append(group)
        self._block = bytes(block)
        self._ends = np.array(ends, dtype=np.int64)
        self.num_frames = np.array(frames, dtype=np.int64)
        """[N] frames of 10 ms."""
        self.groups = np.array(groups, dtype=np.int64)
        """[N] number of the shard that holds the utterance; an utterance of a raw list is a shard of its own."""

    def __len__(self) -> int:
        return len(self.num_frames)

    def __getitem__(self, position: int) -> Utterance:
        line = self._block[self._ends[position] : self._ends[position + 1]]
        return from_json(line.decode("utf-8"), None, f"utterance {position}")
