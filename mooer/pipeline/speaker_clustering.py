"""Which embeddings are of one speaker.

Few embeddings are grouped by the spectrum of their similarities (Shi and Malik 2000), whose gaps also tell how many speakers
there are. From 2048 on, where the matrix of all similarities would be too large, k-means does it if the number is known, and
otherwise UMAP with HDBSCAN (McInnes et al. 2018; Campello et al. 2013), which needs the extra `speakers`.

Shapes: N embeddings, D width, K speakers.
"""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from mooer.common.errors import ConfigError
from mooer.pipeline.speaker_likeness import Likeness
from mooer.pipeline.speaker_turns import Window

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]
CountRule = Literal["gap", "likeness"]

# Of UMAP and HDBSCAN.
NEIGHBOURS, COMPONENTS, SMALLEST_CLUSTER = 20, 60, 10
NOISE = -1
STARTS, MAX_ROUNDS = 10, 300
# Numbers of speakers tried beyond the last one whose voices are apart.
PATIENCE = 2
# Eigenvalues below this part of the largest one are zero but for rounding.
ZERO = 1e-9


@dataclass(frozen=True, kw_only=True)
class ClusteringConfig:
    """How embeddings are grouped; the defaults are the published ones."""

    min_windows: int = 20
    """Fewer embeddings are of one speaker where the number is not given."""
    spectral_below: int = 2048
    """Number of embeddings from which on no matrix of all similarities is made."""
    kept_fraction: float = 0.022
    """Part of a row of similarities that is kept, the largest ones."""
    min_kept: int = 6
    """Similarities of a row that are kept in any case."""
    max_speakers: int = 15
    """Most speakers found where the number is not given."""
    count: CountRule = "gap"
    """How the number is found where it is not given and the spectrum is used. gap, as published: by the widest gap of the
    eigenvalues; then merge_cosine joins speakers. likeness: the most speakers of whom no two are as alike as max_likeness; for
    models that know a voice from one window less well than the published one, to which the scale of likeness adapts."""
    max_likeness: float = 0.65
    """From which likeness on (mooer.pipeline.speaker_likeness: 0 for two voices, 1 for parts of one) two speakers are one."""
    merge_cosine: float = 0.78
    """Speakers with more similar centres are one, where the number is not given and it is not found by likeness."""
    reach: int = 0
    """Windows before and after each that its embedding is averaged with, within a stretch of speech. The published 0 suits a
    model that knows a voice in one window; a smaller one needs to hear more of it."""
    seed: int = 0
    """Of all draws."""

    def __post_init__(self) -> None:
        for name in ("min_windows", "spectral_below", "min_kept", "max_speakers"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, found {getattr(self, name)}")
        if self.reach < 0:
            raise ConfigError(f"reach must not be negative, found {self.reach}")
        if self.count not in get_args(CountRule):
            raise ConfigError(f"count is {self.count!r}; allowed: {', '.join(get_args(CountRule))}")
        for name in ("kept_fraction", "merge_cosine", "max_likeness"):
            if not 0.0 < getattr(self, name) <= 1.0:
                raise ConfigError(f"{name} must be above 0 and at most 1, found {getattr(self, name)}")


def check_speakers(num_embeddings: int, num_speakers: int | None, config: ClusteringConfig) -> None:
    """Refuse what cannot be clustered, before the embeddings are computed.

    Raises:
        ConfigError: fewer than one speaker, or the extra `speakers` is needed and not installed.
    """
    if num_speakers is not None and num_speakers < 1:
        raise ConfigError(f"the number of speakers must be at least 1, found {num_speakers}")
    if num_speakers is not None or num_embeddings < max(config.spectral_below, config.min_windows):
        return
    try:
        import sklearn.cluster  # noqa: F401
        import umap  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            f"{num_embeddings} windows of speech without a number of speakers need umap-learn and scikit-learn, which are not "
            "installed: pip install 'mooer[speakers]', or give the number of speakers"
        ) from error


def cluster_speakers(embeddings: Floats, num_speakers: int | None = None, config: ClusteringConfig | None = None) -> Labels:
    """A speaker number from 0 on for each embedding, in order of appearance.

    Args:
        embeddings: [N, D], of any length but zero.
        num_speakers: how many there are, and then there are so many in the result (or N if that is less); None to find out.

    Returns:
        [N]; equal for equal embeddings and settings.

    Raises:
        ConfigError: as `check_speakers`.
    """
    config = config or ClusteringConfig()
    check_speakers(len(embeddings), num_speakers, config)
    embeddings = np.asarray(embeddings, dtype=np.float64)
    if num_speakers is not None:
        return _into(embeddings, min(num_speakers, len(embeddings)), config)
    if len(embeddings) < config.min_windows:
        return np.zeros(len(embeddings), dtype=np.int64)
    directions = _normalised(embeddings)
    if len(embeddings) >= config.spectral_below:
        labels = _by_density(directions, config)
    elif config.count == "likeness":
        return in_order_of_appearance(_unlike_groups(directions, config))
    else:
        spectrum = _spectrum(directions, config)
        labels = spectrum.groups(spectrum.num_speakers(config), config)
    return merge_similar(labels, embeddings, config.merge_cosine)


