"""What a vocoder is trained on: the hidden states of a speech LLM over the answers that it was trained to give.

The LLM is shown each answer (teacher forcing), text and audio tokens, and its last hidden states over <|audio_start|> and the
audio tokens are written, as `mooer.decode.spoken_answer` takes them from answers of its own. A latent agrees with that of an
utterance alone to rounding; parts and batches are always the same, so that a resumed run writes the same bytes.

latents_000000.ark, voices_000000.ark, ...; data.list, which `mooer.data.latents` reads. While the work goes on, parts/.

Shapes: B batch, L columns, T latents, D width of the LLM.
"""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mooer.common.config import load_yaml, to_dict
from mooer.common.device import select_device
from mooer.common.errors import AudioError, ConfigError, DataError
from mooer.common.files import sha256
from mooer.common.lengths import SAMPLE_RATE
from mooer.data.archives import write_archive
from mooer.data.batch import IGNORED_LABEL, SpeechLlmBatch
from mooer.data.config import TaskConfig
from mooer.data.directory import read_sources
from mooer.data.latents import VOICE_LABEL
from mooer.data.lists import iterate_data_list, write_data_list
from mooer.data.packing import LIST_NAME, Progress
from mooer.data.parallel import chunks
from mooer.data.reader import FrameReader
from mooer.data.tasks import Item, SpeechLlmSamples, possible_tasks
from mooer.data.utterance import AudioRef, Problem, Utterance, to_json
from mooer.decode.hypothesis import Failure
from mooer.features.cmvn import read_cmvn
from mooer.features.frontend import Frontend, FrontendConfig
from mooer.models.builders import check_frontend
from mooer.models.released import open_model
from mooer.models.speaker_resnet import load_speaker_resnet
from mooer.models.speech_llm import SpeechLlm
from mooer.pipeline.part_store import Stage, open_stage
from mooer.pipeline.speech_tokenization import read_speech
from mooer.text.speech_tokens import SILENT_POSITIONS, SpeechTokens
from mooer.text.tokenizer import load_tokenizer

PART_SIZE = 250
PARTS_FOLDER = "parts"


@dataclass(frozen=True, kw_only=True)
class LatentsConfig:
    """Models, and what they are shown."""

    model_dir: str
    """The trained speech LLM: run folder or model directory."""
    task: TaskConfig = field(default_factory=lambda: TaskConfig(task="s2s_trans"))
    """What it was trained to do: s2s_trans or s2s_chat."""
    speaker_encoder: str | None = None
    """Of the voices of the target speech; None writes none, for a vocoder that speaks in nobody's in particular."""
    batch_size: int = 16
    """Utterances that the LLM is shown together."""
    device: str = "auto"
    """auto, cpu, cuda or musa."""

    def __post_init__(self) -> None:
        if not self.task.is_spoken:
            raise ConfigError(f"task {self.task.task} has no speech in its answers; name s2s_trans or s2s_chat")
        if self.batch_size < 1:
            raise ConfigError(f"batch_size must be at least 1, found {self.batch_size}")


@dataclass(frozen=True, kw_only=True)
class SpokenLatents:
    """Where the latents of an utterance lie, and its voice."""

    id: str
    offset: int
    """In the archive of its part."""
    voice_offset: int | None
    """In the archive of voices of its part."""


@dataclass(frozen=True)
class SpokenTarget:
    """An utterance with the speech that answers it."""

    source: Utterance
    answer: Utterance
    """Its recording in the target's speech."""


