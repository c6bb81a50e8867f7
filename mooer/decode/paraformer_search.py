"""Beam search over what Paraformer says at each place, with a language model and a CTC layer beside it.

Paraformer says how many tokens there are and gives the probabilities of each place whatever stands at the others. The search
takes one step a place: an answer gets there the model's own log probability, that of the language model, that of CTC (asked for
the best 1.5 beams of tokens by the others) and a bonus, each by its weight.

An end token means that there is no word at its place, as it does without a search: the language model is asked how probable an
end is there, and goes on from before it. The reference lets an answer end with it, at any place (`ends_early`; step by step the
search is then the reference's). Each further token costs something, by the language model above all, so that favours empty
answers where there is much to say: after training with smoothed labels an end token has some 1e-5 everywhere, and 20 tokens at
a perplexity of 50 and a weight of 0.15 have less.

Shapes: A utterances under way, K beams, L places, V vocabulary, P tokens that CTC is asked for.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mooer.decode.ctc_prefix_score import CtcPrefixScorer, PrefixState
from mooer.decode.fusion import Found, FusionConfig
from mooer.decode.language_model import LanguageModelScorer
from mooer.decode.prefixes import EMPTY, PrefixTree

PRE_BEAM = 1.5


@dataclass(frozen=True)
class _Beams:
    """The open answers."""

    rows: Tensor
    """[A] numbers of the utterances."""
    nodes: Tensor
    """[A, K] in the tree."""
    lm_nodes: Tensor
    """[A, K] the same without end tokens, which the language model goes on from."""
    scores: Tensor
    """[A, K], -inf where there is no answer."""
    lm_scores: Tensor
    """[A, K]."""
    ctc: PrefixState | None

    def of(self, kept: Tensor) -> "_Beams":
        """Those of some of the utterances, by position."""
        ctc = None if self.ctc is None else self.ctc.of(kept)
        tensors = (self.rows, self.nodes, self.lm_nodes, self.scores, self.lm_scores)
        return _Beams(*(tensor[kept] for tensor in tensors), ctc)


class ParaformerSearch:
    """Searches batches of utterances, none of which sees another.

    Args:
        tree: where answers are kept.
        lm: a scorer of the tree, where config.lm_weight is not 0.
        ctc: of the same utterances, where config.ctc_weight is not 0.
        ends_early: whether an end token ends an answer before the last place, and has a bonus.
    """

    def __init__(
        self,
        end_id: int,
        config: FusionConfig,
        tree: PrefixTree,
        lm: LanguageModelScorer | None = None,
        ctc: CtcPrefixScorer | None = None,
        ends_early: bool = False,
    ) -> None:
        self._end_id, self._config, self._ends_early = end_id, config, ends_early
        self._tree, self._lm, self._ctc = tree, lm, ctc
        self._log_probs = self._counts = torch.empty(0)
        self._found: list[list[Found]] = []

    def run(self, log_probs: Tensor, counts: Tensor) -> list[list[Found]]:
        """The finished answers of each utterance, best first; one without tokens where there is no place.

        Args:
            log_probs: [B, L, V] of the places, float32.
            counts: [B] places of each utterance; may be 0.
        """
        self._log_probs, self._counts = log_probs, counts
        self._found = [[] if count else [Found((), 0.0)] for count in self._counts.tolist()]
        beams = self._start()
        for step in range(self._log_probs.shape[1]):
            is_open = (self._counts[beams.rows] > step) & beams.scores.isfinite().any(dim=1)
            beams = beams.of(is_open.nonzero()[:, 0])
            if not len(beams.rows):
                break
            beams = self._collect(self._advance(beams, step), step)
        return [sorted(found, key=lambda answer: -answer.score) for found in self._found]

    def _start(self) -> _Beams:
        """One answer without tokens for each utterance."""
        size = (len(self._counts), self._config.beam_size)
        scores = self._log_probs.new_full(size, -torch.inf)
        scores[:, 0] = 0.0
        nodes = torch.full(size, EMPTY, device=scores.device)
        ctc = None if self._ctc is None else self._ctc.start(size[1])
        return _Beams(torch.arange(size[0], device=scores.device), nodes, nodes, scores, torch.zeros_like(scores), ctc)

    def _advance(self, beams: _Beams, step: int) -> _Beams:
        """The best continuations of all beams."""
        config = self._config
        lm_scores = self._lm_scores(beams)  # [A, K, V]
        gains = self._log_probs[beams.rows, step][:, None] + config.lm_weight * lm_scores + config.length_bonus
        if not self._ends_early:
            gains[..., self._end_id] -= config.length_bonus
        extended = None
        if self._ctc is None:
            tokens = torch.arange(gains.shape[2], device=gains.device).expand_as(gains)
        else:
            size = min(int(PRE_BEAM * config.beam_size), gains.shape[2])
            gains, tokens = gains.topk(size, dim=2)
            ctc = self._ctc.of(beams.rows)
            extended = ctc.extend(beams.ctc, tokens)
            gains = gains + config.ctc_weight * (extended[0] - beams.ctc.scores[..., None])
        totals = (beams.scores[..., None] + gains).flatten(1)  # [A, K * P]
        scores, chosen = totals.topk(min(config.beam_size, totals.shape[1]), dim=1)
        parents, last = chosen // tokens.shape[2], tokens.flatten(1).gather(1, chosen)
        lm_nodes = beams.lm_nodes.gather(1, parents)
        gained = lm_scores.flatten(1).gather(1, parents * lm_scores.shape[2] + last)
        return _Beams(
            rows=beams.rows,
            nodes=self._grown(beams.nodes.gather(1, parents), last),
            lm_nodes=torch.where(last == self._end_id, lm_nodes, self._grown(lm_nodes, last)),
            scores=scores,
            lm_scores=beams.lm_scores.gather(1, parents) + gained,
            ctc=None if extended is None else ctc.select(beams.ctc, tokens, extended, chosen),
        )

    def _grown(self, nodes: Tensor, tokens: Tensor) -> Tensor:
        """The nodes [A, K] with one token more each."""
        children = self._tree.extend(nodes.flatten().tolist(), tokens.flatten().tolist())
        return torch.tensor(children, device=nodes.device).view_as(nodes)

    def _lm_scores(self, beams: _Beams) -> Tensor:
        """Log probabilities by the language model of what follows each answer [A, K, V]; zeros without one."""
        scores = self._log_probs.new_zeros(*beams.nodes.shape, self._log_probs.shape[2])
        if self._lm is not None:
            is_open = beams.scores.isfinite()
            scores[is_open] = self._lm.log_probs(beams.lm_nodes[is_open].tolist())
        return scores

    def _collect(self, beams: _Beams, step: int) -> _Beams:
        """The beams without the answers that end here, which are kept."""
        ends = (self._counts[beams.rows] == step + 1)[:, None].expand_as(beams.nodes)
        if self._ends_early:
            last = [self._tree.last_tokens[node] for node in beams.nodes.flatten().tolist()]
            ends = ends | (torch.tensor(last, device=ends.device).view_as(beams.nodes) == self._end_id)
        ending = ends & beams.scores.isfinite()
        ctc_scores = torch.zeros_like(beams.scores) if beams.ctc is None else beams.ctc.scores
        values = zip(
            beams.rows[ending.nonzero()[:, 0]].tolist(),
            beams.nodes[ending].tolist(),
            beams.scores[ending].tolist(),
            beams.lm_scores[ending].tolist(),
            ctc_scores[ending].tolist(),
            strict=True,
        )
        for row, node, *scores in values:
            self._found[row].append(Found(self._tree.tokens(node), *scores))
        return replace(beams, scores=beams.scores.masked_fill(ends, -torch.inf))
