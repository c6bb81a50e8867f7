"""What a language model is trained on: lines of text as token ids, and their batches.

B batch, L tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mooer.data.batch import move
from mooer.data.text_lines import TextLine
from mooer.text.vocabulary import Vocabulary


@dataclass(frozen=True, slots=True)
class TokenSample:
    """A line of text."""

    id: str
    token_ids: list[int]

    def __len__(self) -> int:
        """Columns of a batch: the tokens, and the end of the sentence."""
        return len(self.token_ids) + 1


@dataclass(frozen=True)
class TokenBatch:
    """A batch for training a language model."""

    ids: list[str]
    tokens: Tensor
    """[B, L] int64, without beginning and end of the sentence, the blank after each row's length."""
    lengths: Tensor
    """[B] int64."""

    def to(self, device: torch.device | str) -> "TokenBatch":
        """The same batch with its tensors on `device`."""
        return move(self, device)


class TokenSamples:
    """Makes the samples and batches of a language model."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self.num_unknown = 0
        """Tokens so far that stand for something that has none."""

    def make(self, lines: Sequence[TextLine]) -> list[TokenSample | str]:
        """The sample of each line, or the reason why it cannot be used: `empty_text`."""
        encoded = self._vocabulary.encode([line.text for line in lines])
        self.num_unknown += sum(ids.count(self._vocabulary.unknown_id) for ids in encoded)
        return [TokenSample(line.id, ids) if ids else "empty_text" for line, ids in zip(lines, encoded, strict=True)]

    def collate(self, samples: Sequence[TokenSample]) -> TokenBatch:
        """Their batch."""
        lengths = [len(sample.token_ids) for sample in samples]
        width = max(lengths)
        blank = self._vocabulary.blank_id
        tokens = [sample.token_ids + [blank] * (width - len(sample.token_ids)) for sample in samples]
        return TokenBatch([sample.id for sample in samples], torch.tensor(tokens), torch.tensor(lengths))
