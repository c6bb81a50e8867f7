"""How training samples of a vocoder are cut: the YAML section `data` of a model of family vocoder."""

from dataclasses import dataclass
from typing import Literal

from mooer.common.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class LatentConfig:
    """From a data list with latents to batches of stretches."""

    input: Literal["latents"] = "latents"
    """latents: stretches of recordings with what they are to be made of."""
    train_list: str
    """Raw data list to train on: `audio`, `feats` (latents) and, with voices, the label `voice` of each utterance."""
    dev_list: str | None = None
    """Such a list to validate on."""
    stretch_latents: int = 8
    """Latents of a stretch; shorter recordings are skipped and counted."""
    stretches_an_epoch: int = 4
    """Stretches of each utterance in an epoch."""
    batch_size: int = 16
    """Stretches of a batch."""
    num_workers: int = 2
    """Processes that load; 0 loads in the training process. The batches do not depend on it."""
    prefetch: int = 4
    """Batches that each worker keeps ready."""
    cached_hours: float = 1.0
    """Recordings that each process keeps in memory, 230 MB an hour at 16 kHz; what is over that is read again each time."""
    seed: int = 0
    """Of all draws."""

    def __post_init__(self) -> None:
        for name in ("stretch_latents", "stretches_an_epoch", "batch_size", "prefetch"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, found {getattr(self, name)}")
        for name in ("cached_hours", "num_workers"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} must not be negative, found {getattr(self, name)}")
