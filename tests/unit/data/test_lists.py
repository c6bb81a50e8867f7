"""Tables and data lists: what is sound comes back, everything else is named with file and line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mooer.common.errors import DataError, PathError
from mooer.data.lists import read_data_list, read_table, scan_table, write_table
from mooer.data.utterance import AudioRef, Utterance, from_json, parse_audio, resolve_path, to_json


def table(tmp_path, content):
    path = tmp_path / "table"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_a_table_keeps_order_and_values(tmp_path):
    path = table(tmp_path, "b  two words\na\tone\tand a tab \n中 文字\n")
    assert list(read_table(path).items()) == [("b", "two words"), ("a", "one\tand a tab"), ("中", "文字")]


@pytest.mark.parametrize(
    ("content", "line", "words"),
    [
        ("a 1\nb\n", 2, "no value"),
        ("a 1\na 2\n", 2, "duplicate of line 1"),
        ("a 1\n\nb 2\n", 2, "empty"),
        ("a 1\n b 2\n", 2, "begins with white space"),
        (b"a 1\nb \xff\n", 2, "not UTF-8"),
        (b"\xef\xbb\xbfa 1\n", 1, "byte order mark"),
        (b"a 1\r\n", 1, "Windows"),
        ("a 1\nb\x00 2\n", 2, "control character U.0000"),
        ("a 1\nb\u3000c 2\n", 2, "white space"),
    ],
)
def test_faults_name_file_and_line(tmp_path, content, line, words):
    path = table(tmp_path, content)
    with pytest.raises(DataError, match=words) as caught:
        read_table(path)
    assert f"{path}:{line}: " in str(caught.value)


def test_all_faults_are_found(tmp_path):
    rows, faults = scan_table(table(tmp_path, "a 1\nb\na 2\nc 3\n"))
    assert [row.id for row in rows] == ["a", "c"]
    assert [fault.line for fault in faults] == [2, 3]


def test_empty_values_where_allowed(tmp_path):
    assert read_table(table(tmp_path, "a\nb 1\n"), allow_empty=True) == {"a": "", "b": "1"}


def test_no_such_table(tmp_path):
    with pytest.raises(PathError):
        read_table(tmp_path / "none")


words = st.text(
    st.characters(blacklist_categories=("Cs", "Cc", "Zs", "Zl", "Zp"), blacklist_characters="\ufeff\ufffe"), min_size=1
)


@given(st.dictionaries(words, st.lists(words, min_size=1).map(" ".join)))
def test_tables_round_trip(tmp_path_factory, values):
    path = tmp_path_factory.mktemp("tables") / "t"
    write_table(path, values)
    assert list(read_table(path).items()) == list(values.items())


@pytest.mark.parametrize("values", [{"a b": "x"}, {"": "x"}, {"a": "x\ny"}])
def test_tables_that_could_not_be_read_back_are_not_written(tmp_path, values):
    with pytest.raises(DataError):
        write_table(tmp_path / "t", values)
    assert not (tmp_path / "t").exists()


@pytest.mark.parametrize(
    "value", ["touch owned |", "| touch owned", "http://host/a.wav", "s3://bucket/a.wav", "file:///a.wav", ""]
)
def test_commands_and_urls_are_refused(tmp_path, value):
    with pytest.raises(DataError):
        resolve_path(value, tmp_path)


def test_paths_start_at_the_list_or_else_where_we_are(tmp_path, monkeypatch):
    folder, elsewhere = tmp_path / "lists", tmp_path / "cwd"
    folder.mkdir()
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    (folder / "a.wav").touch()
    (elsewhere / "a.wav").touch()
    (elsewhere / "b.wav").touch()
    assert resolve_path("a.wav", folder) == str(folder / "a.wav")
    assert resolve_path("b.wav", folder) == "b.wav"


def test_stretches_in_wav_scp(tmp_path):
    assert parse_audio("a.wav#t=1.5,3", tmp_path) == AudioRef(path="a.wav", start=1.5, end=3.0)
    assert parse_audio("a.wav,1.5,3", tmp_path) == AudioRef(path="a.wav", start=1.5, end=3.0)
    assert parse_audio("a,1.wav", tmp_path) == AudioRef(path="a,1.wav")
    for value in ("a.wav#t=3,1.5", "a.wav,3,1.5"):
        with pytest.raises(DataError, match="not after its start"):
            parse_audio(value, tmp_path)


def test_utterances_round_trip(tmp_path):
    audio = AudioRef(path=str(tmp_path / "wav" / "a.wav"), start=0.5, end=2.0)
    utterance = Utterance("a", audio, None, {"text": '你好 "x"', "en": "hello"}, 24000)
    line = to_json(utterance, tmp_path)
    assert '"audio": "wav/a.wav"' in line
    (tmp_path / "wav").mkdir()
    (tmp_path / "wav" / "a.wav").touch()
    assert from_json(line, tmp_path, "here") == utterance


@pytest.mark.parametrize(
    "line",
    [
        "[1]",
        "{",
        '{"id": "a"}',
        '{"id": "a b", "audio": "x"}',
        '{"id": "a", "audio": "x", "colour": 1}',
        '{"id": "a", "audio": 7}',
        '{"id": "a", "audio": "cat x |"}',
        '{"id": "a", "audio": "http://x/y"}',
        '{"id": "a", "audio": "x", "start": -1}',
        '{"id": "a", "audio": "x", "start": NaN}',
        '{"id": "a", "audio": "x", "offset": 1.5, "size": 2}',
        '{"id": "a", "audio": "x", "offset": 1}',
        '{"id": "a", "audio": "x", "labels": {"text": 1}}',
    ],
)
def test_bad_lines_of_a_data_list(tmp_path, line):
    path = table(tmp_path, '{"id": "ok", "audio": "ok.wav", "labels": {}}\n' + line + "\n")
    with pytest.raises(DataError) as caught:
        read_data_list(path)
    assert f"{path}:2" in str(caught.value)


def test_duplicates_and_mixtures_in_a_data_list(tmp_path):
    line = '{"id": "ok", "audio": "ok.wav"}\n'
    with pytest.raises(DataError, match="duplicate"):
        read_data_list(table(tmp_path, line + line))
    with pytest.raises(DataError, match="not both"):
        read_data_list(table(tmp_path, line + "shard.tar\n"))
    with pytest.raises(DataError, match="does not exist"):
        read_data_list(table(tmp_path, "shard.tar\n"))
