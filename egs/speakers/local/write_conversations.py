#!/usr/bin/env python3
"""Conversations with known turns, joined from the utterances of a data directory."""

from pathlib import Path

import click
import soundfile
from conversations import ConversationConfig, make_conversations

from mooer.audio.io import load_audio
from mooer.cli._command import command
from mooer.common.config import load_yaml
from mooer.common.files import atomic_write
from mooer.common.lengths import SAMPLE_RATE
from mooer.data.directory import read_data_dir
from mooer.data.lists import write_table
from mooer.text.rttm import rttm_line


@command
@click.option("--data_dir", type=click.Path(path_type=Path), required=True, help="Has wav.scp and text.speaker.")
@click.option("--conf", type=click.Path(path_type=Path), required=True, help="How conversations are made (YAML).")
@click.option("--seed", type=int, required=True)
@click.option("--output_dir", type=click.Path(path_type=Path), required=True, help="Gets flac, wav.scp, rttm and num_speakers.")
def main(data_dir: Path, conf: Path, seed: int, output_dir: Path) -> None:
    """Write the conversations."""
    voices: dict[str, list] = {}
    for utterance in read_data_dir(data_dir, ("speaker",)).utterances:
        voices.setdefault(utterance.labels["speaker"], []).append(load_audio(utterance.audio.path))
    made = make_conversations(voices, load_yaml(conf, ConversationConfig), seed)
    (output_dir / "flac").mkdir(parents=True, exist_ok=True)
    for conversation in made:
        path = output_dir / "flac" / f"{conversation.id}.flac"
        soundfile.write(path, conversation.waveform.numpy(), SAMPLE_RATE, subtype="PCM_16")
    with atomic_write(output_dir / "rttm") as stream:
        stream.writelines(f"{rttm_line(item.id, turn)}\n" for item in made for turn in item.turns)
    write_table(output_dir / "num_speakers", {item.id: str(len({turn.speaker for turn in item.turns})) for item in made})
    write_table(output_dir / "wav.scp", {item.id: f"flac/{item.id}.flac" for item in made})


if __name__ == "__main__":
    main()
