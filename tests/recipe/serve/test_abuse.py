"""A live server with narrow limits and a key, under what no honest client sends, and its end under load."""

import contextlib
import http.client
import io
import json
import os
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile

KEY = "a-key-for-tests-only"
PATH = "/v1/audio/transcriptions"
MEGABYTE = 1 << 20
PLACES = 4
TIMEOUT = 8
BOUNDARY = "x-boundary"
LONG_HOURS = 3


@pytest.fixture(scope="module")
def server(start_server, tmp_path_factory):
    """One server for the module."""
    keys = tmp_path_factory.mktemp("keys") / "keys"
    keys.write_text(f"# of the tests\nanother-key-for-tests\n{KEY}\n")
    limits = ("--max_upload_mb", 1, "--max_queue", PLACES, "--timeout", TIMEOUT, "--max_seconds", 30)
    return start_server("--api_key_file", keys, *limits)


def form(data, **fields):
    """The body of a form."""
    parts = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in fields.items()
    ]
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
    return "".join(parts).encode() + head.encode() + data + f"\r\n--{BOUNDARY}--\r\n".encode()


def headers(key=KEY):
    """Of a form with a key."""
    return {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}", "Authorization": f"Bearer {key}"}


def ask(server, body, method="POST", path=PATH, **extra):
    """Status, body as JSON or text, and headers."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    with contextlib.closing(connection):
        connection.request(method, path, body, headers() | extra)
        answer = connection.getresponse()
        text = answer.read().decode()
    return answer.status, json.loads(text) if text.startswith("{") else text, answer.headers


def refusal(server, data, **fields):
    """Status and error for a recording that cannot be used."""
    status, answer, _ = ask(server, form(data, model="mini", **fields))
    assert set(answer) == {"error"}
    assert "/" not in answer["error"]["message"]
    return status, answer["error"]["code"]


def begun(server, length, data=b""):
    """A connection that has sent its head and the beginning of a body of `length` bytes."""
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=60)
    lines = [f"POST {PATH} HTTP/1.1", "Host: x", *(f"{name}: {value}" for name, value in headers().items())]
    framing = f"Content-Length: {length}" if length is not None else "Transfer-Encoding: chunked"
    connection.sendall(("\r\n".join([*lines, framing]) + "\r\n\r\n").encode() + data)
    return connection


def wait_until_inside(server, count):
    """Wait until so many requests are being answered."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        _, text, _ = ask(server, None, "GET", "/metrics")
        if f"mooer_requests_inside {count:.1f}" in text.splitlines():
            return
        time.sleep(0.02)
    raise AssertionError(f"never {count} requests inside")


def status_of(connection):
    """Status of the answer on a raw connection."""
    received = b""
    while b"\r\n" not in received:
        piece = connection.recv(4096)
        assert piece, "no answer"
        received += piece
    return int(received.split()[1])


