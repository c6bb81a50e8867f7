"""A Conformer that hears recordings chunk by chunk, as they would come from a microphone, and tells after each what it knows.

U encoder frames, D width.
"""

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor

from mooer.decode.conformer_decoder import ConformerDecoder
from mooer.decode.ctc_stream import CtcGreedyStream, CtcPrefixStream
from mooer.decode.fusion import Fusion
from mooer.decode.hypothesis import Answer, Partial, Refusal
from mooer.models.conformer_aed import ConformerAed
from mooer.models.conformer_stream import Chunks, ConformerStream
from mooer.text.vocabulary import Vocabulary


class ConformerStreamDecoder:
    """Decodes one recording after another. Partial answers are CTC's; the last one is that of the search which was asked for.

    Args:
        whole: what reads the encodings in the end.
        chunks: how much is heard at once, and how far back is seen.

    Raises:
        ConfigError: the model's convolutions see what is to come.
    """

    def __init__(
        self,
        whole: ConformerDecoder,
        model: ConformerAed,
        vocabulary: Vocabulary,
        frame_seconds: float,
        fusion: Fusion | None,
        chunks: Chunks,
    ) -> None:
        ConformerStream(model.encoder, chunks)
        self._whole, self._model, self._vocabulary = whole, model, vocabulary
        self._frame_seconds, self._fusion, self._chunks = frame_seconds, fusion, chunks

    @torch.inference_mode()
    def decode(self, frames: Sequence[Tensor]) -> list[Answer | Refusal]:
        """The answer to each recording's frames [T_i, features], with what was known on the way."""
        return [self._hear(item) for item in frames]

    def _hear(self, frames: Tensor) -> Answer | Refusal:
        encoder, ctc = self._model.encoder, self._ctc()
        stream, hidden, partials, heard = ConformerStream(encoder, self._chunks), [], [], 0
        parameter = encoder.out_linear.weight
        for piece in frames.to(parameter.device, parameter.dtype).split(encoder.subsampling.shift * self._chunks.size):
            heard += len(piece)
            hidden.append(stream.feed(piece[None]))
            if hidden[-1].shape[1]:
                ctc.accept(encoder.ctc_log_probs(hidden[-1])[0])
                partials.append(Partial(round(heard * self._frame_seconds, 3), self._text(ctc)))
        if hidden:
            hidden.append(stream.finish())
            ctc.accept(encoder.ctc_log_probs(hidden[-1])[0])
        whole = torch.cat([parameter.new_zeros(1, 0, encoder.output_size), *hidden], dim=1)
        found = [ctc.answers()] if isinstance(ctc, CtcPrefixStream) else None
        (answer,) = self._whole.read(whole, torch.tensor([whole.shape[1]], device=parameter.device), found)
        return answer if isinstance(answer, Refusal) else dataclasses.replace(answer, partials=tuple(partials))

    def _ctc(self) -> CtcGreedyStream | CtcPrefixStream:
        """What CTC has heard so far: nothing."""
        model, fusion = self._model, self._fusion
        if fusion is None or fusion.mode == "attention":
            return CtcGreedyStream(model.blank_id)
        size, symbols = len(self._vocabulary.tokens), fusion.config.beam_size
        return CtcPrefixStream(fusion, model.blank_id, model.boundary_id, size, symbols)

    def _text(self, ctc: CtcGreedyStream | CtcPrefixStream) -> str:
        """The best answer if the recording ended here."""
        if isinstance(ctc, CtcGreedyStream):
            return self._vocabulary.decode(ctc.path().tokens).lstrip(" ")
        found = ctc.answers()
        return self._vocabulary.decode(found[0].tokens).lstrip(" ") if found else ""
