"""Atomic writing and safe reading of archives."""

import hashlib
import io
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from mooer.common.errors import DataError, PathError
from mooer.common.files import atomic_write, iterate_tar, locked, md5, require_dir, require_file, sha256, staged_folder


def test_failure_leaves_the_old_file(tmp_path):
    path = tmp_path / "sub" / "a.txt"
    with atomic_write(path) as stream:
        stream.write("old")
    with pytest.raises(RuntimeError), atomic_write(path) as stream:
        stream.write("new")
        raise RuntimeError
    assert path.read_text() == "old"
    assert [p.name for p in path.parent.iterdir()] == ["a.txt"]


HOLD = (
    "import sys; from mooer.common.files import locked\nwith locked(sys.argv[1], 'folder'): print(flush=True); sys.stdin.read()"
)


def test_a_lock_is_free_once_its_process_is_dead(tmp_path):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "lock")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    holder.stdout.readline()
    with (
        pytest.raises(PathError, match=rf"^folder f: process {holder.pid} of \S+ is at work there"),
        locked(tmp_path / "lock", "folder f"),
    ):
        pass
    holder.kill()
    holder.communicate()
    with locked(tmp_path / "lock", "folder f"):
        assert f"process {os.getpid()} of" in (tmp_path / "lock").read_text()


def test_sha256_of_known_bytes(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_md5_of_known_bytes_in_blocks(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert md5(tmp_path / "a") == "900150983cd24fb0d6963f7d28e17f72"
    (tmp_path / "b").write_bytes(b"abc" * 1_000_000)
    blocks = []
    assert md5(tmp_path / "b", blocks.append) == hashlib.md5(b"abc" * 1_000_000).hexdigest()
    assert sum(blocks) == 3_000_000 and len(blocks) > 1


def test_required_paths(tmp_path):
    (tmp_path / "file").touch()
    assert require_file(tmp_path / "file", "x").name == "file"
    assert require_dir(tmp_path, "x") == tmp_path
    for path, call in ((tmp_path, require_file), (tmp_path / "no", require_file), (tmp_path / "file", require_dir)):
        with pytest.raises(PathError, match="the list"):
            call(path, "the list")


def archive(*members):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for info, content in members:
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    stream.seek(0)
    return stream


def member(name, kind=tarfile.REGTYPE, link=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def test_regular_members_are_listed_with_their_place():
    stream = archive((member("a.txt"), b"hello"), (member("d", tarfile.DIRTYPE), b""), (member("b.txt"), b"world!"))
    found = list(iterate_tar(stream, "t"))
    assert [item.name for item in found] == ["a.txt", "b.txt"]
    assert stream.getvalue()[found[1].offset_data :][: found[1].size] == b"world!"


@pytest.mark.parametrize(
    "bad",
    [
        member("/etc/passwd"),
        member("../up.txt"),
        member("a/../../up.txt"),
        member("link", tarfile.SYMTYPE, "/etc/passwd"),
        member("hard", tarfile.LNKTYPE, "a.txt"),
        member("pipe", tarfile.FIFOTYPE),
        member("device", tarfile.CHRTYPE),
    ],
)
def test_dangerous_members_are_refused(bad):
    with pytest.raises(DataError):
        list(iterate_tar(archive((member("a.txt"), b"x"), (bad, b"")), "t"))


def test_large_member_is_refused():
    with pytest.raises(DataError, match="limit"):
        list(iterate_tar(archive((member("a"), b"x" * 100)), "t", member_limit=99))


def test_damage_is_an_error():
    with pytest.raises(DataError, match="damaged"):
        list(iterate_tar(io.BytesIO(b"this is no archive" * 100), "t"))


def test_staged_folder_leaves_nothing_behind_on_error(tmp_path):
    with pytest.raises(RuntimeError), staged_folder(tmp_path / "out", Path.is_dir) as folder:
        (folder / "half").write_text("x")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_staged_folder_replaces_an_earlier_one_of_its_kind_only(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old").write_text("x")
    with pytest.raises(PathError, match="is no model directory"), staged_folder(tmp_path / "out", lambda _: False):
        pass
    with staged_folder(tmp_path / "out", lambda path: (path / "old").is_file()) as folder:
        (folder / "new").write_text("y")
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "new"]
