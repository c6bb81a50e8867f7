"""Text files of a score: what is read, and what is refused with file and line."""

import pytest

from mooer.common.errors import DataError, PathError
from mooer.score.texts import read_texts


def write(tmp_path, content: bytes):
    path = tmp_path / "text"
    path.write_bytes(content)
    return path


def test_ids_end_at_any_white_space_and_texts_may_be_empty(tmp_path):
    path = write(tmp_path, "\ufeffa 你 好\nb\tHello world\r\nc\nd \n\n样本1 你好\u2028x".encode())
    assert read_texts(path) == {"a": "你 好", "b": "Hello world", "c": "", "d": "", "样本1": "你好\u2028x"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a x\nb y\na z\n", "text:3: utterance id 'a' occurs a second time"),
        (b"a x\nb \xff\n", "text:2: not valid UTF-8"),
        (b" a x\n", "text:1: the line begins with white space"),
    ],
)
def test_faults_are_named_with_file_and_line(tmp_path, content, message):
    with pytest.raises(DataError, match=message):
        read_texts(write(tmp_path, content))


def test_missing_file(tmp_path):
    with pytest.raises(PathError, match=r"reference file .* does not exist"):
        read_texts(tmp_path / "none", "reference file")
