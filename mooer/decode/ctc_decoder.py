"""Frames to text by an encoder with a CTC layer.

T frames of an utterance, V vocabulary.
"""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mooer.decode.batching import batch_frames, group_by_length
from mooer.decode.ctc_alignment import align_tokens
from mooer.decode.ctc_prefix_beam import CtcPrefixBeam
from mooer.decode.ctc_search import CtcPath, greedy_path
from mooer.decode.fusion import Found, Fusion
from mooer.decode.hypothesis import Alternative, Answer, Refusal
from mooer.decode.int8_linear import is_int8
from mooer.decode.prefixes import PrefixTree
from mooer.decode.timed_words import token_log_probs, words_of_tokens
from mooer.features.frontend import FrontendConfig
from mooer.models.ctc_model import CtcModel
from mooer.text.tokenizer import decode_text

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_NOT_FINITE = Refusal("not_finite", "the model's output is not finite for this recording")


class CtcDecoder:
    """Decodes with a CtcModel that is in eval mode and on its device.

    Args:
        fusion: asks for a prefix beam search; None takes the best token of each frame.
    """

    def __init__(
        self,
        model: CtcModel,
        tokenizer: "PreTrainedTokenizerBase",
        frontend: FrontendConfig,
        fusion: Fusion | None = None,
    ) -> None:
        self._model, self._tokenizer, self._frontend, self._fusion = model, tokenizer, frontend, fusion
        self._frame_seconds = frontend.encoder_frame_seconds
        self._device = model.ctc_head.weight.device
        self._max_frames = 1 if is_int8(model) else batch_frames(self._device)

    @torch.inference_mode()
    def decode(self, frames: Sequence[Tensor]) -> list[Answer | Refusal]:
        """The answer to each utterance's frames [T_i, features], computed together, the same as alone."""
        results: list[Answer | Refusal | None] = [None] * len(frames)
        computed = [self._frontend.computed_frames(len(item)) for item in frames]
        for group in group_by_length(computed, self._max_frames):
            padded = torch.nn.utils.rnn.pad_sequence([frames[index] for index in group], batch_first=True)
            lengths = torch.tensor([len(frames[index]) for index in group])
            log_probs, out_lengths = self._model.log_probs(padded.to(self._device), lengths.to(self._device))
            for index, answer in zip(group, self._answers(log_probs, out_lengths), strict=True):
                results[index] = answer
        return results

    def _answers(self, log_probs: Tensor, lengths: Tensor) -> list[Answer | Refusal]:
        """The answer to each row of log probabilities [B, T, V] of `lengths` [B] frames."""
        rows = [row[:length] for row, length in zip(log_probs.cpu(), lengths.tolist(), strict=True)]
        if self._fusion is None:
            return [self._greedy(row) for row in rows]
        tree = PrefixTree()
        search = CtcPrefixBeam(
            self._fusion.config, self._model.blank_id, self._tokenizer.eos_token_id, tree, self._fusion.scorer(tree)
        )
        found = search.run(log_probs, lengths.to(log_probs.device))
        return [self._best(row, answers) for row, answers in zip(rows, found, strict=True)]

    def _greedy(self, log_probs: Tensor) -> Answer | Refusal:
        """The answer that log probabilities [T, V] give by the best token of each frame."""
        path = greedy_path(log_probs, self._model.blank_id)
        return _NOT_FINITE if path.score != path.score else self._read(log_probs, path)

    def _best(self, log_probs: Tensor, found: Sequence[Found]) -> Answer | Refusal:
        """The best of the answers that were found for log probabilities [T, V], with the times of its best path."""
        if not found or not log_probs.isfinite().all():
            return _NOT_FINITE
        best = found[0]
        answer = self._read(log_probs, align_tokens(log_probs, best.tokens, self._model.blank_id))
        return dataclasses.replace(
            answer,
            score=best.score,
            mean_log_prob=best.ctc_score / max(1, len(best.tokens)),
            alternatives=self._fusion.alternatives(found, self._alternative),
        )

    def _alternative(self, tokens: tuple[int, ...], score: float) -> Alternative:
        return Alternative(self._text(tokens), tokens, score)

    def _read(self, log_probs: Tensor, path: CtcPath) -> Answer:
        """The answer of a path through log probabilities [T, V]."""
        spans = ((start * self._frame_seconds, end * self._frame_seconds) for start, end in path.spans)
        seconds = tuple((round(start, 3), round(end, 3)) for start, end in spans)
        return Answer(
            text=self._text(path.tokens),
            tokens=path.tokens,
            score=path.score,
            # All frames count, so that blanks in which a token was perhaps overheard count too.
            mean_log_prob=path.score / max(1, len(path.tokens)),
            token_seconds=seconds,
            words=words_of_tokens(self._tokenizer, path.tokens, seconds, token_log_probs(log_probs, path)),
        )

    def _text(self, tokens: Sequence[int]) -> str:
        return decode_text(self._tokenizer, tokens).lstrip(" ")
