"""Where in a stream there is speech, by energy alone: for recordings of little noise, where there is no network to ask."""

from collections import deque
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from mooer.common.errors import ConfigError
from mooer.features.frontend import Frontend, FrontendConfig
from mooer.pipeline.speech_segments import FRAME_MS, SpeechOptions
from mooer.pipeline.voice_activity import SpeechStream

# Levels are means over so many frames.
_LEVEL_FRAMES = 10


@dataclass(frozen=True, kw_only=True)
class LevelRule:
    """What counts as speech: frames that stand out from the quietest level of the last seconds."""

    margin_db: float = 12.0
    """By how much a frame of speech is above that level."""
    min_db: float = -30.0
    """A frame of less energy is silence. Full scale is 26 at most, digital silence -60; -30 is 56 dB below full scale."""
    memory_seconds: float = 5.0
    """How long a level is remembered. So long a stream is taken to begin in a quiet place, and a louder one for speech."""

    def __post_init__(self) -> None:
        if not self.margin_db > 0:
            raise ConfigError(f"margin_db must be positive, found {self.margin_db}")
        if not self.memory_seconds >= _LEVEL_FRAMES * FRAME_MS / 1000:
            raise ConfigError(f"memory_seconds must be at least {_LEVEL_FRAMES * FRAME_MS / 1000}, found {self.memory_seconds}")


# Energy tells sharply when speech begins and ends, so narrower margins than a network's are enough: 120 ms in all, 110 ms.
_OPTIONS = SpeechOptions(lookback_time_start_point=50, lookahead_time_end_point=50)


class EnergyDetector:
    """Finds speech by the energy of frames; pauses, margins and lengths are those of `options`."""

    def __init__(self, rule: LevelRule | None = None, options: SpeechOptions | None = None) -> None:
        self.rule = rule or LevelRule()
        self.options = options or _OPTIONS
        self._frontend = Frontend(FrontendConfig(lfr_m=1, lfr_n=1))

    def stream(self, options: SpeechOptions | None = None) -> SpeechStream:
        """A new recording, to be given piece by piece; without `options` the detector's own hold."""
        return SpeechStream(self._frontend, _LevelJudge(self.rule), options or self.options)


class _LevelJudge:
    """Silence or not, frame by frame; how they are cut into pieces changes nothing."""

    def __init__(self, rule: LevelRule) -> None:
        count = round(1000 * rule.memory_seconds / (_LEVEL_FRAMES * FRAME_MS))
        self._rule = rule
        self._levels = deque([rule.min_db - rule.margin_db] * count, maxlen=count)
        self._frames: list[float] = []
        self._threshold = rule.min_db

    def __call__(self, frames: Tensor, decibels: np.ndarray) -> np.ndarray:
        """Posteriors of silence [T], 0 or 1, of the decibels [T] of frames [T, D]."""
        return np.array([self._is_silence(value) for value in decibels.tolist()], dtype=np.float64)

    def _is_silence(self, decibels: float) -> bool:
        self._frames.append(decibels)
        if len(self._frames) == _LEVEL_FRAMES:
            self._levels.append(sum(self._frames) / _LEVEL_FRAMES)
            self._frames.clear()
            self._threshold = max(self._rule.min_db, min(self._levels) + self._rule.margin_db)
        return decibels < self._threshold
