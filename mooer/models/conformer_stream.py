"""A Conformer encoder over frames that come bit by bit, as from a microphone.

Shapes: B streams side by side, T frames of the front end, U encoder frames, F features, D width.
"""

import torch
from torch import Tensor

from mooer.common.errors import ConfigError
from mooer.models.conformer_block import Past
from mooer.models.conformer_encoder import ConformerEncoder
from mooer.nn.masks import Chunks


class ConformerStream:
    """Encodes a stream chunk by chunk, and puts out what `ConformerEncoder.encode` makes of the whole with the same chunks.

    Args:
        encoder: in eval mode; its convolutions, and those of its embedding network, must be causal.
        chunks: a chunk is encoded when the last of its frames has come. With left chunks -1 the memory grows with the stream.

    Raises:
        ConfigError: the convolutions see what is to come.
    """

    def __init__(self, encoder: ConformerEncoder, chunks: Chunks) -> None:
        networks = [encoder] if encoder.embed is None else [encoder.embed, encoder]
        if not all(block.conv_module.is_causal for network in networks for block in network.blocks):
            raise ConfigError("the encoder's convolutions see what is to come; a stream needs one trained with causal: true")
        kept = None if chunks.left < 0 else chunks.left * chunks.size
        self._networks = [_NetworkStream(network, kept) for network in networks]
        self._size, self._width = chunks.size, encoder.output_size
        self._input = encoder.subsampling
        self._waiting: Tensor | None = None

    def feed(self, frames: Tensor) -> Tensor:
        """The next frames [B, T, F], any number of them -> [B, U, D] of the chunks that are complete now."""
        waiting = frames if self._waiting is None else torch.cat([self._waiting, frames], dim=1)
        outputs = [waiting.new_empty(len(waiting), 0, self._width)]
        while self._input.frames(waiting.shape[1]) >= self._size:
            outputs.append(self._encode(waiting[:, : self._input.shift * (self._size - 1) + self._input.window]))
            waiting = waiting[:, self._input.shift * self._size :]
        self._waiting = waiting
        return torch.cat(outputs, dim=1)

    def finish(self) -> Tensor:
        """What is left at the end of the stream: [B, U, D]. Nothing can be fed afterwards."""
        assert self._waiting is not None, "finish before feed"
        if not self._input.frames(self._waiting.shape[1]):
            return self._waiting.new_empty(len(self._waiting), 0, self._width)
        return self._encode(self._waiting)

    @torch.no_grad()
    def _encode(self, window: Tensor) -> Tensor:
        """Frames of one chunk with those that its last one sees -> [B, U, D]."""
        output = None
        for network in self._networks:
            output = network.encode(window, output)
        return output


class _NetworkStream:
    """One network of an encoder, with the past of its blocks."""

    def __init__(self, network: ConformerEncoder, kept: int | None) -> None:
        self._network, self._kept = network, kept
        self._pasts: list[Past | None] = [None] * len(network.blocks)
        self._first = 0

    def encode(self, window: Tensor, embedding: Tensor | None) -> Tensor:
        """[B, T, F] -> [B, U, D]."""
        network = self._network
        hidden, positions = network.positions(network.subsampling(window), self._first)
        self._first += hidden.shape[1]
        for number, block in enumerate(network.blocks):
            hidden, past = block.step(hidden, positions, self._pasts[number], embedding)
            self._pasts[number] = past if self._kept is None else past._replace(keys=past.keys.last(self._kept))
        return network.after_norm(hidden)
