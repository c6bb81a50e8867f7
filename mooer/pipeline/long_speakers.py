"""Who speaks when in a recording of any length, from the embeddings that were made on the way.

Similarities are compared among a bounded number of windows, evenly spread over the recording; each of the others belongs to
the speaker whose centre it is most similar to. Up to the bounds the result is that of the whole.

Shapes: N embeddings, D width, K speakers.
"""

from collections.abc import Sequence

import numpy as np

from mooer.pipeline.speaker_clustering import (
    ClusteringConfig,
    Floats,
    Labels,
    cluster_speakers,
    in_order_of_appearance,
    with_neighbours,
)
from mooer.pipeline.speaker_turns import Turn, speaker_turns, windows_of
from mooer.pipeline.transcription import DecodedSegment

# Windows that are clustered where the number of speakers is given: k-means, whose time is linear.
MAX_KNOWN = 20_000


def turns_of(
    segments: Sequence[DecodedSegment], num_speakers: int | None = None, config: ClusteringConfig | None = None
) -> list[Turn]:
    """The turns of speakers in time order.

    Args:
        segments: in time order, each with the embeddings of its windows.
        num_speakers: how many there are; None to find out.
    """
    windows = [window for segment in segments for window in windows_of(segment.start / 1000, segment.num_samples)]
    if not windows:
        return []
    embeddings = np.concatenate([segment.embeddings for segment in segments if segment.embeddings is not None])
    config = config or ClusteringConfig()
    labels = cluster_many(with_neighbours(embeddings, windows, config.reach), num_speakers, config)
    return speaker_turns(windows, labels.tolist())


def cluster_many(embeddings: np.ndarray, num_speakers: int | None, config: ClusteringConfig) -> Labels:
    """A speaker number from 0 on for each embedding [N, D], in order of appearance: [N]."""
    bound = MAX_KNOWN if num_speakers is not None else config.spectral_below - 1
    if len(embeddings) <= bound:
        return cluster_speakers(embeddings, num_speakers, config)
    chosen = np.linspace(0, len(embeddings) - 1, bound).round().astype(np.int64)
    known = cluster_speakers(embeddings[chosen], num_speakers, config)
    labels = _nearest(embeddings, _centres(embeddings[chosen], known))
    labels[chosen] = known
    return in_order_of_appearance(labels)


def _centres(embeddings: np.ndarray, labels: Labels) -> Floats:
    """The mean of each group, of length one: [K, D]."""
    centres = np.stack([embeddings[labels == label].mean(axis=0, dtype=np.float64) for label in range(labels.max() + 1)])
    return centres / np.maximum(np.linalg.norm(centres, axis=1, keepdims=True), 1e-12)


def _nearest(embeddings: np.ndarray, centres: Floats, block: int = 4096) -> Labels:
    """The most similar centre of each embedding. A centre has no part in its length, so neither need the embedding."""
    parts = [embeddings[start : start + block] @ centres.T for start in range(0, len(embeddings), block)]
    return np.concatenate([part.argmax(axis=1) for part in parts])
