import json

import pytest
from click.testing import CliRunner

from mooer.cli.score import main
from mooer.common.errors import DataError, PathError
from mooer.score.timing import TimedText, percentile, read_times, score_times, times_values

TIMES = ("--metric", "times")


def timed(*entries):
    return {"a": [TimedText(*entry) for entry in entries]}


def test_equal_words_are_compared():
    right = timed(("the", 0, 100), ("old", 100, 300), ("boat", 300, 700))
    found = timed(("the", 10, 110), ("odd", 120, 290), ("Boat", 280, 800))
    report = score_times(right, found)
    assert (report.starts, report.ends, report.num_words) == ((10, -20), (10, 100), 3)


def test_borders_inside_an_entry_are_not_known():
    right = timed(("姐姐", 0, 400), ("喜", 400, 600), ("for the", 600, 900))
    found = timed(("姐", 20, 210), ("姐", 210, 450), ("喜", 450, 630), ("for", 630, 700), ("the", 700, 880))
    report = score_times(right, found)
    assert report.starts == (20, 50, 30)
    assert report.ends == (50, 30, -20)


def test_a_missing_beginning_leaves_the_end():
    report = score_times(timed(("for the", 600, 900)), timed(("the", 700, 880)))
    assert (report.starts, report.ends) == ((), (-20,))


def test_words_left_out_or_added_do_not_shift_the_others():
    right = timed(("a", 0, 1), ("b", 1, 2), ("c", 2, 3))
    found = timed(("x", 0, 9), ("a", 0, 1), ("c", 2, 3), ("y", 4, 5))
    assert score_times(right, found).starts == (0, 0)


def test_figures():
    right = {"a": [TimedText("w", 100.0 * index, 100.0 * index + 50) for index in range(10)], "b": [TimedText("v", 0, 1)]}
    shifts = [-5, 5, 5, 5, 15, 15, 15, 25, 25, 105]
    found = {"a": [TimedText("w", 100.0 * index + shift, 100.0 * index + 50) for index, shift in enumerate(shifts)], "c": []}
    values = times_values(score_times(right, found))
    assert (values["words"], values["starts"], values["missing"], values["extra"]) == (11, 10, ["b"], ["c"])
    assert (values["start_p50"], values["start_p90"], values["start_bias"]) == (15, 33, 15)
    assert (values["end_p50"], values["end_p90"], values["end_bias"]) == (0, 0, 0)


@pytest.mark.parametrize(("values", "percent", "wanted"), [([], 50, None), ([3], 90, 3), ([1, 2], 50, 1.5), (range(11), 90, 9)])
def test_percentiles(values, percent, wanted):
    assert percentile(list(values), percent) == wanted


def test_nothing_to_compare():
    with pytest.raises(DataError, match="no references"):
        score_times({}, {})


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_the_command(tmp_path):
    ref = write(tmp_path / "ctm", "u 1 0.10 0.20 今天\nu 1 0.3 0.1 for the\n\nv 1 0 1 x\n")
    words = [{"text": "今", "start": 110, "end": 200}, {"text": "天", "start": 200, "end": 340}]
    hyp = write(tmp_path / "results.jsonl", json.dumps({"id": "u", "text": "今 天", "words": words}, ensure_ascii=False) + "\n")
    done = CliRunner().invoke(main, [*TIMES, "--ref", ref, "--hyp", hyp, "--json"])
    assert done.exit_code == 0
    values = json.loads(done.stdout)
    assert (values["start_p50"], values["end_p50"], values["words"], values["missing"]) == (10, 40, 3, ["v"])
    text = CliRunner().invoke(main, [*TIMES, "--ref", ref, "--hyp", ref]).stdout
    assert "starts -> 3 compared: median 0.0, 90 % within 0.0, bias 0.0" in text
    assert "signature: metric:times|" in text
    assert read_times(ref)["u"][1] == TimedText("for the", 300, 400)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("ctm", "u 1 0.1 0.2\n", "ctm:1: needed is"),
        ("ctm", "u 1 0.1 0.2 x\nu 1 a 0.2 x\n", "ctm:2: needed is"),
        ("ctm", "u 1 nan 0.2 x\n", "ctm:1: needed is"),
        ("ctm", "u 1 0.1 -0.2 x\n", "ctm:1: needed is"),
        ("results.jsonl", '{"id": "u", "text": "x"}\n', "results.jsonl:1 is no result with the times of words"),
        ("results.jsonl", "{\n", "results.jsonl:1 is no result"),
    ],
)
def test_damaged_files(tmp_path, name, text, message):
    with pytest.raises(DataError, match=message):
        read_times(write(tmp_path / name, text))


def test_a_missing_file(tmp_path):
    with pytest.raises(PathError, match="ctm"):
        read_times(tmp_path / "ctm")
    done = CliRunner().invoke(main, [*TIMES, "--ref", str(tmp_path / "ctm"), "--hyp", str(tmp_path / "ctm")])
    assert done.exit_code == 2