class LatentModels:
    """A speech LLM that is shown answers, and maybe an encoder of voices.

    Raises:
        PathError, ConfigError, WeightsError: a model cannot be opened, or the LLM does not speak.
    """

    def __init__(self, config: LatentsConfig) -> None:
        self.config, self.device = config, select_device(config.device)
        loaded = open_model(config.model_dir, config.task.task)
        if loaded.config.family != "speech_llm":
            raise ConfigError(f"{config.model_dir} is of family {loaded.config.family}, which writes text; name a speech LLM")
        frontend = FrontendConfig() if loaded.frontend_path is None else load_yaml(loaded.frontend_path, FrontendConfig)
        check_frontend(loaded.model.encoder, frontend)
        self._model: SpeechLlm = loaded.model.to(self.device)
        self._reader = FrameReader(Frontend(frontend, read_cmvn(loaded.cmvn_path) if loaded.cmvn_path else None))
        tokenizer = load_tokenizer(loaded.tokenizer_dir)
        self._audio_start = SpeechTokens(tokenizer).start
        rate = loaded.model.adapter.downsample_rate
        self._samples = SpeechLlmSamples(tokenizer, rate, encoder_frames=frontend.encoder_frames)
        path = config.speaker_encoder
        self._speaker_encoder = None if path is None else load_speaker_resnet(path).to(self.device)
        files = [*loaded.weight_files, *(file for file in (loaded.cmvn_path, loaded.frontend_path) if file is not None)]
        self.record = {"model": {file.name: sha256(file) for file in files}, "task": to_dict(config.task)}
        self.record |= {"batch_size": config.batch_size, "speaker_encoder": None if path is None else sha256(path)}

    def latents(self, utterances: Sequence[Utterance]) -> dict[str, Tensor | Failure]:
        """What the vocoder is to speak for each utterance, by id: [T, D] on the CPU, or why there is nothing."""
        found: dict[str, Tensor | Failure] = {}
        items = []
        frames, problems = self._reader.read(dict(enumerate(utterances)))
        found |= {problem.id: Failure(problem.id, problem.reason, problem.message) for problem in problems}
        for number in frames:
            items.append(Item(utterances[number], self.config.task, frames[number]))
        samples = []
        for item, made in zip(items, self._samples.make(items), strict=True):
            if isinstance(made, str):
                identity = item.utterance.id
                found[identity] = Failure(identity, made, f"{identity} is {made.replace('_', ' ')}")
            else:
                samples.append(made)
        samples.sort(key=lambda sample: len(sample.token_ids))
        for some in chunks(samples, self.config.batch_size):
            found |= self._shown(self._samples.collate(some).to(self.device))
        return found

    @torch.inference_mode()
    def _shown(self, batch: SpeechLlmBatch) -> dict[str, Tensor | Failure]:
        """The latents of a batch, by id."""
        inputs = self._model.embed(batch.frames, batch.frame_lengths, batch.input_ids)
        shown = self._model.llm.base_model(inputs_embeds=inputs, attention_mask=batch.attention_mask, use_cache=False)
        found: dict[str, Tensor | Failure] = {}
        for identity, hidden, ids, labels in zip(
            batch.ids, shown.last_hidden_state, batch.input_ids, batch.labels, strict=True
        ):
            answer = (labels != IGNORED_LABEL).nonzero()[:, 0]
            start = int((ids == self._audio_start).nonzero()[0])
            latents = hidden[start : int(answer[-1]) + 1 - SILENT_POSITIONS].float().cpu()
            finite = bool(latents.isfinite().all())
            message = f"{identity}: the model's hidden states are not finite"
            found[identity] = latents if finite else Failure(identity, "not_finite", message)
        return found

    @torch.inference_mode()
    def voice(self, answer: Utterance) -> Tensor | None:
        """The voice [1, V] of an answer's recording; None without an encoder of voices. Raises AudioError."""
        encoder = self._speaker_encoder
        if encoder is None:
            return None
        waveform = read_speech(answer, SAMPLE_RATE)
        if len(waveform) < encoder.config.shortest_samples:
            raise AudioError(f"{len(waveform)} samples; a voice needs {encoder.config.shortest_samples}", "too_short")
        return encoder.voices(waveform[None].to(self.device), torch.tensor([len(waveform)], device=self.device)).cpu()


def find_targets(data_list: str | Path, target_dir: str | Path, task: TaskConfig) -> tuple[list[SpokenTarget], list[Problem]]:
    """The utterances of a data list with the recordings of the same ids in a data directory, and those without.

    Raises:
        PathError, DataError: a list or table that is missing, breaks its format, or has not one such utterance.
    """
    recordings, _ = read_sources(Path(target_dir))
    targets, problems = [], []
    for entry in iterate_data_list(data_list):
        found = entry if isinstance(entry, Problem) else _target(entry, recordings, task, target_dir)
        (problems if isinstance(found, Problem) else targets).append(found)
    if not targets:
        example = f"; for example: {problems[0].message}" if problems else ""
        raise DataError(f"{data_list}: not one utterance has an answer in speech{example}")
    return targets, problems


