import pytest
import torch

from mooer.common.errors import ConfigError
from mooer.models.paraformer_dir import load_paraformer
from mooer.models.paraformer_training import ParaformerLosses, ParaformerTraining, glanced

END = 2
FRAMES = torch.randn(3, 20, 560, generator=torch.Generator().manual_seed(4))
FRAME_LENGTHS = torch.tensor([20, 13, 4])
TARGETS = torch.tensor([[3, 4, 5, 6, 3, END], [7, 8, END, 0, 0, 0], [4, 4, END, 0, 0, 0]])
TARGET_LENGTHS = torch.tensor([6, 3, 3])
BATCH = (FRAMES, FRAME_LENGTHS, TARGETS, TARGET_LENGTHS)


@pytest.fixture(params=["Paraformer", "BiCifParaformer"])
def paraformer(request, paraformer_folder):
    return load_paraformer(paraformer_folder(request.param))[0].requires_grad_(True)


def of_row(row):
    own = slice(row, row + 1)
    frames, targets = int(FRAME_LENGTHS[row]), int(TARGET_LENGTHS[row])
    return FRAMES[own, :frames], FRAME_LENGTHS[own], TARGETS[own, :targets], TARGET_LENGTHS[own]


@pytest.mark.parametrize("ctc_weight", [0.0, 0.3])
def test_a_batch_is_the_sum_of_its_utterances(paraformer, ctc_weight):
    model = ParaformerTraining(paraformer, ParaformerLosses(ctc_weight=ctc_weight)).eval()
    whole, parts = model(*BATCH), [model(*of_row(row)) for row in range(3)]
    for name in ("loss_sum", "num_tokens", "num_correct", "num_infinite"):
        torch.testing.assert_close(getattr(whole, name), sum(getattr(part, name) for part in parts), rtol=1e-5, atol=1e-4)
    assert whole.num_tokens == 12


def test_what_stands_in_the_padding_does_not_matter(paraformer):
    model = ParaformerTraining(paraformer, ParaformerLosses()).eval()
    frames, targets = FRAMES.clone(), TARGETS.clone()
    for row in range(3):
        frames[row, FRAME_LENGTHS[row] :] = float("nan")
        targets[row, TARGET_LENGTHS[row] :] = 9
    output = model(frames, FRAME_LENGTHS, targets, TARGET_LENGTHS)
    torch.testing.assert_close(output.loss_sum, model(*BATCH).loss_sum)


def test_every_weight_learns(paraformer):
    model = ParaformerTraining(paraformer, ParaformerLosses(ctc_weight=0.2)).train()
    model(*BATCH).loss_sum.backward()
    silent = [name for name, parameter in model.named_parameters() if parameter.grad is None or not parameter.grad.any()]
    assert silent == []


def test_a_step_in_training_makes_the_loss_smaller(paraformer):
    model = ParaformerTraining(paraformer, ParaformerLosses())
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    torch.manual_seed(0)
    before = model.eval()(*BATCH).loss_sum.item()
    for _ in range(30):
        optimizer.zero_grad()
        model.train()(*BATCH).loss_sum.backward()
        optimizer.step()
    after = model.eval()(*BATCH)
    assert after.loss_sum < 0.5 * before
    assert after.num_correct > 6


def test_glancing_is_drawn_in_training_alone(paraformer):
    model = ParaformerTraining(paraformer, ParaformerLosses())
    for dropout in (module for module in model.modules() if hasattr(module, "rate")):
        dropout.rate = 0.0
    assert model.eval()(*BATCH).loss_sum == model(*BATCH).loss_sum
    assert len({model.train()(*BATCH).loss_sum.item() for _ in range(5)}) > 1
    plain = ParaformerTraining(paraformer, ParaformerLosses(sampling_ratio=0.0))
    torch.testing.assert_close(plain.train()(*BATCH).loss_sum, model.eval()(*BATCH).loss_sum)


def test_a_frozen_encoder_stays_as_it_is(paraformer):
    model = ParaformerTraining(paraformer, ParaformerLosses())
    model.encoder.requires_grad_(False)
    model.train()
    assert not model.encoder.training and model.decoder.training
    model(*BATCH).loss_sum.backward()
    assert all(parameter.grad is None for parameter in model.encoder.parameters())
    assert model.predictor.cif_output.weight.grad.any()


def test_utterances_too_short_for_ctc_count_for_the_rest(paraformer):
    """Four equal tokens and the blanks between them do not fit in four frames."""
    model = ParaformerTraining(paraformer, ParaformerLosses(ctc_weight=0.5)).eval()
    frames, lengths, *_ = of_row(2)
    output = model(frames, lengths, torch.tensor([[4, 4, 4, 4, END]]), torch.tensor([5]))
    assert (output.num_tokens, output.num_infinite) == (5, 1)
    assert output.loss_sum.isfinite() and output.loss_sum > 0


def test_glancing_replaces_a_share_of_what_was_wrong():
    correct = torch.tensor([[1, 1, 0, 0, 0, 0], [1, 1, 1, 0, 0, 0], [0, 0, 0, 0, 0, 0]], dtype=torch.bool)
    order = torch.tensor([[5.0, 0, 4, 1, 3, 2], [0, 1, 2, 0, 0, 0], [3, 1, 2, 0, 0, 0]])
    replaced = glanced(correct, torch.tensor([6, 3, 3]), order, 0.75)
    assert replaced.sum(dim=1).tolist() == [3, 0, 2]  # floor of 3, 0 and 2.25
    assert replaced[0].nonzero().flatten().tolist() == [1, 3, 5]
    assert replaced[2].nonzero().flatten().tolist() == [1, 2]


@pytest.mark.parametrize(
    "settings", [{"label_smoothing": 1.0}, {"sampling_ratio": -0.1}, {"ctc_weight": 1.0}, {"times_weight": -1}]
)
def test_wrong_weights(settings):
    with pytest.raises(ConfigError, match=next(iter(settings))):
        ParaformerLosses(**settings)


def test_under_autocast(paraformer):
    """As training in bfloat16 computes: weights and their sums stay in float32."""
    model = ParaformerTraining(paraformer, ParaformerLosses(ctc_weight=0.2)).eval()
    exact = model(*BATCH)
    with torch.autocast("cpu", torch.bfloat16):
        half = model(*BATCH)
    half.loss_sum.backward()
    assert half.loss_sum.dtype == torch.float32
    torch.testing.assert_close(half.loss_sum, exact.loss_sum, rtol=0.05, atol=0)
