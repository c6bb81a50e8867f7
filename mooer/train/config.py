"""What a training run is told: the `training` section of its YAML file, and the file as a whole."""

import dataclasses
from dataclasses import dataclass, field
from typing import Literal

from mooer.common.errors import ConfigError
from mooer.data.config import DataConfig, TaskConfig
from mooer.data.latent_config import LatentConfig
from mooer.data.text_config import TextDataConfig
from mooer.data.voice_config import VoiceConfig
from mooer.models.builders import ModelConfig
from mooer.models.conformer_builder import ConformerConfig
from mooer.models.paraformer_builder import ParaformerModelConfig
from mooer.models.punctuation_training import PunctuationModelConfig
from mooer.models.speaker_classifier import SpeakerModelConfig
from mooer.models.transformer_lm import TransformerLmConfig
from mooer.models.vad_training import VadModelConfig
from mooer.models.vocoder_training import VocoderModelConfig


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """Adam and its constants; `mooer.train.optim` makes the parameter groups."""

    name: Literal["adamw", "adam"] = "adamw"
    """adamw decays weights apart from the gradient; adam adds the decay to it."""
    learning_rate: float = 1e-3
    """Peak learning rate, reached at the end of the warm-up."""
    part_learning_rates: dict[str, float] = field(default_factory=dict)
    """Peak learning rate of a part of the model (encoder, adapter, llm, ctc_head) where it differs."""
    betas: tuple[float, float] = (0.9, 0.98)
    """Decay rates of the running means of the gradient and of its square."""
    eps: float = 1e-8
    """Added to the root of the second mean."""
    weight_decay: float = 0.01
    """Decay of matrices and kernels; biases and norms have none."""
    fused: bool = True
    """Update by torch's fused kernel, several times as fast as without. On a CPU it rounds the last few values of a tensor in
    another way than the others, so that ZeRO stages agree to rounding only; False makes two ranks end with the same bits at
    every stage."""

    def __post_init__(self) -> None:
        rates = {"learning_rate": self.learning_rate}
        rates |= {f"part_learning_rates.{part}": rate for part, rate in self.part_learning_rates.items()}
        for name, rate in rates.items():
            _require(rate > 0, f"{name} must be over 0, found {rate}")
        _require(all(0 <= beta < 1 for beta in self.betas), f"betas must lie in [0, 1), found {self.betas}")
        _require(self.eps > 0, f"eps must be over 0, found {self.eps}")
        _require(self.weight_decay >= 0, f"weight_decay must not be negative, found {self.weight_decay}")


