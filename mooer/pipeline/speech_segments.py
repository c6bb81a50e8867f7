"""From the posterior of silence and the energy of each frame to segments of speech, frame by frame as they come.

A frame is speech where its posterior and its energy say so (`_FrameJudge`). A window over the last frames turns that into
voice or silence; voice opens a segment, silence of some length ends it, as does its own length (`SpeechSegmenter`). The rules
and their published names are those of FSMN-VAD. Time is counted in frames of 10 ms; results are in milliseconds.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from mooer.common.errors import ConfigError

FRAME_MS = 10
# What the reference's 'dynamic silence' sets in place of the model's own values: a threshold, and the silence that ends a
# segment by the length the segment has (up to so many ms: so many ms).
DYNAMIC_SPEECH_THRESHOLD = 0.5
DYNAMIC_END_SILENCE = ((10000, 2000), (20000, 1000), (30000, 800), (40000, 600), (50000, 400), (60000, 200))
_LAST_END_SILENCE = 100
# What the energy of silence counts as before there was any; no frame has so little.
_NO_NOISE = -100.0
# So many frames of an interval come out only with the next one: two whose 25 ms end there, two stacked with later ones.
_LATE_FRAMES = 4


@dataclass(frozen=True, kw_only=True)
class SpeechOptions:
    """What counts as speech and where it is cut: the names and defaults of the published model_conf, times in ms."""

    silence_mode: Literal["fixed", "dynamic"] = "fixed"
    """fixed: the values below. dynamic: the reference's 'dynamic silence', which sets speech_noise_thres to 0.5 and lets the
    silence that ends a segment shrink from 2000 ms as the segment grows; max_end_silence_time then has no meaning."""
    dynamic_interval_ms: int = 60000
    """How often the dynamic mode looks at a segment's length: the size of the reference's pieces."""
    max_end_silence_time: int = 800
    """Silence that ends a segment, speech_to_sil_time_thres included."""
    max_single_segment_time: int = 60000
    """A longer segment is cut: the frame that goes beyond is its last, so a segment may have one frame more."""
    speech_noise_thres: float = 0.6
    """By how much the posterior of speech must exceed that of silence in a frame of speech."""
    window_size_ms: int = 200
    """The window over the last frames."""
    sil_to_speech_time_thres: int = 150
    """Speech in the window that turns silence into voice."""
    speech_to_sil_time_thres: int = 150
    """Speech in the window at which voice turns into silence again."""
    do_extend: Literal[0, 1] = 1
    """Whether segments are widened by the next two."""
    lookback_time_start_point: int = 200
    """How far before its window a segment begins, though never before the end of the one before."""
    lookahead_time_end_point: int = 100
    """How far into its silence a segment reaches."""
    detect_mode: Literal[0, 1] = 1
    """1: all segments. 0: the first one only."""
    max_start_silence_time: int = 3000
    """After so much silence at the start detect_mode 0 gives up."""
    speech_2_noise_ratio: float = 1.0
    """Exponent of the posterior of silence in the comparison."""
    decibel_thres: float = -100.0
    """A frame of less energy is silence. Digital silence has -60 dB, full scale at most 26."""
    snr_thres: float = -100.0
    """A frame that exceeds the energy of the silence so far by less is silence; -100 or less: not asked."""
    noise_frame_num_used_for_snr: int = 100
    """Frames of silence over which that energy is averaged, with fading weights."""

    def __post_init__(self) -> None:
        for name in ("lookback_time_start_point", "lookahead_time_end_point", "max_start_silence_time", "max_end_silence_time"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} must be at least 0 ms, found {getattr(self, name)}")
        if self.dynamic_interval_ms < 100 or self.dynamic_interval_ms % FRAME_MS:
            raise ConfigError(f"dynamic_interval_ms must be a multiple of 10, at least 100, found {self.dynamic_interval_ms}")
        shortest = self.window_size_ms + self.lookback_time_start_point + FRAME_MS
        if self.max_single_segment_time < shortest:
            raise ConfigError(
                f"max_single_segment_time is {self.max_single_segment_time}; at least {shortest} is needed: window_size_ms, "
                "lookback_time_start_point and a frame"
            )
        for name in ("sil_to_speech_time_thres", "speech_to_sil_time_thres"):
            if not FRAME_MS <= getattr(self, name) <= self.window_size_ms:
                raise ConfigError(
                    f"{name} is {getattr(self, name)}; allowed: {FRAME_MS} to window_size_ms {self.window_size_ms}"
                )
        if self.noise_frame_num_used_for_snr < 1 or self.speech_2_noise_ratio <= 0:
            raise ConfigError("noise_frame_num_used_for_snr must be at least 1 and speech_2_noise_ratio above 0")

    @property
    def latency_frames(self) -> int:
        """Frames from a segment's start to the one that opens it."""
        extension = self.lookback_time_start_point // FRAME_MS if self.do_extend else 0
        return self.window_size_ms // FRAME_MS + extension

    def end_silence_ms(self, speech_ms: int) -> int:
        """Silence after the window's own turn that ends a segment which is `speech_ms` long."""
        if self.silence_mode == "fixed":
            silence = self.max_end_silence_time
        else:
            silence = next((silence for limit, silence in DYNAMIC_END_SILENCE if speech_ms <= limit), _LAST_END_SILENCE)
        return max(silence - self.speech_to_sil_time_thres, 0)


