"""How training samples of voices are cut and changed: the YAML section `data` of a model that tells speakers apart."""

from dataclasses import dataclass, field
from typing import Literal

from mooer.common.errors import ConfigError
from mooer.features.spec_augment import SpecAugmentConfig

LONGEST_CROP_SECONDS = 30.0
SHORTEST_CROP_SECONDS = 0.5


@dataclass(frozen=True, kw_only=True)
class SurroundingsConfig:
    """Changes of a crop, each drawn anew for each of its occasions."""

    room_share: float = 0.4
    """Crops that are put into a room."""
    room_seconds: tuple[float, float] = (0.1, 0.6)
    """Until an echo has died away by 60 dB."""
    room_db: tuple[float, float] = (-12.0, 3.0)
    """Energy of the echoes, relative to the direct sound."""
    line_share: float = 0.15
    """Crops that go through a line of narrow band."""
    line_low_hertz: tuple[float, float] = (50.0, 350.0)
    """The line's lower edge."""
    line_high_hertz: tuple[float, float] = (3000.0, 7500.0)
    """The line's upper edge."""
    noise_share: float = 0.6
    """Crops with noise."""
    noise_snr_db: tuple[float, float] = (5.0, 30.0)
    """Energy of the speech relative to the noise's."""
    noise_slope: tuple[float, float] = (0.0, 1.2)
    """How the noise's amplitude falls with frequency: 0 white, 0.5 pink, 1 brown."""
    gain_db: tuple[float, float] = (-12.0, 6.0)
    """Loudness, relative to the recording's."""

    def __post_init__(self) -> None:
        for name in ("room_share", "line_share", "noise_share"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ConfigError(f"{name} must lie between 0 and 1, found {getattr(self, name)}")
        limits = {"room_seconds": (0.01, 10.0), "room_db": (-100.0, 100.0), "noise_slope": (-2.0, 2.0)}
        limits |= {"line_low_hertz": (0.0, 8000.0), "line_high_hertz": (0.0, 8000.0)}
        limits |= {"noise_snr_db": (-100.0, 100.0), "gain_db": (-100.0, 100.0)}
        for name, (lowest, highest) in limits.items():
            low, high = getattr(self, name)
            if not lowest <= low <= high <= highest:
                raise ConfigError(f"{name} must be two growing values from {lowest:g} to {highest:g}, found {low}, {high}")
        if self.line_low_hertz[1] >= self.line_high_hertz[0]:
            raise ConfigError("line_low_hertz must end below the beginning of line_high_hertz")


@dataclass(frozen=True, kw_only=True)
class VoiceConfig:
    """Training data and the way from them to batches of crops."""

    input: Literal["voices"] = "voices"
    """voices: crops of recordings, each with the class of its speaker."""
    train_list: str
    """Data list (raw or shards) to train on; each utterance needs the label `speaker`."""
    dev_list: str | None = None
    """Data list of other recordings of the same speakers to validate on."""
    crop_seconds: tuple[float, float] = (1.5, 3.0)
    """Shortest and longest crop. All crops of an epoch have one length, so that nothing is padded."""
    crops_an_epoch: int = 4
    """Crops of each utterance in an epoch."""
    speeds: tuple[float, ...] = (1.0, 0.9, 1.1)
    """Speeds to draw from. Tempo and pitch change together, so that each speed makes another speaker of a speaker."""
    surroundings: SurroundingsConfig = field(default_factory=SurroundingsConfig)
    """Rooms, lines and noises."""
    masks: SpecAugmentConfig | None = None
    """Stretches and bands of the frames that are hidden; none hides nothing."""
    num_mel_bins: int = 80
    """Mel bins of a frame."""
    batch_size: int = 64
    """Crops of a batch."""
    num_workers: int = 2
    """Processes that load; 0 loads in the training process. The batches do not depend on it."""
    prefetch: int = 4
    """Batches that each worker keeps ready."""
    cached_hours: float = 1.0
    """Recordings that each process keeps in memory, 230 MB an hour; what is over that is read again each time."""
    seed: int = 0
    """Of all draws."""

    def __post_init__(self) -> None:
        shortest, longest = self.crop_seconds
        if not SHORTEST_CROP_SECONDS <= shortest <= longest <= LONGEST_CROP_SECONDS:
            raise ConfigError(
                f"crop_seconds must be two growing values from {SHORTEST_CROP_SECONDS} to {LONGEST_CROP_SECONDS}, "
                f"found {shortest} and {longest}"
            )
        if not self.speeds or len(set(self.speeds)) < len(self.speeds) or any(not 0.5 <= speed <= 2.0 for speed in self.speeds):
            raise ConfigError(f"speeds must be different values from 0.5 to 2, at least one, found {self.speeds}")
        for name in ("crops_an_epoch", "num_mel_bins", "batch_size", "prefetch"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, found {getattr(self, name)}")
        for name in ("cached_hours", "num_workers"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} must not be negative, found {getattr(self, name)}")
