import numpy as np
import pytest

from mooer.common.errors import ConfigError, DataError
from mooer.decode.hypothesis import Word
from mooer.pipeline.journal import Journal
from mooer.pipeline.transcription import DecodedSegment

ORIGIN = {"sha256": "ab", "start": None}


def segment(start, text="你好 a"):
    words = (Word(text, start, start + 500, 0.123456),) if text else None
    embeddings = np.random.default_rng(start).normal(size=(2, 3)).astype(np.float32)
    place = {"start": start, "end": start + 1000, "num_samples": 16000}
    return DecodedSegment(**place, text=text, words=words, score=-1 / 3, flags=("repetition",), embeddings=embeddings)


def plain(segments):
    return [item.to_json() for item in segments]


@pytest.fixture
def path(tmp_path):
    journal = Journal.create(tmp_path / "a.jsonl", ORIGIN)
    journal.add([segment(0), segment(1500, "")], 1.5)
    journal.add([segment(3000)], 0.25)
    return tmp_path / "a.jsonl"


def test_what_was_kept_comes_back(path):
    journal = Journal.resume(path, ORIGIN)
    assert [len(window) for window in journal.windows] == [2, 1]
    assert plain(journal.segments) == plain([segment(0), segment(1500, ""), segment(3000)])
    assert (journal.num_samples, journal.elapsed_seconds) == (None, 1.75)
    journal.finish(80000, 0.25)
    again = Journal.resume(path, ORIGIN)
    assert (again.num_samples, again.elapsed_seconds) == (80000, 2.0)


def test_a_failed_segment_comes_back(tmp_path):
    failed = DecodedSegment(start=0, end=10, num_samples=160, text="", words=(), failure=("too_short", "why"))
    Journal.create(tmp_path / "a", ORIGIN).add([failed], 0)
    assert Journal.resume(tmp_path / "a", ORIGIN).segments == [failed]


def test_every_place_where_a_kill_may_tear_it(path):
    """Whole lines stay, whatever is left of the last one, and the next one goes where it should."""
    data = path.read_bytes()
    ends = [place + 1 for place, sign in enumerate(data) if sign == ord("\n")]
    for cut in range(ends[0], len(data), 37):
        path.write_bytes(data[:cut])
        journal = Journal.resume(path, ORIGIN)
        assert len(journal.windows) == sum(end <= cut for end in ends[1:])
        journal.add([segment(9000)], 0)
        assert len(Journal.resume(path, ORIGIN).windows) == len(journal.windows)


def test_another_recording_is_refused(path):
    with pytest.raises(ConfigError, match='sha256 was "ab", is "cd"'):
        Journal.resume(path, ORIGIN | {"sha256": "cd"})


@pytest.mark.parametrize("damage", [b"{}\n", b"nonsense\n", b"[]\n", b'{"segments":[{"text":1}],"elapsed_seconds":1}\n'])
def test_other_damage_is_an_error(path, damage):
    with path.open("ab") as stream:
        stream.write(damage)
    with pytest.raises(DataError, match="damaged"):
        Journal.resume(path, ORIGIN)
