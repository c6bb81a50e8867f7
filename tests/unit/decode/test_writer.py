import json

import pytest

from mooer.common.errors import PathError
from mooer.decode.hypothesis import Alternative, Answer, Failure, Hypothesis
from mooer.decode.writer import ResultFolder, one_line, tsv_line


def hypothesis(identity, **answer):
    return Hypothesis(identity, Answer(**answer), seconds=1.25, real_time_factor=0.5)


def lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_one_line():
    assert one_line("a\tb\r\nc\x00d\u2028e\x85f") == "a b  c d e f"
    assert one_line("今天 Friday") == "今天 Friday"


def test_tsv_line():
    both = hypothesis("u", text="zwei\tdrei", translation="two\nthree")
    assert tsv_line(both, is_multitask=True) == "u\tzwei drei\ttwo three"
    assert tsv_line(both, is_multitask=False) == "u\tzwei drei"
    assert tsv_line(hypothesis("u", text="x"), is_multitask=True) == "u\tx\t"


def test_folder(tmp_path):
    with ResultFolder(tmp_path / "out", {"command": ["x"]}) as folder:
        folder.add(hypothesis("u1", text="a\nb", tokens=(1, 2), score=-0.5, translation="c", flags=("repetition",)))
        folder.add(Failure("u2", "missing", "no such file"))
        folder.add(hypothesis("u3", text="", flags=("too_short",)))
        assert not (tmp_path / "out" / "run.json").exists()
    best = tmp_path / "out" / "1best_recog"
    assert (best / "text").read_text() == "u1 a b\nu3\n"
    assert (best / "text.ast").read_text() == "u1 c\n"
    assert (best / "score").read_text() == "u1 -0.500000\nu3 0.000000\n"
    assert (best / "rtf").read_text() == "u1 0.5000\nu3 0.5000\n"
    first, second = lines(tmp_path / "out" / "results.jsonl")
    assert first["text"] == "a\nb"
    assert (first["tokens"], first["flags"], first["seconds"]) == ([1, 2], ["repetition"], 1.25)
    assert "nbest" not in first
    assert "token_seconds" not in first
    assert second["flags"] == ["too_short"]
    assert lines(tmp_path / "out" / "failed.jsonl") == [{"id": "u2", "reason": "missing", "message": "no such file"}]
    run = json.loads((tmp_path / "out" / "run.json").read_text())
    assert (run["command"], run["utterances"], run["failed"], run["complete"]) == (["x"], 2, 1, True)
    assert run["audio_seconds"] == 2.5


def test_nbest(tmp_path):
    with ResultFolder(tmp_path, {}) as folder:
        folder.add(hypothesis("u", text="a", alternatives=(Alternative("a", (1,), -1.0), Alternative("b", (2,), -2.0))))
    (values,) = lines(tmp_path / "results.jsonl")
    assert [item["text"] for item in values["nbest"]] == ["a", "b"]


def test_a_later_run_leaves_nothing_of_an_earlier_one(tmp_path):
    with ResultFolder(tmp_path, {}) as folder:
        folder.add(hypothesis("u1", text="a", translation="b"))
        folder.add(Failure("u2", "missing", "no"))
    with ResultFolder(tmp_path, {}) as folder:
        folder.add(hypothesis("u3", text="c"))
    assert (tmp_path / "1best_recog" / "text").read_text() == "u3 c\n"
    assert not (tmp_path / "1best_recog" / "text.ast").exists()
    assert not (tmp_path / "failed.jsonl").exists()


def test_what_is_finished_is_kept(tmp_path):
    with pytest.raises(MemoryError), ResultFolder(tmp_path, {}) as folder:
        folder.add(hypothesis("u1", text="a"))
        raise MemoryError
    assert (tmp_path / "1best_recog" / "text").read_text() == "u1 a\n"
    assert json.loads((tmp_path / "run.json").read_text())["complete"] is False


def test_a_file_in_the_way(tmp_path):
    (tmp_path / "out").write_text("x")
    with pytest.raises(PathError, match="out"):
        ResultFolder(tmp_path / "out", {})
