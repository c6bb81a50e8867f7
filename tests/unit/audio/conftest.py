"""Recordings built byte by byte."""

import io
import struct

import numpy as np
import pytest
import soundfile


def wav_bytes(data, *, rate=16000, channels=1, bits=16, tag=1, data_size=None, before=b"", after=b""):
    """A RIFF wav file around sample bytes; `data_size` is what the header claims, `before` and `after` are further chunks."""
    frame_bytes = channels * bits // 8
    fmt = struct.pack("<HHIIHH", tag, channels, rate, rate * frame_bytes % 2**32, frame_bytes % 2**16, bits)
    claimed = len(data) if data_size is None else data_size
    body = b"WAVEfmt " + struct.pack("<I", len(fmt)) + fmt + before + b"data" + struct.pack("<I", claimed) + data + after
    return b"RIFF" + struct.pack("<I", min(len(body), 0xFFFFFFFF)) + body


@pytest.fixture
def make_wav():
    return wav_bytes


@pytest.fixture
def encode():
    """Samples [S] or [S, channels] as bytes of a file in a format of libsndfile."""

    def encoded(samples, rate, file_format, subtype=None):
        stream = io.BytesIO()
        soundfile.write(stream, samples, rate, format=file_format, subtype=subtype)
        return stream.getvalue()

    return encoded


@pytest.fixture
def tone():
    """A 440 Hz tone: `tone(seconds, rate, channels)` -> [S, channels] float32, a little different in each channel."""

    def made(seconds, rate, channels=1):
        time = np.arange(round(seconds * rate)) / rate
        wave = 0.5 * np.sin(2 * np.pi * 440 * time)
        return np.stack([wave * (1 - 0.1 * channel) for channel in range(channels)], axis=1).astype(np.float32)

    return made
