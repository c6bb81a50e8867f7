"""mooer-tokenize-speech: recordings to labels of audio tokens, which an LLM that is to speak learns to write."""

from typing import TYPE_CHECKING

import click

from mooer.cli._command import command
from mooer.cli._report import progress_bar

if TYPE_CHECKING:
    from mooer.data.utterance import Utterance


@command
@click.option("--data_dir", required=True, type=click.Path(), help="Data directory of the speech that is to be said.")
@click.option(
    "--tokenizer_path", required=True, type=click.Path(), help="The sounds (.safetensors): read, or with --num_tokens written."
)
@click.option("--num_tokens", type=click.IntRange(min=2), help="Learn so many sounds from the recordings first.")
@click.option(
    "--learn_utterances",
    type=click.IntRange(min=1),
    help="Recordings that they are learnt from. [default: 1000]",
)
@click.option("--starts", type=click.IntRange(min=1), help="First choices of sounds that are tried. [default: 4]")
@click.option("--seed", type=int, help="Of what is drawn. [default: 0]")
@click.option("--num_workers", type=click.IntRange(0), default=1, show_default=True, help="Processes that label.")
@click.option("--resume", is_flag=True, help="Go on with what a run that was killed has left.")
@click.option("--output_file", required=True, type=click.Path(), help="Label file to write, such as DATA_DIR/text.audio.")
def main(
    data_dir: str,
    tokenizer_path: str,
    num_tokens: int | None,
    learn_utterances: int | None,
    starts: int | None,
    seed: int | None,
    num_workers: int,
    resume: bool,
    output_file: str,
) -> None:
    """Write `ID <|audio_5|> <|audio_0|> ...` for each recording: a sound for each 1,024 samples at 22,050 Hz.

    Sounds are found by k-means over log mel spectrograms. Recordings that cannot be read are named; the exit status is then 1,
    and the file has the others.
    """
    from mooer.common.errors import PartialFailure
    from mooer.data.directory import read_data_dir
    from mooer.pipeline.speech_tokenization import tokenize_speech

    learning = {"--learn_utterances": learn_utterances, "--starts": starts, "--seed": seed}
    idle = [name for name, value in learning.items() if value is not None]
    if num_tokens is None and idle:
        raise click.UsageError(f"{idle[0]} belongs to --num_tokens, which learns sounds")
    data = read_data_dir(data_dir, labels=())
    if num_tokens is not None:
        _learn(data.utterances, tokenizer_path, num_tokens, learn_utterances or 1000, starts or 4, seed or 0, resume)
    count, failed = tokenize_speech(data.utterances, tokenizer_path, output_file, num_workers, resume, progress_bar)
    click.echo(f"{output_file}: {count} utterances", err=True)
    problems = [*data.problems, *failed]
    for problem in problems:
        click.echo(f"{problem.id}: {problem.reason}: {problem.message}", err=True)
    if problems:
        raise PartialFailure(f"{len(problems)} could not be used")


def _learn(utterances: "list[Utterance]", path: str, num_tokens: int, count: int, starts: int, seed: int, resume: bool) -> None:
    """Learn the sounds, unless a run that is gone on with has done it."""
    from pathlib import Path

    from mooer.common.errors import ConfigError
    from mooer.models.audio_tokens import AudioTokenConfig, load_audio_tokenizer
    from mooer.pipeline.speech_tokenization import learn_sounds

    config = AudioTokenConfig(num_tokens=num_tokens, starts=starts, seed=seed)
    if not Path(path).exists():
        error = learn_sounds(utterances, path, config, count)
        click.echo(f"{path}: {num_tokens} sounds; mean squared distance {error:.4f} of the variance", err=True)
    elif not resume:
        raise ConfigError(f"{path} exists; leave --num_tokens out to use its sounds, or name another file")
    else:
        found = load_audio_tokenizer(path).config.num_tokens
        if found != num_tokens:
            raise ConfigError(f"{path} holds {found} sounds, --num_tokens asks for {num_tokens}; name another file")
