import numpy as np
import pytest

from mooer.pipeline.speaker_clustering import ClusteringConfig, cluster_speakers
from mooer.pipeline.speaker_likeness import Likeness


def voices(counts, noise, seed=0, turn=6):
    """Directions of windows of speakers who take turns of so many windows, and who they are of."""
    generator = np.random.default_rng(seed)
    centres = np.linalg.qr(generator.standard_normal((64, 64)))[0][: len(counts)]
    turns = np.concatenate([np.repeat(speaker, count // turn) for speaker, count in enumerate(counts)])
    speakers = np.repeat(generator.permutation(turns), turn)
    vectors = centres[speakers] + noise * generator.standard_normal((len(speakers), 64)) / 8
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True), speakers


@pytest.mark.parametrize("noise", [0.1, 1.0, 2.0])
def test_one_for_parts_of_a_voice_and_zero_for_two_whatever_the_noise(noise):
    directions, speakers = voices([1200, 1200], noise)
    likeness = Likeness(directions, near=1)
    assert likeness.greatest(speakers) == pytest.approx(0.0, abs=0.05)
    halves = np.where(speakers == 1, 2, np.arange(len(speakers)) // 2 % 2)
    between = likeness.between(halves)
    assert between[0, 1] == pytest.approx(1.0, abs=0.05)
    assert between[0, 2] == pytest.approx(0.0, abs=0.05)
    assert likeness.greatest(halves) == between[0, 1]
    centres = np.stack([directions[halves == group].mean(axis=0) for group in (0, 1)])
    assert noise < 2.0 or centres[0] @ centres[1] < 0.3  # which is what the plain mean of cosines says of one voice


def test_windows_that_share_audio_do_not_count():
    """By the definition, pair by pair."""
    generator = np.random.default_rng(1)
    directions, labels = generator.standard_normal((12, 4)), np.arange(12) % 3
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    directions[:, 0] += 1.0

    def mean(first, second):
        pairs = [(i, j) for i in range(12) for j in range(12) if labels[i] == first and labels[j] == second and abs(i - j) > 4]
        return np.mean([directions[i] @ directions[j] for i, j in pairs])

    expected = [[mean(a, b) / np.sqrt(mean(a, a) * mean(b, b)) for b in range(3)] for a in range(3)]
    np.testing.assert_allclose(Likeness(directions, near=4).between(labels), expected)


def test_groups_without_windows_to_compare():
    directions = np.eye(3)[[0, 0, 1, 2]]
    assert np.isfinite(Likeness(directions, near=9).between(np.array([0, 0, 1, 2]))).all()


@pytest.mark.parametrize("noise", [0.3, 1.0, 1.5])
@pytest.mark.parametrize("counts", [[60], [60, 36], [36, 60, 30], [48, 36, 36, 60]])
def test_the_number_of_speakers(counts, noise):
    directions, speakers = voices(counts, noise, seed=len(counts))
    labels = cluster_speakers(directions, None, ClusteringConfig(count="likeness", min_kept=16))
    assert labels.max() + 1 == len(counts)
    pairs = set(zip(labels.tolist(), speakers.tolist(), strict=True))
    assert len(pairs) == len(counts) or noise > 1.0


def test_alike_voices_are_one_by_the_threshold():
    """Two pairs of alike voices: the number of speakers is that of pairs or of voices."""
    generator = np.random.default_rng(3)
    centres = np.linalg.qr(generator.standard_normal((64, 64)))[0][:4]
    centres[1] += 0.7 * centres[0]
    centres[3] += 0.7 * centres[2]
    speakers = np.repeat(generator.permutation(np.repeat(np.arange(4), 8)), 5)
    vectors = centres[speakers] + 0.4 * generator.standard_normal((len(speakers), 64)) / 8
    for threshold, number in ((0.4, 2), (0.9, 4)):
        config = ClusteringConfig(count="likeness", max_likeness=threshold, min_kept=16)
        assert cluster_speakers(vectors, None, config).max() + 1 == number


def test_the_most_speakers_that_may_be_found():
    directions, _ = voices([36, 36, 36, 36], 0.3)
    config = ClusteringConfig(count="likeness", max_speakers=3, max_likeness=1.0, min_kept=16)
    assert cluster_speakers(directions, None, config).max() + 1 <= 3
