"""How an answer in speech is written for an LLM, after its text: <|audio_start|>, audio tokens, and what ends it."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mooer.common.errors import ConfigError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

AUDIO_START, AUDIO_END = "<|audio_start|>", "<|audio_end|>"
# The last positions of an answer say how it ends, and are not spoken; the end of the sequence is the last of them.
SILENT_POSITIONS = 6
CLOSING = (AUDIO_END,) * (SILENT_POSITIONS - 1)

_TOKEN = re.compile(r"<\|audio_(?:0|[1-9][0-9]*)\|>")


def token_names(ids: Sequence[int]) -> list[str]:
    """How sounds are written: `<|audio_0|>` and so on."""
    return [f"<|audio_{number}|>" for number in ids]


def is_audio_token(name: str) -> bool:
    """Whether `name` is how a sound is written."""
    return _TOKEN.fullmatch(name) is not None


def speech_special_tokens(num_tokens: int) -> tuple[str, ...]:
    """What a tokenizer must know to write answers of `num_tokens` different sounds."""
    return (AUDIO_START, AUDIO_END, *token_names(range(num_tokens)))


class SpeechTokens:
    """The ids that follow the text of an answer in speech.

    Raises:
        ConfigError: a tokenizer that has none.
    """

    def __init__(self, tokenizer: "PreTrainedTokenizerBase") -> None:
        known = tokenizer.get_vocab()
        missing = [name for name in (AUDIO_START, AUDIO_END) if name not in known]
        if missing:
            raise ConfigError(
                f"the tokenizer knows no {missing[0]}, which answers in speech need: mooer-build-tokenizer --audio_tokens N"
            )
        self._ids = {name: number for name, number in known.items() if is_audio_token(name)}
        self.start = known[AUDIO_START]
        self._closing = [*(known[name] for name in CLOSING), tokenizer.eos_token_id]

    def encode(self, names: Sequence[str]) -> list[int | None]:
        """<|audio_start|>, the sounds, the closing positions; None for a name that is no sound of this tokenizer."""
        return [self.start, *(self._ids.get(name) for name in names), *self._closing]
