"""Speech in, text out: encoder, adapter and a causal language model that reads audio embeddings before its prompt.

Shapes: B batch, T frames, A audio embeddings, L tokens (audio columns included), D width of the LLM, N target tokens.
"""

import torch
from torch import Tensor, nn

from mooer.models.encoder_cache import EncoderCache
from mooer.models.frozen import gradients_unless_frozen, keep_frozen_in_eval
from mooer.models.llm import target_logits
from mooer.models.losses import LossOutput, token_loss

AUDIO_COLUMN = -1
IGNORED_LABEL = -100


class SpeechLlm(nn.Module):
    """Encoder, adapter and LLM, each a module of its own.

    A part none of whose parameters is trained stays in eval mode, and a frozen encoder runs without gradients. Its outputs come
    from `encoder_cache` if there is one.
    """

    def __init__(self, encoder: nn.Module, adapter: nn.Module, llm: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.adapter = adapter
        self.llm = llm
        self.encoder_cache: EncoderCache | None = None

    def train(self, mode: bool = True) -> "SpeechLlm":
        """Switch to training (or, with False, to eval) mode, except for the parts that are frozen."""
        super().train(mode)
        keep_frozen_in_eval(self)
        return self

    def forward(
        self,
        frames: Tensor,
        frame_lengths: Tensor,
        input_ids: Tensor,
        labels: Tensor,
        attention_mask: Tensor | None,
        position_ids: Tensor | None = None,
    ) -> LossOutput:
        """The loss of the labelled tokens, each predicted from the columns before it.

        Args:
            frames: [B, T, features], padded on the right.
            frame_lengths: [B].
            input_ids: [B, L], -1 on audio columns.
            labels: [B, L], -100 where there is nothing to learn.
            attention_mask: [B, L] bool, False on the padding of either side; None where packed.
            position_ids: [1, L] where packed: the utterances stand one after another in one row, each from position 0, and
                input_ids and labels are [1, L]. None where each utterance has a row.
        """
        hidden_inputs = self.embed(frames, frame_lengths, input_ids)
        predicts = labels[:, 1:] != IGNORED_LABEL  # column c predicts column c + 1
        logits = target_logits(self.llm, hidden_inputs, predicts, attention_mask, position_ids)  # [N, V]
        return token_loss(logits, labels[:, 1:][predicts])

    def embed(self, frames: Tensor, frame_lengths: Tensor, input_ids: Tensor) -> Tensor:
        """The LLM's input embeddings [B, L, D]: text looked up, audio columns (-1) filled from the adapter in order.

        Where input_ids has one row for several utterances, the audio of the first comes first, and so on.
        """
        audio, audio_lengths = self.encode(frames, frame_lengths)
        if len(input_ids) == 1 < len(audio):
            real = torch.arange(audio.shape[1], device=audio.device) < audio_lengths[:, None]  # [B, A]
            audio, audio_lengths = audio[real][None], audio_lengths.sum()[None]  # [1, A of all, D]
        is_audio = input_ids == AUDIO_COLUMN
        text = self.llm.get_input_embeddings()(input_ids.masked_fill(is_audio, 0))
        wanted = is_audio.sum(dim=1)
        if (wanted > audio_lengths).any():
            raise ValueError(f"rows want {wanted.tolist()} audio embeddings, but only {audio_lengths.tolist()} exist")
        if audio.shape[1] == 0:
            return text
        index = (is_audio.cumsum(dim=1) - 1).clamp(0, audio.shape[1] - 1)  # which audio embedding a column takes
        placed = audio.to(text.dtype).gather(1, index[:, :, None].expand(-1, -1, audio.shape[2]))
        return torch.where(is_audio[:, :, None], placed, text)

    def encode(self, frames: Tensor, frame_lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Audio embeddings [B, A, D] of the frames [B, T, features], and how many of them are real [B]."""
        with gradients_unless_frozen(self.encoder):
            if self.encoder_cache is None:
                encoded, encoded_lengths = self.encoder(frames, frame_lengths)
            else:
                encoded, encoded_lengths = self.encoder_cache.run(self.encoder, frames, frame_lengths)
        return self.adapter(encoded, encoded_lengths)
