import json

import pytest

from mooer.common.errors import DataError, PathError
from mooer.data.utterance import Problem, Utterance
from mooer.decode.inputs import from_data_list, from_feats_scp, from_files, from_wav_scp


@pytest.fixture
def folder(tmp_path):
    for name in ("a.wav", "b.wav", "sub/a.flac", "with space.wav"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x")
    return tmp_path


def test_files_get_their_names_as_ids(folder):
    utterances = from_files([folder / "b.wav", folder / "a.wav", folder / "sub/a.flac", folder / "with space.wav"])
    assert [item.id for item in utterances] == ["b", "a", "a-2", "with_space"]
    assert utterances[2].audio.path == str(folder / "sub/a.flac")


def test_a_missing_file_is_a_mistake_of_the_command_line(folder):
    with pytest.raises(PathError, match=r"c\.wav"):
        from_files([folder / "a.wav", folder / "c.wav"])


def test_wav_scp(folder):
    table = folder / "wav.scp"
    table.write_text("u1 a.wav\nu2 touch x |\nu3 https://example.org/a.wav\nu4 b.wav#t=1,2.5\n")
    first, command, url, part = from_wav_scp(table)
    assert first == Utterance("u1", first.audio)
    assert first.audio.path == str(folder / "a.wav")
    assert isinstance(command, Problem)
    assert "never run" in command.message
    assert isinstance(url, Problem)
    assert (part.audio.start, part.audio.end) == (1.0, 2.5)


@pytest.mark.parametrize("text", ["u1 a.wav\nu1 b.wav\n", "u1\n", "\n", "u1 a.wav\r\n"])
def test_a_table_with_faults_is_refused(folder, text):
    table = folder / "wav.scp"
    table.write_bytes(text.encode())
    with pytest.raises(DataError, match=r"wav\.scp:\d"):
        from_wav_scp(table)


def test_feats_scp(folder):
    (folder / "feats.ark").write_bytes(b"x")
    table = folder / "feats.scp"
    table.write_text("u1 feats.ark:12\nu2 other.ark\nu3 copy-feats ark:x ark:- |\n")
    first, second, command = from_feats_scp(table)
    assert first.feats == f"{folder / 'feats.ark'}:12"
    assert second.feats == "other.ark"
    assert isinstance(command, Problem)


def test_data_list(folder):
    table = folder / "data.list"
    table.write_text(json.dumps({"id": "u1", "audio": "a.wav", "labels": {}}) + "\n")
    (utterance,) = from_data_list(table)
    assert utterance.audio.path == str(folder / "a.wav")
