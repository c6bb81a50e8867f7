"""A live server heard over WebSockets by a real client."""

import json
import signal

import numpy as np
import pytest
import soundfile

connect = pytest.importorskip("websockets.sync.client").connect
exceptions = pytest.importorskip("websockets.exceptions")

KEY = "a-key-for-tests-only"
PIECE = 3200


@pytest.fixture(scope="module")
def server(start_server, tmp_path_factory):
    """One server for the module."""
    keys = tmp_path_factory.mktemp("keys") / "keys"
    keys.write_text(KEY)
    return start_server("--api_key_file", keys, "--max_live", 2)


@pytest.fixture
def stream(speech):
    """Two sentences with silence after each, int16."""
    silence = np.zeros(16000, np.int16)
    pieces = [soundfile.read(path, dtype="int16")[0] for path in speech if path.name.startswith("en_")][:2]
    return np.concatenate([silence, pieces[0], silence, pieces[1], silence])


def opened(server, key=KEY):
    return connect(
        f"ws://127.0.0.1:{server.port}/v1/audio/live",
        additional_headers={"Authorization": f"Bearer {key}"} if key else {},
        open_timeout=60,
    )


def events_until(socket, last):
    """All that the server says, up to an event of the kind `last`."""
    found = []
    while not found or found[-1]["type"] != last:
        found.append(json.loads(socket.recv(timeout=60)))
    return found


def send(socket, samples):
    for start in range(0, len(samples), PIECE):
        socket.send(samples[start : start + PIECE].tobytes())


def test_partial_and_final_texts_are_those_of_the_live_recogniser(server, stream):
    from mooer.decode.recognizer import DecodeConfig, Recognizer
    from mooer.pipeline.live_recognition import LiveRecognizer

    live = LiveRecognizer(Recognizer.from_model_dir("mini", DecodeConfig(device="cpu")))
    pieces = [stream[start : start + PIECE] for start in range(0, len(stream), PIECE)]
    wanted = [event for piece in pieces for event in live.accept(piece)] + live.finish()
    with opened(server) as socket:
        ready = json.loads(socket.recv(timeout=60))
        send(socket, stream)
        socket.send('{"type": "finish"}')
        events = events_until(socket, "done")
        with pytest.raises(exceptions.ConnectionClosedOK):
            socket.recv(timeout=60)
    assert ready == {"type": "ready", "sample_rate": 16000, "encoding": "s16le"}
    told = [(event["type"], event["text"], event["start"], event["end"]) for event in events[:-1]]
    assert told == [(event.kind, event.text, event.start, event.end) for event in wanted]
    assert sum(kind == "final" for kind, *_ in told) >= 2
    assert any(kind == "partial" for kind, *_ in told)


@pytest.mark.parametrize(
    ("message", "code"), [(b"\0\0\0", "invalid_samples"), ("hello", "invalid_message"), ('{"type": "x"}', "invalid_message")]
)
def test_messages_that_are_none(server, message, code):
    with opened(server) as socket:
        socket.send(message)
        event = events_until(socket, "error")[-1]
        assert event["error"]["code"] == code
        with pytest.raises(exceptions.ConnectionClosedError) as caught:
            socket.recv(timeout=60)
    assert caught.value.rcvd.code == 1003


@pytest.mark.parametrize("key", ["", "wrong-key-for-tests"])
def test_wrong_keys_are_refused(server, key):
    with pytest.raises(exceptions.InvalidStatus) as caught:
        opened(server, key)
    assert caught.value.response.status_code == 401


def test_no_more_streams_than_allowed_and_who_hangs_up_makes_room(server):
    with opened(server) as first, opened(server) as second:
        for socket in (first, second):
            events_until(socket, "ready")
        with pytest.raises(exceptions.InvalidStatus) as caught:
            opened(server)
        assert caught.value.response.status_code == 429
    with opened(server) as socket:
        events_until(socket, "ready")


def test_the_end_of_the_server_tells_what_was_heard(server, stream):
    """The last test: it ends the server."""
    with opened(server) as socket:
        send(socket, stream[: 16000 + 16000])
        events_until(socket, "partial")
        server.process.send_signal(signal.SIGTERM)
        events = events_until(socket, "done")
        assert events[-2]["type"] == "final"
        assert events[-2]["text"]
    assert server.process.wait(timeout=60) == 0
