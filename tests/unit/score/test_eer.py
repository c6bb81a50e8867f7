"""Equal error rates by hand, and trials and scores read strictly."""

import pytest

from mooer.common.errors import DataError
from mooer.score.eer import equal_error_rate, read_scores, read_trials, score_trials


@pytest.mark.parametrize(
    ("targets", "nontargets", "percent", "threshold"),
    [
        ([0.8, 0.9], [0.1, 0.2], 0.0, 0.8),
        ([0.1, 0.2], [0.8, 0.9], 100.0, 0.8),
        ([1, 5, 6, 7], [0, 0, 2, 0], 25.0, 2),  # at 2: one target is missed, one other is accepted
        ([5], [5], 50.0, 5),
        # At 3 half of the targets are missed and three of four others accepted; at 4 two of them.
        ([2, 9], [1, 3, 4, 5], 50.0, 4),
        # From (0, 1/2) to (1/3, 0) the lines cross at 0.6 of the way.
        ([3, 4, 5], [3, 1], 20.0, 4),
    ],
)
def test_by_hand(targets, nontargets, percent, threshold):
    found = equal_error_rate(sorted(targets), sorted(nontargets))
    assert found == (pytest.approx(percent), threshold)


def test_a_trial_without_a_score_is_wrong_at_every_threshold():
    trials = {("a", "b"): True, ("c", "d"): True, ("a", "c"): False, ("b", "d"): False}
    scores = {("a", "b"): 0.9, ("a", "c"): 0.1, ("x", "y"): 0.5}
    report = score_trials(trials, scores)
    assert report.percent == pytest.approx(50.0)
    assert report.missing == ("c d", "b d")
    assert report.extra == ("x y",)
    assert (report.targets, report.nontargets) == (2, 2)


@pytest.mark.parametrize(
    ("trials", "scores", "message"),
    [
        ({("a", "b"): True}, {("a", "b"): 1.0}, "1 target and 0 nontarget"),
        ({("a", "b"): True, ("a", "c"): False}, {}, "no score of any trial"),
    ],
)
def test_what_has_no_rate(trials, scores, message):
    with pytest.raises(DataError, match=message):
        score_trials(trials, scores)


def test_files_are_read(tmp_path):
    (tmp_path / "trials").write_text("a b target\n\na c nontarget\n")
    (tmp_path / "scores").write_text("a b 0.5\na c -1e-3\n")
    assert read_trials(tmp_path / "trials") == {("a", "b"): True, ("a", "c"): False}
    assert read_scores(tmp_path / "scores") == {("a", "b"): 0.5, ("a", "c"): -0.001}


@pytest.mark.parametrize(
    ("reader", "line", "message"),
    [
        (read_trials, "a c same", "'same' must be target or nontarget"),
        (read_trials, "a c", "found 2 words"),
        (read_trials, "a b nontarget", "a b occurs a second time"),
        (read_scores, "a c high", "'high' is no number"),
        (read_scores, "a c nan", "not finite"),
        (read_scores, "a c \udcff", "not valid UTF-8"),
    ],
)
def test_a_bad_line_is_named(tmp_path, reader, line, message):
    first = "a b target" if reader is read_trials else "a b 1"
    (tmp_path / "file").write_bytes(f"{first}\n{line}\n".encode("utf-8", "surrogateescape"))
    with pytest.raises(DataError, match="file:2: ") as caught:
        reader(tmp_path / "file")
    assert message in str(caught.value)
