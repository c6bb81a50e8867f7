"""Recordings to hypotheses with one model: reading, front end, decoding in batches of similar length, results in input order.

An utterance that cannot be read or decoded becomes a Failure and leaves the others alone.
"""

import dataclasses
import functools
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, starmap
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from torch import Tensor

from mooer.audio.limits import AudioLimits
from mooer.common import provenance
from mooer.common.config import load_yaml
from mooer.common.device import select_device, select_dtype
from mooer.common.errors import AudioError, ConfigError
from mooer.common.lengths import CONV2D_SHIFT, SAMPLE_RATE, WHISPER_SAMPLES
from mooer.data.archives import read_matrix
from mooer.data.config import TaskConfig
from mooer.data.reader import AudioReader
from mooer.data.utterance import Problem, Utterance
from mooer.decode.family_decoder import growing_answers, make_decoder
from mooer.decode.fusion_options import fusion_of
from mooer.decode.hypothesis import Answer, Failure, Hypothesis, Refusal
from mooer.decode.number_format import CPU_FORMATS, FORMATS, put_into_format
from mooer.decode.packed_linear import pack_linears
from mooer.features.cmvn import read_cmvn
from mooer.features.frontend import Frontend, FrontendConfig
from mooer.models.builders import check_frontend
from mooer.models.conformer_reference import ReferencePaths, open_reference
from mooer.models.model_dir import FINAL_DIR, PACKAGED, RECORD_FILE, LoadedModel, PartPaths, find_model_dir, is_model_dir
from mooer.models.released import open_model
from mooer.models.weights import checksums
from mooer.text.prompts import released_instruction

if TYPE_CHECKING:
    from mooer.decode.generate import Prompt
    from mooer.decode.speech_llm_decoder import SpeechLlmSettings

# Attention over a longer recording would fill the memory; such ones are to be cut at pauses first.
MAX_SECONDS = 300.0
LLM_BEAM_SIZE = 4
# Utterances are read ahead, as a multiple of what is decoded together, so that similar lengths meet.
WINDOW_BATCHES = 4