@dataclass(frozen=True, kw_only=True)
class ScheduleConfig:
    """How the learning rate follows the step; the formulas are in `mooer.train.optim.learning_rate_share`."""

    name: Literal["warmup_cosine", "warmup_linear", "warmup_decay_log", "noam", "constant"] = "warmup_cosine"
    """warmup_decay_log is the released recipe's: a logarithmic warm-up, then a straight line to 0. noam is 3M-ASR's warmup_noam
    (and WeNet's warmuplr): the rate rises evenly to the peak, then falls with the root of the step."""
    warmup_steps: int = 1000
    """Steps until the peak."""
    total_steps: int | None = None
    """Step at which the decay ends; None: the run's last step."""
    floor: float = 0.0
    """Share of the peak that warmup_cosine and warmup_linear end at."""

    def __post_init__(self) -> None:
        _require(self.warmup_steps >= 0, f"warmup_steps must not be negative, found {self.warmup_steps}")
        _require(self.name != "noam" or self.warmup_steps > 0, "the noam schedule needs warmup_steps of at least 1")
        _require(
            self.total_steps is None or self.total_steps > self.warmup_steps,
            f"total_steps ({self.total_steps}) must be over warmup_steps ({self.warmup_steps})",
        )
        _require(0 <= self.floor <= 1, f"floor is a share of the peak, between 0 and 1; found {self.floor}")


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """The `training` section: how long, how fast, in which numbers, and what is kept."""

    seed: int = 0
    """Seed of initial weights and of dropout."""
    max_steps: int | None = None
    """Stop after so many optimizer steps."""
    max_epochs: int | None = None
    """Stop after so many passes over the data; with max_steps, whichever comes first."""
    accumulation: int = 1
    """Micro-batches of each rank that make one optimizer step."""
    zero_stage: Literal[0, 1, 2, 3] = 0
    """DeepSpeed's ZeRO stage: 0 all on every rank, 1 optimizer states split over ranks, 2 gradients too, 3 weights too."""
    zero_offload: bool = False
    """Keep the optimizer's states and its copy of the weights in the memory of the CPU; ZeRO 1 to 3."""
    expert_parallel: int = 1
    """Consecutive ranks that share the experts of a model which has some: each holds as many, and frames travel to theirs. Must
    divide their number and the number of ranks; 1 leaves all experts on every rank. ZeRO 0 to 2."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """bfloat16 and float16 compute in it by autocast; trained weights and their gradients' sums stay in float32. float16 has a
    loss scale."""
    gradient_checkpointing: bool = False
    """Compute each block's activations again in the backward pass instead of keeping them: less memory, a third more work."""
    encoder_cache: str | None = None
    """Folder for the outputs of a frozen encoder, which then runs in the first epoch only; None runs it every time."""
    clip_norm: float = 5.0
    """Largest norm of the whole gradient; 0 clips nothing."""
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    """Adam and its constants."""
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    """The learning rate's course."""
    num_threads: int | None = None
    """CPU threads of each rank; None leaves torch's choice."""
    log_interval: int = 10
    """Steps between lines of train.jsonl."""
    log_utterances: bool = False
    """Write every step's utterance ids to utterances.rankN.jsonl."""
    tensorboard: bool = True
    """Write TensorBoard events."""
    checkpoint_interval: int | None = None
    """Steps between checkpoints; None: one at the end of each epoch. The last step always has one."""
    validation_interval: int | None = None
    """Steps between validations, a multiple of checkpoint_interval; None: before each checkpoint."""
    validation_error_rate: Literal["none", "cer", "wer"] = "none"
    """Decode dev_list at each validation and choose the best checkpoints by this rate instead of the loss."""
    patience: int | None = None
    """Stop after so many validations in a row that were not better than the best; None never stops for that."""
    keep_last: int = 1
    """Newest checkpoints kept, at least 1: the run resumes from the newest."""
    keep_best: int = 1
    """Best checkpoints kept, where there is a dev_list."""
    average_best: int = 0
    """What `final/` holds: 0 the last weights, N the mean of the N best checkpoints."""

    def __post_init__(self) -> None:
        _require(self.max_steps is not None or self.max_epochs is not None, "one of max_steps and max_epochs must be set")
        for name in ("max_steps", "max_epochs", "num_threads", "checkpoint_interval", "validation_interval", "patience"):
            value = getattr(self, name)
            _require(value is None or value >= 1, f"{name} must be at least 1, found {value}")
        for name in ("accumulation", "expert_parallel", "log_interval", "keep_last"):
            _require(getattr(self, name) >= 1, f"{name} must be at least 1, found {getattr(self, name)}")
        for name in ("clip_norm", "keep_best", "average_best"):
            _require(getattr(self, name) >= 0, f"{name} must not be negative, found {getattr(self, name)}")
        self._check_intervals()
        _require(not self.zero_offload or self.zero_stage > 0, "zero_offload needs a zero_stage of 1, 2 or 3")
        _require(
            self.zero_stage < 3 or self.validation_error_rate == "none",
            "validation_error_rate needs the whole weights on one rank, which zero_stage 3 does not keep; leave it at none",
        )
        if self.expert_parallel > 1:
            self._check_expert_parallel()
        _require(
            self.average_best <= self.keep_best,
            f"average_best ({self.average_best}) needs as many checkpoints kept; keep_best is {self.keep_best}",
        )

    def check_ranks(self, ranks: int) -> None:
        """Raises ConfigError if a run cannot be on so many ranks."""
        _require(
            ranks % self.expert_parallel == 0,
            f"training.expert_parallel is {self.expert_parallel}, which must divide the number of ranks; there are {ranks}: "
            "start another number of them (torchrun --nproc_per_node), or set it to 1",
        )

    def _check_expert_parallel(self) -> None:
        _require(
            self.zero_stage < 3, "expert_parallel works with zero_stage 0, 1 and 2: DeepSpeed's ZeRO 3 cannot hold experts"
        )
        _require(
            self.validation_error_rate == "none",
            "validation_error_rate needs the whole model on one rank, which expert_parallel does not keep; leave it at none",
        )

    def _check_intervals(self) -> None:
        if self.validation_interval is None:
            return
        _require(
            self.checkpoint_interval is not None and self.validation_interval % self.checkpoint_interval == 0,
            f"validation_interval ({self.validation_interval}) must be a multiple of "
            f"checkpoint_interval ({self.checkpoint_interval})",
        )


