"""The YAML section `data`: what a model is trained on and how its batches are made."""

from dataclasses import dataclass, field
from typing import Literal

from mooer.common.errors import ConfigError
from mooer.data.utterance import TRANSCRIPT
from mooer.features.frontend import FrontendConfig
from mooer.features.spec_augment import Placing, SpecAugmentConfig
from mooer.text.prompts import SPEECH_INSTRUCTIONS, TARGET_LANGUAGES, TASKS, instruction

FREE_TASK = "free"
# Audio tokens, as mooer-tokenize-speech writes them.
AUDIO_LABEL = "audio"


@dataclass(frozen=True, kw_only=True)
class TaskConfig:
    """One thing that the model learns to do with an utterance."""

    task: Literal["asr", "ast", "mtl", "s2s_trans", "s2s_chat", "free"] = "asr"
    """asr (transcribe), ast (translate), mtl (both, two lines), s2s_trans (translate into speech), s2s_chat (answer in speech)
    or free (an instruction and labels of your own). In speech means: a text, and then the audio tokens that say it."""
    target_language: str = "en"
    """Language of the translation, for ast and mtl: en or zh. In speech it is English."""
    labels: tuple[str, ...] = ()
    """Label names whose texts, one a line, are the answer. Empty: text for asr, the target language's label for ast, both for
    mtl; en and audio for s2s_trans, answer and audio for s2s_chat, of which the last one always holds the audio tokens. An
    utterance without one of them is not used for this task."""
    instruction: str | None = None
    """What the prompt asks, in place of the task's own words; needed for free."""
    weight: float = 1.0
    """How often this task is drawn, relative to the other tasks whose labels an utterance has."""

    def __post_init__(self) -> None:
        if self.task not in (*TASKS, *SPEECH_INSTRUCTIONS, FREE_TASK):
            known = ", ".join((*TASKS, *SPEECH_INSTRUCTIONS, FREE_TASK))
            raise ConfigError(f"task {self.task!r} is unknown; allowed: {known}")
        if self.task == FREE_TASK and (self.instruction is None or not self.labels):
            raise ConfigError("a free task needs its instruction and its labels")
        if self.is_spoken and len(self.labels) == 1:
            raise ConfigError(f"task {self.task} needs two labels or more: a text, and at last its audio tokens")
        if self.task in ("ast", "mtl") and self.target_language not in TARGET_LANGUAGES:
            raise ConfigError(f"target_language {self.target_language!r} is unknown; allowed: {', '.join(TARGET_LANGUAGES)}")
        if not self.weight > 0:
            raise ConfigError(f"weight of a task must be positive, found {self.weight}")

    @property
    def is_spoken(self) -> bool:
        """Whether the answer is a text and then, its last label, the audio tokens that say it."""
        return self.task in SPEECH_INSTRUCTIONS

    @property
    def label_names(self) -> tuple[str, ...]:
        """The labels that make the answer, in order."""
        usual = {"asr": (TRANSCRIPT,), "ast": (self.target_language,), "mtl": (TRANSCRIPT, self.target_language)}
        usual |= {"s2s_trans": ("en", AUDIO_LABEL), "s2s_chat": ("answer", AUDIO_LABEL)}
        return self.labels or usual[self.task]

    @property
    def key(self) -> str:
        """Task and language in a word, as asr, ast.zh or mtl.en."""
        return f"{self.task}.{self.target_language}" if self.task in ("ast", "mtl") else self.task

    @property
    def instruction_text(self) -> str:
        """What the prompt asks."""
        if self.instruction is not None:
            return self.instruction
        return SPEECH_INSTRUCTIONS[self.task] if self.is_spoken else instruction(self.task, self.target_language)


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """Changes made to training utterances, drawn anew for each utterance and epoch. All are off by default."""

    speeds: tuple[float, ...] = ()
    """Speeds to draw from, as 0.9, 1.0, 1.1: tempo and pitch change together."""
    noise_probability: float = 0.0
    """Share of the utterances that noise is added to."""
    noise_list: str | None = None
    """Table (`ID PATH` a line) of noise recordings; without it the noise is white."""
    noise_snr_db: tuple[float, float] = (5.0, 25.0)
    """Lowest and highest signal-to-noise ratio."""
    gain_db: tuple[float, float] = (0.0, 0.0)
    """Lowest and highest change of level."""
    num_frequency_masks: int = 0
    """SpecAugment: bands of mel bins that are masked."""
    max_frequency_width: int = 10
    """Most mel bins of a band."""
    num_time_masks: int = 0
    """SpecAugment: stretches of frames that are masked."""
    max_time_width: int = 12
    """Most frames of a stretch, of 60 ms where LFR is 6."""
    max_time_share: float = 0.2
    """Longest stretch as a share of the utterance."""
    mask_placing: Placing = "inside"
    """inside: a mask lies wholly inside of the utterance. anywhere: it may begin at any place and is cut off at the end, as
    WeNet and 3M-ASR have it (with max_time_share 1)."""

    def __post_init__(self) -> None:
        if any(not 0.3 <= speed <= 3.0 for speed in self.speeds):
            raise ConfigError(f"speeds must lie between 0.3 and 3, found {self.speeds}")
        if not 0.0 <= self.noise_probability <= 1.0:
            raise ConfigError(f"noise_probability must lie between 0 and 1, found {self.noise_probability}")
        for name in ("noise_snr_db", "gain_db"):
            low, high = getattr(self, name)
            if not -100 <= low <= high <= 100:
                raise ConfigError(f"{name} must be a lowest and a highest value within 100 dB, found {low} and {high}")
        if self.noise_list is not None and not self.noise_probability:
            raise ConfigError("noise_list is set but noise_probability is 0: no noise would ever be added")
        self._spec_augment()

    def _spec_augment(self) -> SpecAugmentConfig:
        return SpecAugmentConfig(
            num_time_masks=self.num_time_masks,
            max_time_width=self.max_time_width,
            max_time_share=self.max_time_share,
            num_frequency_masks=self.num_frequency_masks,
            max_frequency_width=self.max_frequency_width,
            placing=self.mask_placing,
        )

    @property
    def spec_augment(self) -> SpecAugmentConfig | None:
        """The masks, None without any."""
        return self._spec_augment() if self.num_time_masks or self.num_frequency_masks else None

    @property
    def changes_waveform(self) -> bool:
        """Whether anything is done before the front end, so that frames differ from epoch to epoch."""
        return bool(self.speeds) or self.noise_probability > 0.0 or self.gain_db != (0.0, 0.0)


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Training and validation data and the way from them to batches."""

    input: Literal["audio"] = "audio"
    """audio, in contrast to text."""
    train_list: str | None = None
    """Data list (raw or shards) to train on."""
    mixture: str | None = None
    """Instead of train_list: a YAML file with several lists and how much of each is used, see
    `mooer.data.mixture.MixtureConfig`."""
    dev_list: str | None = None
    """Data list to validate on."""
    cmvn_path: str | None = None
    """What normalises the frames: an am.mvn or WeNet's global_cmvn (JSON); none leaves them as they are."""
    frontend: FrontendConfig = field(default_factory=FrontendConfig)
    """What is computed of a waveform."""
    tasks: tuple[TaskConfig, ...] = (TaskConfig(),)
    """What is learnt. Each utterance draws one of the tasks whose labels it has, anew in each epoch; CTC uses the answer
    alone. Validation draws once."""
    max_batch_frames: int = 6000
    """Most frames of 10 ms in a batch, padding included, augmentation not; a longer utterance is a batch of its own."""
    max_batch_size: int = 200
    """Most utterances in a batch."""
    num_buckets: int = 20
    """Ranges of audio length that batches are filled from."""
    max_batch_tokens: int | None = None
    """Most LLM columns (audio embeddings, prompt, answer) in a batch, padding included; None sets no bound. speech_llm only."""
    num_token_buckets: int = 1
    """Ranges of answer length within each range of audio length, for padded batches of a speech_llm; fewer are made of sets
    that would not fill them."""
    packing: bool = False
    """Put the LLM's columns of all utterances of a batch into one row without padding. speech_llm only."""
    shuffle_buffer: int = 20000
    """Utterances that are mixed across shards; a raw list is mixed as a whole anyway."""
    min_frames: int = 20
    """Shortest training utterance, in units of 10 ms; shorter ones are skipped and counted."""
    max_frames: int = 2000
    """Longest training utterance, in units of 10 ms; longer ones are skipped and counted."""
    num_workers: int = 2
    """Processes that load; 0 loads in the training process. The batches do not depend on it."""
    prefetch: int = 4
    """Batches that each worker keeps ready."""
    cache_features: bool = False
    """Keep the frames in memory after the first epoch, in every worker: for sets of some hours. It needs augment without
    speeds, noise and gain."""
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    """Changes made to training utterances."""
    seed: int = 0
    """Order, draws of tasks and augmentation follow from it."""

    def __post_init__(self) -> None:
        if not self.tasks:
            raise ConfigError("tasks must name at least one task")
        for name in ("max_batch_frames", "max_batch_size", "max_batch_tokens", "num_buckets", "num_token_buckets", "prefetch"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, found {getattr(self, name)}")
        for name in ("shuffle_buffer", "min_frames", "num_workers"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} must not be negative, found {getattr(self, name)}")
        if self.max_frames <= self.min_frames:
            raise ConfigError(f"max_frames {self.max_frames} must be greater than min_frames {self.min_frames}")
        if self.mixture is not None and self.train_list is not None:
            raise ConfigError("train_list and mixture exclude each other")
        if self.packing and self.num_token_buckets > 1:
            raise ConfigError("packing leaves no padding that num_token_buckets could lessen; leave it at 1")
        if self.cache_features and self.augment.changes_waveform:
            raise ConfigError("cache_features keeps the first epoch's frames; it excludes augment with speeds, noise or gain")
        if self.frontend.kind == "waveform" and self.augment.spec_augment is not None:
            raise ConfigError("augment has masks of mel bins or frames, but a front end of kind waveform makes samples")