class SpeechSegment(NamedTuple):
    """A stretch of speech, in milliseconds from the start of the recording."""

    start_ms: int
    end_ms: int


class SpeechSegmenter:
    """Segments of one recording: `accept` pieces of it, then `finish`. How it is cut into pieces changes nothing.

    One thing differs from the reference: where a segment is cut by its length in the midst of voice, the next one begins at
    once. The reference begins its window anew, so that less than 150 ms of speech after a cut are lost.
    """

    def __init__(self, options: SpeechOptions) -> None:
        self._options = options
        self._judge = _FrameJudge(options)
        self._end_silence_ms = options.end_silence_ms(0)
        self._max_frames = options.max_single_segment_time // FRAME_MS
        self._voice_frames = options.sil_to_speech_time_thres // FRAME_MS
        self._silence_frames = options.speech_to_sil_time_thres // FRAME_MS
        self._frame = 0  # the next one
        self._start: int | None = None  # first frame of the open segment; the next one after a cut
        self._free = 0  # first frame after the last segment
        self._interval, self._intervals_open = 0, 0  # of the dynamic mode
        self._is_over = False
        self._forget_window()

    @property
    def open_start_ms(self) -> int | None:
        """Where the segment begins that has begun and not ended; None if there is none."""
        return None if self._start is None or self._start >= self._frame else self._start * FRAME_MS

    def accept(self, silence: np.ndarray, decibels: np.ndarray) -> list[SpeechSegment]:
        """The segments that end in these frames.

        Args:
            silence: [T] posterior of silence of each frame.
            decibels: [T] energy of each frame.
        """
        found = []
        for is_speech in self._judge(silence, decibels):
            segment = None if self._is_over else self._step(is_speech)
            if segment is not None:
                found.append(segment)
            self._frame += 1
        return found

    def finish(self) -> list[SpeechSegment]:
        """The segment that is open when the recording ends, if there is one: it ends with the last frame."""
        return [] if self.open_start_ms is None else [self._close(self._frame)]

    def _step(self, is_speech: bool) -> SpeechSegment | None:
        """Take one frame in; the segment that it ends, if it ends one."""
        if self._options.silence_mode == "dynamic":
            self._look_at_length()
        self._speech_in_window += is_speech - self._window[0]
        self._window.append(is_speech)
        if self._is_voice != self._is_voice_now():
            self._is_voice, self._silent = not self._is_voice, 0
        elif not self._is_voice:
            self._silent += 1
        if self._start is None:
            self._maybe_open()
            return None
        if self._silent and self._silent * FRAME_MS >= self._end_silence_ms:
            return self._close(self._frame - self._frames_of_silence() + 1)
        if self._frame - self._start >= self._max_frames:
            return self._cut()
        return None

    def _is_voice_now(self) -> bool:
        if self._is_voice:
            return self._speech_in_window > self._silence_frames
        return self._speech_in_window >= self._voice_frames

    def _maybe_open(self) -> None:
        """Open a segment at voice; in detect_mode 0, give up after long silence."""
        if self._is_voice:
            self._start = max(self._free, self._frame - self._options.latency_frames)
            self._intervals_open = 0
        elif self._options.detect_mode == 0:
            self._is_over = self._silent * FRAME_MS > self._options.max_start_silence_time

    def _frames_of_silence(self) -> int:
        """How many of the silent frames at hand a segment that ends now leaves out."""
        frames = self._end_silence_ms // FRAME_MS
        if not self._options.do_extend:
            return frames
        return max(0, frames - self._options.lookahead_time_end_point // FRAME_MS - 1)

    def _close(self, end: int) -> SpeechSegment:
        segment = SpeechSegment(self._start * FRAME_MS, end * FRAME_MS)
        self._start, self._free, self._intervals_open = None, end, 0
        self._is_over = self._options.detect_mode == 0
        self._forget_window()
        return segment

    def _cut(self) -> SpeechSegment:
        """End a segment that has become too long; voice goes on in the next one."""
        is_voice, speech_in_window, window = self._is_voice, self._speech_in_window, self._window
        segment = self._close(self._frame + 1)
        if is_voice and not self._is_over:
            self._is_voice, self._speech_in_window, self._window = is_voice, speech_in_window, window
            self._start = self._free
        return segment

    def _forget_window(self) -> None:
        frames = self._options.window_size_ms // FRAME_MS
        self._window = deque([False] * frames, maxlen=frames)
        self._speech_in_window, self._is_voice, self._silent = 0, False, 0

    def _look_at_length(self) -> None:
        """At the end of each interval: by the whole intervals that a segment has been open, how much silence ends it."""
        interval_frames = self._options.dynamic_interval_ms // FRAME_MS
        if self._frame < (self._interval + 1) * interval_frames - _LATE_FRAMES:
            return
        self._interval += 1
        if self._start is not None:
            self._intervals_open += 1
        self._end_silence_ms = self._options.end_silence_ms(self._intervals_open * self._options.dynamic_interval_ms)


class _FrameJudge:
    """Which frames are speech, by posterior, energy, and energy over that of the silence before."""

    def __init__(self, options: SpeechOptions) -> None:
        self._options = options
        is_dynamic = options.silence_mode == "dynamic"
        self._threshold = DYNAMIC_SPEECH_THRESHOLD if is_dynamic else options.speech_noise_thres
        self._noise = _NO_NOISE  # decibels of the silence so far

    def __call__(self, silence: np.ndarray, decibels: np.ndarray) -> list[bool]:
        """[T], [T] -> [T]."""
        options = self._options
        silence = np.asarray(silence, np.float64)
        is_loud = decibels >= options.decibel_thres
        is_speech = is_loud & (1.0 - silence >= silence**options.speech_2_noise_ratio + self._threshold)
        if options.snr_thres <= _NO_NOISE:
            return is_speech.tolist()
        loud = zip(is_loud.tolist(), is_speech.tolist(), decibels.tolist(), strict=True)
        return [self._stands_out(*frame) for frame in loud]

    def _stands_out(self, is_loud: bool, is_speech: bool, decibels: float) -> bool:
        if is_speech:
            return decibels - self._noise >= self._options.snr_thres
        if is_loud:
            share = 1.0 if self._noise == _NO_NOISE else 1.0 / self._options.noise_frame_num_used_for_snr
            self._noise += share * (decibels - self._noise)
        return False


def merge_segments(segments: Iterable[SpeechSegment], max_ms: int = 15000) -> list[SpeechSegment]:
    """Join neighbours, with the silence between them, as long as the result is at most `max_ms` long.

    A merged segment begins where its first one does (the reference begins at 0 ms), and none is cut.
    """
    merged: list[SpeechSegment] = []
    for segment in segments:
        if merged and segment.end_ms - merged[-1].start_ms <= max_ms:
            merged[-1] = SpeechSegment(merged[-1].start_ms, segment.end_ms)
        else:
            merged.append(SpeechSegment(*segment))
    return merged
