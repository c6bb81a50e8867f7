"""Prefix beam search over CTC's frame-wise probabilities (Hannun et al. 2014), with a language model.

A beginning's probability is summed over all ways in which the frames can say it. Each token that is added is given its log
probability by the language model and a bonus, each by its weight; at the end the same for the end of the sentence, without the
bonus. With beams for every beginning that there is, the result is exact.

The arrays are small and the steps many, so the search runs in numpy on the CPU, in float64, for all utterances of a batch at
once; the language model stays on its device.

Shapes: B utterances, A of them under way, K beams, P symbols looked at in a frame, T frames, V vocabulary.
"""

from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor

from mooer.decode.fusion import Found, FusionConfig
from mooer.decode.language_model import LanguageModelScorer
from mooer.decode.prefixes import EMPTY, PrefixTree

NOBODY, NO_PARENT = -1, -2
"""In the place of a node, and of the node before it: two numbers, so that nobody is no one's child."""
SYMBOLS_A_BEAM = 2
"""Symbols whose extensions are tried in each frame, as a multiple of the beams."""

_QUIET = np.errstate(invalid="ignore")
"""Log probabilities that are no numbers make no answers, and no warnings."""


@dataclass(frozen=True)
class _Frame:
    """Log probabilities of the symbols that are looked at."""

    tokens: np.ndarray
    """[A, P] the most probable symbols."""
    values: np.ndarray
    """[A, P] of these tokens; -inf where it is the blank, which extends nothing."""
    blank: np.ndarray
    """[A] of the blank."""
    is_last: np.ndarray
    """[A, K, P] bool, which of the tokens is the last one of a beginning."""
    again: np.ndarray
    """[A, K] of the last token of each beginning."""


class _Frames:
    """The frames of log probabilities [B, T, V] as the search looks at them.

    Args:
        lengths: [B], what is beyond them is not looked at.
        symbols: how many of each frame.
        is_strict: whether all others are impossible.
    """

    def __init__(self, log_probs: Tensor, lengths: np.ndarray, blank_id: int, symbols: int, is_strict: bool) -> None:
        size = (*log_probs.shape[:2], min(symbols, log_probs.shape[2]))
        values, tokens = log_probs.new_zeros(size), torch.zeros(size, dtype=torch.long, device=log_probs.device)
        for row, length in enumerate(lengths.tolist()):
            values[row, :length], tokens[row, :length] = log_probs[row, :length].topk(size[2], dim=1)
        self._values, self._tokens = values.double().cpu().numpy(), tokens.cpu().numpy()
        self._blank = log_probs[:, :, blank_id].double().cpu().numpy()
        self._every = None if is_strict else log_probs.cpu().numpy()
        is_blank = self._tokens == blank_id
        self._values[is_blank] = -np.inf
        if is_strict:
            self._blank[~is_blank.any(axis=2)] = -np.inf

    def at(self, frame: int, rows: np.ndarray, last: np.ndarray) -> _Frame:
        """One frame of the utterances `rows` [A], for beginnings with the last tokens [A, K]."""
        tokens, values = self._tokens[rows, frame], self._values[rows, frame]
        is_last = tokens[:, None] == last[:, :, None]
        if self._every is None:
            again = np.where(is_last, values[:, None], -np.inf).max(axis=2)
        else:
            again = self._every[rows[:, None], frame, last]
        return _Frame(tokens, values, self._blank[rows, frame], is_last, again)


@dataclass(frozen=True)
class _Beams:
    """The beginnings that are kept, best first; each is in the beams of its utterance once."""

    nodes: np.ndarray
    """[A, K] in the tree; NOBODY where there is none."""
    parents: np.ndarray
    """[A, K] nodes without their last tokens; NO_PARENT where there is none."""
    last: np.ndarray
    """[A, K] last tokens; NOBODY where there is none."""
    blank: np.ndarray
    """[A, K] log probability of all ways to say it that end in a blank."""
    spoken: np.ndarray
    """[A, K] of all that end in its last token."""
    bonus: np.ndarray
    """[A, K] what else counts: the language model by its weight, and the bonus of the tokens."""
    slots: np.ndarray
    """[A, K] rows of the table in which the language model's log probabilities of the next token stand."""

    def of(self, count: int) -> "_Beams":
        """Those of the first `count` utterances."""
        return self if count == len(self.nodes) else _Beams(*(getattr(self, item.name)[:count] for item in fields(self)))


