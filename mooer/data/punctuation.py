"""What punctuation is learnt from: the words of lines of text, and for each the mark that follows it.

Shapes: B batch, L words.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mooer.common.marks import NO_MARK, UNKNOWN
from mooer.data.batch import move
from mooer.data.text_lines import TextLine
from mooer.text.marks import read_marks


@dataclass(frozen=True, slots=True)
class PunctuationSample:
    """A line of text."""

    id: str
    word_ids: list[int]
    marks: list[int]
    """For each word its mark; UNKNOWN where nobody knows it."""

    def __len__(self) -> int:
        """Columns of a batch."""
        return len(self.word_ids)


@dataclass(frozen=True)
class PunctuationBatch:
    """A batch for training a punctuation model."""

    ids: list[str]
    words: Tensor
    """[B, L] int64, 0 after each row's length."""
    lengths: Tensor
    """[B] int64."""
    marks: Tensor
    """[B, L] int64, UNKNOWN where nothing is learnt: after each row's length, and after the last word of a broken line."""

    def to(self, device: torch.device | str) -> "PunctuationBatch":
        """The same batch with its tensors on `device`."""
        return move(self, device)


class PunctuationSamples:
    """Makes the samples and batches of a punctuation model.

    A line that does not end in a mark goes on elsewhere: what follows its last word is not known and not learnt.

    Args:
        word_ids: the id of each known word.
        unknown_id: the id of all others.
        lower_case: whether words are learnt in lower case.
    """

    def __init__(self, word_ids: Mapping[str, int], unknown_id: int, lower_case: bool) -> None:
        self._word_ids, self._unknown_id, self._lower_case = word_ids, unknown_id, lower_case

    def make(self, lines: Sequence[TextLine]) -> list[PunctuationSample | str]:
        """The sample of each line, or the reason why it cannot be used: `no_words`, `nothing_to_learn` (one broken word)."""
        return [self._make(line) for line in lines]

    def _make(self, line: TextLine) -> PunctuationSample | str:
        read = read_marks(line.text, self._lower_case)
        if not read.words:
            return "no_words"
        marks = list(read.marks)
        if marks[-1] == NO_MARK:
            marks[-1] = UNKNOWN
        if marks == [UNKNOWN]:
            return "nothing_to_learn"
        return PunctuationSample(line.id, [self._word_ids.get(word, self._unknown_id) for word in read.words], marks)

    def collate(self, samples: Sequence[PunctuationSample]) -> PunctuationBatch:
        """Their batch."""
        lengths = [len(sample) for sample in samples]
        rows = [(sample.word_ids, sample.marks) for sample in samples]
        words, marks = (
            torch.tensor([row[side] + [filling] * (max(lengths) - len(row[side])) for row in rows])
            for side, filling in ((0, 0), (1, UNKNOWN))
        )
        return PunctuationBatch([sample.id for sample in samples], words, torch.tensor(lengths), marks)
