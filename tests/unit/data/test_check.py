"""Every fault of a data directory is named with its file and line."""

import pytest
import soundfile
from click.testing import CliRunner

from mooer.cli.check_data import main
from mooer.data.check import check_data_dir
from mooer.data.directory import read_data_dir
from mooer.data.statistics import dump_feats

from .conftest import write_data_dir

# All lines of a sound table but the second one.
SCP, SCP_END = "utt00 wav/utt00.wav\n", "utt02 wav/utt02.wav\n"
SEG, SEG_END = "utt00 utt00 0 0.4\n", "utt02 utt02 0 0.5\n"


@pytest.fixture
def small(tmp_path):
    return write_data_dir(tmp_path / "data", [0.5, 0.5, 0.5])


def run(folder, *options):
    # catch_exceptions=False: nothing but a MooerError may come up, and those end as exit statuses.
    return CliRunner().invoke(main, ["--data_dir", str(folder), *options], catch_exceptions=False)


def faults(folder):
    return [str(fault).removeprefix(f"{folder}/") for fault in check_data_dir(folder).faults]


def test_a_sound_directory(small):
    done = run(small, "--num_workers", "2")
    assert done.exit_code == 0
    assert "3 utterances" in done.output


def test_no_such_directory(tmp_path):
    assert run(tmp_path / "none").exit_code == 2
    assert run(tmp_path).exit_code == 2


@pytest.mark.parametrize(
    ("file", "content", "wanted"),
    [
        ("text", "utt00 a\nutt01\nutt02 c\n", "text:2: id 'utt01' has an empty text"),
        ("text.speech", "utt00 0.1-0.2 0-0.3\nutt01 -\nutt02 -\n", "text.speech:1: id 'utt00': a stretch of speech"),
        ("text.speech", "utt00 -\nutt01 0.1\nutt02 -\n", "text.speech:2: id 'utt01': '0.1' is no stretch of speech"),
        ("text.speech", "utt00 -\nutt01 -\nutt02 0-0.6\n", "text.speech:3: id 'utt02' has speech until 0.6 s, the recording"),
        ("text", "utt00 a\nutt00 a\nutt01 b\nutt02 c\n", "text:2: id 'utt00' is a duplicate of line 1"),
        ("text", "utt00 a\nutt02 c\nutt01 b\n", "text:3: id 'utt01' is not in order after 'utt02'"),
        ("text", "utt00 a\nutt02 c\n", "wav.scp:2: id 'utt01' is not in text"),
        ("text", "utt00 a\nutt01 b\nutt02 c\nutt03 d\n", "text:4: id 'utt03' is not in wav.scp"),
        ("text", b"utt00 a\nutt01 \xff\nutt02 c\n", "text:2: is not UTF-8"),
        ("text", "utt00 a\n\nutt01 b\nutt02 c\n", "text:2: is empty"),
        ("text.en", "utt01 word\nutt09 word\n", "text.en:2: id 'utt09' is not in wav.scp"),
        ("utt2spk", "utt00 s\nutt02 s\n", "wav.scp:2: id 'utt01' is not in utt2spk"),
        ("wav.scp", SCP + "utt01\n" + SCP_END, "wav.scp:2: id 'utt01' has no value"),
        ("wav.scp", SCP + "utt01 touch owned |\n" + SCP_END, "wav.scp:2: id 'utt01': 'touch owned |' is a command"),
        ("wav.scp", SCP + "utt01 http://h/a.wav\n" + SCP_END, "wav.scp:2: id 'utt01': 'http://h/a.wav' is a URL"),
        ("wav.scp", SCP + "utt01 wav/none.wav\n" + SCP_END, "wav.scp:2: id 'utt01': "),
        ("wav.scp", SCP + "utt01 x wav/utt01.wav\n" + SCP_END, "the id seems to hold a space"),
        ("wav.scp", SCP + "utt01\u00a0x wav/utt01.wav\n" + SCP_END, "wav.scp:2: id 'utt01\\xa0x' holds white space"),
        ("wav.scp", "", "wav.scp:1: the file is empty"),
        ("segments", SEG + "utt01 utt01 0.2 9\n" + SEG_END, "segments:2: id 'utt01': 0.2 to 9 s, but 'utt01' ends at 0.500 s"),
        ("segments", SEG + "utt01 utt01 0.3 0.2\n" + SEG_END, "segments:2: id 'utt01': "),
        ("segments", SEG + "utt01 no 0.3 0.5\n" + SEG_END, "segments:2: id 'utt01': recording 'no' is not in wav.scp"),
        ("segments", SEG + "utt01 utt00 0.3 0.5\n" + SEG_END, "wav.scp:2: recording 'utt01' has no segment"),
    ],
)  # fmt: skip
def test_each_fault(small, file, content, wanted):
    (small / file).write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    assert any(wanted in fault for fault in faults(small)), faults(small)
    done = run(small)
    assert done.exit_code == 1
    assert wanted in done.output
    assert "faults" in done.output
    assert not (small / "owned").exists()


@pytest.mark.parametrize("damage", ["missing", "truncated", "not audio", "empty", "too short", "forged"])
def test_unreadable_recordings(small, damage):
    path = small / "wav" / "utt01.wav"
    content = bytearray(path.read_bytes())
    if damage == "missing":
        path.unlink()
    elif damage == "too short":
        soundfile.write(path, [0.0] * 100, 16000)
    elif damage == "forged":
        content[40:44] = (0x7FFFFFF0).to_bytes(4, "little")
        path.write_bytes(content)
    else:
        path.write_bytes({"truncated": content[:3000], "not audio": b"x" * 3000, "empty": b""}[damage])
    found = faults(small)
    assert len(found) == 1
    assert found[0].startswith("wav.scp:2: id 'utt01': ")


def test_features_are_checked_too(small):
    dump_feats(read_data_dir(small).utterances, small / "dump")
    folder = small / "dump"
    (folder / "text").write_bytes((small / "text").read_bytes())
    assert faults(folder) == []
    archive = next(folder.glob("*.ark"))
    archive.write_bytes(archive.read_bytes()[:-100])
    assert [fault.split(": ")[0] for fault in faults(folder)] == ["feats.scp:3"]


def test_all_faults_are_named_in_file_order(small):
    (small / "wav.scp").write_text("utt00 wav/utt00.wav\nutt00 again\nutt02\n")
    found = faults(small)
    assert [fault.split(": ")[0] for fault in found] == ["wav.scp:2", "wav.scp:3", "text:2", "text:3", "text.en:1"]
