import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mooer.common.errors import ConfigError
from mooer.pipeline import speaker_clustering
from mooer.pipeline.speaker_clustering import (
    ClusteringConfig,
    cluster_speakers,
    in_order_of_appearance,
    k_means,
    merge_similar,
    with_neighbours,
)
from mooer.pipeline.speaker_turns import Window


def voices(counts, noise=0.3, seed=0):
    """Embeddings of as many windows of each speaker in turn, and who they are of."""
    generator = np.random.default_rng(seed)
    centres = generator.standard_normal((len(counts), 32))
    speakers = np.repeat(np.arange(len(counts)), counts)
    return centres[speakers] + noise * generator.standard_normal((len(speakers), 32)), speakers


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 60), st.integers(1, 25), st.integers(0, 3), st.sampled_from([20, 40]))
def test_the_number_is_honoured(num_windows, num_speakers, distinct, border):
    """With too few, equal and zero embeddings too, by k-means and by the spectrum."""
    config = ClusteringConfig(spectral_below=border)
    pool = np.random.default_rng(num_windows).standard_normal((num_windows, 8))
    embeddings = pool if distinct == 3 else pool[np.arange(num_windows) % (distinct + 1)] * bool(distinct)
    labels = cluster_speakers(embeddings, num_speakers, config)
    assert len(labels) == num_windows
    assert len(set(labels.tolist())) == min(num_speakers, num_windows)
    assert labels.tolist() == in_order_of_appearance(labels).tolist()


@pytest.mark.parametrize("counts", [[25], [12, 13], [30, 10, 20], [15, 15, 15, 15]])
@pytest.mark.parametrize("border", [2048, 30])
def test_speakers_are_told_apart(counts, border):
    embeddings, speakers = voices(counts)
    config = ClusteringConfig(spectral_below=border)
    assert cluster_speakers(embeddings, len(counts), config).tolist() == speakers.tolist()
    if border == 2048:
        assert cluster_speakers(embeddings, None, config).tolist() == speakers.tolist()


def test_few_windows_are_one_speaker_unless_the_number_is_given():
    embeddings, speakers = voices([9, 10])
    assert set(cluster_speakers(embeddings).tolist()) == {0}
    assert cluster_speakers(embeddings, 2).tolist() == speakers.tolist()


def test_length_does_not_matter_and_the_result_repeats():
    embeddings, speakers = voices([20, 15, 30])
    lengths = np.random.default_rng(1).uniform(0.1, 9.0, (len(embeddings), 1))
    for _ in range(2):
        assert cluster_speakers(embeddings * lengths, 3).tolist() == speakers.tolist()


@pytest.mark.parametrize("number", [None, 1, 3])
def test_nothing(number):
    assert cluster_speakers(np.zeros((0, 4)), number).tolist() == []


def test_no_matrix_of_all_similarities_from_the_border_on(monkeypatch):
    """The number given or not: 40,000 windows would take 12.8 GB."""
    monkeypatch.setattr(speaker_clustering, "laplacian", None)
    generator = np.random.default_rng(0)
    speakers = np.arange(40_000) // 10_000
    embeddings = generator.standard_normal((4, 16))[speakers] + 0.1 * generator.standard_normal((40_000, 16))
    assert cluster_speakers(embeddings, 4).tolist() == speakers.tolist()


def test_similar_centres_merge():
    embeddings = np.array([[1.0, 0.0], [1.0, 0.1], [0.9, 0.7], [-1.0, 0.0]])
    labels = np.array([3, 1, 0, 2])
    assert merge_similar(labels, embeddings, 0.9).tolist() == [0, 0, 1, 2]
    assert merge_similar(labels, embeddings, 0.7).tolist() == [0, 0, 0, 1]
    assert merge_similar(labels, embeddings).tolist() == [0, 0, 0, 0]
    assert merge_similar(labels, embeddings, num_groups=2).tolist() == [0, 0, 0, 1]


def test_k_means_finds_the_least_sum_of_squares():
    """Against every partition of a few points."""
    points = np.random.default_rng(2).standard_normal((8, 2)) + np.arange(8)[:, None] % 2 * 2.5

    def cost(labels):
        return sum(np.square(points[labels == k] - points[labels == k].mean(axis=0)).sum() for k in set(labels.tolist()))

    best = min(cost(np.array([place >> bit & 1 for bit in range(8)])) for place in range(1, 255))
    assert cost(k_means(points, 2, seed=0)) == pytest.approx(best)


def test_without_the_extra_the_error_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "umap", None)
    embeddings, speakers = voices([30, 30])
    config = ClusteringConfig(spectral_below=60)
    with pytest.raises(ConfigError, match=r"60 windows .* pip install 'mooer\[speakers\]', or give the number"):
        cluster_speakers(embeddings, None, config)
    assert cluster_speakers(embeddings, 2, config).tolist() == speakers.tolist()


def test_impossible_settings():
    with pytest.raises(ConfigError, match="at least 1, found 0"):
        cluster_speakers(np.ones((3, 2)), 0)
    wrongs = [{"min_windows": 0}, {"kept_fraction": 0.0}, {"merge_cosine": 1.5}, {"max_speakers": 0}]
    for wrong in (*wrongs, {"count": "eigengap"}, {"max_likeness": 0.0}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            ClusteringConfig(**wrong)


def test_neighbours_are_those_of_the_same_stretch():
    starts = (0.0, 0.75, 1.5, 5.0, 5.75)
    windows = [Window(start, start + 1.5, 0, 24000) for start in starts]
    embeddings = np.diag([2.0, 1.0, 3.0, 1.0, 1.0])
    expected = np.array([[1, 1, 0, 0, 0], [1, 1, 1, 0, 0], [0, 1, 1, 0, 0], [0, 0, 0, 1, 1], [0, 0, 0, 1, 1]], dtype=float)
    np.testing.assert_array_equal(with_neighbours(embeddings, windows, 1), expected)
    expected[0, 2] = expected[2, 0] = 1
    for reach in (2, 9):
        np.testing.assert_array_equal(with_neighbours(embeddings, windows, reach), expected)
    assert with_neighbours(embeddings, windows, 0) is embeddings
    assert with_neighbours(embeddings[:1], windows[:1], 2).shape == (1, 5)


def test_a_negative_reach_is_refused():
    with pytest.raises(ConfigError, match="reach"):
        ClusteringConfig(reach=-1)
