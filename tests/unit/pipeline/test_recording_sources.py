import http.server
import threading

import pytest

from mooer.common.errors import AudioError, DataError, PathError
from mooer.pipeline.recording_sources import Recording, fetch, recordings_of_files, recordings_of_table


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path in ("/file", "/ftp"):
            self.send_response(302)
            self.send_header("Location", "file:///etc/passwd" if self.path == "/file" else "ftp://localhost/a")
            self.end_headers()
            return
        self.send_response(404 if self.path == "/none" else 200)
        if self.path == "/short":
            self.send_header("Content-Length", "2000")
        self.end_headers()
        self.wfile.write(bytes(1000))

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def test_what_is_fetched_is_there_for_a_while(server):
    recording = Recording(key="a", path=f"{server}/a%20b.wav")
    with recording.opened() as path:
        assert path.read_bytes() == bytes(1000)
        assert len(recording.origin(path)["sha256"]) == 64
    assert not path.exists()


@pytest.mark.parametrize(
    ("name", "limits", "reason"),
    [
        ("none", {}, "missing"),
        ("file", {}, "missing"),
        ("ftp", {}, "missing"),
        ("big", {"max_bytes": 999}, "too_long"),
        ("short", {}, "missing|truncated"),
        ("slow", {"max_seconds": 0}, "missing"),
    ],
)
def test_what_does_not_arrive_leaves_nothing(server, tmp_path, name, limits, reason):
    with pytest.raises(AudioError) as caught:
        fetch(f"{server}/{name}", tmp_path / "a", **limits)
    assert caught.value.reason in reason.split("|")
    assert not (tmp_path / "a").exists()


def test_names(tmp_path):
    (tmp_path / "a b.wav").touch()
    found = recordings_of_files([str(tmp_path / "a b.wav"), "https://host/x/a%20b.mp3?q=1", "http://host"], allow_url=True)
    assert [item.key for item in found] == ["a_b", "a_b-2", "recording"]
    with pytest.raises(DataError, match="allow_url"):
        recordings_of_files(["https://host/a.wav"], allow_url=False)
    with pytest.raises(PathError, match="does not exist"):
        recordings_of_files(["none.wav"], allow_url=True)


def test_a_table(tmp_path):
    (tmp_path / "wav.scp").write_text("a a.wav#t=1,2.5\nb http://host/b.wav\nc cat c.wav |\n")
    with pytest.raises(DataError, match="allow_url"):
        recordings_of_table(str(tmp_path / "wav.scp"), allow_url=False)
    first, second, third = recordings_of_table(str(tmp_path / "wav.scp"), allow_url=True)
    assert (first.key, first.start, first.end) == ("a", 1.0, 2.5)
    assert second == Recording(key="b", path="http://host/b.wav")
    assert (third.id, third.reason) == ("c", "unsupported")
