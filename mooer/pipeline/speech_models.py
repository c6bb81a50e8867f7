"""The models that answer speech with speech, opened and checked together: speech LLM, vocoder, and the encoder of voices."""

import dataclasses
import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from mooer.audio.io import load_audio
from mooer.audio.limits import AudioLimits
from mooer.common import provenance
from mooer.common.config import load_yaml
from mooer.common.device import select_device, select_dtype
from mooer.common.errors import AudioError, ConfigError, DataError, WeightsError
from mooer.common.files import require_file, sha256
from mooer.decode.generate import GenerateConfig
from mooer.decode.packed_linear import pack_linears
from mooer.decode.recognizer import LLM_BEAM_SIZE, MAX_SECONDS
from mooer.decode.sampling import SamplingConfig
from mooer.decode.spoken_answer import SpokenAnswerDecoder, SpokenAnswerSettings
from mooer.features.cmvn import read_cmvn
from mooer.features.frontend import Frontend, FrontendConfig
from mooer.models.builders import check_frontend
from mooer.models.model_dir import LoadedModel, PartPaths
from mooer.models.released import open_model
from mooer.models.speaker_resnet import SpeakerResnet, load_speaker_resnet
from mooer.models.vocoder import Vocoder, load_vocoder, read_vocoder_config
from mooer.text.prompts import SPEECH_INSTRUCTIONS
from mooer.text.tokenizer import load_tokenizer


@dataclass(frozen=True, kw_only=True)
class SpeechConfig:
    """What is asked of the models."""

    task: Literal["s2s_trans", "s2s_chat"] = "s2s_trans"
    """Translate into English speech, or answer what is said."""
    instruction: str | None = None
    """What the prompt asks, in place of the task's own words."""
    greedy: bool = False
    """Always the best token, in place of sampling."""
    beam_size: int | None = None
    """Answers kept side by side; None is 4, and greedy has 1."""
    sampling: SamplingConfig = dataclasses.field(default_factory=SamplingConfig)
    """How tokens are drawn."""
    max_new_tokens: int = 1000
    """Bound on an answer, text and audio tokens together."""
    seed: int = 0
    """What is drawn for an utterance follows from this and its id."""
    batch_size: int = 8
    """Utterances answered together."""
    voice_from_input: bool = False
    """Whether an answer has the voice of the one who asks."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Number format of the speech LLM; vocoder and voices are computed in float32."""
    device: str = "auto"
    """auto, cpu, cuda or musa."""

    def __post_init__(self) -> None:
        if self.task not in SPEECH_INSTRUCTIONS:
            raise ConfigError(f"task {self.task!r} is unknown; allowed: {', '.join(SPEECH_INSTRUCTIONS)}")
        if self.batch_size < 1:
            raise ConfigError(f"batch_size must be at least 1, found {self.batch_size}")
        if self.greedy and (self.beam_size not in (None, 1) or self.sampling != SamplingConfig()):
            raise ConfigError("greedy search has one beam and draws nothing; leave the settings of sampling and beams out")

    def search(self) -> GenerateConfig:
        """How answers are searched."""
        beam_size = 1 if self.greedy else self.beam_size or LLM_BEAM_SIZE
        sampling = None if self.greedy else self.sampling
        return GenerateConfig(
            beam_size=beam_size, length_penalty=1.0, eos_bias=0.0, max_cost=self.batch_size, sampling=sampling
        )


@dataclass(frozen=True, kw_only=True)
class SpeechPaths:
    """Where the models lie."""

    model_dir: str | None = None
    """The speech LLM, as mooer-decode takes it; None if `parts` names all of it."""
    parts: PartPaths = dataclasses.field(default_factory=PartPaths)
    """What to take from elsewhere."""
    downsample_rate: int | None = None
    """The adapter's; None for what the model says, or 2."""
    vocoder: str
    """A published checkpoint of HiFi-GAN, or one of ours."""
    vocoder_config: str | None = None
    """The JSON file of its sizes; None reads them off the checkpoint."""
    speaker_encoder: str | None = None
    """A published checkpoint of the ResNet speaker encoder; None where no voice is asked for."""
    prompt_wav: str | None = None
    """A recording of the voice that answers; None for the one who asks, or nobody's in particular."""


