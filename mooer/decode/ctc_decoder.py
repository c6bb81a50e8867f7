"""Frames to text by an encoder with a CTC layer.

T frames of an utterance, V vocabulary.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mooer.decode.batching import batch_frames, group_by_length
from mooer.decode.ctc_search import greedy_path
from mooer.decode.hypothesis import Answer, Refusal
from mooer.decode.timed_words import token_log_probs, words_of_tokens
from mooer.features.frontend import FrontendConfig
from mooer.models.ctc_model import CtcModel
from mooer.text.tokenizer import decode_text

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class CtcDecoder:
    """Decodes with a CtcModel that is in eval mode and on its device, taking the best token of each frame."""

    def __init__(self, model: CtcModel, tokenizer: "PreTrainedTokenizerBase", frontend: FrontendConfig) -> None:
        self._model, self._tokenizer, self._frontend = model, tokenizer, frontend
        self._frame_seconds = frontend.encoder_frame_seconds
        self._device = model.ctc_head.weight.device

    @torch.inference_mode()
    def decode(self, frames: Sequence[Tensor]) -> list[Answer | Refusal]:
        """The answer to each utterance's frames [T_i, features], computed together, the same as alone."""
        results: list[Answer | Refusal | None] = [None] * len(frames)
        computed = [self._frontend.computed_frames(len(item)) for item in frames]
        for group in group_by_length(computed, batch_frames(self._device)):
            padded = torch.nn.utils.rnn.pad_sequence([frames[index] for index in group], batch_first=True)
            lengths = torch.tensor([len(frames[index]) for index in group])
            log_probs, out_lengths = self._model.log_probs(padded.to(self._device), lengths.to(self._device))
            for index, row, length in zip(group, log_probs.cpu(), out_lengths.tolist(), strict=True):
                results[index] = self._read(row[:length])
        return results

    def _read(self, log_probs: Tensor) -> Answer | Refusal:
        """The answer that log probabilities [T, V] give."""
        path = greedy_path(log_probs, self._model.blank_id)
        if path.score != path.score:
            return Refusal("not_finite", "the model's output is not finite for this recording")
        spans = ((start * self._frame_seconds, end * self._frame_seconds) for start, end in path.spans)
        seconds = tuple((round(start, 3), round(end, 3)) for start, end in spans)
        words = words_of_tokens(self._tokenizer, path.tokens, seconds, token_log_probs(log_probs, path))
        text = decode_text(self._tokenizer, path.tokens).lstrip(" ")
        # All frames count, so that blanks in which a token was perhaps overheard count too.
        mean_log_prob = path.score / max(1, len(path.tokens))
        return Answer(
            text=text,
            tokens=path.tokens,
            score=path.score,
            mean_log_prob=mean_log_prob,
            token_seconds=seconds,
            words=words,
        )