def _target(
    entry: Utterance, recordings: Mapping[str, AudioRef | str], task: TaskConfig, target_dir: str | Path
) -> SpokenTarget | Problem:
    possible = possible_tasks([task], entry.labels)
    if isinstance(possible, str):
        return Problem(entry.id, possible, f"{entry.id}: needs labels {' and '.join(task.label_names)}")
    audio = recordings.get(entry.id)
    if not isinstance(audio, AudioRef):
        return Problem(entry.id, "no_audio", f"{entry.id}: no recording of this id in {target_dir}")
    return SpokenTarget(entry, Utterance(entry.id, audio))


def dump_latents(
    models: LatentModels,
    targets: Sequence[SpokenTarget],
    output_dir: str | Path,
    resume: bool = False,
    progress: Progress = lambda items, _: items,
) -> tuple[int, list[Problem]]:
    """Write archives of latents and voices, and `data.list` for training a vocoder.

    Returns:
        How many utterances have latents, and those that have none.

    Raises:
        ConfigError: a killed run left parts, and `resume` is not asked for; or they are of other data or another model.
        DataError: not one utterance has latents.
    """
    folder = Path(output_dir).absolute()
    stage = open_stage(folder / PARTS_FOLDER, SpokenLatents, targets, PART_SIZE, model=models.record, resume=resume)
    (folder / LIST_NAME).unlink(missing_ok=True)
    parts = chunks(targets, PART_SIZE)
    missing = stage.missing()
    for number in progress(missing, len(missing)):
        stage.sweep(number)
        stage.write(number, dump_part(models, parts[number], folder, number))
    return _put_together(stage, parts, folder)


def dump_part(
    models: LatentModels, targets: Sequence[SpokenTarget], folder: Path, number: int
) -> list[SpokenLatents | Failure]:
    """Write the archives of a part; returns where each utterance is, or why it is not."""
    found: dict[str, Any] = models.latents([target.source for target in targets])
    voices: dict[str, Tensor] = {}
    for target in targets:
        try:
            voice = models.voice(target.answer)
        except AudioError as error:
            found[target.source.id] = Failure(target.source.id, error.reason, f"{target.source.id}: {error}")
            continue
        voices |= {} if voice is None else {target.source.id: voice}
    kept = [(target.source.id, found[target.source.id].numpy()) for target in targets if _has_latents(found, target)]
    offsets = write_archive(_archive(folder, "latents", number), kept)
    spoken: dict[str, int] = {}
    if voices:
        rows = [(identity, voices[identity].numpy()) for identity, _ in kept]
        spoken = write_archive(_archive(folder, "voices", number), rows)
    return [
        SpokenLatents(id=name, offset=offsets[name], voice_offset=spoken.get(name)) if name in offsets else found[name]
        for name in (target.source.id for target in targets)
    ]


def _has_latents(found: Mapping[str, Tensor | Failure], target: SpokenTarget) -> bool:
    return isinstance(found[target.source.id], Tensor)


def _archive(folder: Path, kind: str, number: int) -> Path:
    return folder / f"{kind}_{number:06d}.ark"


def _put_together(stage: Stage, parts: Sequence[Sequence[SpokenTarget]], folder: Path) -> tuple[int, list[Problem]]:
    """Write data.list and take the parts' records away."""
    lines, problems = [], []
    for number, targets in enumerate(parts):
        for target, result in zip(targets, stage.read(number), strict=True):
            if isinstance(result, Failure):
                problems.append(Problem(result.id, result.reason, result.message))
                continue
            voice = f"{_archive(folder, 'voices', number).name}:{result.voice_offset}"
            labels = {} if result.voice_offset is None else {VOICE_LABEL: voice}
            feats = f"{_archive(folder, 'latents', number)}:{result.offset}"
            lines.append(to_json(Utterance(result.id, target.answer.audio, feats, labels), folder))
    if not lines:
        raise DataError(f"not one utterance has latents: {problems[0].message}")
    write_data_list(folder / LIST_NAME, lines)
    shutil.rmtree(folder / PARTS_FOLDER)
    return len(lines), problems
