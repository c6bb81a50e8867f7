"""Headers that promise more than there is, forged or because a file was cut off."""

import struct
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mooer.audio.info import audio_info
from mooer.audio.io import AudioLimits, load_audio
from mooer.common.errors import AudioError


def reason_of(function, *arguments, **options):
    with pytest.raises(AudioError) as caught:
        function(*arguments, **options)
    return caught.value.reason


@pytest.mark.parametrize("promised", [2**31 - 1, 2**32 - 1, 2**32 - 2, 3202, 3201])
def test_forged_wav_sizes(make_wav, promised):
    data = make_wav(bytes(3200), data_size=promised)
    assert reason_of(load_audio, data) == "truncated"
    assert reason_of(load_audio, data, end=0.05) == "truncated"
    assert reason_of(audio_info, data) == "truncated"


@pytest.mark.parametrize("kept", [0.99, 0.6, 0.3])
@pytest.mark.parametrize(
    ("file_format", "subtype"),
    [
        ("WAV", "PCM_16"),
        ("WAV", "FLOAT"),
        ("WAV", "ULAW"),
        ("WAVEX", "PCM_24"),
        ("FLAC", "PCM_16"),
        ("OGG", "VORBIS"),
        ("OGG", "OPUS"),
        ("MP3", "MPEG_LAYER_III"),
        ("AIFF", "PCM_16"),
        ("AU", "PCM_16"),
        ("W64", "PCM_16"),
        ("RF64", "PCM_16"),
    ],
)
def test_cut_off_files(encode, tone, tmp_path, file_format, subtype, kept):
    data = encode(tone(2.0, 48000, 2), 48000, file_format, subtype)
    data = data[: int(len(data) * kept)]
    assert reason_of(load_audio, data) == "truncated"
    (tmp_path / "a").write_bytes(data)
    assert reason_of(load_audio, tmp_path / "a") == "truncated"


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 3243))
def test_a_wav_cut_anywhere_is_an_error(cut):
    fmt = struct.pack("<HHIIHH", 1, 1, 16000, 32000, 2, 16)
    data = b"RIFF" + struct.pack("<I", 3236) + b"WAVEfmt " + struct.pack("<I", 16) + fmt + b"data" + struct.pack("<I", 3200)
    data += bytes(3200)
    assert len(data) == 3244
    assert reason_of(load_audio, data[:cut]) in {"truncated", "empty", "unreadable"}


def test_forged_flac_length(encode, tone):
    data = bytearray(encode(tone(0.5, 16000), 16000, "FLAC", "PCM_16"))
    # STREAMINFO: the last 36 bits before the MD5 sum are the number of samples.
    data[21] |= 0x0F
    data[22:26] = b"\xff\xff\xff\xff"
    assert reason_of(load_audio, bytes(data)) == "truncated"
    data[21] &= 0xF0
    data[22:26] = (16000 * 60).to_bytes(4, "big")
    assert reason_of(load_audio, bytes(data)) == "truncated"


def test_forged_mp3_length(encode, tone):
    data = bytearray(encode(tone(0.5, 16000), 16000, "MP3"))
    position = max(data.find(b"Xing"), data.find(b"Info"))
    data[position + 8 : position + 12] = (2**30).to_bytes(4, "big")
    assert reason_of(load_audio, bytes(data)) == "truncated"
    assert reason_of(audio_info, bytes(data)) == "truncated"


def test_a_bomb_stops_at_the_limit_while_decoding(encode):
    """Half an hour of silence packs into a few kilobytes."""
    data = encode(np.zeros(16000 * 1800, dtype=np.int16), 16000, "FLAC")
    assert len(data) < 200_000
    assert reason_of(load_audio, data, limits=AudioLimits(max_seconds=60)) == "too_long"


def test_forged_headers_do_not_allocate(tmp_path, make_wav):
    """The header promises 4 GiB; the process may grow by 50 MB."""
    (tmp_path / "a.wav").write_bytes(make_wav(bytes(100), data_size=2**32 - 2, channels=2))
    program = (
        "import resource, sys\n"
        "from mooer.audio.io import load_audio\n"
        "from mooer.common.errors import AudioError\n"
        "used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try:\n    load_audio(sys.argv[1])\nexcept AudioError as error:\n    print(error.reason)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - used < 50_000)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path / "a.wav")], capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == ["truncated", "True"], done.stderr


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"rate": 0}, "unsupported"),
        ({"rate": 2**31}, "unsupported"),
        ({"channels": 0}, "unsupported"),
        ({"channels": 60000}, "unsupported"),
        ({"tag": 77}, "unreadable"),
        ({"bits": 0}, "unreadable"),
        ({"bits": 12}, "unreadable"),
    ],
)
def test_impossible_formats(make_wav, options, reason):
    assert reason_of(load_audio, make_wav(bytes(3200), **options)) == reason


def test_other_chunks_around_the_data(make_wav):
    extra = b"LIST" + struct.pack("<I", 5) + b"hello\0"
    data = make_wav(np.arange(1000, dtype="<i2").tobytes(), before=extra * 3, after=extra)
    assert len(load_audio(data)) == 1000
    assert reason_of(load_audio, make_wav(bytes(100), before=(b"LIST" + bytes(4)) * 5000)) == "unreadable"


def test_wav_without_samples(make_wav):
    assert reason_of(load_audio, make_wav(b"")) == "empty"
    assert reason_of(audio_info, make_wav(b"")) == "empty"
