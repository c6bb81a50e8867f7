import math

import pytest

from mooer.decode.search import BeamSearch, Candidate, GreedySearch, is_finite, make_search

EOS = 9


def candidates(*items):
    return [Candidate(*item) for item in items]


def test_greedy_stops_at_the_end_of_sequence():
    search = GreedySearch(5, EOS, length_penalty=1.0)
    search.advance(candidates((-1.0, 0, 4)))
    assert (search.next_tokens, search.done) == ([4], False)
    search.advance(candidates((-3.0, 0, EOS)))
    (answer,) = search.answers()
    assert search.done
    assert (answer.tokens, answer.ended, answer.score) == ((4,), True, -1.5)


def test_greedy_stops_at_its_bound():
    search = GreedySearch(1, EOS, length_penalty=0.8)
    search.advance(candidates((-1.0, 0, 4)))
    assert search.done
    assert search.answers()[0].tokens == (4,)
    assert not search.answers()[0].ended


def test_beam_search_keeps_only_endings_among_the_first_beams():
    search = BeamSearch(2, 10, EOS, length_penalty=1.0)
    search.advance(candidates((-1.0, 0, 1), (-2.0, 0, 2), (-2.5, 0, EOS), (-3.0, 0, 3)))
    assert search.answers() == []
    assert (search.next_tokens, search.parents, search.scores) == ([1, 2], [0, 0], [-1.0, -2.0])


def test_beam_search_ends_when_the_open_beams_cannot_win():
    search = BeamSearch(2, 10, EOS, length_penalty=1.0)
    search.advance(candidates((-1.0, 0, EOS), (-2.0, 0, 1), (-3.0, 0, 2), (-4.0, 0, 3)))
    assert not search.done
    search.advance(candidates((-2.1, 0, EOS), (-8.0, 1, 1), (-9.0, 0, 2), (-9.5, 0, 3)))
    assert search.done  # -8 / 2 is worse than both -1 / 1 and -2.1 / 2
    assert [answer.tokens for answer in search.answers()] == [(), (1,)]


def test_beam_search_goes_on_while_an_open_beam_may_win():
    search = BeamSearch(2, 10, EOS, length_penalty=1.0)
    search.advance(candidates((-5.0, 0, EOS), (-5.1, 0, 1), (-5.2, 0, 2), (-5.3, 0, 3)))
    search.advance(candidates((-5.2, 0, EOS), (-5.3, 1, 1), (-9.0, 0, 2), (-9.5, 0, 3)))
    assert not search.done  # -5.3 / 2 beats -5 / 1


def test_beam_search_at_its_bound_takes_the_best_beams():
    search = BeamSearch(2, 1, EOS, length_penalty=1.0)
    search.advance(candidates((-1.0, 0, 1), (-2.0, 0, EOS), (-3.0, 0, 2), (-4.0, 0, 3)))
    assert search.done
    assert [(answer.tokens, answer.ended) for answer in search.answers()] == [((1,), False), ((), True)]


def test_make_search():
    assert isinstance(make_search(1, 5, EOS, 0.8), GreedySearch)
    assert make_search(3, 5, EOS, 0.8).candidates_needed == 6


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf])
def test_is_finite(score):
    assert is_finite(candidates((-1.0, 0, 1)))
    assert not is_finite(candidates((-1.0, 0, 1), (score, 0, 1)))
