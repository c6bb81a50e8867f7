"""Beam search over the tokens of a decoder that attends to an encoder's frames, with a language model.

Each token, and the end, is given its log probability by the decoder and by the language model; each token a bonus. An answer
that has ended stays among the beams with the score that it has; scores are not divided by the length. Without a bonus a score
can only fall, so the search of an utterance ends as soon as the answers that are asked for can be overtaken by none.

Shapes: B utterances, A of them under way, K beams, T frames, D width, V vocabulary.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mooer.decode.fusion import Found, FusionConfig
from mooer.decode.language_model import LanguageModelScorer
from mooer.decode.prefixes import EMPTY, PrefixTree
from mooer.models.transformer_decoder import Cache, Memory, TransformerDecoder


@dataclass(frozen=True)
class _Beams:
    """The answers so far, best first."""

    rows: Tensor
    """[A] numbers of the utterances."""
    nodes: Tensor
    """[A, K] in the tree, the end left out."""
    last: Tensor
    """[A, K] what the decoder hears next."""
    scores: Tensor
    """[A, K] float64, -inf where there is no answer."""
    lm_scores: Tensor
    """[A, K] float64, log probability by the language model."""
    ended: Tensor
    """[A, K] bool."""
    memory: Memory
    cache: Cache

    def of(self, kept: Tensor) -> "_Beams":
        """Those of some of the utterances, by position."""
        if len(kept) == len(self.rows):
            return self
        num_beams = self.nodes.shape[1]
        beams = (kept[:, None] * num_beams + torch.arange(num_beams, device=kept.device)).flatten()
        tensors = (self.rows, self.nodes, self.last, self.scores, self.lm_scores, self.ended)
        cache = tuple(block.of(beams) for block in self.cache)
        return _Beams(*(tensor[kept] for tensor in tensors), self.memory.of(kept), cache)


class AttentionBeam:
    """Searches batches of utterances, none of which sees another.

    Args:
        decoder: reads from left to right, in eval mode.
        boundary_id: the token that stands before a sentence and ends it.
        tree: where answers are kept.
        lm: a scorer of the tree, where config.lm_weight is not 0.
        max_tokens: bound on each answer; None for the frames of its utterance, which bound it in any case.
        num_answers: how many of the best answers have to be right; others are as they were when the search ended.
    """

    def __init__(
        self,
        decoder: TransformerDecoder,
        config: FusionConfig,
        boundary_id: int,
        tree: PrefixTree,
        lm: LanguageModelScorer | None = None,
        max_tokens: int | None = None,
        num_answers: int = 1,
    ) -> None:
        self._decoder, self._config, self._boundary_id = decoder, config, boundary_id
        self._tree, self._lm = tree, lm
        self._max_tokens, self._num_answers = max_tokens, min(num_answers, config.beam_size)

    def run(self, encoded: Tensor, lengths: Tensor) -> list[list[Found]]:
        """The answers of each utterance, best first; one without tokens where there are no frames.

        Args:
            encoded: [B, T, D], padded on the right with any numbers.
            lengths: [B], may be 0.
        """
        found = [[] if length else [Found((), 0.0)] for length in lengths.tolist()]
        bounds = lengths if self._max_tokens is None else lengths.clamp(max=self._max_tokens)
        beams = self._start(encoded, lengths, (bounds > 0).nonzero()[:, 0])
        step = 0
        while len(beams.rows):
            step += 1
            beams = self._advance(beams)
            is_done = (bounds[beams.rows] == step) | self._cannot_change(beams)
            for position in is_done.nonzero()[:, 0].tolist():
                found[int(beams.rows[position])] = self._answers(beams, position)
            beams = beams.of((~is_done).nonzero()[:, 0])
        return found

    def _start(self, encoded: Tensor, lengths: Tensor, rows: Tensor) -> _Beams:
        """One answer without tokens for each of the utterances `rows`."""
        size = (len(rows), self._config.beam_size)
        scores = torch.full(size, -torch.inf, dtype=torch.float64, device=encoded.device)
        scores[:, 0] = 0.0
        nodes = torch.full(size, EMPTY, device=encoded.device)
        memory = self._decoder.remember(encoded[rows], lengths[rows])
        cache = self._decoder.start(memory, size[1])
        last, ended = torch.full_like(nodes, self._boundary_id), torch.zeros_like(nodes, dtype=torch.bool)
        return _Beams(rows, nodes, last, scores, torch.zeros_like(scores), ended, memory, cache)

    def _advance(self, beams: _Beams) -> _Beams:
        """The best answers with one token more; those that have ended stay as they are."""
        log_probs, cache = self._decoder.step(beams.last.flatten(), beams.memory, beams.cache)
        num_beams, size = beams.nodes.shape[1], log_probs.shape[1]
        by_lm = self._by_lm(beams, size)
        gains = log_probs.view(-1, num_beams, size).double() + self._config.length_bonus
        if by_lm is not None:
            gains += self._config.lm_weight * by_lm
        gains[..., self._boundary_id] -= self._config.length_bonus
        gains[beams.ended] = -torch.inf
        gains[..., self._boundary_id].masked_fill_(beams.ended, 0.0)
        scores, chosen = (beams.scores[..., None] + gains).flatten(1).topk(num_beams, dim=1)
        parents, tokens = chosen // size, chosen % size
        is_end = tokens == self._boundary_id
        lm_scores = beams.lm_scores.gather(1, parents)
        return replace(
            beams,
            nodes=self._grown(beams.nodes.gather(1, parents), tokens, ~is_end),
            last=tokens,
            scores=scores,
            lm_scores=lm_scores if by_lm is None else lm_scores + by_lm.flatten(1).gather(1, chosen),
            ended=is_end,
            cache=tuple(block.of(_flat(parents)) for block in cache),
        )

    def _by_lm(self, beams: _Beams, size: int) -> Tensor | None:
        """Log probabilities by the language model of what follows each answer [A, K, V], zeros after its end; None without."""
        if self._lm is None:
            return None
        scores = beams.scores.new_zeros(*beams.nodes.shape, size)
        is_open = beams.scores.isfinite() & ~beams.ended
        if is_open.any():
            scores[is_open] = self._lm.log_probs(beams.nodes[is_open].tolist()).double()
        return scores

    def _grown(self, nodes: Tensor, tokens: Tensor, is_longer: Tensor) -> Tensor:
        """The nodes [A, K] with one token more where `is_longer`."""
        grown = nodes.clone()
        children = self._tree.extend(nodes[is_longer].tolist(), tokens[is_longer].tolist())
        grown[is_longer] = torch.tensor(children, dtype=grown.dtype, device=grown.device)
        return grown

    def _cannot_change(self, beams: _Beams) -> Tensor:
        """Whether the best answers have ended and are overtaken by none [A] bool."""
        asked = beams.nodes.shape[1] if self._config.length_bonus > 0 else self._num_answers
        return (beams.ended | ~beams.scores.isfinite())[:, :asked].all(dim=1)

    def _answers(self, beams: _Beams, position: int) -> list[Found]:
        """The answers of an utterance, ended or cut at its bound."""
        return [
            self._found(self._tree.tokens(node), score, lm_score, ended)
            for node, score, lm_score, ended in zip(
                beams.nodes[position].tolist(),
                beams.scores[position].tolist(),
                beams.lm_scores[position].tolist(),
                beams.ended[position].tolist(),
                strict=True,
            )
            if score > -torch.inf
        ]

    def _found(self, tokens: tuple[int, ...], score: float, lm_score: float, ended: bool) -> Found:
        others = self._config.lm_weight * lm_score + self._config.length_bonus * len(tokens)
        return Found(tokens, score, lm_score, attention_score=score - others, ended=ended)


def _flat(parents: Tensor) -> Tensor:
    """Beams by their positions in their utterances [A, K] -> by their positions among all [A * K]."""
    first = torch.arange(len(parents), device=parents.device)[:, None] * parents.shape[1]
    return (first + parents).flatten()
