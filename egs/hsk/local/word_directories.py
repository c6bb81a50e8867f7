"""Data directories of spoken words: wav.scp, text (toned pinyin) and text.zh."""

import functools
from collections.abc import Sequence
from pathlib import Path

import soundfile
from tqdm import tqdm
from word_recordings import Recording
from word_strings import StringConfig, make_string, plan_strings

from mooer.common.lengths import SAMPLE_RATE
from mooer.data.lists import write_table
from mooer.data.parallel import map_in_order


def write_words(folder: Path, recordings: Sequence[Recording]) -> None:
    """The recordings as they are; the folder's name before their ids tells those of several folders apart."""
    strings = {f"{folder.name}_{recording.id}": [recording] for recording in recordings}
    _write_tables(folder, {name: str(words[0].path) for name, words in strings.items()}, strings)


def write_strings(folder: Path, recordings: Sequence[Recording], config: StringConfig, *, seed: int, num_workers: int) -> None:
    """Strings of the recordings, with their waveforms.

    Raises:
        AudioError, DataError: see `make_string`.
    """
    (folder / "wav").mkdir(parents=True, exist_ok=True)
    for path in (folder / "wav").glob("*.wav"):
        path.unlink()
    strings = {f"{folder.name}_{number:05d}": words for number, words in enumerate(plan_strings(recordings, config, seed))}
    make = functools.partial(_make, folder, config, seed)
    made = map_in_order(make, list(strings.items()), num_workers)
    paths = dict(tqdm(made, total=len(strings), desc=folder.name, unit="string", disable=None))
    _write_tables(folder, paths, strings)


def _make(folder: Path, config: StringConfig, seed: int, item: tuple[str, list[Recording]]) -> tuple[str, str]:
    """Write the waveform of a string; its name and its path as wav.scp has it."""
    name, words = item
    soundfile.write(folder / "wav" / f"{name}.wav", make_string(words, config, seed, name), SAMPLE_RATE, subtype="PCM_16")
    return name, f"wav/{name}.wav"


def _write_tables(folder: Path, paths: dict[str, str], strings: dict[str, list[Recording]]) -> None:
    texts = {name: " ".join(word.transcript for word in words) for name, words in strings.items()}
    write_table(folder / "text", texts)
    write_table(folder / "text.zh", {name: "".join(word.word for word in words) for name, words in strings.items()})
    write_table(folder / "wav.scp", paths)
