"""Frames to text by Paraformer: the best token at each place, all places at once, or a search with other scores beside.

T frames of an utterance, L tokens, U frames of the weights that tell the times.
"""

import dataclasses
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from mooer.common.errors import ConfigError, WeightsError
from mooer.decode.batching import batch_frames, group_by_length
from mooer.decode.ctc_prefix_score import CtcPrefixScorer
from mooer.decode.firing import milliseconds, token_spans
from mooer.decode.fusion import Fusion
from mooer.decode.hypothesis import Alternative, Answer, Refusal, Word
from mooer.decode.int8_linear import is_int8
from mooer.decode.paraformer_search import ParaformerSearch
from mooer.decode.prefixes import PrefixTree
from mooer.features.frontend import FrontendConfig
from mooer.models.paraformer import Paraformer, ParaformerOutput
from mooer.text.pieces import FIRST_TOKENS, PieceWord, join_pieces, join_words

BLANK, _START, END = range(len(FIRST_TOKENS))


class ParaformerDecoder:
    """Decodes with a Paraformer that is in eval mode and on its device.

    Args:
        tokens: the vocabulary, in the order of the ids.
        estimate_times: whether a model without `token_times` tells the times of words by the weights of its predictor.
        fusion: asks for a beam search; None takes the best token of each place.

    Raises:
        WeightsError: the model has another number of tokens.
        ConfigError: a weight for CTC, but no CTC layer.
    """

    def __init__(
        self,
        model: Paraformer,
        tokens: Sequence[str],
        frontend: FrontendConfig,
        estimate_times: bool = False,
        fusion: Fusion | None = None,
    ) -> None:
        size = model.decoder.output_layer.out_features
        if size != len(tokens):
            raise WeightsError(f"the model puts out {size} tokens, but the token list has {len(tokens)}")
        if fusion is not None and fusion.config.ctc_weight and model.ctc is None:
            raise ConfigError(
                "--ctc_weight needs a Paraformer with a CTC layer; this one has none (no ctc.ctc_lo in its weights)"
            )
        self._model, self._tokens, self._fusion = model, tokens, fusion
        self._upsampling = model.token_times.upsampling if model.token_times is not None else int(estimate_times)
        self._frame_seconds = frontend.encoder_frame_seconds
        self._device = model.predictor.cif_output.weight.device
        self._is_int8 = is_int8(model)

    @torch.inference_mode()
    def decode(self, frames: Sequence[Tensor]) -> list[Answer | Refusal]:
        """The answer to each utterance's frames [T_i, features], computed together, the same as alone."""
        results: list[Answer | Refusal | None] = [None] * len(frames)
        for group in group_by_length([len(item) for item in frames], batch_frames(self._device)):
            parts = [[index] for index in group] if self._is_int8 else [group]
            outputs = [self._output([frames[index] for index in part]) for part in parts]
            weights = self._weights(outputs)
            for part, output in zip(parts, outputs, strict=True):
                own, weights = weights[: len(part)], weights[len(part) :]
                for index, answer in zip(part, self._read(output, own), strict=True):
                    results[index] = answer
        return results

    def _output(self, frames: Sequence[Tensor]) -> ParaformerOutput:
        """What the model makes of utterances [T_i, features] together, without the weights that tell times."""
        padded = torch.nn.utils.rnn.pad_sequence(frames, batch_first=True)
        lengths = torch.tensor([len(item) for item in frames])
        return self._model(padded.to(self._device), lengths.to(self._device), has_times=False)

    def _weights(self, outputs: Sequence[ParaformerOutput]) -> list[Tensor]:
        """The weights [U] that tell the times of each row of some batches, computed together.

        An LSTM takes half as long for an utterance among four or more as for one alone.
        """
        lengths = torch.cat([output.lengths for output in outputs])
        if self._model.token_times is None:
            weights = [row for output in outputs for row in output.weights.cpu()]
        else:
            rows = [row for output in outputs for row in output.encoded]
            encoded = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
            weights = self._model.token_times(encoded, lengths, torch.cat([output.counts for output in outputs])).cpu()
        return [row[: length * self._upsampling] for row, length in zip(weights, lengths.tolist(), strict=True)]

    def _read(self, output: ParaformerOutput, weights: list[Tensor]) -> list[Answer | Refusal]:
        """The answer to each row of a batch, whose times the weights [U] tell."""
        if self._fusion is not None:
            return self._search(output, weights)
        ids, scores = _best_tokens(output.logits)
        return [
            self._answer(ids[row][:count], scores[row][:count], weights[row])
            for row, count in enumerate(output.counts.tolist())
        ]

    def _search(self, output: ParaformerOutput, weights: list[Tensor]) -> list[Answer | Refusal]:
        """The answers of a beam search."""
        tree, config = PrefixTree(), self._fusion.config
        log_probs, ctc = output.logits.float().log_softmax(dim=-1), None
        if config.ctc_weight:
            ctc = CtcPrefixScorer(self._model.ctc(output.encoded), output.lengths, BLANK, END)
        found = ParaformerSearch(END, config, tree, self._fusion.scorer(tree), ctc).run(log_probs, output.counts)
        answers = []
        for row, best in enumerate(found):
            if not best or not math.isfinite(best[0].score):
                answers.append(_NOT_FINITE)
                continue
            ids = list(best[0].tokens)
            scores = log_probs[row].gather(1, torch.tensor(ids, device=log_probs.device)[:, None]) if ids else []
            answer = self._answer(ids, [float(score) for score in scores], weights[row])
            # Answers that differ only in where no word is are one.
            different = {_words_of(item.tokens): item for item in reversed(best)}
            ranked = sorted(different.values(), key=lambda item: -item.score)
            alternatives = self._fusion.alternatives(ranked, self._alternative)
            answers.append(dataclasses.replace(answer, score=best[0].score, alternatives=alternatives))
        return answers

    def _alternative(self, ids: tuple[int, ...], score: float) -> Alternative:
        tokens = _words_of(ids)
        return Alternative(self._joined(join_pieces([self._tokens[token] for token in tokens])), tokens, score)

    def _joined(self, words: list[PieceWord]) -> str:
        """The text of words; those with times stand between spaces."""
        return " ".join(word.text for word in words) if self._upsampling else join_words(words)

    def _answer(self, ids: list[int], scores: list[float], weights: Tensor) -> Answer | Refusal:
        """The answer of the best ids, their log probabilities, and the weights [U] that tell their times."""
        score = sum(scores)
        if not math.isfinite(score):
            return _NOT_FINITE
        mean = score / len(scores) if scores else None
        real = [(token, value) for token, value in zip(ids, scores, strict=True) if token >= len(FIRST_TOKENS)]
        tokens = tuple(token for token, _ in real)
        words = join_pieces([self._tokens[token] for token in tokens])
        timed = self._timed(words, [value for _, value in real], weights) if self._upsampling else None
        return Answer(text=self._joined(words), tokens=tokens, score=score, mean_log_prob=mean, words=timed)

    def _timed(self, words: list[PieceWord], scores: list[float], weights: Tensor) -> tuple[Word, ...]:
        """The words with the times of their tokens, of which each has its score."""
        spans = token_spans(weights.numpy(), len(scores), self._frame_seconds / self._upsampling)
        timed = []
        for word in words:
            start, end = milliseconds((spans[word.first][0], spans[word.last][1]))
            own = scores[word.first : word.last + 1]
            timed.append(Word(word.text, start, end, round(math.exp(sum(own) / len(own)), 4)))
        return tuple(timed)


_NOT_FINITE = Refusal("not_finite", "the model's output is not finite for this recording")


def _words_of(ids: Sequence[int]) -> tuple[int, ...]:
    """The ids that are no special tokens."""
    return tuple(token for token in ids if token >= len(FIRST_TOKENS))


def _best_tokens(logits: Tensor) -> tuple[list[list[int]], list[list[float]]]:
    """The best token at each place of logits [B, L, V], and its log probability."""
    if not logits.shape[1]:
        return [[] for _ in logits], [[] for _ in logits]
    logits = logits.float()
    best, ids = logits.max(dim=-1)
    return ids.tolist(), (best - logits.logsumexp(dim=-1)).tolist()
