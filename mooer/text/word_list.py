"""The list of words that a punctuation model knows, most frequent first."""

from collections import Counter
from collections.abc import Iterable

from mooer.common.errors import DataError
from mooer.text.marks import read_marks
from mooer.text.pieces import FIRST_TOKENS

UNKNOWN_WORD = "<unk>"


def build_word_list(texts: Iterable[str], max_words: int, lower_case: bool = True) -> list[str]:
    """The words of texts with or without marks, between the tokens that published lists begin and end with.

    Args:
        max_words: most entries in all; the rarest words are left out, of equally frequent ones those that sort last.

    Raises:
        DataError: no words at all.
    """
    counts = Counter(word for text in texts for word in read_marks(text, lower_case).words)
    if not counts:
        raise DataError("the texts hold no words to make a list of")
    room = max(0, max_words - len(FIRST_TOKENS) - 1)
    ranked = sorted(counts, key=lambda word: (-counts[word], word))
    return [*FIRST_TOKENS, *ranked[:room], UNKNOWN_WORD]
