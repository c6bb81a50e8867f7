"""Histories: whose turns they are, and what is refused by file and line."""

import json

import pytest

from mooer.common.errors import DataError, PathError
from mooer.text.conversation import Conversations, read_conversations
from mooer.text.prompts import Turn


def write(path, *turns):
    path.write_text("".join(json.dumps(turn, ensure_ascii=False) + "\n" for turn in turns), encoding="utf-8")
    return path


def test_turns_belong_to_all_or_to_one(tmp_path):
    path = write(
        tmp_path / "history.jsonl",
        {"role": "user", "text": " 你好\n"},
        {"role": "assistant", "text": "Hello.", "id": "a"},
        {"id": "b", "role": "assistant", "text": "Hi."},
    )
    conversations = read_conversations(path)
    first = Turn("user", "你好")
    assert conversations.before("a") == (first, Turn("assistant", "Hello."))
    assert conversations.before("b") == (first, Turn("assistant", "Hi."))
    assert conversations.before("c") == (first,)
    assert len(conversations.all()) == 3
    conversations.check_ids(["a", "b", "c"])
    with pytest.raises(DataError, match="'b'"):
        conversations.check_ids(["a", "c"])
    assert Conversations().before("a") == ()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "h.jsonl:2: not JSON"),
        ("[]", "h.jsonl:2: a turn is an object"),
        ('{"role": "user", "text": 3}', "h.jsonl:2: a turn is an object"),
        ('{"role": "system", "text": "a"}', "role is 'system'; allowed: user, assistant"),
        ('{"text": "a"}', "role is None"),
        ('{"role": "user", "text": " "}', "needs a text"),
        ('{"role": "user"}', "needs a text"),
        ('{"role": "user", "text": "a", "content": "b"}', "unknown key 'content'; valid keys: role, text, id"),
    ],
)
def test_lines_that_are_no_turns(tmp_path, line, message):
    path = tmp_path / "h.jsonl"
    path.write_text('{"role": "user", "text": "a"}\n' + line + "\n")
    with pytest.raises(DataError) as caught:
        read_conversations(path)
    assert message in str(caught.value)


def test_files_that_are_no_histories(tmp_path):
    with pytest.raises(PathError, match="history"):
        read_conversations(tmp_path / "gone.jsonl")
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(DataError, match="no turns"):
        read_conversations(tmp_path / "empty.jsonl")
    (tmp_path / "latin.jsonl").write_bytes(b"\xe9")
    with pytest.raises(DataError, match="UTF-8"):
        read_conversations(tmp_path / "latin.jsonl")