# What a model that does not read whole recordings is trained on.
_INPUTS = {
    TransformerLmConfig: "text",
    PunctuationModelConfig: "text",
    SpeakerModelConfig: "voices",
    VocoderModelConfig: "latents",
}


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """A whole training file; the resolved one is written to the run folder as config.yaml."""

    model: (
        ModelConfig
        | ConformerConfig
        | ParaformerModelConfig
        | TransformerLmConfig
        | VadModelConfig
        | PunctuationModelConfig
        | SpeakerModelConfig
        | VocoderModelConfig
    )
    """What is trained; its first key, `family`, tells which of these it is."""
    data: DataConfig | TextDataConfig | VoiceConfig | LatentConfig
    """What it is trained on: recordings (`mooer.data.dataset.DataConfig`), with `input: text` text alone
    (`mooer.data.text_config.TextDataConfig`), with `input: voices` crops of recordings and their speakers
    (`mooer.data.voice_config.VoiceConfig`), with `input: latents` latents and what they are to become
    (`mooer.data.latent_config.LatentConfig`)."""
    training: TrainingConfig
    """How it is trained."""

    def __post_init__(self) -> None:
        needed = _INPUTS.get(type(self.model), "audio")
        _require(self.data.input == needed, f"data.input is {self.data.input}; model.family {self.model.family} needs {needed}")
        if isinstance(self.data, TextDataConfig):
            self._check_text()
        elif isinstance(self.data, VoiceConfig):
            self._check_voices()
        elif isinstance(self.data, LatentConfig):
            self._check_latents()
        else:
            self._check_audio()
        has_dev = self.data.dev_list is not None
        _require(has_dev or self.training.validation_error_rate == "none", "validation_error_rate needs data.dev_list")
        _require(has_dev or self.training.patience is None, "patience needs data.dev_list")
        _require(has_dev or self.training.average_best == 0, "average_best needs data.dev_list to tell which are best")
        if self.training.encoder_cache is not None:
            self._check_encoder_cache()
        if self.training.expert_parallel > 1:
            self._check_expert_parallel()

    def _check_audio(self) -> None:
        _require(
            self.data.train_list is not None or self.data.mixture is not None,
            "one of data.train_list and data.mixture must be set",
        )
        if isinstance(self.model, VadModelConfig):
            self._check_vad()
        elif isinstance(self.model, ParaformerModelConfig):
            self._check_paraformer()
        elif isinstance(self.model, ConformerConfig):
            self._check_conformer()
        else:
            self._check_speech()

    def _check_speech(self) -> None:
        kind, needed = self.data.frontend.kind, self.model.frontend_kind
        _require(kind == needed, f"data.frontend.kind is {kind}; encoder_type {self.model.encoder_type} needs kind: {needed}")
        spoken = [task.task for task in self.data.tasks if task.is_spoken]
        if spoken:
            _require(self.model.family == "speech_llm", f"data.tasks names {spoken[0]}; a {self.model.family} does not speak")
            is_plain = self.training.validation_error_rate == "none"
            _require(is_plain, f"validation_error_rate counts texts, task {spoken[0]} writes sounds too: leave it at none")

    def _check_text(self) -> None:
        _require(self.data.train_list is not None, "data.train_list must be set")
        _require(self.data.tokenizer_path is not None, "data.tokenizer_path must be set")
        _require(self.training.validation_error_rate == "none", "validation_error_rate needs recordings; leave it at none")

    def _check_voices(self) -> None:
        bins, size = self.data.num_mel_bins, self.model.network.feat_dim
        _require(bins == size, f"data.num_mel_bins is {bins}, but model.network.feat_dim is {size}; they must be equal")
        is_plain = self.training.validation_error_rate == "none"
        _require(is_plain, "a speaker model writes no text: leave validation_error_rate at none")

    def _check_latents(self) -> None:
        training = self.training
        is_plain = training.validation_error_rate == "none"
        _require(is_plain, "a vocoder writes no text: leave validation_error_rate at none")
        is_whole = training.zero_stage < 3
        _require(is_whole, "a vocoder is trained with zero_stage 0, 1 or 2: its parts see each other's weights")
        is_exact = training.dtype == "float32"
        _require(is_exact, "a vocoder is trained in float32: in two bytes a value, a waveform is mostly noise")

    def _check_vad(self) -> None:
        data, frontend = self.data, self.data.frontend
        is_fit = (frontend.kind, frontend.lfr_n, frontend.window) == ("kaldi_fbank", 1, "hamming")
        _require(is_fit, "a fsmn_vad says something every 10 ms, by hamming windows: set data.frontend to {lfr_m: 5, lfr_n: 1}")
        _require(data.cmvn_path is not None, "a fsmn_vad needs data.cmvn_path: its published form has an am.mvn")
        _require(data.tasks == (TaskConfig(),), "a fsmn_vad learns from the label speech; remove data.tasks")
        _require(not data.augment.speeds, "data.augment.speeds would move the speech away from its label; remove them")
        is_plain = self.training.validation_error_rate == "none"
        _require(is_plain, "a fsmn_vad writes no text: leave validation_error_rate at none")

    def _check_paraformer(self) -> None:
        data = self.data
        _require(data.frontend == DataConfig().frontend, "a paraformer has one front end, the default: remove data.frontend")
        _require(data.cmvn_path is not None, "a paraformer needs data.cmvn_path: its published form has an am.mvn")
        _require(all(task.task == "asr" for task in data.tasks), "a paraformer transcribes: data.tasks may name asr only")

    def _check_conformer(self) -> None:
        _require(self.model.tokenizer_path is not None, "a conformer needs model.tokenizer_path, the folder of its tokens")
        _require(all(task.task == "asr" for task in self.data.tasks), "a conformer transcribes: data.tasks may name asr only")

    def _check_expert_parallel(self) -> None:
        ranks = self.training.expert_parallel
        experts = self.model.moe if isinstance(self.model, ConformerConfig) else None
        _require(
            experts is not None, f"training.expert_parallel is {ranks}, but the model is no conformer with experts; remove it"
        )
        _require(
            experts.num_experts % ranks == 0,
            f"training.expert_parallel ({ranks}) must divide model.moe.num_experts ({experts.num_experts})",
        )
        _require("encoder" not in self.model.freeze, "training.expert_parallel: the experts are frozen with the encoder")

    def _check_encoder_cache(self) -> None:
        _require(
            self.model.family == "speech_llm" and "encoder" in self.model.freeze,
            "training.encoder_cache is for a speech_llm whose encoder is frozen (model.freeze: [encoder])",
        )
        augment = self.data.augment
        _require(
            not augment.changes_waveform and augment.spec_augment is None,
            "training.encoder_cache finds outputs by their frames, which data.augment changes every time; leave one out",
        )
        _require(
            self.training.zero_stage < 3, "training.encoder_cache: zero_stage 3 needs all ranks to run the encoder together"
        )


RESUMABLE = (
    "accumulation",
    "zero_stage",
    "zero_offload",
    "expert_parallel",
    "max_steps",
    "max_epochs",
    "num_threads",
    "log_interval",
    "tensorboard",
    "checkpoint_interval",
    "validation_interval",
    "gradient_checkpointing",
    "encoder_cache",
    "patience",
    "keep_last",
    "keep_best",
    "average_best",
)
"""Fields of TrainingConfig that may differ when a run is resumed."""


def differences(old: RunConfig, new: RunConfig) -> list[str]:
    """Dotted names of the fields in which two runs differ in a way that a resumed run must not."""
    neutral = {name: getattr(old.training, name) for name in RESUMABLE}
    new = dataclasses.replace(new, training=dataclasses.replace(new.training, **neutral))
    return list(_differing(old, new, ""))


def _differing(old: object, new: object, prefix: str):
    for item in dataclasses.fields(old):
        left, right = getattr(old, item.name), getattr(new, item.name)
        name = f"{prefix}{item.name}"
        if left == right:
            continue
        if dataclasses.is_dataclass(left) and type(left) is type(right):
            yield from _differing(left, right, f"{name}.")
        else:
            yield name


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ConfigError(message)
