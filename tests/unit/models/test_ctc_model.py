import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from mooer.models.ctc_model import CtcModel, common_subsequence, greedy_tokens, shortest_alignment
from mooer.models.sanm_encoder import SanmEncoder


@pytest.fixture
def model():
    torch.manual_seed(0)
    return CtcModel(SanmEncoder(24, 16, 2, 32, 2, kernel_size=3, dropout=0.0), nn.Linear(16, 7), blank_id=0)


def test_loss_is_the_sum_over_utterances_alone(model):
    frames, lengths = torch.randn(3, 20, 24), torch.tensor([20, 12, 6])
    targets, target_lengths = torch.tensor([[1, 2, 2, 3], [4, 5, 99, 99], [6, 99, 99, 99]]), torch.tensor([4, 2, 1])
    together = model(frames, lengths, targets, target_lengths)
    alone = [
        model(frames[row : row + 1, :length], lengths[row : row + 1], targets[row : row + 1], target_lengths[row : row + 1])
        for row, length in enumerate(lengths.tolist())
    ]
    torch.testing.assert_close(together.loss_sum, sum(output.loss_sum for output in alone))
    assert together.num_tokens == 7
    assert together.num_correct == sum(output.num_correct for output in alone)
    assert together.num_infinite == 0


def test_utterances_without_an_alignment_count_as_infinite_and_in_nothing_else(model):
    frames, lengths = torch.randn(3, 4, 24), torch.tensor([4, 4, 4])
    targets = torch.tensor([[1, 2, 3, 4], [1, 1, 1, 0], [5, 0, 0, 0]])  # 1 1 1 needs blanks between: five frames
    output = model(frames, lengths, targets, torch.tensor([4, 3, 1]))
    fitting = model(frames[::2], lengths[::2], targets[::2], torch.tensor([4, 1]))
    assert output.num_infinite == 1
    assert output.num_tokens == 5
    torch.testing.assert_close(output.loss_sum, fitting.loss_sum)
    output.loss_sum.backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


@settings(max_examples=60, deadline=None)
@given(tokens=st.lists(st.integers(1, 3), max_size=6), frames=st.integers(1, 9))
def test_shortest_alignment_tells_where_the_loss_is_infinite(tokens, frames):
    log_probs = torch.zeros(frames, 1, 4).log_softmax(-1)
    loss = F.ctc_loss(log_probs, torch.tensor([tokens]).long().view(1, -1), torch.tensor([frames]), torch.tensor([len(tokens)]))
    needed = shortest_alignment(torch.tensor([tokens]).long().view(1, -1), torch.tensor([len(tokens)]))
    assert (needed.item() <= frames) == bool(loss.isfinite())


def test_a_frozen_encoder_stays_in_eval_mode_and_without_gradients(model):
    model.encoder.requires_grad_(False)
    model.train()
    assert model.training and model.ctc_head.training
    assert not any(module.training for module in model.encoder.modules())
    lengths = torch.tensor([9, 9])
    model(torch.randn(2, 9, 24), lengths, torch.ones(2, 1).long(), torch.tensor([1, 1])).loss_sum.backward()
    assert model.ctc_head.weight.grad.any()
    assert all(parameter.grad is None for parameter in model.encoder.parameters())


def test_greedy_tokens_joins_repetitions_then_drops_blanks():
    best = torch.tensor([[1, 1, 0, 1, 2, 2, 0, 3], [0, 0, 4, 4, 4, 5, 5, 5]])
    assert greedy_tokens(F.one_hot(best, 6).float(), torch.tensor([8, 5]), 0) == [[1, 1, 2, 3], [4]]


@settings(max_examples=100, deadline=None)
@given(left=st.lists(st.integers(0, 3), max_size=9), right=st.lists(st.integers(0, 3), max_size=9))
def test_common_subsequence_is_the_longest(left, right):
    table = [[0] * (len(right) + 1) for _ in range(len(left) + 1)]
    for i, a in enumerate(left):
        for j, b in enumerate(right):
            table[i + 1][j + 1] = table[i][j] + 1 if a == b else max(table[i][j + 1], table[i + 1][j])
    assert common_subsequence(left, right) == table[-1][-1]


def test_log_probs_are_float32_and_normalised_in_a_bfloat16_model(model):
    log_probs, lengths = model.bfloat16().log_probs(torch.randn(2, 5, 24), torch.tensor([5, 3]))
    assert log_probs.dtype == torch.float32 and lengths.tolist() == [5, 3]
    torch.testing.assert_close(log_probs.exp().sum(-1), torch.ones(2, 5))
