"""What messages say of a recording, and when its reading stops."""

import io
import threading
import wave

import pytest

pytest.importorskip("fastapi")

from starlette.datastructures import UploadFile

from mooer.audio.io import load_audio
from mooer.audio.limits import AudioLimits
from mooer.serve.api_error import ApiError
from mooer.serve.uploads import Upload, read_samples, without_paths


def upload(seconds):
    stream = io.BytesIO()
    with wave.open(stream, "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(range(256)) * (125 * seconds))
    return stream.getvalue(), Upload((), UploadFile(io.BytesIO(stream.getvalue())))


def test_samples_are_those_of_load_audio():
    data, given = upload(60)
    assert read_samples(given, AudioLimits(), threading.Event()).equal(load_audio(data))


def test_a_recording_over_the_limit_is_refused():
    with pytest.raises(ApiError) as caught:
        read_samples(upload(3)[1], AudioLimits(max_seconds=2), threading.Event())
    assert (caught.value.status, caught.value.code, caught.value.param) == (400, "audio_too_long", "file")


def test_nobody_reads_on_for_a_client_that_has_gone():
    stop = threading.Event()
    stop.set()
    with pytest.raises(ApiError, match="gone"):
        read_samples(upload(3)[1], AudioLimits(), stop)


@pytest.mark.parametrize("name", ["/tmp/mooer-abc_1.x", "file:/var/tmp/x.y/mooer-abc"])
def test_names_of_temporary_files_are_kept_back(name):
    assert without_paths(f"audio of 5 bytes: ffmpeg: {name}: no such and/or damaged") == (
        "audio of 5 bytes: ffmpeg: the recording: no such and/or damaged"
    )
