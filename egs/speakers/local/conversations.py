"""Conversations joined from single utterances, whose turns are known. Shapes: S samples at 16 kHz."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mooer.audio.augment import add_noise
from mooer.audio.surroundings import coloured_noise
from mooer.common.errors import ConfigError, DataError
from mooer.common.lengths import SAMPLE_RATE
from mooer.text.rttm import SECOND, TimedTurn

FRAME = SAMPLE_RATE // 100
# Loudness of every turn, root mean square.
LEVEL = 0.05
# A frame of so much less energy than the loudest one is silence.
_SILENCE_DB = 35.0


@dataclass(frozen=True, kw_only=True)
class ConversationConfig:
    """How conversations are made."""

    num_speakers: tuple[int, ...] = (2, 3, 5)
    """Speakers; so many conversations are made with each number."""
    conversations: int = 4
    """Conversations with each number of speakers."""
    turns: int = 16
    """Turns of a conversation, at most."""
    piece_seconds: float | None = None
    """Utterances are cut into equal pieces of at least so many seconds first, each of which is said as if it were one. For
    speakers with few utterances."""
    repeated: bool = True
    """Whether a speaker begins anew when everything of theirs has been said; otherwise the conversation ends there, however few
    turns it has. What is repeated sounds more like itself than a voice does."""
    turn_seconds: tuple[float, float] = (2.0, 10.0)
    """Shortest and longest turn; an utterance that is shorter than the longest one may end it earlier."""
    gap_seconds: tuple[float, float] = (0.1, 1.2)
    """Between turns."""
    snr_db: tuple[float, float] = (20.0, 35.0)
    """Energy of the speech relative to that of the noise all over it."""

    def __post_init__(self) -> None:
        if not self.num_speakers or min(self.num_speakers) < 2 or self.turns < max(self.num_speakers):
            raise ConfigError(
                f"num_speakers must lie between 2 and the number of turns ({self.turns}), found {self.num_speakers}"
            )
        if self.conversations < 1:
            raise ConfigError(f"conversations must be at least 1, found {self.conversations}")
        if self.piece_seconds is not None and not self.piece_seconds > 0.0:
            raise ConfigError(f"piece_seconds must be above 0, found {self.piece_seconds}")
        for name in ("turn_seconds", "gap_seconds", "snr_db"):
            low, high = getattr(self, name)
            if not 0.0 <= low <= high:
                raise ConfigError(f"{name} must be two growing values, not negative, found {low} and {high}")


@dataclass(frozen=True)
class Conversation:
    """A recording and who speaks when in it."""

    id: str
    waveform: Tensor
    """[S]."""
    turns: list[TimedTurn]


def make_conversations(voices: Mapping[str, Sequence[Tensor]], config: ConversationConfig, seed: int) -> list[Conversation]:
    """Conversations of the speakers in `voices`, by whom there are utterances [S] each.

    Raises:
        DataError: fewer speakers than a conversation needs.
    """
    if len(voices) < max(config.num_speakers):
        raise DataError(f"conversations of {max(config.num_speakers)} take as many speakers; there are {len(voices)}")
    trimmed = {
        speaker: [piece for wave in waves for piece in _pieces(without_silent_ends(wave), config)]
        for speaker, waves in voices.items()
    }
    made = []
    for number in config.num_speakers:
        for index in range(config.conversations):
            name = f"speakers{number}-{index + 1:02d}"
            made.append(_conversation(name, number, trimmed, config, random.Random(f"{seed} {name}")))
    return made


def without_silent_ends(waveform: Tensor) -> Tensor:
    """[S] -> [S'] from the first frame that is not silent to the last one."""
    frames = waveform[: waveform.numel() // FRAME * FRAME].view(-1, FRAME)
    energies = frames.square().mean(dim=1)
    heard = torch.nonzero(energies > energies.max() * 10.0 ** (-_SILENCE_DB / 10.0)).flatten()
    if not heard.numel():
        raise DataError("an utterance is silent from beginning to end")
    return waveform[int(heard[0]) * FRAME : (int(heard[-1]) + 1) * FRAME]


def speaker_order(speakers: Sequence[str], num_turns: int, draw: random.Random) -> list[str]:
    """Who has each turn: everybody in the first turns, nobody twice in a row."""
    order = draw.sample(list(speakers), len(speakers))
    while len(order) < num_turns:
        order.append(draw.choice([speaker for speaker in speakers if speaker != order[-1]]))
    return order


def _conversation(
    name: str, number: int, voices: Mapping[str, Sequence[Tensor]], config: ConversationConfig, draw: random.Random
) -> Conversation:
    speakers = draw.sample(sorted(voices), number)
    unused: dict[str, list[Tensor]] = {}
    parts, turns, place = [], [], 0
    for speaker in speaker_order(speakers, config.turns, draw):
        gap = _samples(draw.uniform(*config.gap_seconds))
        if not unused.get(speaker, True) and not config.repeated:
            break
        if not unused.get(speaker):
            unused[speaker] = draw.sample(list(voices[speaker]), len(voices[speaker]))
        speech = _turn(unused[speaker].pop(), config, draw)
        begin = place + gap
        place = begin + speech.numel()
        parts += [torch.zeros(gap), speech]
        turns.append(TimedTurn(begin * SECOND // SAMPLE_RATE, place * SECOND // SAMPLE_RATE, speaker))
    waveform = torch.cat([*parts, torch.zeros(SAMPLE_RATE // 2)])
    generator = torch.Generator().manual_seed(draw.randrange(1 << 62))
    noise = coloured_noise(waveform.numel(), 0.5, generator)
    return Conversation(name, add_noise(waveform, noise, draw.uniform(*config.snr_db)), turns)


def _pieces(utterance: Tensor, config: ConversationConfig) -> Sequence[Tensor]:
    """An utterance [S], whole or in pieces."""
    if config.piece_seconds is None:
        return [utterance]
    return utterance.chunk(max(1, utterance.numel() // _samples(config.piece_seconds)))


def _turn(utterance: Tensor, config: ConversationConfig, draw: random.Random) -> Tensor:
    """A stretch of an utterance, without silence at its ends, at the loudness of all turns."""
    length = min(utterance.numel(), _samples(draw.uniform(*config.turn_seconds)))
    start = draw.randrange(utterance.numel() - length + 1)
    speech = without_silent_ends(utterance[start : start + length])
    return speech * (LEVEL / float(speech.square().mean().sqrt()))


def _samples(seconds: float) -> int:
    return round(seconds * SAMPLE_RATE) // FRAME * FRAME
