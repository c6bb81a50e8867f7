"""Which utterances make which batch: pure integer arithmetic from (seed, epoch), the same on every rank and machine.

Nothing here reads data. Shards are put in a new order each epoch, utterances move inside a window of `shuffle_buffer`
places (so that a shard is read while it is near), and batches are filled from buckets of similar length under a budget of
padded frames. Batch k belongs to rank k % world size; where the last ones do not reach for all ranks, the others get None.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from mooer.common.seed import derived_seed


@dataclass(frozen=True, kw_only=True)
class BatchRules:
    """How batches are made."""

    max_batch_frames: int
    """Most frames of a batch, padding included; an utterance longer than that is a batch of its own."""
    max_batch_size: int
    """Most utterances of a batch."""
    num_buckets: int
    """Ranges of length that batches are filled from."""
    shuffle_buffer: int
    """Places that an utterance may move from its place in the order of the shards."""


class EpochPlan:
    """The batches of one epoch, each an array of positions in the index."""

    def __init__(self, batches: list[list[int]]) -> None:
        self._order = np.fromiter((position for batch in batches for position in batch), dtype=np.int64)
        self._ends = np.cumsum([0] + [len(batch) for batch in batches])

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, number: int) -> list[int]:
        return self._order[self._ends[number] : self._ends[number + 1]].tolist()

    def steps(self, world_size: int) -> int:
        """How many batches every rank gets, empty ones included."""
        return -(-len(self) // world_size)

    def of_rank(self, rank: int, world_size: int, skip: int = 0) -> Iterator[list[int] | None]:
        """The batches of a rank after its first `skip`; None evens out the ranks at the end."""
        for step in range(skip, self.steps(world_size)):
            number = step * world_size + rank
            yield self[number] if number < len(self) else None


def plan_epoch(
    num_frames: np.ndarray, groups: np.ndarray, rules: BatchRules, seed: int, epoch: int, shuffle: bool = True
) -> EpochPlan:
    """The plan of an epoch; every position occurs in it exactly once.

    Args:
        num_frames: [N] frames of each utterance.
        groups: [N] the shard of each utterance.
        shuffle: False keeps the order of the list but for the buckets, in every epoch alike.
    """
    order = np.arange(len(num_frames))
    if shuffle:
        order = _shuffled_order(groups, rules.shuffle_buffer, seed, epoch)
    batches = _fill_batches(order, num_frames, rules)
    if shuffle and batches:
        window = max(1, rules.shuffle_buffer * len(batches) // len(num_frames))
        places = _moved_places(len(batches), window, derived_seed(seed, epoch, "batches"))
        batches = [batches[place] for place in places.tolist()]
    return EpochPlan(batches)


def _shuffled_order(groups: np.ndarray, window: int, seed: int, epoch: int) -> np.ndarray:
    group_keys = scrambled(groups, derived_seed(seed, epoch, "shards"))
    # The group itself is the second key: two shards with equal scrambled keys must not be mixed.
    by_group = np.lexsort((np.arange(len(groups)), groups, group_keys))
    return by_group[_moved_places(len(groups), window, derived_seed(seed, epoch, "utterances"))]


def _moved_places(count: int, window: int, seed: int) -> np.ndarray:
    """A permutation of `count` places in which none moves ahead or back by `window` or more."""
    places = np.arange(count)
    if window <= 1:
        return places
    jumps = (scrambled(places, seed) % np.uint64(window)).astype(np.int64)
    return np.lexsort((scrambled(places, seed ^ 1), places + jumps))


def scrambled(values: np.ndarray, seed: int) -> np.ndarray:
    """Each integer with the seed mixed to an even-looking 64-bit number (splitmix64), alike on every platform and release."""
    with np.errstate(over="ignore"):
        mixed = (values.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(seed)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return mixed ^ (mixed >> np.uint64(31))


def _bucket_of(num_frames: np.ndarray, num_buckets: int) -> np.ndarray:
    """[N] the bucket of each utterance; the buckets hold about equally many."""
    ordered = np.sort(num_frames)
    edges = [ordered[len(ordered) * bucket // num_buckets] for bucket in range(1, num_buckets)]
    return np.searchsorted(np.unique(edges), num_frames, side="right")


def _fill_batches(order: np.ndarray, num_frames: np.ndarray, rules: BatchRules) -> list[list[int]]:
    if not len(order):
        return []
    buckets = _bucket_of(num_frames, rules.num_buckets)[order].tolist()
    frames = num_frames[order].tolist()
    open_batches: dict[int, list[int]] = {}
    longest: dict[int, int] = {}
    full = []
    for position, bucket, length in zip(order.tolist(), buckets, frames, strict=True):
        batch = open_batches.setdefault(bucket, [])
        padded = max(longest.get(bucket, 0), length)
        if batch and (padded * (len(batch) + 1) > rules.max_batch_frames or len(batch) >= rules.max_batch_size):
            full.append(batch)
            batch = open_batches[bucket] = []
            padded = length
        batch.append(position)
        longest[bucket] = padded
    return full + [open_batches[bucket] for bucket in sorted(open_batches)]
