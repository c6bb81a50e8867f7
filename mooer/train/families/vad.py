"""Networks that find speech, frame by frame: FSMN-VAD."""

import dataclasses
from pathlib import Path
from typing import Any

from mooer.common.errors import ConfigError
from mooer.common.speech_times import SPEECH_LABEL
from mooer.data.config import TaskConfig
from mooer.data.dataset import Loader, build_loader, list_files
from mooer.data.speech_frames import SpeechFramesBatch, SpeechFramesSamples
from mooer.models.published_folder import WEIGHTS_FILE, PublishedModel, write_published_folder
from mooer.models.vad_training import VadTraining, build_vad_training, input_size, published_vad
from mooer.train.config import RunConfig
from mooer.train.families.base import Family, Form, Split, refuse_form


class VadFamily(Family):
    """FSMN-VAD, trained on the label `speech`; it has one form, the published directory."""

    def __init__(self, config: RunConfig) -> None:
        self._model, self._data = config.model, config.data
        self.frame_seconds = config.data.frontend.frame_seconds

    def build_model(self, outline: bool = False) -> VadTraining:
        """The network, as small as it is not outlined. Raises ConfigError too for frames that it does not read."""
        wanted, made = input_size(self._model), self._data.frontend.feature_dim
        if wanted != made:
            raise ConfigError(f"data.frontend makes frames of {made} values, the network reads {wanted} (encoder.input_dim)")
        return build_vad_training(self._model)

    def loader(self, split: Split, rank: int = 0, world_size: int = 1) -> Loader:
        """The batches of a rank."""
        task = TaskConfig(task="free", labels=(SPEECH_LABEL,), instruction="")
        return build_loader(dataclasses.replace(self._data, tasks=(task,)), split, SpeechFramesSamples(), rank, world_size)

    def count_targets(self, batch: SpeechFramesBatch) -> int:
        """Frames: each has a label."""
        return int(batch.frame_lengths.sum())

    def count_frames(self, batch: SpeechFramesBatch) -> int:
        """Frames of 10 ms."""
        return int(batch.frame_lengths.sum())

    def data_files(self) -> list[str]:
        """The data lists, and the file of the mixture."""
        return list_files(self._data)

    def weight_files(self) -> list[Path]:
        """The published weights that training goes on from."""
        return [] if self._model.path is None else [Path(self._model.path) / WEIGHTS_FILE]

    def export(self, model: VadTraining, directory: Path, record: dict[str, Any], form: Form, task: str) -> None:
        """Write a published directory, which `mooer.pipeline.vad_dir.read_detector` opens."""
        refuse_form(form, ("safetensors", "released"), "fsmn_vad")
        frontend = self._data.frontend
        sound = {"n_mels": frontend.num_mel_bins, "lfr_m": frontend.lfr_m, "lfr_n": frontend.lfr_n}
        settings, weights = published_vad(model, self._model, sound)
        cmvn_path = Path(self._data.cmvn_path)
        published = PublishedModel(settings=settings, weights=weights, cmvn_path=cmvn_path, record=record)
        write_published_folder(directory, published)
