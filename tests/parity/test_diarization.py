"""Clustering, turns and the whole of diarization against the reference's results."""

import json
from collections import Counter

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from mooer.audio.io import load_audio
from mooer.pipeline.diarization import Diarizer
from mooer.pipeline.speaker_clustering import ClusteringConfig, cluster_speakers, in_order_of_appearance, laplacian
from mooer.pipeline.speaker_turns import Window, speaker_of, speaker_turns, windows_of

# With fewer speakers asked for than the graph has parts, the reference's choice depends on how LAPACK rotates eigenvectors.
ARBITRARY = {("emb2", 2), ("emb8", 2)}


@pytest.fixture(scope="module")
def embeddings(golden_paraformer):
    return {name: tensor.numpy() for name, tensor in load_file(golden_paraformer / "speaker_cluster.safetensors").items()}


@pytest.fixture(scope="module")
def cases(golden_paraformer):
    manifest = json.loads((golden_paraformer / "manifest.json").read_text(encoding="utf-8"))
    return manifest["files"]["speaker_cluster.safetensors"]["cases"]


@pytest.fixture(scope="module")
def post(golden_paraformer):
    return json.loads((golden_paraformer / "speaker_post.json").read_text(encoding="utf-8"))


def partition(labels):
    return in_order_of_appearance(np.asarray(labels)).tolist()


def test_eigenvalues(embeddings):
    compared = 0
    for name in embeddings:
        if not name.startswith("eigvals"):
            continue
        vectors = embeddings[name.replace("eigvals", "emb")].astype(np.float64)
        directions = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        found = np.linalg.eigvalsh(laplacian(directions, ClusteringConfig()))[:17]
        np.testing.assert_allclose(found, embeddings[name], atol=1e-4)
        compared += 1
    assert compared == 8


def test_spectral_clustering(embeddings, cases):
    compared = 0
    for case in cases:
        number, vectors = case["oracle_num"], embeddings[case["emb"]]
        few = len(vectors) < ClusteringConfig().min_windows
        if (case["emb"], number) in ARBITRARY or (few and number is not None):
            continue
        assert cluster_speakers(vectors, number).tolist() == partition(case["labels"]), case["emb"]
        compared += 1
    assert compared == 23


def test_too_few_speakers_asked_for_are_whole_speakers(embeddings, cases):
    for case in cases:
        if (case["emb"], case["oracle_num"]) in ARBITRARY:
            labels = cluster_speakers(embeddings[case["emb"]], 2)
            assert len(set(labels)) == 2
            assert len(set(zip(case["true"], labels.tolist(), strict=True))) == case["n_speakers_true"]


def test_the_number_is_honoured_with_few_windows_where_the_reference_does_not(embeddings, cases):
    case = next(case for case in cases if case["emb"] == "emb6" and case["oracle_num"] == 2)
    assert set(case["labels"]) == {0}
    assert cluster_speakers(embeddings["emb6"], 2).tolist() == partition(case["true"])
    assert set(cluster_speakers(embeddings["emb6"]).tolist()) == {0}


def large(recipe):
    """The embeddings of the golden file's recipe, and who they are of."""
    assert "RandomState(11)" in recipe and "//25)%3" in recipe
    random = np.random.RandomState(11)
    centres = random.standard_normal((3, 192))
    speakers = (np.arange(2100) // 25) % 3
    return (centres[speakers] + 0.5 * random.standard_normal((2100, 192))).astype(np.float32), speakers


@pytest.mark.parametrize("number", [3, pytest.param(None, marks=pytest.mark.slow)])
def test_many_windows(golden_paraformer, number):
    expected = json.loads((golden_paraformer / "speaker_cluster_large.json").read_text(encoding="utf-8"))
    if number is None:
        pytest.importorskip("umap", reason="the extra speakers is not installed")
    vectors, speakers = large(expected["recipe"])
    threads = torch.get_num_threads()
    labels = cluster_speakers(vectors, number)
    assert torch.get_num_threads() == threads
    assert labels.tolist() == speakers.tolist()
    assert sorted(Counter(labels.tolist()).values()) == sorted(expected["results"][str(number)]["counts"].values())


@pytest.mark.slow
def test_any_number_of_few_windows_by_density():
    """Stands here because UMAP is compiled anew in each process."""
    pytest.importorskip("umap", reason="the extra speakers is not installed")
    generator, speakers = np.random.default_rng(0), np.repeat([0, 1], [80, 120])
    embeddings = generator.standard_normal((2, 32))[speakers] + 0.3 * generator.standard_normal((200, 32))
    assert cluster_speakers(embeddings, None, ClusteringConfig(spectral_below=200)).tolist() == speakers.tolist()


def test_windows(post):
    for case in post["sv_chunk"]:
        windows = [window for start, _, samples in case["segments"] for window in windows_of(start, samples)]
        assert len(windows) == len(case["chunks"])
        for window, (start, end, _, first, last) in zip(windows, case["chunks"], strict=True):
            assert (window.start, window.end) == pytest.approx((start, end), abs=1e-6)
            assert (window.first_sample, window.first_sample + window.num_samples - 1) == (first, last)


def test_turns_and_who_says_a_sentence(post):
    assert len(post["postprocess"]) == 12
    for case in post["postprocess"]:
        turns = speaker_turns([Window(start, end, 0, 0) for start, end in case["chunks"]], case["labels"])
        assert [turn.speaker for turn in turns] == [speaker for _, _, speaker in case["sv_output"]]
        for turn, (start, end, _) in zip(turns, case["sv_output"], strict=True):
            assert (turn.start / 1000, turn.end / 1000) == pytest.approx((start, end), abs=1e-6)
        found = [speaker_of(turns, start, end, "published") for start, end in case["sentences"]]
        assert found == case["sentence_spk"]


@pytest.mark.parametrize(
    ("run", "segments", "number"),
    [
        ("full_preset_spk2", "vad_alone_default", 2),
        ("spacejoin_full_preset_spk2", "vad_alone_default", 2),
        ("full_default", "vad_alone_default", None),
        ("full_end800", "vad_alone_end800", None),
    ],
)
def test_a_recording(golden_paraformer, run, segments, number):
    folder = golden_paraformer / "e2e"
    expected = json.loads((folder / "expected.json").read_text(encoding="utf-8"))
    turns = Diarizer.from_folder(folder / "spk")(load_audio(folder / "audio.wav"), expected[segments][0]["value"], number)
    sentences = expected[run][0]["sentence_info"]
    found = [speaker_of(turns, sentence["start"], sentence["end"], "published") for sentence in sentences]
    assert found == [sentence["spk"] for sentence in sentences]
