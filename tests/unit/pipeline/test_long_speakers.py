import numpy as np
import pytest

from mooer.pipeline.long_result import with_speakers
from mooer.pipeline.long_speakers import cluster_many, turns_of
from mooer.pipeline.speaker_clustering import ClusteringConfig, cluster_speakers
from mooer.pipeline.speaker_turns import Turn, speaker_of
from mooer.pipeline.transcription import DecodedSegment, Sentence

CONFIG = ClusteringConfig()


def voices(count, num_speakers=3, seed=0):
    """Embeddings of speakers who take turns, and whose they are."""
    random = np.random.default_rng(seed)
    centres = random.normal(size=(num_speakers, 32))
    owners = np.arange(count) // 7 % num_speakers
    return (centres[owners] + 0.1 * random.normal(size=(count, 32))).astype(np.float32), owners


@pytest.mark.parametrize("num_speakers", [None, 3])
def test_few_windows_are_clustered_as_ever(num_speakers):
    embeddings, _ = voices(200)
    assert (cluster_many(embeddings, num_speakers, CONFIG) == cluster_speakers(embeddings, num_speakers, CONFIG)).all()


@pytest.mark.parametrize(("count", "num_speakers"), [(1000, None), (20_700, 3)])
def test_many_windows_find_their_speaker(count, num_speakers):
    embeddings, owners = voices(count)
    config = ClusteringConfig(spectral_below=300)
    assert (cluster_many(embeddings, num_speakers, config) == owners).all()


def test_turns():
    embeddings, _ = voices(14, 2)
    segments = [
        DecodedSegment(start=0, end=6000, num_samples=96000, text="", embeddings=embeddings[:7]),
        DecodedSegment(start=7000, end=13000, num_samples=96000, text="", embeddings=embeddings[7:]),
    ]
    assert turns_of(segments, 2) == [Turn(0, 6000, 0), Turn(7000, 13000, 1)]
    assert turns_of([]) == []


def test_sentences_look_at_the_turns_near_them_only():
    random = np.random.default_rng(1)
    borders = np.cumsum(random.integers(100, 2000, 200))
    turns = [Turn(int(a), int(b), int(random.integers(4))) for a, b in zip(borders[::2], borders[1::2], strict=True)]
    for rule in ("longest", "published"):
        for start in range(0, int(borders[-1]), 777):
            sentence = Sentence("a", start, start + 2500, None, ())
            (found,) = with_speakers([sentence], turns, rule)
            assert found.speaker == speaker_of(turns, start, start + 2500, rule)