def with_neighbours(embeddings: Floats, windows: Sequence[Window], reach: int) -> Floats:
    """Each embedding [N, D] averaged with those of up to `reach` windows on either side, as far as windows touch."""
    if not reach:
        return embeddings
    # Equal numbers are of one stretch.
    stretch = np.cumsum([False, *(after.start > before.end for before, after in pairwise(windows))])
    directions = _normalised(np.asarray(embeddings, dtype=np.float64))
    total = directions.copy()
    for offset in range(1, min(reach, len(windows) - 1) + 1):
        together = stretch[offset:] == stretch[:-offset]
        total[offset:][together] += directions[:-offset][together]
        total[:-offset][together] += directions[offset:][together]
    return total


def in_order_of_appearance(labels: Labels) -> Labels:
    """The same groups, numbered from 0 on as they first occur."""
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    return first.argsort().argsort()[inverse]


def _into(embeddings: Floats, num_speakers: int, config: ClusteringConfig) -> Labels:
    """A given number of groups."""
    if num_speakers < 2:
        return np.zeros(len(embeddings), dtype=np.int64)
    directions = _normalised(embeddings)
    if not config.min_windows <= len(embeddings) < config.spectral_below:
        return in_order_of_appearance(k_means(directions, num_speakers, config.seed))
    spectrum = _spectrum(directions, config)
    # Of a graph in more parts than that, the first eigenvectors are any rotation of those of the parts.
    labels = spectrum.groups(max(num_speakers, spectrum.num_parts()), config)
    return merge_similar(labels, embeddings, num_groups=num_speakers)


def _normalised(vectors: Floats) -> Floats:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.finfo(np.float64).tiny)


@dataclass(frozen=True)
class _Spectrum:
    """Of the unnormalised Laplacian."""

    values: Floats
    """[N], growing."""
    vectors: Floats
    """[N, N], one a column."""

    def num_speakers(self, config: ClusteringConfig) -> int:
        """Where the first eigenvalues have their widest gap."""
        return int(np.diff(self.values[: config.max_speakers + 1]).argmax()) + 1

    def num_parts(self) -> int:
        """Parts of the graph that nothing connects."""
        return int((self.values < ZERO * self.values[-1]).sum())

    def groups(self, number: int, config: ClusteringConfig) -> Labels:
        """Groups of the rows by the first eigenvectors."""
        return k_means(self.vectors[:, :number], number, config.seed)


def _spectrum(directions: Floats, config: ClusteringConfig) -> _Spectrum:
    return _Spectrum(*np.linalg.eigh(laplacian(directions, config)))


def laplacian(directions: Floats, config: ClusteringConfig) -> Floats:
    """Of the cosines [N, D] -> [N, N], of which only the largest of each row are kept, made symmetric."""
    cosines = directions @ directions.T
    num_rows = len(cosines)
    num_dropped = min(int((1.0 - config.kept_fraction) * num_rows), num_rows - config.min_kept)
    if num_dropped > 0:
        dropped = np.argpartition(cosines, num_dropped - 1, axis=1)[:, :num_dropped]
        np.put_along_axis(cosines, dropped, 0.0, axis=1)
    weights = (cosines + cosines.T) / 2
    np.fill_diagonal(weights, 0.0)
    return np.diag(np.abs(weights).sum(axis=1)) - weights


def _unlike_groups(directions: Floats, config: ClusteringConfig) -> Labels:
    """The most groups of which no two are too alike; one where there are no such two."""
    spectrum, likeness = _spectrum(directions, config), Likeness(directions, near=2 * config.reach + 1)
    most, labels = 1, np.zeros(len(directions), dtype=np.int64)
    for number in range(2, min(config.max_speakers, len(directions)) + 1):
        groups = spectrum.groups(number, config)
        if likeness.greatest(groups) < config.max_likeness:
            most, labels = number, groups
        elif number == most + PATIENCE:
            break
    return labels