@dataclass(frozen=True, kw_only=True)
class DecodeConfig:
    """How a model is used."""

    task: Literal["asr", "ast", "mtl"] = "asr"
    """Transcribe, translate, or both."""
    target_language: str = "en"
    """Of the translation: en or zh."""
    instruction: str | None = None
    """What the prompt asks, in place of the task's own words."""
    mode: Literal["ctc_greedy", "ctc_prefix_beam", "attention", "attention_rescoring"] | None = None
    """How a model of family ctc or conformer is searched; the last two are for one with an attention decoder. None is
    attention_rescoring for that one, for others ctc_prefix_beam where a language model is named, else ctc_greedy."""
    beam_size: int | None = None
    """Answers kept side by side; 1 is greedy search. None: 4 for a speech LLM; 10 for other models where `mode`, `lm_dir` or
    another setting asks for a beam search."""
    lm_dir: str | None = None
    """Folder of a language model for a Paraformer or a model of family ctc or conformer; None for none."""
    lm_weight: float | None = None
    """Of its log probabilities; None is 0.15."""
    ctc_weight: float | None = None
    """Of the log probabilities of a Paraformer's CTC layer, None is 0; of CTC in attention_rescoring, None is 0.5."""
    reverse_weight: float | None = None
    """Share of the decoder that reads from right to left in attention_rescoring; None is its share in training."""
    length_bonus: float | None = None
    """Added for each token of an answer in such a beam search; None is 0."""
    length_penalty: float = 0.8
    """Scores are divided by the number of tokens to this power."""
    max_new_tokens: int | None = None
    """Bound on each answer; None lets it follow the length of the recording, at most 200."""
    nbest: int = 0
    """How many of the best answers to keep beside the best one's text."""
    batch_size: int = 32
    """Utterances decoded together; a speech LLM counts one of over 15 seconds as several."""
    batch_seconds: float | None = None
    """Seconds of audio decoded together, in place of batch_size."""
    estimate_times: bool = False
    """Whether a Paraformer that was not trained to tell when words are said tells it all the same, from the weights by which it
    counts tokens, on a grid of 60 ms."""
    chunk_size: int | None = None
    """Encoder frames (mostly of 40 ms) that a Conformer with causal convolutions hears at a time, as from a stream; None for
    the whole."""
    left_chunks: int | None = None
    """With chunk_size: how many chunks back are seen; None for all."""
    dtype: Literal["float32", "bfloat16", "float16", "int8", "fast"] = "float32"
    """Number format of the model. int8 is for Paraformer and for SANM encoders with a CTC layer, on a CPU; fast is the one of
    float32, bfloat16 and int8 that a short measurement finds fastest for these."""
    device: str = "auto"
    """auto, cpu, cuda or musa."""

    def __post_init__(self) -> None:
        if self.dtype not in FORMATS:
            raise ConfigError(f"dtype {self.dtype!r} is unknown; allowed: {', '.join(FORMATS)}")
        for name in ("batch_size", "batch_seconds"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigError(f"{name} must be positive, found {value}")
        if (self.chunk_size or 1) < 1 or (self.left_chunks or 0) < 0:
            raise ConfigError(f"chunk_size must be at least 1, left_chunks 0; found {self.chunk_size} and {self.left_chunks}")
        if self.left_chunks is not None and self.chunk_size is None:
            raise ConfigError("--left_chunks belongs to --chunk_size: without it, all is seen")
        if self.lm_weight is not None and self.lm_dir is None:
            raise ConfigError("--lm_weight belongs to --lm_dir: there is no language model to weigh")


@dataclass(frozen=True)
class Prepared:
    """An utterance of which all is known that needs no search."""

    id: str
    input: "Tensor | Prompt | Answer | Refusal"
    """Frames [T, features]; for a speech LLM what its decoder prepares of them."""
    seconds: float


Load = Callable[[], tuple[Tensor, float]]


class Recognizer:
    """Recognises with a loaded model, which is used as it is; `from_model_dir` and `from_parts` make one of files.

    Args:
        is_released: whether it is one of the released checkpoints, which know the released instructions only.
        instructions: what the model was asked in training, by `TaskConfig.key`; others are the usual ones.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        config: DecodeConfig,
        is_released: bool = False,
        instructions: Mapping[str, str] | None = None,
    ) -> None:
        self.loaded, self.config = loaded, config
        self.is_released, self.instructions = is_released, dict(instructions or {})
        self.device = select_device(config.device)
        settings = _frontend_settings(loaded)
        cmvn = read_cmvn(loaded.cmvn_path) if loaded.cmvn_path else None
        self.frontend = Frontend(settings, cmvn)
        check_frontend(loaded.model.encoder, settings)
        self._reader = AudioReader(AudioLimits(max_seconds=MAX_SECONDS))
        loaded.model.to(self.device)
        self.settings: SpeechLlmSettings | None = None
        if loaded.config.family == "speech_llm":
            asked = _instruction(config, is_released, instructions or {})
            self.settings = _speech_llm_settings(config, settings, asked)
        self.fusion = fusion_of(config, loaded, self.device)
        self._decoder = make_decoder(loaded, config, self.settings, settings, self.fusion)

    @classmethod
    def from_model_dir(
        cls,
        model_dir: str | Path,
        config: DecodeConfig | None = None,
        parts: PartPaths | None = None,
        downsample_rate: int | None = None,
    ) -> "Recognizer":
        """A recognizer of a model directory or run folder of ours, a folder in the released layout, a published Paraformer
        directory, or `mini`.

        Args:
            parts: what to take from elsewhere.
            downsample_rate: the adapter's; None for what the directory says, or 2.

        Raises:
            PathError, ConfigError, WeightsError: something is missing, or does not fit.
        """
        loaded, config = _open_model(model_dir, config or DecodeConfig(), parts, downsample_rate)
        if not _is_ours(model_dir):
            return cls(loaded, config, is_released=True)
        return cls(loaded, config, instructions=_stored_instructions(find_model_dir(model_dir)))

    @classmethod
    def from_parts(
        cls, parts: PartPaths, config: DecodeConfig | None = None, downsample_rate: int | None = None
    ) -> "Recognizer":
        """A recognizer of the released checkpoints' parts, each named. Raises as `from_model_dir` does."""
        return cls(*_open_model(None, config or DecodeConfig(), parts, downsample_rate), is_released=True)

    @classmethod
    def from_reference(cls, paths: ReferencePaths, config: DecodeConfig | None = None) -> "Recognizer":
        """A recognizer of a model of 3M-ASR. Raises as `from_model_dir` does."""
        return cls(*_open_for_good(config or DecodeConfig(), functools.partial(open_reference, paths)))

    @property
    def max_seconds(self) -> float:
        """The longest recording that is read; what is longer is to be cut at pauses first."""
        return WHISPER_SAMPLES / SAMPLE_RATE if self.frontend.config.kind == "whisper" else MAX_SECONDS

    def recognize(self, waveforms: Iterable[tuple[str, Tensor]]) -> Iterator[Hypothesis | Failure]:
        """The results for ids and waveforms [S] (float32, 16 kHz, full scale 1), in their order, as they become known."""
        return self._recognize(self._loads(waveforms))

    def recognize_utterances(self, utterances: Iterable[Utterance | Problem]) -> Iterator[Hypothesis | Failure]:
        """The same for utterances by reference, each read when its turn comes; a Problem becomes a Failure."""
        return self._recognize((item.id, lambda item=item: self._from_reference(item)) for item in utterances)

    def prepare(self, waveforms: Iterable[tuple[str, Tensor]]) -> list[Prepared | Failure]:
        """The part of `recognize` before the search: the front end, and for a speech LLM its encoder and adapter.

        Another thread may do this for the next recordings while `answer` works on the last ones.
        """
        return self._encoded(list(starmap(self._read, self._loads(waveforms))))

    def answer(self, prepared: Sequence[Prepared | Failure]) -> list[Hypothesis | Failure]:
        """The rest of `recognize`, for what was prepared together or apart; the real-time factor is of this part alone."""
        return list(self._searched(prepared, time.perf_counter()))

    def stream(self, waveform: Tensor) -> Iterator[str]:
        """The text of a waveform [S] (float32, 16 kHz, full scale 1) as greedy search writes it, longer from value to value.

        No value ends within a character. The last one is that of `recognize` with beam_size 1; a translation beside a
        transcript is the second line. A model that does not write token by token gives the whole text at once.

        Raises:
            AudioError: what would be a Failure of `recognize`.
        """
        return (answer.full_text for answer in self.stream_answers(waveform))

    def stream_answers(self, waveform: Tensor) -> Iterator[Answer]:
        """The same with all that is known; the last one is complete. Raises as `stream` does."""
        return self._stream(lambda: self._from_waveform(waveform))

    def stream_utterance(self, utterance: Utterance | Problem) -> Iterator[Answer]:
        """The same for an utterance by reference."""
        return self._stream(lambda: self._from_reference(utterance))

    def record(self) -> dict[str, Any]:
        """Command, commit, versions, settings and the checksums of the weights, for run.json."""
        settings = {**dataclasses.asdict(self.config), "device": str(self.device)}
        if self.settings is not None:
            settings["beam_size"] = self.settings.generate.beam_size
        lm = {}
        if self.fusion is not None:
            settings |= dataclasses.asdict(self.fusion.config)
            lm = {"language_model": {"weights_sha256": checksums(self.fusion.lm_files)}} if self.fusion.lm_files else {}
        prompt = {"instruction": self.settings.instruction} if self.settings else {}
        model = {"family": self.loaded.config.family, "weights_sha256": checksums(self.loaded.weight_files)}
        return {**provenance.record(), "decode": settings | prompt, "model": model, **lm}

    def _loads(self, waveforms: Iterable[tuple[str, Tensor]]) -> Iterator[tuple[str, Load]]:
        for identity, waveform in waveforms:
            yield identity, functools.partial(self._from_waveform, waveform)

    def _from_waveform(self, waveform: Tensor) -> tuple[Tensor, float]:
        return self.frontend(waveform), len(waveform) / SAMPLE_RATE

    def _from_reference(self, utterance: Utterance | Problem) -> tuple[Tensor, float]:
        if isinstance(utterance, Problem):
            raise AudioError(utterance.message, utterance.reason)
        if utterance.feats is None:
            return self._from_waveform(self._reader.read(utterance.audio))
        frames = self.frontend.from_fbank(read_matrix(utterance.feats))
        return frames, len(frames) * self.frontend.config.frame_seconds

    def _stream(self, load: Load) -> Iterator[Answer]:
        frames, _ = load()
        for answer in growing_answers(self._decoder, frames):
            if isinstance(answer, Refusal):
                raise AudioError(answer.message, answer.reason)
            yield answer

    def _recognize(self, items: Iterable[tuple[str, Load]]) -> Iterator[Hypothesis | Failure]:
        items = iter(items)
        while True:
            started = time.perf_counter()
            window = list(self._read_window(items))
            if not window:
                return
            yield from self._searched(self._encoded(window), started)

    def _read_window(self, items: Iterator[tuple[str, Load]]) -> Iterator[Prepared | Failure]:
        """Read as many utterances as are sorted by length together."""
        config, seconds = self.config, 0.0
        by_number = config.batch_seconds is None
        for identity, load in islice(items, WINDOW_BATCHES * config.batch_size if by_number else None):
            item = self._read(identity, load)
            yield item
            seconds += item.seconds if isinstance(item, Prepared) else 0.0
            if not by_number and seconds >= WINDOW_BATCHES * config.batch_seconds:
                return

    def _read(self, identity: str, load: Load) -> Prepared | Failure:
        try:
            return Prepared(identity, *load())
        except AudioError as error:
            return Failure(identity, error.reason, str(error))

    def _encoded(self, window: list[Prepared | Failure]) -> list[Prepared | Failure]:
        """With what a speech LLM hears in place of the frames; for other models as it is."""
        if self.settings is None:
            return window
        inputs = iter(self._decoder.prepare([entry.input for entry in window if isinstance(entry, Prepared)]))
        return [dataclasses.replace(entry, input=next(inputs)) if isinstance(entry, Prepared) else entry for entry in window]

    def _searched(self, window: Sequence[Prepared | Failure], started: float) -> Iterator[Hypothesis | Failure]:
        items = [entry for entry in window if isinstance(entry, Prepared)]
        search = self._decoder.decode if self.settings is None else self._decoder.answer
        answers = iter(search([item.input for item in items]))
        seconds = sum(item.seconds for item in items)
        factor = (time.perf_counter() - started) / seconds if seconds else 0.0
        for entry in window:
            answer = next(answers) if isinstance(entry, Prepared) else entry
            if isinstance(answer, Answer):
                yield Hypothesis(entry.id, answer, entry.seconds, factor)
            else:
                yield Failure(entry.id, answer.reason, answer.message)


def _is_ours(model_dir: str | Path) -> bool:
    folder = Path(model_dir)
    return str(model_dir) in PACKAGED or is_model_dir(folder) or is_model_dir(folder / FINAL_DIR)


def _frontend_settings(loaded: LoadedModel) -> FrontendConfig:
    """The front end that the model was trained with."""
    if loaded.frontend_path is not None:
        return load_yaml(loaded.frontend_path, FrontendConfig)
    if loaded.config.family == "conformer":  # 3M-ASR's
        bins = loaded.config.encoder.input_size
        return FrontendConfig(window="povey", num_mel_bins=bins, lfr_m=1, lfr_n=1, subsampling=CONV2D_SHIFT)
    return FrontendConfig()


def _open_model(
    model_dir: str | Path | None, config: DecodeConfig, parts: PartPaths | None, downsample_rate: int | None
) -> tuple[LoadedModel, DecodeConfig]:
    return _open_for_good(config, lambda **dtype: open_model(model_dir, config.task, parts, downsample_rate, **dtype))


def _open_for_good(config: DecodeConfig, open_it: Callable[..., LoadedModel]) -> tuple[LoadedModel, DecodeConfig]:
    """A model that nobody else has, so that it may be changed to decode faster, and the number format that it then has.

    Args:
        open_it: takes a keyword `dtype`, float32 if it is left out.
    """
    device = select_device(config.device)
    if config.dtype in CPU_FORMATS:
        loaded = open_it()
        return loaded, dataclasses.replace(config, dtype=put_into_format(loaded, config.dtype, device))
    loaded = open_it(dtype=select_dtype(config.dtype))
    if device.type == "cpu":
        pack_linears(loaded.model)
    return loaded, config


def _stored_instructions(folder: Path) -> dict[str, str]:
    """What a model directory's record says of the instructions it was trained with; nothing for those before it said so."""
    try:
        stored = json.loads((folder / RECORD_FILE).read_text(encoding="utf-8")).get("instructions", {})
    except FileNotFoundError:
        return {}
    except (ValueError, AttributeError) as error:
        raise ConfigError(f"{folder / RECORD_FILE} is not the record of a model: {error}") from error
    if not isinstance(stored, dict) or not all(isinstance(text, str) for text in stored.values()):
        raise ConfigError(f"{folder / RECORD_FILE}: instructions must be texts by task")
    return stored


def _speech_llm_settings(config: DecodeConfig, frontend: FrontendConfig, asked: str) -> "SpeechLlmSettings":
    # These need transformers, which is long to import and which other models do without.
    from mooer.decode.generate import GenerateConfig
    from mooer.decode.speech_llm_decoder import SpeechLlmSettings

    return SpeechLlmSettings(
        instruction=asked,
        is_multitask=config.task == "mtl",
        max_new_tokens=config.max_new_tokens,
        costs_seconds=config.batch_seconds is not None,
        num_alternatives=config.nbest,
        frontend=frontend,
        generate=GenerateConfig(
            beam_size=config.beam_size or LLM_BEAM_SIZE,
            length_penalty=config.length_penalty,
            max_cost=config.batch_seconds or config.batch_size,
        ),
    )


def _instruction(config: DecodeConfig, is_released: bool, stored: Mapping[str, str]) -> str:
    task = TaskConfig(task=config.task, target_language=config.target_language)
    if config.instruction is not None:
        return config.instruction
    if is_released and config.target_language == "en":
        # The released multi-task checkpoints translate into English and are asked as for ast.
        return released_instruction(config.task)
    return stored.get(task.key, task.instruction_text)
