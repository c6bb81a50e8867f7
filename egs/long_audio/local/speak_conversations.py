#!/usr/bin/env python3
"""Make conversations of several minutes of which everything is known: words, marks, when there is speech, and whose it is.

Voices and clauses are those that no training of this recipe or of the recipe mini has heard. A data directory with wav.scp,
text (the words), text.punctuated, text.speech and ref.rttm (the turns).
"""

import itertools
import random
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
import torch
from marked_sentences import LANGUAGES, Sentence, Sentences
from other_sounds import background, event
from spoken import SAMPLE_RATE, TEST_VOICES, Espeak, Speaker, silence, with_level, write_recordings

from mooer.cli._command import command
from mooer.common.files import atomic_write
from mooer.common.seed import derived_seed
from mooer.common.speech_times import Stretch, format_speech_times, join_stretches
from mooer.features.speech_energy import speech_by_energy

SPEAKERS, SENTENCES_A_TURN = (2, 4), (1, 3)
# Seconds of silence, from and to.
SENTENCE_PAUSE, TURN_PAUSE = (0.5, 0.9), (0.9, 2.5)
# Share of the turns that begin after some other sound.
EVENT_SHARE = 0.25
LEVEL_DB, NOISE_SNR_DB, EVENT_DB = (-26.0, -20.0), (20.0, 35.0), (-12.0, 0.0)
# A pause of a speaker up to which it is one turn.
TURN_GAP_MS = 300


class Conversation:
    """A conversation as it goes on in time."""

    def __init__(self, language: str, espeak: Espeak, seed: int) -> None:
        self._draw, self._generator = random.Random(seed), np.random.default_rng(seed)
        voices = self._draw.sample(TEST_VOICES, self._draw.randint(*SPEAKERS))
        self._speakers = [Speaker(espeak, voice, self._draw) for voice in voices]
        self._levels = {voice: 10 ** (self._draw.uniform(*LEVEL_DB) / 20) for voice in voices}
        self._source = Sentences(language, seed, held_out=True)
        self._pieces: list[np.ndarray] = []
        self._position = 0
        self.sentences: list[Sentence] = []
        self.speech: dict[str, list[Stretch]] = {voice: [] for voice in voices}

    @property
    def seconds(self) -> float:
        """How long it is by now."""
        return self._position / SAMPLE_RATE

    def add_turn(self, number: int) -> None:
        """The next speaker says a few sentences, now and then after a sound of something else."""
        others = [speaker for speaker in self._speakers if speaker.voice != self._last_voice()]
        speaker = self._speakers[number] if number < len(self._speakers) else self._draw.choice(others)
        self._add_silence(TURN_PAUSE)
        if self._draw.random() < EVENT_SHARE:
            level = self._levels[speaker.voice] * 10 ** (self._draw.uniform(*EVENT_DB) / 20)
            self._add(with_level(event(self._generator), level))
            self._add_silence(TURN_PAUSE)
        for place in range(self._draw.randint(*SENTENCES_A_TURN)):
            if place:
                self._add_silence(SENTENCE_PAUSE)
            self._add_sentence(speaker)

    def _last_voice(self) -> str | None:
        spoken = {voice: stretches[-1][1] for voice, stretches in self.speech.items() if stretches}
        return max(spoken, key=spoken.get, default=None)

    def _add_sentence(self, speaker: Speaker) -> None:
        sentence = self._source.said()
        self.sentences.append(sentence)
        for samples in speaker.say_all(sentence.clauses, sentence.language):
            start_ms = 1000 * self._position // SAMPLE_RATE
            found = speech_by_energy(torch.from_numpy(samples))
            self.speech[speaker.voice] += [(start + start_ms, end + start_ms) for start, end in found]
            self._add(with_level(samples, self._levels[speaker.voice]))

    def _add_silence(self, seconds: tuple[float, float]) -> None:
        self._add(silence(seconds, self._draw))

    def _add(self, samples: np.ndarray) -> None:
        self._pieces.append(samples)
        self._position += len(samples)

    def finished(self) -> np.ndarray:
        """All that was said, with noise over the whole of it."""
        self._add_silence(TURN_PAUSE)
        level = min(self._levels.values()) * 10 ** (-self._draw.uniform(*NOISE_SNR_DB) / 20)
        return np.concatenate(self._pieces) + np.float32(level) * background(self._position, self._generator)

    def turns(self) -> list[tuple[Stretch, str]]:
        """Who speaks when."""
        return sorted((turn, voice) for voice, found in self.speech.items() for turn in join_stretches(found, TURN_GAP_MS))


@command
@click.option("--output_dir", type=click.Path(path_type=Path), required=True, help="Data directory to write.")
@click.option("--num_conversations", type=click.IntRange(1), default=2, show_default=True, help="In each language.")
@click.option("--minutes", type=click.FloatRange(min=0.1), default=3.0, show_default=True, help="Length of each.")
@click.option("--seed", type=int, default=1, show_default=True)
def main(output_dir: Path, num_conversations: int, minutes: float, seed: int) -> None:
    """Make the conversations, all in one order: espeak-ng keeps state from call to call."""
    tables: dict[str, dict[str, str]] = {name: {} for name in ("text", "text.punctuated", "text.speech")}
    turns: list[str] = []
    recordings = _conversations(num_conversations, minutes, seed, tables, turns)
    write_recordings(output_dir, recordings, tables)
    with atomic_write(output_dir / "ref.rttm") as stream:
        stream.writelines(turns)


def _conversations(
    count: int, minutes: float, seed: int, tables: dict[str, dict[str, str]], turns: list[str]
) -> Iterator[tuple[str, np.ndarray]]:
    """Ids and samples of conversations; what is known of them is put into `tables` and, as RTTM, into `turns`."""
    espeak = Espeak(seed)
    for language, number in itertools.product(LANGUAGES, range(count)):
        conversation = Conversation(language, espeak, derived_seed(seed, "conversation", language, number))
        for turn in itertools.count():
            if conversation.seconds >= 60 * minutes:
                break
            conversation.add_turn(turn)
        name = f"{language}_conversation_{number}"
        space = " " if language == "en" else ""
        tables["text"][name] = space.join(space.join(sentence.clauses) for sentence in conversation.sentences)
        tables["text.punctuated"][name] = space.join(sentence.text for sentence in conversation.sentences)
        stretches = [stretch for found in conversation.speech.values() for stretch in found]
        tables["text.speech"][name] = format_speech_times(join_stretches(stretches))
        turns += [_rttm_line(name, *turn) for turn in conversation.turns()]
        yield name, conversation.finished()


def _rttm_line(recording: str, turn: Stretch, speaker: str) -> str:
    start, end = turn
    return f"SPEAKER {recording} 1 {start / 1000:.3f} {(end - start) / 1000:.3f} <NA> <NA> {speaker} <NA> <NA>\n"


if __name__ == "__main__":
    main()