@contextlib.contextmanager
def _threads_kept() -> Iterator[None]:
    """Where UMAP first starts numba's threads, torch gets as many as there are cores, whatever OMP_NUM_THREADS says: what comes
    after would be rounded in another way, and be slow beside other processes."""
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _by_density(directions: Floats, config: ClusteringConfig) -> Labels:
    """Groups of any number; what HDBSCAN calls noise goes to the group with the nearest centre."""
    import umap
    from sklearn.cluster import HDBSCAN

    reducer = umap.UMAP(
        **{"n_neighbors": NEIGHBOURS, "n_components": COMPONENTS, "min_dist": 0.0, "metric": "cosine"},
        **{"random_state": config.seed, "n_jobs": 1},
    )
    clusterer = HDBSCAN(min_samples=SMALLEST_CLUSTER, min_cluster_size=SMALLEST_CLUSTER, allow_single_cluster=True, copy=True)
    with _threads_kept():
        labels = clusterer.fit_predict(reducer.fit_transform(directions.astype(np.float32)))
    if (labels == NOISE).all():
        return np.zeros(len(labels), dtype=np.int64)
    similarity = directions @ _normalised(_centres(directions, labels)).T
    return np.where(labels == NOISE, similarity.argmax(axis=1), labels)


def merge_similar(labels: Labels, embeddings: Floats, cosine: float = -1.0, num_groups: int = 1) -> Labels:
    """Join the two groups with the most similar centres, again and again; the rest is numbered in order of appearance.

    Args:
        cosine: similarity of two centres that are still joined.
        num_groups: groups that are left in any case.
    """
    labels = in_order_of_appearance(labels)
    while labels.max() + 1 > num_groups:
        centres = _normalised(_centres(embeddings, labels))
        similarity = np.where(np.tri(len(centres), dtype=bool), -np.inf, centres @ centres.T)
        first, second = np.unravel_index(similarity.argmax(), similarity.shape)
        if similarity[first, second] < cosine:
            break
        labels = in_order_of_appearance(np.where(labels == second, first, labels))
    return labels


def _centres(vectors: Floats, labels: Labels) -> Floats:
    """The mean of each group from 0 on, [K, D]; negative labels are no group."""
    return np.stack([vectors[labels == label].mean(axis=0) for label in range(labels.max() + 1)])


def k_means(vectors: Floats, num_groups: int, seed: int) -> Labels:
    """The best of several starts (k-means++, Arthur and Vassilvitskii 2007); no group of the vectors [N, D] is empty."""
    generator = np.random.default_rng(seed)
    attempts = [_one_k_means(vectors, _spread(vectors, num_groups, generator)) for _ in range(STARTS)]
    return min(attempts, key=lambda attempt: attempt[0])[1]


def _spread(vectors: Floats, num_groups: int, generator: np.random.Generator) -> Floats:
    """Vectors of which each is drawn by its squared distance from those before."""
    chosen = [int(generator.integers(len(vectors)))]
    nearest = _squared_distances(vectors, vectors[chosen])[:, 0]
    while len(chosen) < num_groups:
        total = nearest.sum()
        weights = nearest / total if total > 0 else None
        chosen.append(int(generator.choice(len(vectors), p=weights)))
        nearest = np.minimum(nearest, _squared_distances(vectors, vectors[chosen[-1:]])[:, 0])
    return vectors[chosen]


def _one_k_means(vectors: Floats, centres: Floats) -> tuple[float, Labels]:
    """Sum of the squared distances, and labels."""
    labels = np.full(len(vectors), NOISE)
    for _ in range(MAX_ROUNDS):
        distances = _squared_distances(vectors, centres)
        found = _without_empty(distances.argmin(axis=1), distances)
        if (found == labels).all():
            break
        labels = found
        centres = _centres(vectors, labels)
    return float(np.square(vectors - centres[labels]).sum()), labels


def _without_empty(labels: Labels, distances: Floats) -> Labels:
    """Give each empty group the vector that lies farthest from its own centre, if it is not alone there."""
    counts = np.bincount(labels, minlength=distances.shape[1])
    for empty in np.flatnonzero(counts == 0):
        own = distances[np.arange(len(labels)), labels]
        farthest = int(np.where(counts[labels] > 1, own, -1.0).argmax())
        counts[labels[farthest]] -= 1
        labels[farthest], counts[empty] = empty, 1
        distances[farthest, empty] = 0.0
    return labels


def _squared_distances(vectors: Floats, centres: Floats) -> Floats:
    """[N, D] and [K, D] -> [N, K]."""
    squares = np.square(vectors).sum(axis=1)[:, None] + np.square(centres).sum(axis=1) - 2 * vectors @ centres.T
    return np.maximum(squares, 0.0)
