"""Options that several commands have, as one decorator each, and what is read of them."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from mooer.data.utterance import Problem
    from mooer.pipeline.recording_sources import Recording
    from mooer.pipeline.speech_models import SpeechModels

PART_OPTIONS = ("encoder_path", "adapter_path", "llm_path", "lora_dir", "cmvn_path")
SAMPLING_OPTIONS = ("top_p", "top_k", "temperature")
SPEECH_CONFIG_OPTIONS = (
    *("task", "instruction", "greedy", "beam_size", "max_new_tokens", "seed", "batch_size", "voice_from_input", "dtype"),
    "device",
)
PATH = click.Path()
Decorator = Callable[[Callable], Callable]


def _together(*decorators: Decorator) -> Decorator:
    """One decorator of several; help lists them in their order."""

    def decorate(function: Callable) -> Callable:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return decorate


recording_options = _together(
    click.argument("files", nargs=-1, type=PATH, metavar="[FILE]..."),
    click.option("--wav_path", multiple=True, type=PATH, help="A recording, as each FILE is one: --wav_path *.wav"),
    click.option("--wav_scp", type=PATH, help="Table of recordings, `ID PATH` a line."),
)
part_options = _together(
    click.option("--encoder_path", type=PATH, help="Encoder weights. This and the next four override --model_dir."),
    click.option("--adapter_path", type=PATH, help="Adapter weights."),
    click.option("--llm_path", type=PATH, help="LLM folder."),
    click.option("--lora_dir", type=PATH, help="LoRA folder."),
    click.option("--cmvn_path", type=PATH, help="CMVN file (am.mvn)."),
    click.option("--adapter_downsample_rate", type=click.IntRange(min=1), help="Of the adapter. [default: the model's, or 2]"),
)


def vocoder_options(is_required: bool) -> Decorator:
    """What speaks, and in whose voice.

    Args:
        is_required: whether the command does nothing without a vocoder.
    """
    return _together(
        click.option("--vocoder_path", type=PATH, required=is_required, help="HiFi-GAN generator (.pt or .safetensors)."),
        click.option("--vocoder_config", type=PATH, help="Its sizes, as JSON. [default: read off the checkpoint]"),
        click.option("--spk_encoder_path", type=PATH, help="Speaker encoder (.pt or .safetensors); needed for a voice."),
        click.option("--prompt_wav_path", type=PATH, help="A recording of the voice that answers."),
        click.option("--voice_from_input", is_flag=True, default=None, help="Answer in the voice of the one who asks."),
    )


def given_options(options: dict[str, Any], files: tuple[str, ...]) -> dict[str, Any]:
    """What was given; files by position are recordings as by --wav_path."""
    given = {name: value for name, value in options.items() if value not in (None, ())}
    if files:
        given["wav_path"] = (*given.get("wav_path", ()), *files)
    return given


def recordings_of(given: dict[str, Any], allow_url: bool) -> "list[Recording | Problem]":
    """The recordings of --wav_path or --wav_scp. Raises PathError or DataError."""
    from mooer.common.errors import DataError
    from mooer.pipeline.recording_sources import recordings_of_files, recordings_of_table

    if "wav_path" in given:
        return recordings_of_files(given["wav_path"], allow_url)
    recordings = recordings_of_table(given["wav_scp"], allow_url)
    if not recordings:
        raise DataError(f"--wav_scp {given['wav_scp']} holds no recordings")
    return recordings


def speech_models_of(given: dict[str, Any]) -> "SpeechModels":
    """The models that answer in speech. Raises PathError, ConfigError, WeightsError or DataError."""
    from pathlib import Path

    from mooer.decode.sampling import SamplingConfig
    from mooer.models.model_dir import PartPaths
    from mooer.pipeline.speech_models import SpeechConfig, SpeechModels, SpeechPaths

    sampling = SamplingConfig(**{name: given[name] for name in SAMPLING_OPTIONS if name in given})
    config = SpeechConfig(sampling=sampling, **{name: given[name] for name in SPEECH_CONFIG_OPTIONS if name in given})
    named = {name.rsplit("_", 1)[0]: Path(given[name]) for name in PART_OPTIONS if name in given}
    paths = SpeechPaths(
        model_dir=given.get("model_dir"),
        parts=PartPaths(**named),
        downsample_rate=given.get("adapter_downsample_rate"),
        vocoder=given["vocoder_path"],
        vocoder_config=given.get("vocoder_config"),
        speaker_encoder=given.get("spk_encoder_path"),
        prompt_wav=given.get("prompt_wav_path"),
    )
    return SpeechModels(paths, config)
