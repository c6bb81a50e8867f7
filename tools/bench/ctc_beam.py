"""CTC's prefix beam search on one thread, beside a plain one: a dictionary of beginnings, utterance by utterance.

    python tools/bench/ctc_beam.py [--beam_size 10] [--utterances 16] [--vocab_size 5000] [--rounds 5]

Posteriors are made up: sure ones (a spike a token, blank in between), some as a trained model has them (spikes with likely
others beside them, one to three frames wide), and flat ones. Prints, for each kind, the processor time of both (medians over
interleaved rounds), their ratio, and the share of utterances whose n best answers are the same in the same order, with scores
that agree to 1e-6. Both prune as the reference does: as many symbols a frame as beams, then as many beginnings.
"""

import argparse
import math
import statistics
import time
from collections import defaultdict
from collections.abc import Callable

import torch
from torch import Tensor

from mooer.decode.ctc_prefix_beam import CtcPrefixBeam
from mooer.decode.fusion import FusionConfig
from mooer.decode.prefixes import PrefixTree

BLANK, SENTENCE_END = 0, 1
SHORTEST, LONGEST = 100, 250
FRAMES_A_TOKEN = 6
TOLERANCE = 1e-6
Answers = list[tuple[tuple[int, ...], float]]


def flat(frames: int, size: int) -> Tensor:
    """Log probabilities [frames, size] that say nothing."""
    return torch.randn(frames, size).log_softmax(dim=-1)


def spikes(frames: int, size: int, blank: float, others: tuple[float, ...], width: int) -> Tensor:
    """Log probabilities [frames, size] of blanks with a token in every sixth frame, and the frames after it up to `width`."""
    logits = torch.randn(frames, size)
    logits[:, BLANK] += blank
    for first in range(2, frames - width, FRAMES_A_TOKEN):
        last = first + int(torch.randint(1, width + 1, ()))
        candidates = torch.randint(1, size, (len(others),))
        logits[first:last, candidates] += torch.tensor(others) + torch.randn(len(others))
        logits[first:last, BLANK] -= blank / 2
    return logits.log_softmax(dim=-1)


KINDS: dict[str, Callable[[int, int], Tensor]] = {
    "sure": lambda frames, size: spikes(frames, size, 18.0, (22.0, 14.0), 1),
    "as trained": lambda frames, size: spikes(frames, size, 13.0, (14.0, 12.0, 11.0, 10.0, 9.0), 3),
    "flat": flat,
}


def log_add(*values: float) -> float:
    """The logarithm of the sum of exponentials."""
    highest = max(values)
    return highest if highest == -math.inf else highest + math.log(sum(math.exp(value - highest) for value in values))


def plain_search(log_probs: Tensor, beam_size: int) -> Answers:
    """The answers of [T, V], best first, by a dictionary from each beginning to its probabilities after a blank, and not."""
    beams = [((), (0.0, -math.inf))]
    for frame in log_probs:
        grown: dict[tuple[int, ...], tuple[float, float]] = defaultdict(lambda: (-math.inf, -math.inf))
        values, symbols = frame.topk(beam_size)
        for value, symbol in zip(values.tolist(), symbols.tolist(), strict=True):
            for tokens, (blank, spoken) in beams:
                if symbol == BLANK:
                    before, other = grown[tokens]
                    grown[tokens] = log_add(before, blank + value, spoken + value), other
                elif tokens and symbol == tokens[-1]:
                    other, before = grown[tokens]
                    grown[tokens] = other, log_add(before, spoken + value)
                    other, before = grown[(*tokens, symbol)]
                    grown[(*tokens, symbol)] = other, log_add(before, blank + value)
                else:
                    other, before = grown[(*tokens, symbol)]
                    grown[(*tokens, symbol)] = other, log_add(before, blank + value, spoken + value)
        beams = sorted(grown.items(), key=lambda item: log_add(*item[1]), reverse=True)[:beam_size]
    return [(tokens, log_add(*scores)) for tokens, scores in beams]


def batched_search(log_probs: Tensor, lengths: Tensor, beam_size: int) -> list[Answers]:
    """The same by this package, for a padded batch [B, T, V] at once."""
    config = FusionConfig(beam_size=beam_size)
    search = CtcPrefixBeam(config, BLANK, SENTENCE_END, PrefixTree(), symbols=beam_size)
    return [[(answer.tokens, answer.score) for answer in found] for found in search.run(log_probs, lengths)]


def are_equal(one: Answers, other: Answers) -> bool:
    """Whether the answers are the same in the same order, and their scores."""
    return [tokens for tokens, _ in one] == [tokens for tokens, _ in other] and all(
        abs(mine - theirs) < TOLERANCE for (_, mine), (_, theirs) in zip(one, other, strict=True)
    )


def measure(kind: str, beam_size: int, utterances: int, vocab_size: int, rounds: int) -> None:
    """Print the line of a kind of posteriors."""
    lengths = torch.linspace(SHORTEST, LONGEST, utterances).long()
    rows = [KINDS[kind](length, vocab_size) for length in lengths.tolist()]
    padded = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    seconds: dict[str, list[float]] = {"plain": [], "batched": []}
    for _ in range(rounds):
        started = time.process_time()
        batched = batched_search(padded, lengths, beam_size)
        seconds["batched"].append(time.process_time() - started)
        started = time.process_time()
        plain = [plain_search(row, beam_size) for row in rows]
        seconds["plain"].append(time.process_time() - started)
    equal = sum(are_equal(*pair) for pair in zip(plain, batched, strict=True))
    middle = {name: statistics.median(values) for name, values in seconds.items()}
    print(
        f"{kind:11} plain {middle['plain'] * 1e3:7.1f} ms, batched {middle['batched'] * 1e3:6.1f} ms, "
        f"ratio {middle['plain'] / middle['batched']:5.1f}, equal {equal} of {utterances}"
    )


def main() -> None:
    """Measure every kind of posteriors."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--beam_size", type=int, default=10)
    parser.add_argument("--utterances", type=int, default=16)
    parser.add_argument("--vocab_size", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    for kind in KINDS:
        measure(kind, **vars(arguments))


if __name__ == "__main__":
    main()
