"""Frames to text by Paraformer: the best token at each place, all places at once.

T frames of an utterance, L tokens, U frames of the weights that tell the times.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from mooer.common.errors import WeightsError
from mooer.decode.batching import batch_frames, group_by_length
from mooer.decode.firing import milliseconds, token_spans
from mooer.decode.hypothesis import Answer, Refusal, Word
from mooer.features.frontend import FrontendConfig
from mooer.models.paraformer import Paraformer, ParaformerOutput
from mooer.text.pieces import FIRST_TOKENS, PieceWord, join_pieces, join_words


class ParaformerDecoder:
    """Decodes with a Paraformer that is in eval mode and on its device.

    Args:
        tokens: the vocabulary, in the order of the ids.
        estimate_times: whether a model without `token_times` tells the times of words by the weights of its predictor.

    Raises:
        WeightsError: the model has another number of tokens.
    """

    def __init__(
        self, model: Paraformer, tokens: Sequence[str], frontend: FrontendConfig, estimate_times: bool = False
    ) -> None:
        size = model.decoder.output_layer.out_features
        if size != len(tokens):
            raise WeightsError(f"the model puts out {size} tokens, but the token list has {len(tokens)}")
        self._model, self._tokens = model, tokens
        self._upsampling = model.token_times.upsampling if model.token_times is not None else int(estimate_times)
        self._frame_seconds = frontend.encoder_frame_seconds
        self._device = model.predictor.cif_output.weight.device

    @torch.inference_mode()
    def decode(self, frames: Sequence[Tensor]) -> list[Answer | Refusal]:
        """The answer to each utterance's frames [T_i, features], computed together, the same as alone."""
        results: list[Answer | Refusal | None] = [None] * len(frames)
        for group in group_by_length([len(item) for item in frames], batch_frames(self._device)):
            padded = torch.nn.utils.rnn.pad_sequence([frames[index] for index in group], batch_first=True)
            lengths = torch.tensor([len(frames[index]) for index in group])
            output = self._model(padded.to(self._device), lengths.to(self._device))
            for index, answer in zip(group, self._read(output, lengths.tolist()), strict=True):
                results[index] = answer
        return results

    def _read(self, output: ParaformerOutput, lengths: list[int]) -> list[Answer | Refusal]:
        """The answer to each row of a batch of `lengths` frames."""
        ids, scores = _best_tokens(output.logits)
        weights = (output.weights if output.time_weights is None else output.time_weights).cpu()
        return [
            self._answer(ids[row][:count], scores[row][:count], weights[row, : length * self._upsampling])
            for row, (count, length) in enumerate(zip(output.counts.tolist(), lengths, strict=True))
        ]

    def _answer(self, ids: list[int], scores: list[float], weights: Tensor) -> Answer | Refusal:
        """The answer of the best ids, their log probabilities, and the weights [U] that tell their times."""
        score = sum(scores)
        if not math.isfinite(score):
            return Refusal("not_finite", "the model's output is not finite for this recording")
        mean = score / len(scores) if scores else None
        real = [(token, value) for token, value in zip(ids, scores, strict=True) if token >= len(FIRST_TOKENS)]
        tokens = tuple(token for token, _ in real)
        words = join_pieces([self._tokens[token] for token in tokens])
        if not self._upsampling:
            return Answer(text=join_words(words), tokens=tokens, score=score, mean_log_prob=mean)
        timed = self._timed(words, [value for _, value in real], weights)
        text = " ".join(word.text for word in words)
        return Answer(text=text, tokens=tokens, score=score, mean_log_prob=mean, words=timed)

    def _timed(self, words: list[PieceWord], scores: list[float], weights: Tensor) -> tuple[Word, ...]:
        """The words with the times of their tokens, of which each has its score."""
        spans = token_spans(weights.numpy(), len(scores), self._frame_seconds / self._upsampling)
        timed = []
        for word in words:
            start, end = milliseconds((spans[word.first][0], spans[word.last][1]))
            own = scores[word.first : word.last + 1]
            timed.append(Word(word.text, start, end, round(math.exp(sum(own) / len(own)), 6)))
        return tuple(timed)


def _best_tokens(logits: Tensor) -> tuple[list[list[int]], list[list[float]]]:
    """The best token at each place of logits [B, L, V], and its log probability."""
    if not logits.shape[1]:
        return [[] for _ in logits], [[] for _ in logits]
    logits = logits.float()
    best, ids = logits.max(dim=-1)
    return ids.tolist(), (best - logits.logsumexp(dim=-1)).tolist()
