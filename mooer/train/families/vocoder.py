"""Vocoders: HiFi-GAN, trained on latents and the recordings that they are to become."""

import json
from pathlib import Path
from typing import Any

from mooer.common.config import to_dict
from mooer.common.files import atomic_write, staged_folder
from mooer.data.dataset import Loader
from mooer.data.latents import FRAMES_A_SECOND, LatentBatch, LatentSizes, build_latent_loader
from mooer.models.vocoder import CONFIG_FILE, RELEASED_FILE, WEIGHTS_FILE, write_released_vocoder, write_vocoder
from mooer.models.vocoder_training import VocoderTraining, build_vocoder_training
from mooer.train.config import RunConfig
from mooer.train.families.base import Family, Form, Split, refuse_form

RECORD_FILE = "run.json"


class VocoderFamily(Family):
    """Generator and discriminators in training, the generator alone in what is exported.

    The loss told in training is that of all parts; in validation it is the distance of log mel spectrograms.
    """

    frame_seconds = 1 / FRAMES_A_SECOND

    def __init__(self, config: RunConfig) -> None:
        self._model, self._data = config.model, config.data
        network = config.model.network
        self._sizes = LatentSizes(
            width=network.input_num_mels,
            voice_width=network.cond_channels,
            samples=network.samples_of_a_latent,
            sample_rate=network.sampling_rate,
        )

    def build_model(self, outline: bool = False) -> VocoderTraining:
        """Generator and discriminators, as small as they are not outlined."""
        return build_vocoder_training(self._model)

    def loader(self, split: Split, rank: int = 0, world_size: int = 1) -> Loader:
        """Batches of stretches."""
        return build_latent_loader(self._data, split, self._sizes, rank, world_size)

    def count_targets(self, batch: LatentBatch) -> int:
        """Stretches."""
        return len(batch.ids)

    def count_frames(self, batch: LatentBatch) -> int:
        """Frames of 10 ms."""
        return self._sizes.frames(batch.latents.shape[0] * batch.latents.shape[1])

    def data_files(self) -> list[str]:
        """The data lists."""
        return [path for path in (self._data.train_list, self._data.dev_list) if path is not None]

    def weight_files(self) -> list[Path]:
        """The generator that training goes on from."""
        return [] if self._model.path is None else [Path(self._model.path)]

    def export(self, model: VocoderTraining, directory: Path, record: dict[str, Any], form: Form, task: str) -> None:
        """Write what `mooer-speak --vocoder_path --vocoder_config` opens: the weights, config.json, and run.json."""
        refuse_form(form, ("safetensors", "released"), "vocoder")
        with staged_folder(directory, lambda folder: (folder / CONFIG_FILE).is_file()) as folder:
            generator = model.trained_generator()
            if form == "released":
                write_released_vocoder(folder / RELEASED_FILE, generator)
            else:
                write_vocoder(folder / WEIGHTS_FILE, generator)
            for name, values in ((CONFIG_FILE, to_dict(self._model.network)), (RECORD_FILE, record)):
                with atomic_write(folder / name) as stream:
                    json.dump(values, stream, ensure_ascii=False, indent=2)
                    stream.write("\n")
