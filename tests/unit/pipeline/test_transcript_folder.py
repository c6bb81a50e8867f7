import json

import pytest

from mooer.common.errors import ConfigError, DataError
from mooer.decode.hypothesis import Failure
from mooer.pipeline.speech_segments import SpeechSegment
from mooer.pipeline.transcript_folder import TranscriptFolder, file_name
from mooer.pipeline.transcription import SegmentFailure, Sentence, Transcription


def transcription(key, **changes):
    values = {
        "text": " Hello\t你好",
        "raw_text": "hello 你好",
        "segments": (SpeechSegment(0, 1000),),
        "sentences": (Sentence("Hello 你好", 0, 1000, None, ()),),
        "words": (),
        "turns": None,
        "score": -1.5,
        "flags": (),
        "failures": (),
        "seconds": 2.0,
        "elapsed_seconds": 1.0,
    }
    return Transcription(key=key, **(values | changes))


def test_files(tmp_path):
    broken = transcription("c/d", failures=(SegmentFailure(500, 1000, "too_short", "why"),))
    with TranscriptFolder(tmp_path / "out", ["srt"], {}, {"command": "x"}, resume=False) as folder:
        for result in (transcription("a"), Failure("b", "missing", "no such file"), broken):
            folder.add(result)
    out = tmp_path / "out"
    assert (out / "1best_recog" / "text").read_text(encoding="utf-8") == "a Hello 你好\nc/d Hello 你好\n"
    assert (out / "1best_recog" / "rtf").read_text() == "a 0.5000\nc/d 0.5000\n"
    assert (out / "1best_recog" / "score").read_text() == "a -1.500000\nc/d -1.500000\n"
    assert [json.loads(line)["key"] for line in (out / "results.jsonl").read_text(encoding="utf-8").splitlines()] == [
        "a",
        "c/d",
    ]
    failed = [json.loads(line) for line in (out / "failed.jsonl").read_text().splitlines()]
    assert [item["id"] for item in failed] == ["b", "c/d#t=0.500,1.000"]
    assert sorted(path.name for path in (out / "srt").iterdir()) == ["a.srt", "c%2Fd.srt"]
    record = json.loads((out / "run.json").read_text())
    assert (record["command"], record["recordings"], record["failed"], record["complete"]) == ("x", 2, 2, True)


def test_a_broken_run_keeps_what_is_finished(tmp_path):
    with pytest.raises(RuntimeError), TranscriptFolder(tmp_path, [], {}, {}, resume=False) as folder:
        folder.add(transcription("a"))
        raise RuntimeError
    assert json.loads((tmp_path / "run.json").read_text())["complete"] is False
    assert len((tmp_path / "results.jsonl").read_text(encoding="utf-8").splitlines()) == 1


def test_what_is_there_is_not_overwritten_unasked(tmp_path):
    with TranscriptFolder(tmp_path, [], {"batch": 1}, {}, resume=False):
        pass
    with pytest.raises(ConfigError, match="--resume"):
        TranscriptFolder(tmp_path, [], {"batch": 1}, {}, resume=False)
    with pytest.raises(ConfigError, match="batch was 1, is 2"):
        TranscriptFolder(tmp_path, [], {"batch": 2}, {}, resume=True)
    with TranscriptFolder(tmp_path, [], {"batch": 1}, {}, resume=True):
        pass


@pytest.mark.parametrize(("key", "name"), [("a", "a"), ("../x", "%2E.%2Fx"), ("50%", "50%25"), ("你好.1", "你好.1")])
def test_names_of_files(key, name):
    assert file_name(key) == name


def test_names_that_cannot_be(tmp_path):
    with TranscriptFolder(tmp_path, ["ctm"], {}, {}, resume=False) as folder:
        folder.check_names(["a", "你好"])
        for key, message in (("你" * 100, "200 bytes"), (";;a", "CTM")):
            with pytest.raises(DataError, match=message):
                folder.check_names(["a", key])
