"""Prefix beam search over CTC's frame-wise probabilities (Hannun et al. 2014), with a language model.

A beginning's probability is summed over all ways in which the frames can say it. Each token that is added is given its log
probability by the language model and a bonus, each by its weight; at the end the same for the end of the sentence, without the
bonus. With beams for every beginning that there is, the result is exact.

Shapes: B utterances, A of them under way, K beams, P tokens tried in a frame, T frames, V vocabulary.
"""

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from mooer.decode.fusion import Found, FusionConfig
from mooer.decode.language_model import LanguageModelScorer
from mooer.decode.prefixes import EMPTY, PrefixTree

NOBODY = -1
TOKENS_A_BEAM = 2
"""Tokens tried in each frame, as a multiple of the beams."""


@dataclass(frozen=True)
class _Beams:
    """The beginnings that are kept; each is in the beams of its utterance once."""

    nodes: Tensor
    """[A, K] in the tree; NOBODY where there is none."""
    parents: Tensor
    """[A, K] nodes without their last tokens; NOBODY where there is none."""
    last: Tensor
    """[A, K] last tokens; NOBODY where there is none."""
    blank: Tensor
    """[A, K] log probability of all ways to say it that end in a blank."""
    spoken: Tensor
    """[A, K] of all that end in its last token."""
    lm_scores: Tensor
    """[A, K] log probability by the language model."""
    bonus: Tensor
    """[A, K] what else counts: the language model by its weight, and the bonus of the tokens."""
    slots: Tensor
    """[A, K] rows of the table in which the language model's log probabilities of the next token stand."""

    def of(self, count: int) -> "_Beams":
        """Those of the first `count` utterances."""
        return _Beams(*(getattr(self, item.name)[:count] for item in fields(self)))


