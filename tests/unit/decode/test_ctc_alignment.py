import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mooer.decode.ctc_alignment import align_tokens
from mooer.decode.ctc_search import greedy_path

BLANK = 0


def collapsed(path):
    return tuple(token for token, _ in itertools.groupby(path) if token != BLANK)


def best_by_trying(log_probs, tokens):
    """The score of the best path that reads as the tokens, among all there are."""
    frames, size = log_probs.shape
    paths = (path for path in itertools.product(range(size), repeat=frames) if collapsed(path) == tuple(tokens))
    return max((sum(log_probs[frame, token].item() for frame, token in enumerate(path)) for path in paths), default=-math.inf)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 5), st.lists(st.integers(1, 3), max_size=4), st.integers(0, 10**6))
def test_as_good_as_the_best_of_all_paths(frames, tokens, seed):
    log_probs = torch.randn(frames, 4, generator=torch.Generator().manual_seed(seed)).double().log_softmax(-1)
    path = align_tokens(log_probs, tokens, BLANK)
    best = best_by_trying(log_probs, tokens)
    if path is None:
        assert best == -math.inf
        return
    assert path.tokens == tuple(tokens)
    assert path.score == pytest.approx(best)
    read = [BLANK] * frames
    for token, (start, end) in zip(path.tokens, path.spans, strict=True):
        assert 0 <= start < end <= frames
        assert read[start:end] == [BLANK] * (end - start), "no two tokens share a frame"
        read[start:end] = [token] * (end - start)
    assert collapsed(read) == tuple(tokens)
    assert sum(log_probs[frame, token].item() for frame, token in enumerate(read)) == pytest.approx(best)


@given(st.integers(0, 10**6))
@settings(max_examples=30, deadline=None)
def test_the_best_path_of_all_aligned_to_its_own_tokens_is_itself(seed):
    log_probs = torch.randn(40, 5, generator=torch.Generator().manual_seed(seed)).log_softmax(-1)
    greedy = greedy_path(log_probs, BLANK)
    aligned = align_tokens(log_probs, greedy.tokens, BLANK)
    assert aligned.spans == greedy.spans
    assert aligned.score == pytest.approx(greedy.score, abs=1e-4)


def test_what_has_no_path():
    log_probs = torch.zeros(3, 4).log_softmax(-1)
    assert align_tokens(log_probs, [1, 1], BLANK) is not None
    assert align_tokens(log_probs[:2], [1, 1], BLANK) is None, "equal neighbours need a blank between them"
    assert align_tokens(log_probs[:0], [1], BLANK) is None
    assert align_tokens(log_probs[:0], [], BLANK).score == 0
    log_probs[:, 2] = -math.inf
    assert align_tokens(log_probs, [2], BLANK) is None


@pytest.mark.parametrize("token", [BLANK, -1, 4])
def test_tokens_that_cannot_be_aligned(token):
    with pytest.raises(ValueError, match=f"token {token}"):
        align_tokens(torch.zeros(3, 4), [token], BLANK)


@pytest.mark.parametrize("count", [63, 64, 200])
def test_many_tokens(count):
    """Each in two frames, a blank after it."""
    tokens = [1 + place % 4 for place in range(count)]
    ids = [symbol for token in tokens for symbol in (token, token, 0)]
    log_probs = torch.nn.functional.one_hot(torch.tensor(ids), 5).mul(20.0).log_softmax(-1)
    path = align_tokens(log_probs, tokens, 0)
    assert path.spans == tuple((3 * place, 3 * place + 2) for place in range(count))
