"""The SANM encoder against the reference's tensors."""

import json

import pytest
import torch
from safetensors.torch import load_file

from mooer.models.builders import encoder_from_state
from mooer.models.sanm_encoder import SanmEncoder, SanmEncoderConfig
from mooer.nn.positions import sinusoids

TOLERANCE = {"atol": 1e-4, "rtol": 1e-4}


@pytest.fixture(scope="module")
def known(golden):
    return load_file(golden / "sanm_encoder_io.safetensors")


@pytest.fixture(scope="module")
def encoder(golden):
    state = load_file(golden / "sanm_encoder_weights.safetensors")
    return encoder_from_state(state, SanmEncoderConfig(), "golden").eval().requires_grad_(False)


def assert_real_frames_close(got, wanted, lengths):
    for row, length in enumerate(lengths.tolist()):
        torch.testing.assert_close(got[row, :length], wanted[row, :length], **TOLERANCE)


def test_output(encoder, known):
    output, lengths = encoder(known["input"], known["ilens"])
    assert torch.equal(lengths.long(), known["olens"])
    assert_real_frames_close(output, known["output"], known["ilens"])


def test_output_after_each_block(encoder, known):
    outputs = {}
    blocks = {"after_encoders0": encoder.encoders0[0]} | {f"after_encoders_{i}": b for i, b in enumerate(encoder.encoders)}
    hooks = [
        block.register_forward_hook(lambda _block, _inputs, output, name=name: outputs.update({name: output}))
        for name, block in blocks.items()
    ]
    encoder(known["input"], known["ilens"])
    for hook in hooks:
        hook.remove()
    assert outputs.keys() == {name for name in known if name.startswith("after_")}
    for name, output in outputs.items():
        assert_real_frames_close(output, known[name], known["ilens"])


def test_single_utterances(encoder, known):
    for row, length in enumerate(known["ilens"].tolist()):
        wanted = known[f"single_output_{row}"]
        assert wanted.shape[1] == length
        output, _ = encoder(known["input"][row : row + 1, :length], torch.tensor([length]))
        torch.testing.assert_close(output, wanted, **TOLERANCE)


def test_features_of_the_front_end(encoder, known, golden):
    features = load_file(golden / "frontend.safetensors")
    lengths = known["frontend_batch_ilens"]
    frames = torch.nn.utils.rnn.pad_sequence([features[f"cmvn_{row}"] for row in range(3)], batch_first=True)
    assert_real_frames_close(encoder(frames, lengths)[0], known["frontend_batch_output"], lengths)


def test_position_encoding(known):
    torch.testing.assert_close(sinusoids(40, 560), known["position_encoding_40x560"][:40], atol=1e-5, rtol=0)


def test_full_size_names_and_shapes(golden):
    wanted = json.loads((golden / "paraformer_encoder_fullsize_keys.json").read_text(encoding="utf-8"))
    with torch.device("meta"):
        config = SanmEncoderConfig()
        encoder = SanmEncoder(**vars(config))
    state = encoder.state_dict()
    assert {name: list(tensor.shape) for name, tensor in state.items()} == wanted["tensors"]
    assert len(state) == wanted["num_tensors"] == 652
    assert sum(tensor.numel() for tensor in state.values()) == wanted["num_elements"] == 157_975_648
    assert encoder.after_norm.eps == wanted["constructor_defaults"]["layer_norm_eps"]
