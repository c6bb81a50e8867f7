"""Speaker models: CAM++ that learns to tell the speakers of the training data apart."""

from pathlib import Path
from typing import Any

from torch import nn

from mooer.common.lengths import SAMPLE_RATE, SHIFT_SAMPLES
from mooer.data.dataset import Loader
from mooer.data.voice_loader import build_voice_loader, training_speakers
from mooer.data.voices import SpeakerBatch
from mooer.models.published_folder import write_published_folder
from mooer.models.speaker import Campplus, published_speaker_model
from mooer.models.speaker_classifier import SpeakerClassifier
from mooer.train.config import RunConfig
from mooer.train.families.base import Family, Form, Split, refuse_form


class SpeakerFamily(Family):
    """A class for each training speaker at each speed; the network without the classes is what is exported."""

    frame_seconds = SHIFT_SAMPLES / SAMPLE_RATE

    def __init__(self, config: RunConfig) -> None:
        self._config = config

    def build_model(self, outline: bool = False) -> nn.Module:
        """The network and a direction for each class."""
        data, model = self._config.data, self._config.model
        num_classes = len(training_speakers(data)) * len(data.speeds)
        return SpeakerClassifier(Campplus(model.network), num_classes, model.loss).train()

    def loader(self, split: Split, rank: int = 0, world_size: int = 1) -> Loader:
        """Batches of crops."""
        return build_voice_loader(self._config.data, split, rank, world_size)

    def count_targets(self, batch: SpeakerBatch) -> int:
        """Crops."""
        return len(batch.ids)

    def count_frames(self, batch: SpeakerBatch) -> int:
        """Frames of 10 ms."""
        return int(batch.frame_lengths.sum())

    def data_files(self) -> list[str]:
        """The data lists."""
        data = self._config.data
        return [path for path in (data.train_list, data.dev_list) if path is not None]

    def export(self, model: nn.Module, directory: Path, record: dict[str, Any], form: Form, task: str) -> None:
        """Write the published layout of CAM++, which is the one that the toolkit's other commands open too."""
        refuse_form(form, ("safetensors", "released"), "speaker")
        write_published_folder(directory, published_speaker_model(model.network, self._config.model.network, record))
