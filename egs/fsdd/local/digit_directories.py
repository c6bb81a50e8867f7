"""Data directories of connected digits: wav.scp, text (English words), text.zh (Chinese digits), utt2spk and the waveforms."""

import functools
from collections.abc import Sequence
from pathlib import Path

import soundfile
from digit_recordings import SAMPLE_RATE, Recording, load_voices
from digit_strings import StringConfig, make_string
from tqdm import tqdm

from mooer.data.lists import write_table
from mooer.data.parallel import chunks, map_in_order

STRINGS_A_TASK = 100

_voices: dict = {}


def write_directory(
    folder: Path, recordings: Sequence[Recording], config: StringConfig, count: int, *, seed: int, num_workers: int
) -> None:
    """`count` strings of the recordings; the names and the tables are those of any other run with the same seed.

    Raises:
        DataError: see `load_voices`.
    """
    _load(recordings)
    (folder / "wav").mkdir(parents=True, exist_ok=True)
    for path in (folder / "wav").glob("*.wav"):
        path.unlink()
    names = [f"{folder.name}_{number:05d}" for number in range(count)]
    make = functools.partial(_make_some, recordings, folder, config, seed)
    made = []
    with tqdm(total=count, desc=folder.name, unit="string", disable=None) as progress:
        for part in map_in_order(make, chunks(names, STRINGS_A_TASK), num_workers):
            made += part
            progress.update(len(part))
    for table in made[0]:
        write_table(folder / table, {name: values[table] for name, values in zip(names, made, strict=True)})


def _load(recordings: Sequence[Recording]) -> None:
    _voices.clear()
    _voices.update(load_voices(recordings))


def _make_some(
    recordings: Sequence[Recording], folder: Path, config: StringConfig, seed: int, names: Sequence[str]
) -> list[dict[str, str]]:
    """`_make` of each name; a process that did not inherit the recordings loads them first."""
    if not _voices:
        _load(recordings)
    return [_make(folder, config, seed, name) for name in names]


def _make(folder: Path, config: StringConfig, seed: int, name: str) -> dict[str, str]:
    """Write the waveform of a string; returns what the tables say of it."""
    string = make_string(_voices, config, seed, name)
    soundfile.write(folder / "wav" / f"{name}.wav", string.waveform, SAMPLE_RATE, subtype="PCM_16")
    return {
        "text": string.english,
        "text.zh": string.chinese,
        "utt2spk": "+".join(sorted(set(string.speakers))),
        "wav.scp": f"wav/{name}.wav",
    }