class CtcPrefixBeam:
    """Searches a batch of utterances, none of which sees another: at once by `run`, or part after part by the others.

    Args:
        blank_id: CTC's blank.
        end_id: the end of a sentence, for the language model; CTC cannot say it.
        tree: where beginnings are kept.
        lm: a scorer of the tree, where config.lm_weight is not 0.
        symbols: how many symbols of a frame are possible in it, the blank among them, as the reference prunes with as many as
            there are beams; None for all, of which the SYMBOLS_A_BEAM * K best and the blank extend beginnings.
    """

    def __init__(
        self,
        config: FusionConfig,
        blank_id: int,
        end_id: int,
        tree: PrefixTree,
        lm: LanguageModelScorer | None = None,
        symbols: int | None = None,
    ) -> None:
        self._config, self._blank_id, self._end_id = config, blank_id, end_id
        self._tree, self._lm, self._symbols = tree, lm, symbols
        self._table = torch.empty(0)
        self._beams = self._start(0, 0)

    def run(self, log_probs: Tensor, lengths: Tensor) -> list[list[Found]]:
        """The answers of each utterance, best first.

        Args:
            log_probs: [B, T, V] float32, padded on the right with anything.
            lengths: [B], may be 0.
        """
        ends = lengths.cpu().numpy()
        order = np.argsort(-ends, kind="stable")
        frames = self._look_at(log_probs, ends)
        self.start(len(order), log_probs.shape[2])
        found: list[list[Found]] = [[] for _ in order]
        for frame in range(log_probs.shape[1] + 1):
            count = int((ends > frame).sum())
            for row in range(count, len(self._beams.nodes)):
                found[order[row]] = self.answers(row)
            self._beams = self._beams.of(count)
            if count == 0:
                break
            self._beams = self._advance(self._beams, frames.at(frame, order[:count], self._beams.last))
        return found

    def start(self, count: int, vocab_size: int) -> None:
        """Begin with `count` utterances, of which no frame was heard."""
        self._beams = self._start(count, vocab_size)

    def accept(self, log_probs: Tensor) -> None:
        """Hear the next frames [B, T, V] of all utterances."""
        rows = np.arange(len(log_probs))
        frames = self._look_at(log_probs, np.full(len(rows), log_probs.shape[1]))
        for frame in range(log_probs.shape[1]):
            self._beams = self._advance(self._beams, frames.at(frame, rows, self._beams.last))

    @_QUIET
    def answers(self, row: int) -> list[Found]:
        """The answers of an utterance if it ends here, best first."""
        beams, found = self._beams, []
        heard = np.logaddexp(beams.blank[row], beams.spoken[row])
        for beam in (beams.nodes[row] != NOBODY).nonzero()[0]:
            end = 0.0 if self._lm is None else float(self._table[beams.slots[row, beam], self._end_id])
            score = float(heard[beam] + beams.bonus[row, beam]) + self._config.lm_weight * end
            tokens = self._tree.tokens(int(beams.nodes[row, beam]))
            found.append(Found(tokens, score, self._lm_score(beams.bonus[row, beam], len(tokens)) + end, float(heard[beam])))
        return sorted(found, key=lambda answer: -answer.score)

    def _start(self, count: int, vocab_size: int) -> _Beams:
        """The beginning without tokens for each utterance."""
        size = (count, self._config.beam_size)
        nodes, parents, last = (np.full(size, value) for value in (NOBODY, NO_PARENT, NOBODY))
        blank, spoken = np.full(size, -np.inf), np.full(size, -np.inf)
        nodes[:, 0], blank[:, 0] = EMPTY, 0.0
        if self._lm is not None and count:
            # A row for each beam, and one for each that may come in its place.
            first = self._lm.log_probs([EMPTY])
            self._table = first.new_zeros(2 * nodes.size, vocab_size)
            self._table[0] = first[0]
        return _Beams(nodes, parents, last, blank, spoken, np.zeros(size), np.zeros(size, dtype=np.int64))

    def _look_at(self, log_probs: Tensor, lengths: np.ndarray) -> _Frames:
        wanted = SYMBOLS_A_BEAM * self._config.beam_size + 1 if self._symbols is None else self._symbols
        return _Frames(log_probs, lengths, self._blank_id, wanted, is_strict=self._symbols is not None)

    @_QUIET
    def _advance(self, beams: _Beams, frame: _Frame) -> _Beams:
        """The best beginnings after one frame more."""
        total = np.logaddexp(beams.blank, beams.spoken)  # [A, K]
        # A token that is said twice needs a blank in between.
        extended = np.where(frame.is_last, beams.blank[:, :, None], total[:, :, None])  # [A, K, P]
        extended += frame.values[:, None]
        spoken = beams.spoken.copy()
        # A beginning that is in the beams already gets there what it is as an extension of another one.
        rows, children, parents = (beams.parents[:, :, None] == beams.nodes[:, None]).nonzero()
        repeats = beams.last[rows, children] == beams.last[rows, parents]
        share = np.where(repeats, beams.blank[rows, parents], total[rows, parents])
        spoken[rows, children] = np.logaddexp(spoken[rows, children], share)
        known, places = frame.is_last[rows, children].nonzero()
        extended[rows[known], parents[known], places] = -np.inf
        spoken += frame.again
        return self._best(replace(beams, blank=total + frame.blank[:, None], spoken=spoken), frame.tokens, extended)

    def _best(self, stayed: _Beams, tokens: np.ndarray, extended: np.ndarray) -> _Beams:
        """The best of the beginnings that stay as they are and of those with one token more [A, K, P]."""
        count, num_beams, num_tokens = extended.shape
        gains = self._gains(stayed, tokens)
        staying = np.logaddexp(stayed.blank, stayed.spoken) + stayed.bonus
        growing = (extended + gains).reshape(count, num_beams, -1) + stayed.bonus[:, :, None]
        candidates = np.concatenate([staying, growing.reshape(count, -1)], axis=1)
        chosen = np.argsort(-candidates, axis=1, kind="stable")[:, :num_beams]
        rows = np.arange(count)[:, None]
        is_there = candidates[rows, chosen] > -np.inf
        is_longer = (chosen >= num_beams) & is_there
        added = np.maximum(chosen - num_beams, 0)  # in K * P
        origin = rows * num_beams + np.where(is_longer, added // num_tokens, np.minimum(chosen, num_beams - 1))
        new_tokens = tokens[rows, added % num_tokens]
        added += rows * num_beams * num_tokens
        nodes = stayed.nodes.take(origin)
        parents = np.where(is_longer, nodes, stayed.parents.take(origin))
        last = np.where(is_longer, new_tokens, stayed.last.take(origin))
        kept = _Beams(
            nodes=np.where(is_there, self._grow(nodes, new_tokens, is_longer), NOBODY),
            parents=np.where(is_there, parents, NO_PARENT),
            last=np.where(is_there, last, NOBODY),
            blank=np.where(is_longer, -np.inf, stayed.blank.take(origin)),
            spoken=np.where(is_longer, extended.take(added), stayed.spoken.take(origin)),
            bonus=stayed.bonus.take(origin) + np.where(is_longer, gains.take(added), 0.0),
            slots=stayed.slots.take(origin),
        )
        return kept if self._lm is None else self._ask(kept, is_longer)

    def _gains(self, beams: _Beams, tokens: np.ndarray) -> np.ndarray:
        """What each token [A, P] adds to the bonus of each beginning [A, K, P]."""
        bonus = self._config.length_bonus
        if self._lm is None:
            return np.full((*beams.nodes.shape, tokens.shape[1]), bonus)
        slots, columns = (torch.from_numpy(part).to(self._table.device) for part in (beams.slots, tokens))
        by_lm = self._table[slots[:, :, None], columns[:, None]].double().cpu().numpy()
        return self._config.lm_weight * by_lm + bonus

    def _lm_score(self, bonus: float, num_tokens: int) -> float:
        """The log probability by the language model in a bonus."""
        return 0.0 if self._lm is None else float(bonus - self._config.length_bonus * num_tokens) / self._config.lm_weight

    def _grow(self, nodes: np.ndarray, tokens: np.ndarray, is_new: np.ndarray) -> np.ndarray:
        """The nodes, with one token more where `is_new`."""
        grown = nodes.copy()
        grown[is_new] = self._tree.extend(nodes[is_new].tolist(), tokens[is_new].tolist())
        return grown

    def _ask(self, beams: _Beams, is_new: np.ndarray) -> _Beams:
        """The beams with the language model's log probabilities for the new ones in the table."""
        if not is_new.any():
            return beams
        is_free = np.ones(len(self._table), dtype=bool)
        is_free[beams.slots[~is_new]] = False
        slots = beams.slots.copy()
        slots[is_new] = is_free.nonzero()[0][: int(is_new.sum())]
        asked = torch.from_numpy(slots[is_new]).to(self._table.device)
        self._table[asked] = self._lm.log_probs(beams.nodes[is_new].tolist())
        return replace(beams, slots=slots)
