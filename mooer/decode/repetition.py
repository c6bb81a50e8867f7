"""Finding answers that run in a circle, as language models' sometimes do on noise or silence."""

from collections.abc import Sequence

MIN_LOOP_TOKENS = 12
MIN_LOOP_ROUNDS = 4
MAX_PERIOD = 32
NGRAM = 4
MIN_NGRAMS = 24
MIN_DISTINCT_SHARE = 0.4


def is_repetitive(tokens: Sequence[int]) -> bool:
    """Whether the tokens end in a loop, or consist of few different 4-grams.

    A loop is the same stretch of up to 32 tokens at least four times over (the last round may be cut) and 12 tokens in all, so
    that "no no no" and a telephone number pass. Few means that under 40 % of at least 24 4-grams are different ones.
    """
    return _ends_in_loop(tokens) or _has_few_ngrams(tokens)


def _ends_in_loop(tokens: Sequence[int]) -> bool:
    for period in range(1, min(MAX_PERIOD, len(tokens) // MIN_LOOP_ROUNDS) + 1):
        same = 0
        while same < len(tokens) - period and tokens[-1 - same] == tokens[-1 - same - period]:
            same += 1
        if same + period >= max(MIN_LOOP_TOKENS, MIN_LOOP_ROUNDS * period):
            return True
    return False


def _has_few_ngrams(tokens: Sequence[int]) -> bool:
    ngrams = [tuple(tokens[start : start + NGRAM]) for start in range(len(tokens) - NGRAM + 1)]
    return len(ngrams) >= MIN_NGRAMS and len(set(ngrams)) < MIN_DISTINCT_SHARE * len(ngrams)
