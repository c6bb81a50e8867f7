import dataclasses

import pytest
import torch

from mooer.common.errors import ConfigError
from mooer.models.conformer_builder import ConformerParts, build_encoder_of
from mooer.models.conformer_encoder import ConformerEncoderConfig
from mooer.models.conformer_stream import ConformerStream
from mooer.models.moe_conformer_encoder import MoeConfig
from mooer.nn.masks import Chunks

SMALL = ConformerEncoderConfig(
    input_size=12, output_size=16, attention_heads=2, linear_units=24, num_blocks=2, kernel_size=4, causal=True
)


def encoder_of(with_experts, config=SMALL):
    torch.manual_seed(0)
    experts = {"moe": MoeConfig(num_experts=3), "embedding": dataclasses.replace(config, num_blocks=1)} if with_experts else {}
    return build_encoder_of(ConformerParts(encoder=config, **experts), None).eval()


def streamed(encoder, chunks, frames, pieces):
    stream = ConformerStream(encoder, chunks)
    outputs = [stream.feed(piece) for piece in frames.split(pieces, dim=1)]
    return torch.cat([*outputs, stream.finish()], dim=1), outputs


@pytest.mark.parametrize("with_experts", [False, True])
@pytest.mark.parametrize("positions", ["relative", "absolute", "none"])
@pytest.mark.parametrize("chunks", [Chunks(4, -1), Chunks(3, 1), Chunks(1, 0), Chunks(50)], ids=str)
def test_a_stream_gives_what_the_whole_gives(with_experts, positions, chunks):
    encoder = encoder_of(with_experts, dataclasses.replace(SMALL, positions=positions))
    torch.manual_seed(1)
    frames = torch.randn(2, 61, 12)
    with torch.no_grad():
        whole = encoder.encode(frames, torch.tensor([61, 61]), chunks).hidden
    for pieces in ([61], [1] * 61, [5, 0, 30, 26]):
        output, _ = streamed(encoder, chunks, frames, pieces)
        torch.testing.assert_close(output, whole, atol=1e-5, rtol=1e-5)


def test_a_stream_of_stacked_frames_gives_what_the_whole_gives():
    encoder = encoder_of(True, dataclasses.replace(SMALL, input_layer="linear"))
    torch.manual_seed(1)
    frames, chunks = torch.randn(2, 13, 12), Chunks(3, 1)
    with torch.no_grad():
        whole = encoder.encode(frames, torch.tensor([13, 13]), chunks).hidden
    output, pieces = streamed(encoder, chunks, frames, [1, 2, 0, 7, 3])
    torch.testing.assert_close(output, whole, atol=1e-5, rtol=1e-5)
    assert [piece.shape[1] for piece in pieces] == [0, 3, 0, 6, 3]


def test_a_chunk_comes_with_its_last_frame():
    _, outputs = streamed(encoder_of(False), Chunks(3, 1), torch.randn(1, 40, 12), [14, 1, 11, 1, 13])
    assert [output.shape[1] for output in outputs] == [0, 3, 0, 3, 3]  # a chunk's last frame sees 4 * 2 + 7 frames


@pytest.mark.parametrize("frames", [0, 6])
def test_a_stream_too_short_for_a_frame(frames):
    output, _ = streamed(encoder_of(True), Chunks(4), torch.randn(1, frames, 12), [frames])
    assert output.shape == (1, 0, 16)


def test_what_is_kept_does_not_grow():
    encoder = encoder_of(True)
    stream = ConformerStream(encoder, Chunks(2, 3))
    stream.feed(torch.randn(1, 400, 12))
    assert {past.keys.key.shape[2] for network in stream._networks for past in network._pasts} == {6}


def test_convolutions_that_see_the_future_are_refused():
    with pytest.raises(ConfigError, match="causal: true"):
        ConformerStream(encoder_of(False, dataclasses.replace(SMALL, causal=False, kernel_size=3)), Chunks(4))