class SpeechModels:
    """Speech LLM, vocoder, and where a voice is asked for the encoder of voices.

    Raises:
        PathError, ConfigError, WeightsError, DataError: a model or the prompt cannot be opened, or they do not fit together.
    """

    def __init__(self, paths: SpeechPaths, config: SpeechConfig) -> None:
        self.paths, self.config = paths, config
        self.device = select_device(config.device)
        self._limits = AudioLimits(max_seconds=MAX_SECONDS)
        self._check_paths()
        self.vocoder = self._open_vocoder()
        self.speaker_encoder = self._open_speaker_encoder()
        self._prompt_voice = None if paths.prompt_wav is None else self._read_prompt(paths.prompt_wav)
        self.loaded = self._open_llm()
        settings = FrontendConfig()
        if self.loaded.frontend_path is not None:
            settings = load_yaml(self.loaded.frontend_path, FrontendConfig)
        check_frontend(self.loaded.model.encoder, settings)
        self.frontend = Frontend(settings, read_cmvn(self.loaded.cmvn_path) if self.loaded.cmvn_path else None)
        self.answers = self._make_decoder(settings)

    def _check_paths(self) -> None:
        paths, wants_voice = self.paths, self.paths.prompt_wav is not None or self.config.voice_from_input
        if paths.prompt_wav is not None and self.config.voice_from_input:
            raise ConfigError("a voice comes from a prompt or from the input, not from both")
        if wants_voice and paths.speaker_encoder is None:
            raise ConfigError("a voice needs a speaker encoder; name one (--spk_encoder_path)")
        named = {"vocoder": paths.vocoder, "speaker encoder": paths.speaker_encoder, "prompt recording": paths.prompt_wav}
        for what, path in named.items():
            if path is not None:
                require_file(path, what)

    def _open_vocoder(self) -> Vocoder:
        sizes = None if self.paths.vocoder_config is None else read_vocoder_config(self.paths.vocoder_config)
        return load_vocoder(self.paths.vocoder, sizes).to(self.device)

    def _open_speaker_encoder(self) -> SpeakerResnet | None:
        if self.paths.speaker_encoder is None:
            return None
        encoder = load_speaker_resnet(self.paths.speaker_encoder).to(self.device)
        width, wanted = encoder.config.embedding_size, self.vocoder.config.cond_channels
        if width != wanted:
            raise WeightsError(f"{self.paths.speaker_encoder} makes voices of {width} values; the vocoder takes {wanted}")
        return encoder

    def _read_prompt(self, path: str) -> Tensor:
        try:
            return self._embed_voice(load_audio(path, limits=self._limits))
        except AudioError as error:
            raise DataError(f"the prompt recording cannot be used: {error}") from error

    def _open_llm(self) -> LoadedModel:
        paths, dtype = self.paths, select_dtype(self.config.dtype)
        loaded = open_model(paths.model_dir, self.config.task, paths.parts, paths.downsample_rate, dtype)
        if loaded.config.family != "speech_llm":
            raise ConfigError(
                f"{paths.model_dir} is of family {loaded.config.family}, which writes text alone; name a speech LLM"
            )
        width, wanted = loaded.model.llm.get_input_embeddings().embedding_dim, self.vocoder.config.input_num_mels
        if width != wanted:
            raise WeightsError(f"the LLM's hidden states have {width} values; {paths.vocoder} takes {wanted}")
        loaded.model.to(self.device)
        if self.device.type == "cpu":
            pack_linears(loaded.model)
        return loaded

    def _make_decoder(self, frontend: FrontendConfig) -> SpokenAnswerDecoder:
        config = self.config
        settings = SpokenAnswerSettings(
            instruction=self.instruction,
            max_new_tokens=config.max_new_tokens,
            seed=config.seed,
            frontend=frontend,
            generate=config.search(),
        )
        return SpokenAnswerDecoder(self.loaded.model, load_tokenizer(self.loaded.tokenizer_dir), settings)

    def read(self, source: Any, start: float | None, end: float | None) -> Tensor:
        """A recording [S] at 16 kHz. Raises AudioError."""
        return load_audio(source, start=start, end=end, limits=self._limits)

    def voice(self, waveform: Tensor) -> Tensor | None:
        """Whose voice answers a recording [S]: [1, V]; None for nobody's in particular. Raises AudioError (too_short)."""
        if self.config.voice_from_input:
            return self._embed_voice(waveform)
        return self._prompt_voice

    @torch.inference_mode()
    def _embed_voice(self, waveform: Tensor) -> Tensor:
        shortest = self.speaker_encoder.config.shortest_samples
        if len(waveform) < shortest:
            raise AudioError(f"{len(waveform)} samples; a voice needs {shortest}", "too_short")
        lengths = torch.tensor([len(waveform)], device=self.device)
        return self.speaker_encoder.voices(waveform[None].to(self.device), lengths)

    @torch.inference_mode()
    def speak(self, latents: Tensor, voice: Tensor | None) -> Tensor:
        """The waveform [S] of latents [T, D] in a voice [1, V], on the CPU.

        One answer at a time: its waveform is then the same to the last bit whatever the company, and a CPU is no slower.
        """
        lengths = torch.tensor([len(latents)], device=self.device)
        return self.vocoder(latents[None].to(self.device), lengths, voice)[0][0].cpu()

    def settings(self) -> dict[str, Any]:
        """What results depend on besides the recordings: settings and the checksums of all files."""
        settings = dataclasses.asdict(self.config)
        for name in ("batch_size", "device"):
            settings.pop(name)
        return {"speak": settings | {"instruction": self.instruction}, "models": self._checksums}

    @property
    def instruction(self) -> str:
        """What the prompt asks."""
        return self.config.instruction or SPEECH_INSTRUCTIONS[self.config.task]

    @functools.cached_property
    def _checksums(self) -> dict[str, Any]:
        loaded, paths = self.loaded, self.paths
        files = [*loaded.weight_files, *(path for path in (loaded.cmvn_path, loaded.frontend_path) if path is not None)]
        named = {"vocoder": paths.vocoder, "vocoder_config": paths.vocoder_config}
        named |= {"speaker_encoder": paths.speaker_encoder, "prompt_wav": paths.prompt_wav}
        return {"model": {path.name: sha256(path) for path in files}} | {
            name: sha256(Path(path)) for name, path in named.items() if path is not None
        }

    def record(self) -> dict[str, Any]:
        """Command, commit, versions, settings and checksums, for run.json."""
        placed = {"batch_size": self.config.batch_size, "device": str(self.device)}
        settings = self.settings()
        return provenance.record() | settings | {"speak": settings["speak"] | placed}
