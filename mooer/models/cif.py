"""Continuous integrate-and-fire (Dong and Xu 2020): how many tokens an utterance has, and where in time they lie.

Each frame gets a weight; the weights are summed over time, and a token is complete (it "fires") whenever the sum passes a
whole number. A token's embedding is the sum of the frames' encodings, each with the share of its weight that went into it.

Shapes: B batch, T frames, U upsampled frames, L tokens, D width.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mooer.nn.masks import padding_mask

# Weight that published models add after the last frame.
TAIL = 0.45
# Kept from being divided by where all weights of an utterance are zero.
_TINY = 1e-12


class CifPredictor(nn.Module):
    """Weights of the frames, and the tokens' acoustic embeddings.

    Parameter names are the Paraformer's: cif_conv1d, cif_output.

    Args:
        left_frames, right_frames: neighbours of a frame that its weight depends on.
        tail: weight that is added after the last frame, so that a last, nearly complete token fires.
        smoothing, noise: weights are scaled by the one, lessened by the other, and not negative.
    """

    def __init__(
        self, width: int, left_frames: int, right_frames: int, tail: float, smoothing: float = 1.0, noise: float = 0.0
    ) -> None:
        super().__init__()
        self.context = (left_frames, right_frames)
        self.tail, self.smoothing, self.noise = tail, smoothing, noise
        self.cif_conv1d = nn.Conv1d(width, width, left_frames + right_frames + 1)
        self.cif_output = nn.Linear(width, 1)

    def forward(self, encoded: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Find the tokens.

        Args:
            encoded: [B, T, D], zeros in the padding, as `SanmEncoder` returns it.
            lengths: [B].

        Returns:
            Embeddings [B, L, D] with zeros in the padding, the number of tokens [B], which may be 0, and the weights
            [B, T + 1] in float32, the tail at the column `lengths` of each row.
        """
        weights = F.pad(self.frame_weights(encoded, lengths), (0, 1))
        weights[torch.arange(len(weights), device=weights.device), lengths] = self.tail
        embeddings, counts = integrate(F.pad(encoded, (0, 0, 0, 1)), weights)
        return embeddings, counts, weights

    def frame_weights(self, encoded: Tensor, lengths: Tensor) -> Tensor:
        """The weights [B, T] in float32 of encodings [B, T, D], without the tail; zero in the padding."""
        neighbours = F.pad(encoded.transpose(1, 2), self.context)
        hidden = self.cif_conv1d(neighbours).relu_().transpose(1, 2)  # [B, T, D]
        return _positive(self.cif_output(hidden), self.smoothing, self.noise) * padding_mask(lengths, encoded.shape[1])


class TokenTimes(nn.Module):
    """Weights on a finer grid, made to tell when each token begins: the second predictor of the model with timestamps.

    Parameter names are the Paraformer's: upsample_cnn, blstm, cif_output2.

    Args:
        upsampling: upsampled frames to a frame.
        smoothing, noise: as for CifPredictor.
    """

    def __init__(self, width: int, upsampling: int, smoothing: float, noise: float) -> None:
        super().__init__()
        self.upsampling, self.smoothing, self.noise = upsampling, smoothing, noise
        self.upsample_cnn = nn.ConvTranspose1d(width, width, upsampling, upsampling)
        self.blstm = nn.LSTM(width, width, batch_first=True, bidirectional=True)
        self.cif_output2 = nn.Linear(2 * width, 1)

    def forward(self, encoded: Tensor, lengths: Tensor, counts: Tensor) -> Tensor:
        """The weights [B, U] in float32 of encodings [B, T, D], scaled so that a row's sum is its number of tokens [B].

        U is T times the upsampling; weights in the padding are zero.
        """
        return scaled(self.frame_weights(encoded, lengths), counts)

    def frame_weights(self, encoded: Tensor, lengths: Tensor) -> Tensor:
        """The weights [B, U] as the network gives them."""
        fine = self.upsample_cnn(encoded.transpose(1, 2)).transpose(1, 2)  # [B, U, D]
        lengths = lengths * self.upsampling
        hidden = self._both_ways(fine, lengths)  # [B, U, 2 * D]
        weights = _positive(self.cif_output2(hidden), self.smoothing, self.noise)
        return weights * padding_mask(lengths, weights.shape[1])

    def _both_ways(self, fine: Tensor, lengths: Tensor) -> Tensor:
        """The LSTM's output [B, U, 2 * D]; its backward direction starts at each row's own end.

        The directions run one after the other, the backward one over rows turned round: packed sequences, torch's own way to
        start at a row's end, take twice the time on a CPU, and four times in training.
        """
        forward, backward = self.blstm.all_weights
        return torch.cat((_one_way(fine, forward), _turned(_one_way(_turned(fine, lengths), backward), lengths)), dim=2)


def _one_way(frames: Tensor, weights: list[Tensor]) -> Tensor:
    """The output of one direction of an LSTM from the first column on: [B, U, D] -> [B, U, D]."""
    start = frames.new_zeros(1, len(frames), weights[1].shape[1])
    return torch.lstm(frames, (start, start), weights, True, 1, 0.0, torch.is_grad_enabled(), False, True)[0]


def _turned(frames: Tensor, lengths: Tensor) -> Tensor:
    """Rows [B, U, D] with their first `lengths` [B] columns in reverse order."""
    columns = torch.arange(frames.shape[1], device=frames.device)
    sources = torch.where(columns < lengths[:, None], lengths[:, None] - 1 - columns, columns)  # [B, U]
    return frames.take_along_dim(sources[:, :, None], dim=1)


def _positive(logits: Tensor, smoothing: float, noise: float) -> Tensor:
    """Weights [B, T] of logits [B, T, 1], in float32."""
    return torch.relu(logits.squeeze(-1).float().sigmoid() * smoothing - noise)


def scaled(weights: Tensor, counts: Tensor) -> Tensor:
    """Weights [B, T] in float32, scaled so that a row's sum is its number of tokens [B]."""
    return weights * (counts / weights.double().sum(dim=1).clamp_min(_TINY)).float()[:, None]


def integrate(frames: Tensor, weights: Tensor, counts: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Sum frames [B, T, D] to tokens: embeddings [B, L, D] and the number of tokens [B].

    The running sum of the weights [B, T] is cut at whole numbers; token number l gets of each frame the part of its weight
    that lies between l and l + 1. Sums are in float64, one weight after another, so that they depend neither on what stands
    after an utterance's end nor on its length.

    Args:
        counts: [B], how many tokens there are where that is known; None to find the complete ones.
    """
    ends = weights.double().cumsum(dim=1)  # [B, T]
    starts = F.pad(ends[:, :-1], (1, 0))
    if counts is None:  # a sum that is a whole number but for float32's rounding of the weights is that number
        counts = ends[:, -1].float().floor().long()
    tokens = torch.arange(int(counts.max()), device=weights.device, dtype=torch.double)[:, None]  # [L, 1]
    shares = torch.minimum(ends[:, None], tokens + 1) - torch.maximum(starts[:, None], tokens)  # [B, L, T]
    shares = shares.clamp_min_(0.0) * (tokens < counts[:, None, None])
    return shares.to(frames.dtype) @ frames, counts
