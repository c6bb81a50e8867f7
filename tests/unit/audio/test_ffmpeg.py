"""The ffmpeg process, mostly with a stand-in program that shows how it was called and misbehaves in chosen ways."""

import shutil
import struct
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from mooer.audio.info import audio_info
from mooer.audio.io import AudioLimits, load_audio
from mooer.audio.stream import stream_audio
from mooer.common.errors import AudioError

MP4 = b"\0\0\0\x20ftypisom" + bytes(100)
HEADER = struct.pack(">4s5I", b".snd", 24, 2**32 - 1, 6, 16000, 2)


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """Put a Python program with the given body in the place of ffmpeg; it finds `out`, `HEADER` and `sys` ready."""

    def install(body):
        folder = tmp_path / "programs"
        folder.mkdir()
        program = folder / "ffmpeg"
        start = f"#!{sys.executable}\nimport sys, time\nout = sys.stdout.buffer\nHEADER = {HEADER!r}\n"
        program.write_text(start + body)
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(folder))

    return install


def reason_of(source, **options):
    with pytest.raises(AudioError) as caught:
        load_audio(source, **options)
    return caught.value.reason


def test_without_ffmpeg_the_message_says_what_is_missing(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(AudioError, match=r"mp4.*ffmpeg.*not installed") as caught:
        load_audio(MP4)
    assert caught.value.reason == "unsupported"


def test_how_it_is_called(stand_in, tmp_path):
    stand_in(f"open({str(tmp_path / 'called')!r}, 'w').write('\\n'.join(sys.argv[1:]))\nout.write(HEADER + bytes(8 * 1600))\n")
    path = tmp_path / "-strange; name|.mp4"
    path.write_bytes(MP4)
    assert torch.equal(load_audio(path), torch.zeros(1600))
    called = (tmp_path / "called").read_text().split("\n")
    assert f"file:{path}" in called
    assert "-nostdin" in called
    assert called[called.index("-protocol_whitelist") + 1] == "file,pipe"
    allowed = called[called.index("-format_whitelist") + 1].split(",")
    assert not {"hls", "concat", "tty", "lavfi"} & set(allowed)
    assert called.index("-protocol_whitelist") < called.index("-i")


def test_samples_segments_and_length(stand_in, tmp_path):
    values = np.arange(64000, dtype=np.float32).reshape(-1, 2) / 64000
    (tmp_path / "data").write_bytes(HEADER + values.astype(">f4").tobytes())
    stand_in(f"out.write(open({str(tmp_path / 'data')!r}, 'rb').read())\n")
    whole = torch.from_numpy(values).mean(1)
    torch.testing.assert_close(load_audio(MP4), whole)
    torch.testing.assert_close(load_audio(MP4, start=0.5, end=1.5), whole[8000:24000])
    torch.testing.assert_close(load_audio(MP4, start=1.5), whole[24000:])
    assert reason_of(MP4, end=9.0) == "truncated"
    assert reason_of(MP4, start=5.0) == "empty"
    assert reason_of(MP4, start=1.0, end=1.0) == "empty"
    assert reason_of(MP4, start=float("nan")) == "unsupported"
    assert audio_info(MP4).num_samples == 32000


def test_endless_output_stops_at_the_limit(stand_in):
    stand_in("out.write(HEADER)\nwhile True: out.write(bytes(1 << 20))\n")
    assert reason_of(MP4, limits=AudioLimits(max_seconds=60)) == "too_long"
    assert len(load_audio(MP4, end=2.0, limits=AudioLimits(max_seconds=60))) == 32000


def test_a_process_that_hangs_is_stopped(stand_in):
    stand_in("out.write(HEADER)\nout.flush()\ntime.sleep(600)\n")
    begin = time.monotonic()
    with pytest.raises(AudioError, match=r"longer than 0\.5 s"):
        load_audio(MP4, limits=AudioLimits(decoder_seconds=0.5))
    assert time.monotonic() - begin < 100


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("sys.exit(1)", "unreadable"),
        ("sys.stderr.write('Invalid data found'); sys.exit(1)", "unreadable"),
        ("out.write(HEADER + bytes(8)); sys.stderr.write('File ended prematurely')", "truncated"),
        ("out.write(HEADER[:10])", "unreadable"),
        ("out.write(HEADER)", "empty"),
        ("out.write(HEADER[:16] + bytes(8))", "unsupported"),
        ("out.write(HEADER + b'\\x7f\\xc0\\0\\0' * 100)", "not_finite"),
    ],
)
def test_what_goes_wrong_is_named(stand_in, body, reason):
    stand_in(body + "\n")
    assert reason_of(MP4) == reason


def test_a_program_that_cannot_start(tmp_path, monkeypatch):
    (tmp_path / "ffmpeg").write_bytes(b"\x7fELF broken")
    (tmp_path / "ffmpeg").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert reason_of(MP4) == "unsupported"


def test_what_is_no_container_is_never_handed_over(stand_in, tmp_path):
    stand_in(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    for data in (b"#EXTM3U\nhttp://localhost/a.ts\n", b"ffconcat version 1.0\nfile /etc/passwd\n", bytes(100)):
        assert reason_of(data) == "unreadable"
    assert not (tmp_path / "ran").exists()


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")
@pytest.mark.parametrize("extension", ["m4a", "webm", "mka"])
def test_the_real_program(encode, tone, tmp_path, extension):
    (tmp_path / "a.wav").write_bytes(encode(tone(2.0, 48000, 2), 48000, "WAV"))
    path = tmp_path / f"a.{extension}"
    arguments = ["ffmpeg", "-nostdin", "-loglevel", "error", "-i", str(tmp_path / "a.wav"), str(path)]
    subprocess.run(arguments, check=True, timeout=60)
    waveform = load_audio(path)
    assert abs(len(waveform) - 32000) < 2000
    assert torch.equal(waveform, load_audio(path.read_bytes()))
    assert 0.3 < waveform[8000:24000].abs().max() < 0.6
    assert reason_of(path.read_bytes()[: path.stat().st_size // 2]) in {"truncated", "unreadable"}


def test_a_stream_gives_what_the_whole_gives(stand_in):
    stand_in("out.write(HEADER)\nfor value in range(40):\n    out.write(bytes([0x3d, value, 0, 0]) * 30000)\n")
    whole = load_audio(MP4)
    pieces = list(stream_audio(MP4))
    assert len(pieces) > 4
    assert torch.equal(torch.cat(pieces), whole)


def test_a_stream_may_take_its_time_between_blocks_but_not_for_one(stand_in):
    stand_in("out.write(HEADER + bytes(4 << 20)); out.flush()\ntime.sleep(30)\n")
    pieces = stream_audio(MP4, limits=AudioLimits(decoder_seconds=0.5))
    next(pieces)
    time.sleep(0.7)
    next(pieces)
    with pytest.raises(AudioError, match="took longer than"):
        list(pieces)
