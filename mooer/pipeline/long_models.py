"""The models that long-audio recognition is made of, opened and checked together."""

import dataclasses
from pathlib import Path
from typing import Any

from mooer.common.errors import ConfigError
from mooer.common.files import sha256
from mooer.decode.forced_alignment import Aligner, open_aligner
from mooer.decode.recognizer import DecodeConfig, Recognizer
from mooer.models.configuration_json import check_file_names
from mooer.models.model_dir import LoadedModel
from mooer.pipeline.diarization import DiarizationConfig, Diarizer
from mooer.pipeline.punctuation import Punctuator, PunctuatorConfig, Style
from mooer.pipeline.speech_segments import FRAME_MS, SpeechOptions
from mooer.pipeline.transcriber_config import TranscriberConfig
from mooer.pipeline.vad_dir import read_detector

# Files of published folders that results depend on.
_FILES = ("config.yaml", "model.pt", "campplus_cn_common.bin", "am.mvn", "tokens.json", "seg_dict")
# Number formats of the recogniser that voices are computed in too: their embeddings stay the same but for 0.0003 in the cosine.
_VOICE_DTYPES = ("bfloat16", "fast")
# Answers of a speech LLM are bounded, and what is said in a longer segment may go beyond.
_LLM_MS = 20_000
# Without a detector a recording is recognised in one piece, up to here.
_WHOLE_MS = 60_000


class LongModels:
    """Recogniser and, where they are named, detector of speech, punctuation and speakers.

    Raises:
        PathError, ConfigError, WeightsError, DataError: a model cannot be opened, or does not fit the settings.
    """

    def __init__(self, config: TranscriberConfig) -> None:
        self._config = config
        for folder in self._folders().values():
            check_file_names(folder)
        self.recognizer = Recognizer.from_model_dir(config.model_dir, _decoding(config))
        self.detector = None if config.vad_dir is None else read_detector(config.vad_dir)
        self.speech = None if self.detector is None else self._speech_options(self.detector.options)
        self.punctuator = None if config.punc_dir is None else self._open_punctuator(config.punc_dir)
        self.aligner = None if config.align_dir is None else self._open_aligner(config.align_dir)
        dtype = config.dtype if config.dtype in _VOICE_DTYPES else "float32"
        diarization = DiarizationConfig(device=config.device, dtype=dtype)
        self.diarizer = None if config.spk_dir is None else Diarizer.from_folder(config.spk_dir, diarization)

    @property
    def has_times(self) -> bool:
        """Whether words get times."""
        return self._is_timed or self.aligner is not None

    @property
    def _is_timed(self) -> bool:
        return self.recognizer.loaded.config.family != "speech_llm"

    @property
    def style(self) -> Style:
        """How texts are spelled and the speakers of sentences chosen."""
        is_published = self.recognizer.loaded.config.family == "paraformer"
        return self._config.style or ("published" if is_published else "tidy")

    @property
    def whole_ms(self) -> int:
        """The longest recording that is recognised without a detector."""
        return self._config.max_segment_ms or min(_WHOLE_MS, self._longest_ms())

    def checksums(self) -> dict[str, dict[str, str]]:
        """The SHA-256 of the files of each model, by their names."""
        found = {"model": _checksums(self.recognizer.loaded)}
        fusion = self.recognizer.fusion
        if fusion is not None:
            found["lm"] = {path.name: sha256(path) for path in fusion.lm_files}
        if self.aligner is not None:
            found["align"] = _checksums(self.aligner.recognizer.loaded)
        for name, folder in self._folders().items():
            if name not in ("model_dir", "align_dir"):
                paths = (Path(folder) / file for file in _FILES)
                found[name.removesuffix("_dir")] = {path.name: sha256(path) for path in paths if path.is_file()}
        return found

    def settings(self) -> dict[str, Any]:
        """What a result depends on besides the models; of `fast` the number formats that it is here."""
        named = dataclasses.asdict(self._config)
        settings = {name: value for name, value in named.items() if not name.endswith("_dir") and name != "device"}
        settings["dtype"] = self.recognizer.config.dtype
        return settings if self.diarizer is None else settings | {"voices_dtype": self.diarizer.config.dtype}

    def record(self) -> dict[str, Any]:
        """Command, commit, versions, settings and checksums, for run.json."""
        settings = dataclasses.asdict(self._config) | self.settings()
        return self.recognizer.record() | {"transcribe": settings, "models": self.checksums()}

    def _folders(self) -> dict[str, str]:
        named = {name: getattr(self._config, name) for name in ("model_dir", "vad_dir", "punc_dir", "spk_dir", "align_dir")}
        return {name: folder for name, folder in named.items() if folder is not None}

    def _open_punctuator(self, folder: str) -> Punctuator:
        return Punctuator.from_folder(folder, PunctuatorConfig(style=self.style, device=self._config.device))

    def _open_aligner(self, folder: str) -> Aligner:
        if self._is_timed:
            family = self.recognizer.loaded.config.family
            raise ConfigError(f"align_dir means nothing with a model of family {family}, which tells the times of words itself")
        return open_aligner(folder, DecodeConfig(dtype=self._config.dtype, device=self._config.device))

    def _speech_options(self, own: SpeechOptions) -> SpeechOptions:
        """The detector's options with what is set here."""
        config, longest = self._config, self._longest_ms()
        given = {"max_end_silence_time": config.max_end_silence_ms, "max_single_segment_time": config.max_segment_ms}
        given = {name: value for name, value in given.items() if value is not None}
        options = dataclasses.replace(own, silence_mode=config.silence_mode, **given)
        if config.max_segment_ms is None:
            usual = longest if self._is_timed else min(longest, _LLM_MS)
            return dataclasses.replace(options, max_single_segment_time=min(own.max_single_segment_time, usual))
        if config.max_segment_ms > longest:
            raise ConfigError(f"max_segment_ms is {config.max_segment_ms}; this recogniser reads at most {longest} ms")
        return options

    def _longest_ms(self) -> int:
        """The longest segment, to which a frame may be added, that the recogniser reads."""
        return int(1000 * self.recognizer.max_seconds) - FRAME_MS


def _decoding(config: TranscriberConfig) -> DecodeConfig:
    return DecodeConfig(
        batch_seconds=config.batch_seconds,
        estimate_times=True,
        lm_dir=config.lm_dir,
        lm_weight=config.lm_weight,
        dtype=config.dtype,
        device=config.device,
    )


def _checksums(loaded: LoadedModel) -> dict[str, str]:
    files = [*loaded.weight_files, *(path for path in (loaded.cmvn_path, loaded.frontend_path) if path is not None)]
    return {path.name: sha256(path) for path in files}
