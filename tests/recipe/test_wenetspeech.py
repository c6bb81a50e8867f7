"""egs/wenetspeech from long recordings to shards, on a miniature corpus: stages, what is left out, reruns, wrong use."""

import json
import os
import subprocess
from pathlib import Path

import pytest
import torch
import yaml

from mooer.audio.io import load_audio
from mooer.common.lengths import fbank_frames
from mooer.data.directory import read_data_dir
from mooer.data.lists import read_data_list, read_table
from mooer.data.reader import AudioReader, FrameReader
from mooer.features.cmvn import read_cmvn
from mooer.features.frontend import Frontend, FrontendConfig
from mooer.models.weights import read_state
from mooer.score.wer import score_error_rate
from mooer.text.vocabulary import load_vocabulary

from ..miniature_corpora import WENETSPEECH_EVALUATION, add_wenetspeech_evaluation, build_aishell, build_wenetspeech

RECIPE = Path(__file__).resolve().parents[2] / "egs" / "wenetspeech"
SIZES = {"train_l": 2, "dev": 2, "test_net": 1, "test_meeting": 1}


def run(work_dir, *options, status=0):
    command = ["bash", RECIPE / "run.sh", "--work_dir", work_dir, "--num_workers", 1, *options]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, env=environment, cwd=work_dir.parent, timeout=300
    )
    assert done.returncode == status, done.stdout[-2000:] + done.stderr[-4000:]
    return done


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = build_wenetspeech(tmp_path_factory.mktemp("corpora") / "WenetSpeech")
    add_wenetspeech_evaluation(folder)
    return folder


@pytest.fixture(scope="module")
def finished(corpus, tmp_path_factory):
    """The folder in which all stages are done, and what they said."""
    work_dir = tmp_path_factory.mktemp("wenetspeech") / "work"
    return work_dir, run(work_dir, "--data_dir", corpus.parent, "--stop_stage", 2)


@pytest.mark.slow
def test_segments_are_stretches_of_the_long_recordings(finished, corpus):
    work_dir, _ = finished
    assert {name: len(read_data_dir(work_dir / "data" / name).utterances) for name in SIZES} == SIZES
    train = work_dir / "data" / "train_l"
    recording = "Y0000000000_--5llN02F84"
    assert read_table(train / "wav.scp") == {recording: str(corpus / f"audio/train/youtube/B00000/{recording}.opus")}
    assert read_table(train / "segments") == {
        f"{recording}_S00000": f"{recording} 0.08 1.4",
        f"{recording}_S00002": f"{recording} 1.4 3",
    }
    assert not list((work_dir / "data").rglob("*.wav"))
    assert read_table(work_dir / "data/test_net/text") == {"X0000005000_net_S00000": "APP很好"}


@pytest.mark.slow
def test_the_dictionary_has_the_training_characters_and_names_what_it_lacks(finished):
    work_dir, done = finished
    vocabulary = load_vocabulary(work_dir / "data" / "dictionary")
    characters = sorted("怎么样APPSTORE挺好的")
    assert list(vocabulary.tokens) == ["<blank>", "<unk>", "▁", *dict.fromkeys(characters), "<sos/eos>"]
    assert [line for line in done.stderr.splitlines() if "without a token" in line] == [
        "data/dev/text: 7 characters without a token, 6 different ones: 天公去园明气",
        "data/test_net/text: 1 characters without a token, 1 different ones: 很",
        "data/test_meeting/text: 4 characters without a token, 4 different ones: 们会开我",
    ]


