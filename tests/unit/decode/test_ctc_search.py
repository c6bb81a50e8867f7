import torch
from hypothesis import given
from hypothesis import strategies as st

from mooer.decode.ctc_search import greedy_path


def frames(ids, width=5):
    return torch.nn.functional.one_hot(torch.tensor(ids, dtype=torch.long), width).float().log_softmax(-1)


def test_spans():
    path = greedy_path(frames([0, 1, 1, 0, 1, 2, 2, 2]), blank_id=0)
    assert path.tokens == (1, 1, 2)
    assert path.spans == ((1, 3), (4, 5), (5, 8))


def test_nothing():
    assert greedy_path(torch.zeros(0, 5), 0).tokens == ()
    assert greedy_path(frames([0, 0]), 0).tokens == ()


@given(st.lists(st.integers(0, 4), min_size=1, max_size=30), st.integers(0, 4))
def test_collapsing(ids, blank):
    path = greedy_path(frames(ids), blank)
    expected = [ids[i] for i in range(len(ids)) if ids[i] != blank and (i == 0 or ids[i] != ids[i - 1])]
    assert list(path.tokens) == expected
    assert abs(path.score - float(frames(ids).amax(-1).sum())) < 1e-4
    for token, (start, end) in zip(path.tokens, path.spans, strict=True):
        assert set(ids[start:end]) == {token}
        assert start == 0 or ids[start - 1] != token
        assert end == len(ids) or ids[end] != token
