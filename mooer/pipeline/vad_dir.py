"""Published FSMN-VAD directories: config.yaml, model.pt, am.mvn.

config.yaml gives sizes and options, and the checkpoint must agree with it to the last tensor. Whatever would change the
segments and is not known here is an error.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mooer.common.config import load_yaml
from mooer.common.errors import ConfigError
from mooer.common.files import require_dir
from mooer.features.cmvn import read_cmvn
from mooer.features.frontend import Frontend, FrontendConfig
from mooer.models.vad import FsmnConfig, load_fsmn_vad
from mooer.pipeline.speech_segments import SpeechOptions
from mooer.pipeline.voice_activity import VoiceActivityDetector

CONFIG_FILE = "config.yaml"
WEIGHTS_FILE = "model.pt"
CMVN_FILE = "am.mvn"


@dataclass(frozen=True, kw_only=True)
class ModelSection(SpeechOptions):
    """model_conf: the options of the segments, and more. Fields of type Any have no effect, in the reference either."""

    sample_rate: Literal[16000] = 16000
    frame_in_ms: Literal[10] = 10
    frame_length_ms: Literal[25] = 25
    sil_pdf_ids: tuple[int, ...] = (0,)
    """The classes of the network that are silence."""
    silence_pdf_num: int = 1
    """How many those are."""
    snr_mode: Any = None
    do_start_point_detection: Any = None
    do_end_point_detection: Any = None
    nn_eval_block_size: Any = None
    dcd_block_size: Any = None
    fe_prior_thres: Any = None
    speech_noise_thresh_low: Any = None
    speech_noise_thresh_high: Any = None
    output_frame_probs: Any = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.sil_pdf_ids) != self.silence_pdf_num:
            raise ConfigError(f"silence_pdf_num is {self.silence_pdf_num}, but sil_pdf_ids names {len(self.sil_pdf_ids)}")

    def options(self) -> SpeechOptions:
        """The options alone."""
        return SpeechOptions(**{field.name: getattr(self, field.name) for field in dataclasses.fields(SpeechOptions)})


@dataclass(frozen=True, kw_only=True)
class FrontendSection:
    """frontend_conf: all but the sizes and the dither must be what mooer's front end computes."""

    fs: Literal[16000] = 16000
    window: Literal["hamming"] = "hamming"
    n_mels: int = 80
    frame_length: Literal[25] = 25
    frame_shift: Literal[10] = 10
    lfr_m: int = 5
    lfr_n: Literal[1] = 1
    dither: float = 0.0
    """Noise that the reference adds; none is added here."""
    cmvn_file: str | None = None
    """Where it lay on the machine of those who trained it; am.mvn is read."""


@dataclass(frozen=True, kw_only=True)
class VadConfig:
    """config.yaml of a published directory. Fields without a description concern training alone."""

    model: Literal["FsmnVADStreaming"]
    model_conf: ModelSection
    encoder: Literal["FSMN"]
    encoder_conf: FsmnConfig
    frontend: Literal["WavFrontendOnline"]
    frontend_conf: FrontendSection
    tokenizer: Any = None
    tokenizer_conf: Any = None
    specaug: Any = None
    specaug_conf: Any = None
    train_conf: Any = None
    optim: Any = None
    optim_conf: Any = None
    scheduler: Any = None
    scheduler_conf: Any = None
    dataset: Any = None
    dataset_conf: Any = None


def read_detector(folder: str | Path) -> VoiceActivityDetector:
    """The detector of a published directory, with the model's own options.

    Raises:
        PathError: a missing folder or file.
        ConfigError: a config.yaml of another model, with unknown keys, or with values that are not supported.
        WeightsError, DataError: damaged files, or such as do not fit config.yaml.
    """
    folder = require_dir(folder, "VAD directory")
    config = load_yaml(folder / CONFIG_FILE, VadConfig)
    section = config.frontend_conf
    frontend = FrontendConfig(num_mel_bins=section.n_mels, lfr_m=section.lfr_m, lfr_n=section.lfr_n)
    model = load_fsmn_vad(config.encoder_conf, folder / WEIGHTS_FILE, config.model_conf.sil_pdf_ids)
    return VoiceActivityDetector(Frontend(frontend, read_cmvn(folder / CMVN_FILE)), model, config.model_conf.options())
