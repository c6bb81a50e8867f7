"""How much a recording may hold, checked while it is decoded and not by what its header says."""

import dataclasses

from mooer.common.errors import AudioError, ConfigError

LOWEST_RATE, HIGHEST_RATE = 1_000, 768_000
MAX_CHANNELS = 64
# Decoded samples are held as float32.
_SAMPLE_BYTES = 4


@dataclasses.dataclass(frozen=True, kw_only=True)
class AudioLimits:
    """Bounds on one recording (or on the part of it that is asked for)."""

    max_seconds: float = 3600.0
    """Longest recording, in seconds."""
    max_bytes: int = 2 << 30
    """Largest recording, in bytes of decoded float32 samples over all channels."""
    decoder_seconds: float = 120.0
    """Wall-clock seconds that an external decoder may take."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            if not getattr(self, field.name) > 0:
                raise ConfigError(f"{field.name} is {getattr(self, field.name)}; it must be positive")

    def max_frames(self, sample_rate: int, channels: int) -> int:
        """The most samples a channel that the limits allow."""
        return int(min(self.max_seconds * sample_rate, self.max_bytes // (_SAMPLE_BYTES * channels)))

    def check(self, name: str, num_frames: int, sample_rate: int, channels: int) -> None:
        """Raise AudioError too_long if `num_frames` samples a channel are more than the limits allow."""
        if num_frames > self.max_frames(sample_rate, channels):
            given = f"{num_frames / sample_rate:.1f} s of {channels} channels at {sample_rate} Hz"
            allowed = f"{self.max_seconds:g} s and {self.max_bytes} bytes of decoded samples"
            raise AudioError(f"{name}: {given} is over the limits of {allowed}", "too_long")


def check_format(name: str, sample_rate: int, channels: int) -> None:
    """Raise AudioError unsupported unless rate and channel count are ones that a recording can have."""
    if not LOWEST_RATE <= sample_rate <= HIGHEST_RATE:
        raise AudioError(f"{name}: sample rate {sample_rate}; allowed: {LOWEST_RATE} to {HIGHEST_RATE} Hz", "unsupported")
    if not 1 <= channels <= MAX_CHANNELS:
        raise AudioError(f"{name}: {channels} channels; allowed: 1 to {MAX_CHANNELS}", "unsupported")
