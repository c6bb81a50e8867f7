import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mooer.common.errors import ConfigError, PathError, WeightsError
from mooer.models.vad import FsmnConfig, FsmnVad, load_fsmn_vad

SMALL = FsmnConfig(
    input_dim=40,
    input_affine_dim=14,
    fsmn_layers=3,
    linear_dim=24,
    proj_dim=12,
    lorder=5,
    lstride=2,
    output_affine_dim=16,
    output_dim=12,
)


def random_model(config, silence_ids=(0,)):
    torch.manual_seed(0)
    return FsmnVad(config, silence_ids).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def models():
    return {"small": random_model(SMALL), "full size": random_model(FsmnConfig())}


def in_pieces(model, frames, lengths):
    parts, memories, start = [], None, 0
    for length in (*lengths, frames.shape[1]):
        part, memories = model(frames[:, start : start + length], memories)
        parts.append(part)
        start += length
    return torch.cat(parts, dim=1)


@settings(max_examples=25, deadline=None)
@given(lengths=st.lists(st.integers(0, 70), max_size=6), rest=st.integers(1, 90), rows=st.integers(1, 2))
@pytest.mark.parametrize("size", ["small", "full size"])
def test_pieces_give_the_bits_of_the_whole(models, size, lengths, rest, rows):
    model = models[size]
    frames = torch.randn(rows, sum(lengths) + rest, model.encoder.input_dim, generator=torch.Generator().manual_seed(rest))
    assert torch.equal(in_pieces(model, frames, lengths), model(frames)[0])


def test_the_rule_frame_by_frame(models):
    """Against sums written out, with a stride of two frames."""
    model, frames = models["small"], torch.randn(1, 30, 40)
    encoder = model.encoder
    hidden = encoder.in_linear2(encoder.in_linear1(frames[0])).relu()
    for block in encoder.fsmn:
        projected = block.linear(hidden)
        taps = block.fsmn_block.conv_left.weight[:, 0, :, 0]
        remembered = projected.clone()
        for frame in range(30):
            for tap in range(5):
                seen = frame - 2 * (4 - tap)
                if seen >= 0:
                    remembered[frame] += taps[:, tap] * projected[seen]
        hidden = block.affine(remembered).relu()
    posteriors = encoder.out_linear2(encoder.out_linear1(hidden)).softmax(-1)
    torch.testing.assert_close(encoder(frames)[0][0], posteriors, atol=1e-6, rtol=1e-5)


def test_silence_is_the_sum_of_its_classes(models):
    frames = torch.randn(1, 20, 40)
    posteriors, _ = models["small"].encoder(frames)
    silence, _ = random_model(SMALL, (1, 4, 8))(frames)
    torch.testing.assert_close(silence, posteriors[:, :, 1] + posteriors[:, :, 4] + posteriors[:, :, 8])


def test_memories_share_nothing_with_the_piece_they_come_from(models):
    _, memories = models["small"](torch.randn(1, 500, 40))
    assert all(memory.untyped_storage().nbytes() == 4 * 12 * 8 for memory in memories)


def test_it_can_be_trained():
    model = FsmnVad(SMALL)
    model(torch.randn(2, 20, 40))[0].sum().backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in model.parameters())


def saved(tmp_path, change=lambda state: None):
    state = random_model(SMALL).state_dict()
    change(state)
    torch.save(state, tmp_path / "model.pt")
    return tmp_path / "model.pt"


def test_weights_are_read_back(tmp_path):
    model = load_fsmn_vad(SMALL, saved(tmp_path))
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())
    frames = torch.randn(1, 20, 40)
    assert torch.equal(model(frames)[0], random_model(SMALL)(frames)[0])


@pytest.mark.parametrize("container", ["state_dict", "model_state_dict", "model"])
def test_a_checkpoint_of_fine_tuning(tmp_path, container):
    state = {f"module.{name}": tensor for name, tensor in random_model(SMALL).state_dict().items()}
    torch.save({container: state, "epoch": 3}, tmp_path / "model.pt")
    frames = torch.randn(1, 20, 40)
    assert torch.equal(load_fsmn_vad(SMALL, tmp_path / "model.pt")(frames)[0], random_model(SMALL)(frames)[0])


FAULTS = {
    "1 missing: encoder.fsmn.1.affine.linear.bias": lambda state: state.pop("encoder.fsmn.1.affine.linear.bias"),
    "1 unexpected: encoder.more": lambda state: state.update({"encoder.more": torch.zeros(1)}),
    r"encoder.in_linear1.linear.weight is \[14, 41\], must be \[14, 40\]": lambda state: state.update(
        {"encoder.in_linear1.linear.weight": torch.zeros(14, 41)}
    ),
    "must hold nothing but named tensors": lambda state: state.update({"epoch": 3}),
}


@pytest.mark.parametrize("message", FAULTS)
def test_other_weights_are_refused(tmp_path, message):
    with pytest.raises(WeightsError, match=message):
        load_fsmn_vad(SMALL, saved(tmp_path, FAULTS[message]))


def test_sizes_of_the_config_must_be_the_checkpoint_s(tmp_path):
    with pytest.raises(WeightsError, match=r"4 missing: .*; 20 of another shape: .*must be \["):
        load_fsmn_vad(FsmnConfig(), saved(tmp_path))


def test_a_missing_file(tmp_path):
    with pytest.raises(PathError, match="does not exist"):
        load_fsmn_vad(SMALL, tmp_path / "model.pt")


@pytest.mark.parametrize("change", [{"rorder": 1}, {"lorder": 0}, {"lstride": 0}, {"output_dim": -3}])
def test_sizes_that_cannot_be(change):
    with pytest.raises(ConfigError, match=next(iter(change))):
        FsmnConfig(**change)


@pytest.mark.parametrize("silence_ids", [(), (12,), (-1,)])
def test_silence_must_be_among_the_classes(silence_ids):
    with pytest.raises(ConfigError, match="sil_pdf_ids"):
        FsmnVad(SMALL, silence_ids)
