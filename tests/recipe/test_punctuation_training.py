"""Whole training runs of a small punctuation model: what is learnt, and that a run can be spread, resumed and exported."""

import json
import random

import pytest
import yaml
from click.testing import CliRunner

from mooer.cli.train import main as train_command
from mooer.common.config import load_yaml
from mooer.common.errors import ConfigError
from mooer.pipeline.punctuation import Punctuator, PunctuatorConfig
from mooer.score.marks import score_marks
from mooer.text.marks import read_marks
from mooer.text.word_list import build_word_list
from mooer.train.config import RunConfig
from mooer.train.export import export_run
from mooer.train.plan import plan_run

from .same_curve import SameCurve, run

pytestmark = pytest.mark.slow

SENTENCES = (
    *("do you see the {0}?", "i see the {0}.", "you, i and the {0} see."),
    *("如果你看{1}，我看{1}。", "你看{1}、书和信吗？"),
)
NOUNS, CHARACTERS = ("dog", "cat", "tree", "house", "bird", "moon"), "山水花鸟月日"
ENCODER = {"input_size": 32, "output_size": 32, "attention_heads": 2, "linear_units": 64, "num_blocks": 2, "dropout": 0.05}


def _paragraph(draw):
    sentences = (draw.choice(SENTENCES).format(draw.choice(NOUNS), draw.choice(CHARACTERS)) for _ in range(draw.randint(1, 5)))
    return " ".join(sentences)


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    """Folder with train.txt (300 lines), dev.txt (20) and tokens.json."""
    folder, draw = tmp_path_factory.mktemp("marks"), random.Random(0)
    for name, count in (("train", 300), ("dev", 20)):
        (folder / f"{name}.txt").write_text("".join(_paragraph(draw) + "\n" for _ in range(count)), encoding="utf-8")
    words = build_word_list((folder / "train.txt").read_text(encoding="utf-8").splitlines(), 100)
    (folder / "tokens.json").write_text(json.dumps(words), encoding="utf-8")
    return folder


@pytest.fixture
def training_file(texts, tmp_path):
    """Writes a training file; the arguments override values of its sections."""

    def write(**changes):
        data = {f"{name}_list": str(texts / f"{name}.txt") for name in ("train", "dev")}
        config = {
            "model": {"family": "punctuation", "encoder": ENCODER},
            "data": data | {"input": "text", "tokenizer_path": str(texts), "max_batch_tokens": 800},
            "training": {
                "max_steps": 200,
                "log_interval": 1,
                "tensorboard": False,
                "checkpoint_interval": 100,
                "num_threads": 1,
            },
        }
        course = {"optimizer": {"learning_rate": 5e-3}, "schedule": {"warmup_steps": 5, "total_steps": 200}}
        config["training"] |= course | {"checkpoint_interval": 100}
        for section, values in changes.items():
            config[section] |= values
        (tmp_path / "marks.yaml").write_text(yaml.safe_dump(config))
        return tmp_path / "marks.yaml"

    return write


def test_the_trained_model_punctuates_what_it_has_not_seen(training_file, texts, tmp_path):
    """Unseen paragraphs, without their marks, are punctuated well."""
    run(training_file(), tmp_path / "exp")
    punctuate = Punctuator.from_folder(tmp_path / "exp" / "final", PunctuatorConfig(device="cpu"))
    lines = dict(enumerate((texts / "dev.txt").read_text(encoding="utf-8").splitlines()))
    plain = {name: " ".join(read_marks(line).words) for name, line in lines.items()}
    report = score_marks(lines, {name: punctuate(line).text for name, line in plain.items()})
    assert report.total.f1 > 90
    assert all(counts.f1 > 75 for counts in report.marks.values())


class TestSameCurve(SameCurve):
    """Of a punctuation model."""


def test_plan_averaging_and_further_training(training_file, texts, tone_runs, tmp_path):
    config = training_file(training={"max_steps": 6, "checkpoint_interval": 2, "keep_best": 2})
    assert "tokens of text" in plan_run(load_yaml(config, RunConfig), 1)
    run(config, tmp_path / "exp")
    export_run(tmp_path / "exp", tmp_path / "mean", count=2, by="best")
    with pytest.raises(ConfigError, match="not as int8"):
        export_run(tmp_path / "exp", tmp_path / "small", form="int8")
    start = {"encoder": None, "path": str(tmp_path / "mean")}
    again = training_file(model=start, data={"tokenizer_path": str(tmp_path / "mean")}, training={"max_steps": 1})
    run(again, tmp_path / "further")
    assert tone_runs.losses(tmp_path / "further")[1] < tone_runs.losses(tmp_path / "exp")[1]
    assert (tmp_path / "further" / "final" / "tokens.json").read_text() == (tmp_path / "mean" / "tokens.json").read_text()


@pytest.mark.parametrize(
    ("section", "values", "message"),
    [
        ("data", {"input": "audio", "max_batch_tokens": None, "tokenizer_path": None}, "unknown key 'tokenizer_path'"),
        ("data", {"tokenizer_path": None}, "data.tokenizer_path"),
        ("data", {"tokenizer_path": "nowhere"}, "nowhere/tokens.json does not exist"),
        ("training", {"validation_error_rate": "wer"}, "needs recordings"),
    ],
)
def test_what_such_a_model_cannot_be_told(training_file, section, values, message):
    done = CliRunner().invoke(train_command, ["--config", str(training_file(**{section: values})), "--plan"])
    assert done.exit_code == 2
    assert message in done.stderr