class CtcPrefixBeam:
    """Searches a batch of utterances, none of which sees another.

    Args:
        blank_id: CTC's blank.
        end_id: the end of a sentence, for the language model; CTC cannot say it.
        tree: where beginnings are kept.
        lm: a scorer of the tree, where config.lm_weight is not 0.
    """

    def __init__(
        self,
        config: FusionConfig,
        blank_id: int,
        end_id: int,
        tree: PrefixTree,
        lm: LanguageModelScorer | None = None,
    ) -> None:
        self._config, self._blank_id, self._end_id = config, blank_id, end_id
        self._tree, self._lm = tree, lm
        self._table = torch.empty(0)

    def run(self, log_probs: Tensor, lengths: Tensor) -> list[list[Found]]:
        """The answers of each utterance, best first.

        Args:
            log_probs: [B, T, V] float32, padded on the right with anything.
            lengths: [B], may be 0.
        """
        order = lengths.argsort(descending=True, stable=True)
        log_probs, lengths = log_probs[order], lengths[order]
        beams = self._start(log_probs)
        found: list[list[Found]] = [[] for _ in order]
        for frame in range(log_probs.shape[1] + 1):
            count = int((lengths > frame).sum())
            for row in range(count, len(beams.nodes)):
                found[int(order[row])] = self._answers(beams, row)
            if count == 0:
                break
            beams = self._advance(beams.of(count), log_probs[:count, frame])
        return found

    def _start(self, log_probs: Tensor) -> _Beams:
        """The beginning without tokens for each utterance."""
        size = (len(log_probs), self._config.beam_size)
        nodes = torch.full(size, NOBODY, device=log_probs.device)
        impossible = log_probs.new_full(size, -torch.inf)
        blank, zeros = impossible.clone(), torch.zeros_like(impossible)
        nodes[:, 0], blank[:, 0] = EMPTY, 0.0
        if self._lm is not None:
            # A row for each beam, and one for each that may come in its place.
            self._table = log_probs.new_zeros(2 * nodes.numel(), log_probs.shape[2])
            self._table[0] = self._lm.log_probs([EMPTY])[0]
        slots = torch.zeros_like(nodes)
        nobody = torch.full_like(nodes, NOBODY)
        return _Beams(nodes, nobody, nobody, blank, impossible, zeros, zeros, slots)

    def _advance(self, beams: _Beams, frame: Tensor) -> _Beams:
        """The best beginnings after one frame more [A, V]."""
        total = torch.logaddexp(beams.blank, beams.spoken)  # [A, K]
        resting = total + frame[:, self._blank_id, None]
        last_probs = frame.gather(1, beams.last.clamp_min(0)).masked_fill(beams.last == NOBODY, -torch.inf)
        grown = beams.parents[:, :, None] == beams.nodes[:, None]  # [A, K', K]: K' is K with one token more
        grown &= (beams.nodes != NOBODY)[:, None]
        repeats = beams.last[:, :, None] == beams.last[:, None]  # a token that is said twice needs a blank in between
        from_parent = torch.where(repeats, beams.blank[:, None], total[:, None]).masked_fill(~grown, -torch.inf)
        spoken = torch.logaddexp(beams.spoken, from_parent.logsumexp(dim=2)) + last_probs

        tokens = self._tokens(frame)  # [A, P]
        repeats = tokens[:, None] == beams.last[..., None]
        extended = frame.gather(1, tokens)[:, None] + torch.where(repeats, beams.blank[..., None], total[..., None])
        # Those that are in the beams already have got this share above.
        is_known = (grown[..., None] & (beams.last[:, :, None, None] == tokens[:, None, None])).any(dim=1)
        extended = extended.masked_fill(is_known, -torch.inf)  # [A, K, P]
        return self._best(beams, (resting, spoken), tokens, extended)

    def _tokens(self, frame: Tensor) -> Tensor:
        """The tokens that are tried in a frame."""
        spoken = frame.clone()
        spoken[:, self._blank_id] = -torch.inf
        return spoken.topk(min(TOKENS_A_BEAM * self._config.beam_size, frame.shape[1] - 1), dim=1).indices

    def _best(self, beams: _Beams, stayed: tuple[Tensor, Tensor], tokens: Tensor, extended: Tensor) -> _Beams:
        """The best of the beginnings that stay as they are and of those with one token more."""
        config, num_beams = self._config, beams.nodes.shape[1]
        lm_scores = torch.zeros_like(extended)
        if self._lm is not None:
            lm_scores = self._table[beams.slots[:, :, None], tokens[:, None]]
        gains = config.lm_weight * lm_scores + config.length_bonus  # [A, K, P]
        totals = [torch.logaddexp(*stayed) + beams.bonus, (extended + beams.bonus[..., None] + gains).flatten(1)]
        scores, chosen = torch.cat(totals, dim=1).topk(num_beams, dim=1)
        is_longer = chosen >= num_beams
        added = (chosen - num_beams).clamp_min(0)  # in K * P
        origin = torch.where(is_longer, added // tokens.shape[1], chosen)
        new_tokens = tokens.gather(1, added % tokens.shape[1])

        def pick(old: Tensor, new: Tensor) -> Tensor:
            return torch.where(is_longer, new, old.gather(1, origin))

        is_there = scores.isfinite()
        nobody = torch.full_like(origin, NOBODY)
        parents = torch.where(is_there, pick(beams.parents, beams.nodes.gather(1, origin)), nobody)
        old_nodes = torch.where(is_there, beams.nodes.gather(1, origin), nobody)
        nodes = self._grow(old_nodes, new_tokens, is_longer & is_there)
        kept = _Beams(
            nodes=nodes,
            parents=parents,
            last=torch.where(is_there, pick(beams.last, new_tokens), nobody),
            blank=pick(stayed[0], torch.full_like(scores, -torch.inf)),
            spoken=pick(stayed[1], extended.flatten(1).gather(1, added)),
            lm_scores=beams.lm_scores.gather(1, origin) + is_longer * lm_scores.flatten(1).gather(1, added),
            bonus=beams.bonus.gather(1, origin) + is_longer * gains.flatten(1).gather(1, added),
            slots=beams.slots.gather(1, origin),
        )
        return kept if self._lm is None else self._ask(kept, is_longer & is_there)

    def _grow(self, nodes: Tensor, tokens: Tensor, is_new: Tensor) -> Tensor:
        """The nodes, with one token more where `is_new`."""
        grown = nodes.clone()
        children = self._tree.extend(nodes[is_new].tolist(), tokens[is_new].tolist())
        grown[is_new] = torch.tensor(children, dtype=grown.dtype, device=grown.device)
        return grown

    def _ask(self, beams: _Beams, is_new: Tensor) -> _Beams:
        """The beams with the language model's log probabilities for the new ones in the table."""
        if not is_new.any():
            return beams
        is_free = torch.ones(len(self._table), dtype=torch.bool, device=self._table.device)
        is_free[beams.slots[~is_new]] = False
        slots = beams.slots.clone()
        slots[is_new] = is_free.nonzero()[: int(is_new.sum()), 0]
        self._table[slots[is_new]] = self._lm.log_probs(beams.nodes[is_new].tolist())
        return _Beams(**vars(beams) | {"slots": slots})

    def _answers(self, beams: _Beams, row: int) -> list[Found]:
        """The finished answers of an utterance."""
        found = []
        heard = torch.logaddexp(beams.blank[row], beams.spoken[row])
        for beam in (beams.nodes[row] != NOBODY).nonzero()[:, 0].tolist():
            end = 0.0 if self._lm is None else float(self._table[beams.slots[row, beam], self._end_id])
            score = float(heard[beam] + beams.bonus[row, beam]) + self._config.lm_weight * end
            tokens = self._tree.tokens(int(beams.nodes[row, beam]))
            found.append(Found(tokens, score, float(beams.lm_scores[row, beam]) + end, float(heard[beam])))
        return sorted(found, key=lambda answer: -answer.score)