def resident_kilobytes(server):
    """Memory of the server's process."""
    lines = Path(f"/proc/{server.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


@pytest.mark.parametrize(
    "header", ["Bearer wrong-key-for-tests", "Bearer", "", f"Basic {KEY}", f"Bearer {KEY}x", "Bearer \xe9"]
)
def test_wrong_keys_are_refused(server, header):
    status, answer, sent = ask(server, b"", Authorization=header)
    assert (status, answer["error"]["code"]) == (401, "invalid_api_key")
    assert sent["WWW-Authenticate"] == "Bearer"
    assert ask(server, None, "GET", "/healthz", Authorization=header)[0] == 200


def test_either_key_opens(server, speech):
    body = form(speech[0].read_bytes(), model="mini")
    for key in (KEY, "another-key-for-tests"):
        assert ask(server, body, Authorization=f"Bearer {key}")[0] == 200


def test_what_is_no_recording(server, make_wav):
    whole = make_wav(b"\1\0" * 16000)
    forged = bytearray(whole)
    forged[40:44] = (1 << 30).to_bytes(4, "little")
    rate = bytearray(whole)
    rate[24:28] = (1).to_bytes(4, "little")
    cases = {
        "audio_unreadable": np.random.default_rng(0).bytes(5000),
        "audio_empty": b"",
        "audio_truncated": bytes(forged),
        "audio_unsupported": bytes(rate),
        "audio_too_short": make_wav(b"\1\0" * 300),
    }
    assert {code: refusal(server, data) for code, data in cases.items()} == {code: (400, code) for code in cases}
    assert refusal(server, make_wav(b"")) == (400, "audio_empty")


def test_a_small_file_that_unpacks_to_hours(server):
    stream = io.BytesIO()
    with soundfile.SoundFile(stream, "w", samplerate=8000, channels=1, format="FLAC") as file:
        for _ in range(LONG_HOURS * 60):
            file.write(np.zeros(8000 * 60, np.int16))
    assert len(stream.getvalue()) < MEGABYTE
    before = resident_kilobytes(server)
    assert refusal(server, stream.getvalue()) == (400, "audio_too_long")
    assert resident_kilobytes(server) - before < 64 * 1024


def test_forms_that_are_none(server, make_wav):
    assert ask(server, b"{}", **{"Content-Type": "application/json"})[1]["error"]["code"] == "invalid_content_type"
    assert ask(server, b"garbage")[1]["error"]["code"] == "invalid_form"
    assert ask(server, form(b"")[:50])[1]["error"]["code"] in ("invalid_form", "missing_file")
    assert ask(server, form(b"x").replace(b'"file"', b'"data"'))[1]["error"]["code"] == "missing_file"
    assert ask(server, form(make_wav(b"\1\0" * 8000)))[1]["error"]["code"] == "missing_parameter"
    many = {f"f{number}": "x" for number in range(40)}
    assert ask(server, form(b"x", **many))[0] == 400
    assert ask(server, None, "GET")[0] == 405


def test_a_body_that_is_too_large_is_refused_with_an_answer(server):
    status, answer, _ = ask(server, form(bytes(2 * MEGABYTE)))
    assert (status, answer["error"]["code"]) == (413, "upload_too_large")


def test_a_promise_of_two_gigabytes_is_refused_before_its_body(server):
    with begun(server, 2 << 30) as connection:
        assert status_of(connection) == 413


def test_endless_chunks_are_refused_early_and_take_no_memory(server):
    before, sent = resident_kilobytes(server), 0
    chunk = f"{MEGABYTE:x}\r\n".encode() + bytes(MEGABYTE) + b"\r\n"
    head = form(b"").partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    with begun(server, None, f"{len(head):x}\r\n".encode() + head + b"\r\n") as connection, contextlib.suppress(OSError):
        for _ in range(2048):
            connection.sendall(chunk)
            sent += 1
    assert 1 < sent < 64
    assert resident_kilobytes(server) - before < 32 * 1024


def test_a_full_server_says_so_and_who_hangs_up_frees_a_place(server, speech):
    body = form(speech[0].read_bytes(), model="mini")
    taken = [begun(server, len(body), body[:100]) for _ in range(PLACES)]
    wait_until_inside(server, PLACES)
    status, answer, sent = ask(server, body)
    assert (status, answer["error"]["code"]) == (429, "queue_full")
    assert int(sent["Retry-After"]) >= 1
    for connection in taken:
        connection.close()
    wait_until_inside(server, 0)
    assert ask(server, body)[0] == 200


def test_who_hangs_up_after_asking_is_not_waited_for(server, speech):
    body = form(speech[0].read_bytes(), model="mini")
    for _ in range(3):
        for connection in [begun(server, len(body), body) for _ in range(PLACES)]:
            connection.close()
        wait_until_inside(server, 0)
    assert ask(server, body)[0] == 200
    wait_until_inside(server, 0)
    assert "mooer_queue_length 0.0" in ask(server, None, "GET", "/metrics")[1].splitlines()


def test_a_body_that_never_ends_takes_its_time_and_no_more(server, speech):
    body = form(speech[0].read_bytes(), model="mini")
    with begun(server, len(body), body[:-10]) as connection:
        assert status_of(connection) == 504
    wait_until_inside(server, 0)


def test_the_end_under_load_leaves_nobody_without_an_answer(server, speech, expected):
    """The last test: it ends the server."""
    path = speech[0]
    body = form(path.read_bytes(), model="mini")
    late = begun(server, len(body), body[:100])
    wait_until_inside(server, 1)
    texts, others, has_begun = [], [], threading.Event()

    def ask_until_refused(_):
        while True:
            try:
                status, answer, _ = ask(server, body)
            except ConnectionError:
                return
            if status == 503:
                others.append(answer["error"]["code"])
                return
            if status != 429:
                texts.append((status, answer.get("text")))
            has_begun.set()

    with ThreadPoolExecutor(6) as pool:
        asked = pool.map(ask_until_refused, range(6))
        has_begun.wait(30)
        os.kill(server.process.pid, 15)
        list(asked)
    assert texts
    assert set(texts) == {(200, expected["asr"][path])}
    assert set(others) == {"shutting_down"}
    assert ask(server, None, "GET", "/healthz/ready")[0] == 503
    assert ask(server, None, "GET", "/healthz")[0] == 200
    with late:
        late.sendall(body[100:])
        assert status_of(late) == 200
    assert server.process.wait(timeout=30) == 0
