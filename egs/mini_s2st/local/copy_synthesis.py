#!/usr/bin/env python3
"""What a vocoder makes of given latents: as near to the recordings as its answers can come."""

from pathlib import Path

import click
import torch

from mooer.cli._command import command
from mooer.common.files import atomic_write
from mooer.data.archives import read_matrix
from mooer.data.lists import read_data_list, write_table
from mooer.data.packing import encode_audio
from mooer.models.vocoder import CONFIG_FILE, WEIGHTS_FILE, load_vocoder, read_vocoder_config


@command
@click.option("--data_list", required=True, type=click.Path(), help="Of mooer-dump-latents.")
@click.option("--vocoder_dir", required=True, type=click.Path(path_type=Path), help="A trained vocoder.")
@click.option("--output_dir", required=True, type=click.Path(path_type=Path), help="Gets ID.wav and wav.scp.")
def main(data_list: str, vocoder_dir: Path, output_dir: Path) -> None:
    """Speak the latents of a list."""
    torch.set_num_threads(1)
    vocoder = load_vocoder(vocoder_dir / WEIGHTS_FILE, read_vocoder_config(vocoder_dir / CONFIG_FILE))
    table = {}
    for utterance in read_data_list(data_list):
        latents = read_matrix(utterance.feats)
        with torch.inference_mode():
            waveforms, _ = vocoder(latents[None], torch.tensor([len(latents)]), None)
        with atomic_write(output_dir / f"{utterance.id}.wav", "wb") as stream:
            stream.write(encode_audio(waveforms[0], "wav", vocoder.config.sampling_rate))
        table[utterance.id] = f"{utterance.id}.wav"
    write_table(output_dir / "wav.scp", table)


if __name__ == "__main__":
    main()
