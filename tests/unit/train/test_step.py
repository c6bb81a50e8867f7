import math

import pytest
import torch
from torch import nn

from mooer.common.errors import TrainingError
from mooer.data.batch import CtcSample, SpeechLlmSample, collate_ctc, collate_speech_llm
from mooer.data.config import DataConfig
from mooer.data.utterance import Problem
from mooer.models.builders import ModelConfig
from mooer.models.ctc_model import CtcModel
from mooer.models.sanm_encoder import SanmEncoder
from mooer.train.config import RunConfig, TrainingConfig
from mooer.train.engine import Engine, processes
from mooer.train.families.base import tensors_of
from mooer.train.families.speech import CtcFamily, SpeechLlmFamily
from mooer.train.optim import build_optimizer
from mooer.train.step import Stepper, problems_of_all_ranks

CPU = torch.device("cpu")
CONFIG = RunConfig(
    model=ModelConfig(tokenizer_path="none"), data=DataConfig(train_list="none"), training=TrainingConfig(max_steps=10)
)
CTC, LLM = CtcFamily(CONFIG), SpeechLlmFamily(CONFIG)


@pytest.fixture
def alone():
    with processes(CPU):
        yield


def _ctc_batch(rows, name="u"):
    """Rows of (frames, targets)."""
    generator = torch.Generator().manual_seed(len(rows))
    samples = [
        CtcSample(f"{name}{index}", torch.randn(frames, 8, generator=generator), targets)
        for index, (frames, targets) in enumerate(rows)
    ]
    return collate_ctc(samples)


def _ctc_model(dropout=0.0):
    torch.manual_seed(3)
    return CtcModel(SanmEncoder(8, 16, 2, 16, 1, kernel_size=3, dropout=dropout), nn.Linear(16, 6), blank_id=0)


def _stepper(model, **values):
    config = TrainingConfig(max_steps=10, **values)
    engine = Engine(model, build_optimizer(model, config.optimizer), config, CPU)
    return engine, Stepper(engine, CTC, 0, lambda: pytest.fail("a single process never idles"))


BATCHES = [
    _ctc_batch([(7, [1, 2]), (4, [3])], "a"),
    _ctc_batch([(5, [5, 4, 1])], "b"),
    # Three equal labels need five frames: this utterance has no alignment.
    _ctc_batch([(4, [2, 2, 2]), (6, [1])], "c"),
]


def test_targets_are_counted_as_the_model_counts_them():
    model = _ctc_model()
    for batch in BATCHES:
        assert CTC.count_targets(batch) == int(model(**tensors_of(batch)).num_tokens)
    samples = [SpeechLlmSample("x", torch.zeros(6, 8), [4, 5, 6, 7], 2), SpeechLlmSample("y", torch.zeros(4, 8), [4, 5, 6], 2)]
    assert LLM.count_targets(collate_speech_llm(samples, pad_id=0, downsample_rate=2)) == 3


@pytest.mark.usefixtures("alone")
def test_the_loss_is_the_mean_over_all_target_tokens():
    model = _ctc_model()
    outputs = [model(**tensors_of(batch)) for batch in BATCHES]
    mean = float(sum(output.loss_sum for output in outputs) / sum(output.num_tokens for output in outputs))
    parameters = list(model.parameters())
    gradients = torch.autograd.grad(sum(output.loss_sum for output in outputs) / 7, parameters)
    _, stepper = _stepper(model, clip_norm=0.0)
    result = stepper.step([BATCHES[0], None, *BATCHES[1:]], (0, 0), 1.0)
    assert result.sums.mean_loss == pytest.approx(mean)
    assert (result.sums.tokens, result.sums.utterances, result.sums.unalignable, result.sums.frames) == (7, 5, 1, 26)
    assert result.grad_norm == pytest.approx(float(torch.stack([gradient.norm() for gradient in gradients]).norm()), rel=1e-5)


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("batches", [[None], [_ctc_batch([(3, [2, 2, 2])])]])
def test_without_a_target_token_nothing_changes(batches):
    model = _ctc_model()
    before = [parameter.clone() for parameter in model.parameters()]
    _, stepper = _stepper(model)
    assert stepper.step(batches, (0, 0), 1.0) is None
    assert all(torch.equal(*pair) for pair in zip(before, model.parameters(), strict=True))


@pytest.mark.usefixtures("alone")
def test_dropout_follows_from_the_place_in_the_epoch():
    def losses(places):
        _, stepper = _stepper(_ctc_model(dropout=0.5))
        return [stepper.step([BATCHES[0]], place, 0.0).sums.loss for place in places]

    torch.manual_seed(1)
    first = losses([(0, 0), (0, 1), (1, 0)])
    torch.manual_seed(2)
    assert losses([(0, 0), (0, 1), (1, 0)]) == first
    assert len(set(first)) == 3
    assert losses([(1, 0)]) == first[2:]


@pytest.mark.usefixtures("alone")
def test_a_loss_that_is_not_finite_names_its_utterances():
    broken = _ctc_batch([(5, [1])], "broken")
    broken.frames[0, 0, 0] = math.nan
    model = _ctc_model()
    before = [parameter.clone() for parameter in model.parameters()]
    _, stepper = _stepper(model)
    with pytest.raises(TrainingError, match=r"loss is nan: rank 0 has nan for broken0$"):
        stepper.step([BATCHES[0], broken], (0, 0), 1.0)
    assert all(torch.equal(*pair) for pair in zip(before, model.parameters(), strict=True))


@pytest.mark.usefixtures("alone")
def test_evaluation_is_the_mean_over_batches_and_skips_gaps():
    engine, stepper = _stepper(_ctc_model(dropout=0.5))
    sums = stepper.evaluate(iter([BATCHES[0], None, BATCHES[1]]))
    outputs = [engine.model.eval()(**tensors_of(batch)) for batch in BATCHES[:2]]
    assert sums.mean_loss == pytest.approx(float(sum(output.loss_sum for output in outputs)) / 6)


def test_problems_are_named_once():
    problems = [Problem("b", "too_short", "1 s"), Problem("a", "too_short", "2 s"), Problem("b", "too_short", "1 s")]
    assert problems_of_all_ranks(problems, CPU) == [problems[1], problems[0]]
