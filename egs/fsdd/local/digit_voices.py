"""Changes of waveforms at 8 kHz that stand for other voices, microphones and rooms. Shapes: S samples."""

import functools

import numpy as np

from mooer.common.errors import DataError

SAMPLE_RATE = 8000
_TAPS, _PHASES = 8, 128
_WINDOW, _TOLERANCE = 200, 60
_EQUALIZER_BANDS = 7


def change_voice(waveform: np.ndarray, factor: float) -> np.ndarray:
    """Play [S] `factor` times as fast: pitch and formants rise, as with a shorter vocal tract, and it gets shorter."""
    filters = _interpolation_filters(round(min(1.0, 1.0 / factor), 2))
    times = np.arange(max(1, int(len(waveform) / factor))) * factor
    base = times.astype(int)
    phase = ((times - base) * _PHASES + 0.5).astype(int)
    padded = np.pad(waveform, (_TAPS - 1, _TAPS + 2))
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * _TAPS)
    return np.einsum("st,st->s", windows[base], filters[phase])


@functools.lru_cache(maxsize=256)
def _interpolation_filters(cutoff: float) -> np.ndarray:
    """Windowed sincs [phases + 1, taps] that pass frequencies up to `cutoff` times the Nyquist frequency."""
    distances = np.arange(_PHASES + 1)[:, None] / _PHASES - np.arange(-_TAPS + 1, _TAPS + 1)[None]
    window = 0.5 + 0.5 * np.cos(np.pi * np.clip(distances / _TAPS, -1.0, 1.0))
    return np.sinc(cutoff * distances) * cutoff * window


def change_tempo(waveform: np.ndarray, rate: float) -> np.ndarray:
    """Speak [S] `rate` times as fast at the same pitch: overlapping windows, each put where it continues the one before it best
    (WSOLA, Verhelst and Roelands 1993). What is shorter than three windows of 25 ms stays as it is."""
    if len(waveform) < 3 * _WINDOW:
        return waveform
    hop, length = _WINDOW // 2, int(len(waveform) / rate)
    window = np.hanning(_WINDOW + 1)[:_WINDOW]
    padded = np.pad(waveform, (_TOLERANCE, 2 * (_WINDOW + _TOLERANCE)))
    output = np.zeros(length + 2 * _WINDOW)
    output[:_WINDOW] = waveform[:_WINDOW] * window
    previous = 0
    for position in range(hop, length, hop):
        wanted = min(int(position * rate), len(waveform) - _WINDOW)
        continuation = padded[_TOLERANCE + previous + hop :][:_WINDOW]
        nearby = padded[wanted : wanted + 2 * _TOLERANCE + _WINDOW]
        previous = wanted - _TOLERANCE + int(np.argmax(np.correlate(nearby, continuation, "valid")))
        output[position : position + _WINDOW] += padded[_TOLERANCE + previous :][:_WINDOW] * window
    output[:hop] = waveform[:hop]
    return output[:length]


def equalize(waveform: np.ndarray, depth_db: float, draw: np.random.Generator) -> np.ndarray:
    """Another microphone for [S]: a random gain in each of 7 bands and a random slope, of standard deviation `depth_db`."""
    gains = draw.normal(0.0, depth_db, _EQUALIZER_BANDS)
    gains += np.linspace(-1.0, 1.0, _EQUALIZER_BANDS) * draw.normal(0.0, depth_db)
    bands = np.linspace(0.0, 1.0, _EQUALIZER_BANDS)
    return _filter(waveform, lambda frequency: 10.0 ** (np.interp(frequency, bands, gains) / 20.0), tail=256)


def low_pass(waveform: np.ndarray, hertz: float) -> np.ndarray:
    """Remove from [S] what lies above `hertz`."""
    edge = hertz / (SAMPLE_RATE / 2)
    return _filter(waveform, lambda frequency: 1.0 / (1.0 + np.exp(np.clip((frequency - edge) / 0.015, -50.0, 50.0))))


def reverberate(waveform: np.ndarray, seconds: float, wet_db: float, draw: np.random.Generator) -> np.ndarray:
    """[S] in a room: noise that dies away by 60 dB in `seconds`, of energy `wet_db` relative to the direct sound."""
    length = int(seconds * SAMPLE_RATE)
    response = draw.standard_normal(length) * np.exp(-6.9 * np.arange(length) / length)
    response *= 10.0 ** (wet_db / 20.0) / np.sqrt(np.sum(response**2))
    response[0] = 1.0
    size = _fast_size(len(waveform) + length)
    return np.fft.irfft(np.fft.rfft(waveform, size) * np.fft.rfft(response, size), size)[: len(waveform)]


def colored_noise(length: int, slope: float, draw: np.random.Generator) -> np.ndarray:
    """Noise [length] of root mean square 1 whose amplitude falls with frequency to the power of -`slope`."""
    size = _fast_size(length)
    spectrum = np.fft.rfft(draw.standard_normal(size))
    spectrum *= np.maximum(np.linspace(0.0, 1.0, len(spectrum)), 0.01) ** -slope
    noise = np.fft.irfft(spectrum, size)[:length]
    return noise / np.sqrt(np.mean(noise**2))


def trim_level(waveform: np.ndarray, peak: float = 0.99) -> np.ndarray:
    """[S] made quieter where it would clip. Raises DataError if it is not finite."""
    highest = float(np.max(np.abs(waveform), initial=0.0))
    if not np.isfinite(highest):
        raise DataError("a waveform became infinite on its way")
    return waveform * (peak / highest) if highest > peak else waveform


def _filter(waveform: np.ndarray, gain, tail: int = 0) -> np.ndarray:
    """[S] with its spectrum multiplied by `gain` of the frequencies 0 to 1 (Nyquist)."""
    size = _fast_size(len(waveform) + tail)
    spectrum = np.fft.rfft(waveform, size)
    return np.fft.irfft(spectrum * gain(np.linspace(0.0, 1.0, len(spectrum))), size)[: len(waveform)]


def _fast_size(length: int) -> int:
    """A size of at least `length` that the Fourier transform is quick at: 2^n or 3 * 2^n."""
    power = 1 << max(2, (length - 1).bit_length())
    return power * 3 // 4 if power * 3 // 4 >= length else power
