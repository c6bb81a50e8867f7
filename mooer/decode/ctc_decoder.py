"""Frames to text by an encoder with a CTC layer.

B utterances, T frames of an utterance, V vocabulary.
"""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mooer.decode.batching import batch_frames, group_by_length
from mooer.decode.ctc_answers import CtcAnswers
from mooer.decode.ctc_prefix_beam import CtcPrefixBeam
from mooer.decode.fusion import Fusion
from mooer.decode.hypothesis import Answer, Refusal
from mooer.decode.int8_linear import is_int8
from mooer.decode.prefixes import PrefixTree
from mooer.features.frontend import FrontendConfig
from mooer.models.ctc_model import CtcModel
from mooer.text.tokenizer import decode_text

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


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
        self._answers = CtcAnswers(partial(decode_text, tokenizer), model.blank_id, frontend.encoder_frame_seconds)
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
            for index, answer in zip(group, self._read(log_probs, out_lengths), strict=True):
                results[index] = answer
        return results

    def _read(self, log_probs: Tensor, lengths: Tensor) -> list[Answer | Refusal]:
        """The answer to each row of log probabilities [B, T, V] of `lengths` [B] frames."""
        rows = [row[:length] for row, length in zip(log_probs.cpu(), lengths.tolist(), strict=True)]
        if self._fusion is None:
            return [self._answers.greedy(row) for row in rows]
        tree = PrefixTree()
        search = CtcPrefixBeam(
            self._fusion.config, self._model.blank_id, self._tokenizer.eos_token_id, tree, self._fusion.scorer(tree)
        )
        found = search.run(log_probs, lengths)
        return [self._answers.best(row, answers, self._fusion) for row, answers in zip(rows, found, strict=True)]