@pytest.mark.slow
def test_cmvn_normalises_what_the_shards_hold(finished):
    work_dir, _ = finished
    path = work_dir / "data/train_l/global_cmvn.json"
    utterances = read_data_list(work_dir / "dump/train_l/data.list")
    counts = [fbank_frames(utterance.num_samples) for utterance in utterances]
    assert json.loads(path.read_text())["frame_num"] == sum(counts)
    frontend = Frontend(FrontendConfig(window="povey", lfr_m=1, lfr_n=1), read_cmvn(path))
    frames, problems = FrameReader(frontend).read(dict(enumerate(utterances)))
    assert not problems
    together = torch.cat(list(frames.values()))
    torch.testing.assert_close(together.mean(0), torch.zeros(80), atol=0.01, rtol=0)
    torch.testing.assert_close(together.std(0, unbiased=False), torch.ones(80), atol=0.01, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("name", SIZES)
def test_shards_hold_the_segments(finished, name):
    work_dir, _ = finished
    reader = AudioReader()
    given = {item.id: item for item in read_data_dir(work_dir / "data" / name).utterances}
    packed = {item.id: item for item in read_data_list(work_dir / "dump" / name / "data.list")}
    assert packed.keys() == given.keys()
    for identity, item in packed.items():
        source = given[identity].audio
        stretch = load_audio(source.path, start=source.start, end=source.end)
        assert item.labels == given[identity].labels
        torch.testing.assert_close(reader.read(item.audio), stretch, atol=0.51 / 32768, rtol=0)


@pytest.mark.slow
def test_a_rerun_does_nothing_twice_and_another_set_only_what_is_new(finished, corpus):
    work_dir, _ = finished
    again = run(work_dir, "--data_dir", corpus.parent, "--stop_stage", 2)
    assert again.stderr.count("says that this is done already") == 4 + 2 + 4
    options = ("--train_set", "train_s", "--test_sets", "test_net", "--stop_stage", 2)
    smaller = run(work_dir, "--data_dir", corpus.parent, *options)
    assert smaller.stderr.count("says that this is done already") == 2 + 2
    assert len(read_data_list(work_dir / "dump/train_s/data.list")) == 1
    assert len(load_vocabulary(work_dir / "data/dictionary").tokens) == 3 + len(set("怎么样APPSTORE")) + 1


def write_small_confs(folder):
    """The recipe's own training files with small sizes and few steps."""
    sizes = {"output_size": 32, "attention_heads": 2, "linear_units": 48, "num_blocks": 1, "kernel_size": 5}
    training = {
        "max_epochs": None,
        "max_steps": 2,
        "checkpoint_interval": 1,
        "keep_best": 2,
        "average_best": 2,
        "accumulation": 1,
    }
    folder.mkdir()
    for path in (RECIPE / "conf").glob("*.yaml"):
        config = yaml.safe_load(path.read_text())
        model = config["model"]
        model["encoder"] |= sizes
        model["decoder"] |= {"attention_heads": 2, "linear_units": 48, "num_blocks": 1}
        if "moe" in model:
            model["embedding"] |= sizes
            model["moe"]["num_experts"] = 4
        config["data"] |= {"num_workers": 0}
        config["training"] |= training | {"dtype": "float32"}
        (folder / path.name).write_text(yaml.safe_dump(config))
    return folder


@pytest.mark.slow
def test_from_three_trainings_to_the_table(finished, corpus, tmp_path):
    """With AISHELL-1's test set beside the corpus's own."""
    work_dir, _ = finished
    (tmp_path / "aishell").mkdir()
    aishell = build_aishell(tmp_path / "aishell")
    options = ("--aishell_dir", aishell, "--conf_dir", write_small_confs(tmp_path / "conf"), "--device", "cpu")
    done = run(work_dir, "--data_dir", corpus.parent, *options)
    decoded = work_dir / "exp" / "moe" / "decode"
    results = json.loads((decoded / "results.json").read_text())["results"]
    assert results.keys() == {"dev", "test_net", "test_meeting", "aishell1"}
    assert (decoded / "results.md").read_text() in done.stdout
    for name, rate in results.items():
        references = read_table(work_dir / "data" / name / "text")
        hypotheses = read_table(decoded / name / "1best_recog" / "text", allow_empty=True)
        assert references.keys() == hypotheses.keys()
        assert rate == score_error_rate(references, hypotheses, "cer").counts.percent
    experts = read_state(work_dir / "exp/moe/final/model.safetensors", "model")[
        "encoder.blocks.0.feed_forward.experts.w_1.weight"
    ]
    assert experts.shape == (4, 48, 32)


@pytest.mark.slow
def test_what_a_corpus_lacks_is_named_and_the_rest_is_prepared(tmp_path):
    corpus = build_wenetspeech(tmp_path / "WenetSpeech")
    add_wenetspeech_evaluation(corpus)
    (corpus / WENETSPEECH_EVALUATION["TEST_NET"][0]).write_bytes(b"OggS")
    (corpus / WENETSPEECH_EVALUATION["TEST_MEETING"][0]).unlink()
    file = corpus / "WenetSpeech.json"
    audios = json.loads(file.read_text(encoding="utf-8"))["audios"]
    audios[0]["segments"][0]["end_time"] = 0
    file.write_text(json.dumps({"audios": audios}), encoding="utf-8")
    work_dir = tmp_path / "work"
    # Nothing at all is left of test_meeting: that is wrong use.
    assert "test_meeting" in run(work_dir, "--data_dir", corpus, status=2).stderr
    prepared = run(work_dir, "--data_dir", corpus, "--test_sets", "test_net", status=1)
    assert "of train_l something was left out, see above; if you agree, go on with --stage 1" in prepared.stderr
    assert "bad_segment" in (work_dir / "data/train_l/failed.jsonl").read_text(encoding="utf-8")
    packed = run(work_dir, "--stage", 1, "--test_sets", "test_net", status=1)
    assert "of test_net something was left out" in packed.stderr
    assert "X0000005000_net_S00000" in (work_dir / "dump/test_net/failed.jsonl").read_text(encoding="utf-8")
    assert len(read_data_list(work_dir / "dump/train_l/data.list")) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "name the unpacked corpus with --data_dir"),
        (["--data_dir", "nowhere"], "folder nowhere does not exist"),
        (["--train_set", "train_xl"], "--train_set takes train_s, train_m, train_l or train_w, found 'train_xl'"),
        (["--test_sets", "test_net dev"], "--test_sets takes test_net and test_meeting, found 'dev'"),
        (["--conf", "base2"], "there is no conf/base2.yaml"),
        (["--aishell_dir", "nowhere"], "folder nowhere does not exist"),
    ],
)
def test_wrong_use_is_refused(tmp_path, options, message):
    assert message in run(tmp_path / "work", *options, status=2).stderr
    assert not list(tmp_path.iterdir())
