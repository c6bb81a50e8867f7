"""RTTM: what is written is read back, and what breaks the format is named with its line."""

import pytest

from mooer.common.errors import DataError, PathError
from mooer.text.rttm import TimedTurn, read_rttm, rttm_line


def write(tmp_path, *lines):
    path = tmp_path / "turns.rttm"
    path.write_bytes("\n".join(lines).encode("utf-8"))
    return path


def test_what_is_written_is_read_back(tmp_path):
    turns = [TimedTurn(0, 1_500_000, "anna"), TimedTurn(1_234_000, 7_000_000, "李")]
    lines = [rttm_line("meeting", turn) for turn in turns]
    assert lines[1] == "SPEAKER meeting 1 1.234 5.766 <NA> <NA> 李 <NA> <NA>"
    assert read_rttm(write(tmp_path, *lines)) == {"meeting": turns}


def test_other_records_comments_and_blank_lines_are_passed_over(tmp_path):
    path = write(
        tmp_path,
        ";; made by hand",
        "SPKR-INFO a 1 <NA> <NA> <NA> unknown anna <NA>",
        "",
        "SPEAKER a 1 6.69 0.43 <NA> <NA> anna <NA>",
        "SPEAKER b 2 1e-1 0 <NA> <NA> ben 0.9 <NA>\r",
    )
    assert read_rttm(path) == {"a": [TimedTurn(6_690_000, 7_120_000, "anna")], "b": [TimedTurn(100_000, 100_000, "ben")]}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("SPEAKER a 1 0.0 1.0 <NA> <NA> x", "9 or 10 fields, found 8"),
        ("SPEAKER a 1 0.0 1.0 <NA> <NA> x y z <NA>", "found 11"),
        ("Speaker a 1 0.0 1.0 <NA> <NA> x <NA>", "'Speaker' is no type"),
        ("SPEAKER a 1 -0.5 1.0 <NA> <NA> x <NA>", "start '-0.5'"),
        ("SPEAKER a 1 0.5 -1.0 <NA> <NA> x <NA>", "duration '-1.0'"),
        ("SPEAKER a 1 0,5 1.0 <NA> <NA> x <NA>", "start '0,5' is no number"),
        ("SPEAKER a 1 nan 1.0 <NA> <NA> x <NA>", "start 'nan'"),
        ("SPEAKER a 1 0 1e99 <NA> <NA> x <NA>", "duration '1e99'"),
        ("SPEAKER ok 2 0 1 <NA> <NA> x <NA>", "channels 1 and 2"),
    ],
)
def test_a_bad_line_is_named(tmp_path, line, message):
    path = write(tmp_path, "SPEAKER ok 1 0.0 1.0 <NA> <NA> x <NA> <NA>", line)
    with pytest.raises(DataError, match=r"turns\.rttm:2: ") as caught:
        read_rttm(path)
    assert message in str(caught.value)


def test_bytes_that_are_no_text_and_a_missing_file(tmp_path):
    path = tmp_path / "turns.rttm"
    path.write_bytes(b"SPEAKER \xff 1 0 1 <NA> <NA> x <NA>")
    with pytest.raises(DataError, match="not valid UTF-8"):
        read_rttm(path)
    with pytest.raises(PathError, match="RTTM file"):
        read_rttm(tmp_path / "absent")


@pytest.mark.parametrize(("recording", "speaker"), [("two words", "x"), ("", "x"), ("a", "first speaker")])
def test_a_name_that_is_not_one_field_is_refused(recording, speaker):
    with pytest.raises(DataError, match="no spaces"):
        rttm_line(recording, TimedTurn(0, 1, speaker))
