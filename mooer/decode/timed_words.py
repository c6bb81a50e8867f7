"""Words of a text with times, from the times of the tokens that the text was decoded from."""

import math
import re
from collections.abc import Callable, Sequence

from torch import Tensor

from mooer.decode.ctc_search import CtcPath
from mooer.decode.firing import milliseconds
from mooer.decode.hypothesis import Word
from mooer.text.cjk import CJK

# What a decoder writes for bytes that are no character yet.
_UNFINISHED = "\ufffd"
_SIGN = r"[^\w\s]"
_LETTER = rf"(?:(?![{CJK}])\w)"
# A CJK character, or a run of others, with the signs around it; or signs that stand alone.
_WORDS = re.compile(rf"{_SIGN}*(?:[{CJK}]|{_LETTER}(?:{_LETTER}|{_SIGN}(?={_LETTER}))*){_SIGN}*|{_SIGN}+")


def text_words(text: str) -> list[tuple[int, int]]:
    """Where each word of a text begins and ends: CJK characters one by one, other words whole, signs with their neighbour."""
    spans: list[tuple[int, int]] = []
    for match in _WORDS.finditer(text):
        if spans and not any(sign.isalnum() for sign in match.group()):
            spans[-1] = (spans[-1][0], match.end())
        else:
            spans.append(match.span())
    return spans


def token_log_probs(log_probs: Tensor, path: CtcPath) -> list[float]:
    """The mean log probability of each token of a path over its frames, of log probabilities [T, V]."""
    spans = zip(path.tokens, path.spans, strict=True)
    return [float(log_probs[start:end, token].mean()) for token, (start, end) in spans]


def words_of_tokens(
    read: Callable[[Sequence[int]], str],
    tokens: Sequence[int],
    seconds: Sequence[tuple[float, float]],
    log_probs: Sequence[float],
) -> tuple[Word, ...]:
    """The words of the text that the tokens are decoded to.

    A token of several characters is divided among them evenly, but for white space. A word's confidence is the geometric mean
    of the probabilities of the tokens that it has a part of.

    Args:
        read: the text of tokens.
        seconds: begin and end of each token.
        log_probs: of each token.
    """
    text = read(tokens)
    times: list[tuple[float, float] | None] = [None] * len(text)
    owners: list[list[int]] = [[] for _ in text]
    done = 0
    for index in range(len(tokens)):
        end = len(read(tokens[: index + 1]).rstrip(_UNFINISHED))
        for place, span in _shares(text, done, min(max(end, done + 1), len(text)), seconds[index]):
            before = times[place]
            times[place] = span if before is None else (before[0], span[1])
            owners[place].append(index)
        done = max(done, end)
    words = []
    for start, end in text_words(text):
        known = [place for place in range(start, end) if times[place] is not None]
        if known:
            span = milliseconds((times[known[0]][0], times[known[-1]][1]))
            own = dict.fromkeys(index for place in known for index in owners[place])
            confidence = math.exp(sum(log_probs[index] for index in own) / len(own))
            words.append(Word("".join(text[start:end].split()), *span, round(confidence, 4)))
    return tuple(words)


def _shares(text: str, start: int, end: int, span: tuple[float, float]) -> list[tuple[int, tuple[float, float]]]:
    """The part of a token's time that each of its characters has."""
    places = [place for place in range(start, end) if not text[place].isspace()]
    if not places:
        return []
    step = (span[1] - span[0]) / len(places)
    return [(place, (span[0] + number * step, span[0] + (number + 1) * step)) for number, place in enumerate(places)]
