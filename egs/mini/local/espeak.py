"""espeak-ng, the speech synthesiser, through the library that the wheel espeakng-loader carries; nothing is downloaded."""

import ctypes

import espeakng_loader
import numpy as np

# Constants of espeak-ng's speak_lib.h.
_SYNCHRONOUS = 2
_POSITION_CHARACTER = 1
_TEXT_IS_UTF8 = 1
_RATE, _PITCH, _RANGE = 1, 3, 4

_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


class Espeak:
    """One synthesiser. The library keeps state from call to call: the same calls in the same order, in a fresh process,
    give the same samples; another order gives slightly different ones.
    """

    def __init__(self, seed: int) -> None:
        self._chunks: list[bytes] = []
        self._callback = _Callback(self._collect)  # kept: the library holds only a pointer
        self._library = ctypes.CDLL(espeakng_loader.get_library_path())
        self._library.espeak_Synth.argtypes = [ctypes.c_char_p, ctypes.c_size_t, *[ctypes.c_uint] * 4, *[ctypes.c_void_p] * 2]
        data = espeakng_loader.get_data_path().encode()
        self.sample_rate = self._library.espeak_Initialize(_SYNCHRONOUS, 0, data, 0)
        if self.sample_rate <= 0:
            raise RuntimeError(f"espeak-ng does not start with the data in {data.decode()}")
        self._library.espeak_SetSynthCallback(self._callback)
        self._library.espeak_ng_SetRandSeed(ctypes.c_long(seed))

    def _collect(self, samples, count: int, _events) -> int:
        if samples and count:
            self._chunks.append(ctypes.string_at(samples, 2 * count))
        return 0

    def say(self, text: str, voice: str, words_per_minute: int, pitch: int, pitch_range: int) -> np.ndarray:
        """The samples [S], int16, of `text` spoken by `voice` (such as `en-us+m3`); pitch and range from 0 to 100."""
        self._chunks.clear()
        if self._library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise ValueError(f"espeak-ng has no voice {voice!r}")
        for parameter, value in ((_RATE, words_per_minute), (_PITCH, pitch), (_RANGE, pitch_range)):
            self._library.espeak_SetParameter(parameter, value, 0)
        encoded = text.encode() + b"\0"
        status = self._library.espeak_Synth(encoded, len(encoded), 0, _POSITION_CHARACTER, 0, _TEXT_IS_UTF8, None, None)
        if status != 0:
            raise RuntimeError(f"espeak-ng failed with status {status} on {text!r}")
        return np.frombuffer(b"".join(self._chunks), np.int16)
