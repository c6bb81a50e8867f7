"""Frames to text by a Conformer with CTC and, perhaps, an attention decoder: four ways to search.

ctc_greedy           the best token of each frame
ctc_prefix_beam      beam search over CTC alone, pruned as the reference does
attention            beam search over the decoder alone
attention_rescoring  the answers of ctc_prefix_beam, looked at again by the decoder

B utterances, U encoder frames, D width, V vocabulary.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from mooer.common.errors import ConfigError, WeightsError
from mooer.decode.attention_beam import AttentionBeam
from mooer.decode.attention_rescoring import AttentionRescoring
from mooer.decode.batching import batch_frames, group_by_length
from mooer.decode.ctc_answers import CtcAnswers
from mooer.decode.ctc_prefix_beam import CtcPrefixBeam
from mooer.decode.fusion import Found, Fusion
from mooer.decode.hypothesis import Answer, Refusal
from mooer.decode.prefixes import PrefixTree
from mooer.features.frontend import FrontendConfig
from mooer.models.conformer_aed import ConformerAed
from mooer.text.vocabulary import Vocabulary


class ConformerDecoder:
    """Decodes with a ConformerAed that is in eval mode and on its device.

    Args:
        fusion: the search, with its mode; None is ctc_greedy.

    Raises:
        WeightsError: the vocabulary has another number of tokens than the model.
        ConfigError: a search that needs a decoder, or a weight of one, which the model does not have.
    """

    def __init__(
        self, model: ConformerAed, vocabulary: Vocabulary, frontend: FrontendConfig, fusion: Fusion | None = None
    ) -> None:
        size = model.encoder.out_linear.out_features
        if size != len(vocabulary.tokens):
            raise WeightsError(f"the model puts out {size} tokens, but its vocabulary has {len(vocabulary.tokens)}")
        if fusion is not None and fusion.mode != "ctc_prefix_beam" and model.decoder is None:
            raise ConfigError(f"--mode {fusion.mode} needs an attention decoder; this model has CTC alone")
        if fusion is not None and fusion.config.reverse_weight and model.decoder.right_decoder is None:
            raise ConfigError("--reverse_weight needs a decoder that reads from right to left; this model has none")
        self._model, self._fusion = model, fusion
        self._answers = CtcAnswers(vocabulary.decode, model.blank_id, frontend.encoder_frame_seconds)
        self._device, self._dtype = model.encoder.out_linear.weight.device, model.encoder.out_linear.weight.dtype

    @torch.inference_mode()
    def decode(self, frames: Sequence[Tensor]) -> list[Answer | Refusal]:
        """The answer to each utterance's frames [T_i, features], computed together, the same as alone."""
        results: list[Answer | Refusal | None] = [None] * len(frames)
        computed = [self._model.encoder.subsampling.frames(len(item)) for item in frames]
        for group in group_by_length(computed, batch_frames(self._device)):
            padded = torch.nn.utils.rnn.pad_sequence([frames[index] for index in group], batch_first=True)
            lengths = torch.tensor([len(frames[index]) for index in group])
            hidden, lengths = self._model.encoder(padded.to(self._device, self._dtype), lengths.to(self._device))
            for index, answer in zip(group, self.read(hidden, lengths), strict=True):
                results[index] = answer
        return results

    def read(self, hidden: Tensor, lengths: Tensor, heard: list[list[Found]] | None = None) -> list[Answer | Refusal]:
        """The answer to each row of encodings [B, U, D] of `lengths` [B] frames.

        Args:
            heard: what CTC's prefix beam search finds in them, where that is known already.
        """
        log_probs = self._model.encoder.ctc_log_probs(hidden)
        rows = [row[:length] for row, length in zip(log_probs.cpu(), lengths.tolist(), strict=True)]
        if self._fusion is None:
            return [self._answers.greedy(row) for row in rows]
        found = self._search(hidden, log_probs, lengths, heard)
        return [self._answers.best(row, answers, self._fusion) for row, answers in zip(rows, found, strict=True)]

    def _search(self, hidden: Tensor, log_probs: Tensor, lengths: Tensor, heard: list[list[Found]] | None) -> list[list[Found]]:
        """What the search of the mode finds for each utterance, best first."""
        fusion, model, tree = self._fusion, self._model, PrefixTree()
        config, lm = fusion.config, fusion.scorer(tree)
        if fusion.mode == "attention":
            asked = max(1, fusion.num_alternatives)
            search = AttentionBeam(model.decoder.left_decoder, config, model.boundary_id, tree, lm, num_answers=asked)
            return search.run(hidden, lengths)
        if heard is None:
            search = CtcPrefixBeam(config, model.blank_id, model.boundary_id, tree, lm, symbols=config.beam_size)
            heard = search.run(log_probs, lengths)
        if fusion.mode == "ctc_prefix_beam":
            return heard
        return AttentionRescoring(model.decoder, config, model.boundary_id).run(hidden, lengths, heard)
