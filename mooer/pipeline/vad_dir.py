"""Published FSMN-VAD directories: config.yaml, model.pt, am.mvn.

config.yaml gives sizes and options, and the checkpoint must agree with it to the last tensor. Whatever would change the
segments and is not known here is an error.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mooer.common.errors import ConfigError
from mooer.features.cmvn import read_cmvn
from mooer.features.frontend import Frontend, FrontendConfig
from mooer.models.published_folder import CMVN_FILE, WEIGHTS_FILE, open_published_folder
from mooer.models.vad import FsmnConfig, load_fsmn_vad
from mooer.pipeline.speech_segments import SpeechOptions
from mooer.pipeline.voice_activity import VoiceActivityDetector


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


def read_detector(folder: str | Path) -> VoiceActivityDetector:
    """The detector of a published directory, with the model's own options.

    Raises:
        PathError: a missing folder or file.
        ConfigError: a config.yaml of another model, with unknown keys, or with values that are not supported.
        WeightsError, DataError: damaged files, or such as do not fit config.yaml.
    """
    opened = open_published_folder(folder, "FsmnVADStreaming")
    opened.require("encoder", "FSMN")
    opened.require("frontend", "WavFrontendOnline")
    settings, sound = opened.section("model_conf", ModelSection), opened.section("frontend_conf", FrontendSection)
    frontend = FrontendConfig(num_mel_bins=sound.n_mels, lfr_m=sound.lfr_m, lfr_n=sound.lfr_n)
    model = load_fsmn_vad(opened.section("encoder_conf", FsmnConfig), opened.path / WEIGHTS_FILE, settings.sil_pdf_ids)
    return VoiceActivityDetector(Frontend(frontend, read_cmvn(opened.path / CMVN_FILE)), model, settings.options())
