"""espeak-ng, the speech synthesiser, through the library that the wheel espeakng-loader carries; nothing is downloaded."""

import ctypes
import itertools
from dataclasses import dataclass

import espeakng_loader
import numpy as np

# Constants of espeak-ng's speak_lib.h.
_SYNCHRONOUS = 2
_POSITION_CHARACTER = 1
_TEXT_IS_UTF8 = 1
_RATE, _PITCH, _RANGE = 1, 3, 4
_LAST_EVENT, _WORD_EVENT, _END_EVENT = 0, 1, 5


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", ctypes.c_char * 8),
    )


@dataclass(frozen=True)
class SpokenWord:
    """A stretch of the text that is said in one piece, and where: a word, or several that the synthesiser joins."""

    text: str
    start: int
    """First sample."""
    end: int
    """The sample after the last one."""


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


class Espeak:
    """One synthesiser. The library keeps state from call to call: the same calls in the same order, in a fresh process,
    give the same samples; another order gives slightly different ones.
    """

    def __init__(self, seed: int) -> None:
        self._chunks: list[bytes] = []
        self._events: list[tuple[int, int, int]] = []
        self._callback = _Callback(self._collect)  # kept: the library holds only a pointer
        self._library = ctypes.CDLL(espeakng_loader.get_library_path())
        self._library.espeak_Synth.argtypes = [ctypes.c_char_p, ctypes.c_size_t, *[ctypes.c_uint] * 4, *[ctypes.c_void_p] * 2]
        data = espeakng_loader.get_data_path().encode()
        self.sample_rate = self._library.espeak_Initialize(_SYNCHRONOUS, 0, data, 0)
        if self.sample_rate <= 0:
            raise RuntimeError(f"espeak-ng does not start with the data in {data.decode()}")
        self._library.espeak_SetSynthCallback(self._callback)
        self._library.espeak_ng_SetRandSeed(ctypes.c_long(seed))

    def _collect(self, samples, count: int, events) -> int:
        if samples and count:
            self._chunks.append(ctypes.string_at(samples, 2 * count))
        event = ctypes.cast(events, ctypes.POINTER(_Event))
        index = 0
        while event[index].type != _LAST_EVENT:
            self._events.append((event[index].type, event[index].text_position, event[index].sample))
            index += 1
        return 0

    def say(self, text: str, voice: str, words_per_minute: int, pitch: int, pitch_range: int) -> np.ndarray:
        """The samples [S], int16, of `text` spoken by `voice` (such as `en-us+m3`); pitch and range from 0 to 100."""
        self._chunks.clear()
        self._events.clear()
        if self._library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise ValueError(f"espeak-ng has no voice {voice!r}")
        for parameter, value in ((_RATE, words_per_minute), (_PITCH, pitch), (_RANGE, pitch_range)):
            self._library.espeak_SetParameter(parameter, value, 0)
        encoded = text.encode() + b"\0"
        status = self._library.espeak_Synth(encoded, len(encoded), 0, _POSITION_CHARACTER, 0, _TEXT_IS_UTF8, None, None)
        if status != 0:
            raise RuntimeError(f"espeak-ng failed with status {status} on {text!r}")
        return np.frombuffer(b"".join(self._chunks), np.int16)

    def words_of(self, text: str) -> list[SpokenWord]:
        """The words of `text`, one sentence without signs, which was said last. A word ends where the next one begins."""
        starts = [(position - 1, sample) for kind, position, sample in self._events if kind == _WORD_EVENT]
        end = max(sample for kind, _, sample in self._events if kind == _END_EVENT)
        borders = [*starts, (len(text), end)]
        return [
            SpokenWord(text[first:last].strip(), start, stop) for (first, start), (last, stop) in itertools.pairwise(borders)
        ]
