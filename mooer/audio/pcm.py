"""Samples as plain numbers in a buffer."""

import contextlib

import numpy as np

# encoding -> (numpy type, scale to full scale 1); s24le needs its own way.
_TYPES = {
    "u8": ("u1", 2.0**-7),
    "s8": ("i1", 2.0**-7),
    "s16le": ("<i2", 2.0**-15),
    "s16be": (">i2", 2.0**-15),
    "s24le": ("<i4", 2.0**-31),
    "s32le": ("<i4", 2.0**-31),
    "f32le": ("<f4", 1.0),
    "f32be": (">f4", 1.0),
    "f64le": ("<f8", 1.0),
}
ENCODINGS = tuple(_TYPES)


def sample_bytes(encoding: str) -> int:
    """Bytes of one sample in the buffer."""
    return 3 if encoding == "s24le" else np.dtype(_TYPES[encoding][0]).itemsize


def is_float(encoding: str) -> bool:
    """Whether the encoding can hold values that are not finite or beyond full scale."""
    return encoding.startswith("f")


def decode_pcm(data: bytes, channels: int, encoding: str) -> np.ndarray:
    """Samples [S, channels] float32, full scale 1 (16-bit value / 32768), of whole frames of interleaved samples."""
    dtype, scale = _TYPES[encoding]
    values = _widen_24_bits(data) if encoding == "s24le" else np.frombuffer(data, dtype=dtype)
    with np.errstate(over="ignore") if encoding == "f64le" else contextlib.nullcontext():
        samples = values.astype(np.float32)
    if encoding == "u8":
        samples -= 128.0
    if scale != 1.0:
        samples *= np.float32(scale)
    return samples.reshape(-1, channels)


def _widen_24_bits(data: bytes) -> np.ndarray:
    """24-bit little-endian integers as int32, in its upper three bytes."""
    packed = np.frombuffer(data, dtype=np.uint8).reshape(-1, 3)
    wide = np.zeros((len(packed), 4), dtype=np.uint8)
    wide[:, 1:] = packed
    return wide.view("<i4").ravel()
