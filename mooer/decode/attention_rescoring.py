"""A second look at the answers of CTC's prefix beam search, by a decoder that attends to the frames (Zhang et al. 2020, "U2").

An answer's score is the log probability of its tokens and its end by the decoder that reads from left to right and, in a share
of `reverse_weight`, by the one that reads from right to left; plus that of CTC by its weight; plus the language model's and the
bonus of the tokens as in the first search.

Shapes: B utterances, K answers of each, T frames, L tokens of the longest answer, D width, V vocabulary.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from mooer.decode.fusion import Found, FusionConfig
from mooer.models.attention_loss import reverse_rows
from mooer.models.transformer_decoder import BidirectionalDecoder, TransformerDecoder


class AttentionRescoring:
    """Scores the answers of batches of utterances, none of which sees another.

    Args:
        decoder: in eval mode.
        boundary_id: the token that stands before a sentence and ends it.
    """

    def __init__(self, decoder: TransformerDecoder | BidirectionalDecoder, config: FusionConfig, boundary_id: int) -> None:
        self._decoder, self._config, self._boundary_id = decoder, config, boundary_id

    def run(self, encoded: Tensor, lengths: Tensor, found: Sequence[Sequence[Found]]) -> list[list[Found]]:
        """The same answers with their new scores, best first; of equal ones the better of the first search first.

        Args:
            encoded: [B, T, D].
            lengths: [B]; an utterance without frames keeps its answers as they are.
            found: of each utterance the answers of CTC.
        """
        heard = [row for row, length in enumerate(lengths.tolist()) if length and found[row]]
        results = [list(answers) for answers in found]
        if not heard:
            return results
        scores = self._scores(encoded[heard], lengths[heard], [[item.tokens for item in found[row]] for row in heard])
        for row, values in zip(heard, scores.tolist(), strict=True):
            rescored = [self._combined(*pair) for pair in zip(found[row], values, strict=False)]
            results[row] = sorted(rescored, key=lambda answer: -answer.score)
        return results

    def _combined(self, answer: Found, attention: float) -> Found:
        config = self._config
        others = config.lm_weight * answer.lm_score + config.length_bonus * len(answer.tokens)
        score = attention + config.ctc_weight * answer.ctc_score + others
        return replace(answer, score=score, attention_score=attention)

    def _scores(self, encoded: Tensor, lengths: Tensor, answers: list[list[tuple[int, ...]]]) -> Tensor:
        """Log probabilities of the answers by the decoders [B, K] float64; beyond an utterance's answers, anything."""
        num_answers = max(map(len, answers))
        filled = [row + [()] * (num_answers - len(row)) for row in answers]
        rows = [torch.tensor(tokens, dtype=torch.long) for row in filled for tokens in row]
        counts = torch.tensor([len(row) for row in rows], device=encoded.device)
        tokens = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True).to(encoded.device)  # [B * K, L]
        scores = self._one_way(self._decoder.left_decoder, encoded, lengths, tokens, counts)
        if self._config.reverse_weight:
            turned = reverse_rows(tokens, counts)
            reverse = self._one_way(self._decoder.right_decoder, encoded, lengths, turned, counts)
            scores = (1 - self._config.reverse_weight) * scores + self._config.reverse_weight * reverse
        return scores.view(len(answers), num_answers)

    def _one_way(self, decoder: TransformerDecoder, encoded: Tensor, lengths: Tensor, tokens: Tensor, counts: Tensor) -> Tensor:
        """Log probabilities of `counts` [B * K] tokens [B * K, L] and of the end after them [B * K] float64."""
        ends = tokens.new_full((len(tokens), 1), self._boundary_id)
        inputs, outputs = torch.cat([ends, tokens], dim=1), torch.cat([tokens, ends], dim=1)
        outputs = outputs.scatter(1, counts[:, None], self._boundary_id)
        logits = decoder(inputs, decoder.remember(encoded, lengths)).float()  # [B * K, L + 1, V]
        chosen = logits.gather(2, outputs[:, :, None])[:, :, 0] - logits.logsumexp(dim=2)
        places = torch.arange(outputs.shape[1], device=outputs.device)
        return chosen.double().masked_fill(places > counts[:, None], 0.0).sum(dim=1)
