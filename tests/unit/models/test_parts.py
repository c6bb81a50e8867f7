import pytest
import torch

from mooer.common.errors import PathError, WeightsError
from mooer.models.parts import read_parts, split_state


def state(*names):
    return {name: torch.ones(1) for name in names}


@pytest.mark.parametrize(
    ("name", "part", "inner"),
    [
        ("encoders0.0.norm1.bias", "encoder", "encoders0.0.norm1.bias"),
        ("after_norm.weight", "encoder", "after_norm.weight"),
        ("encoder.model.encoders.3.norm1.bias", "encoder", "encoders.3.norm1.bias"),
        ("encoder.encoders.3.norm1.bias", "encoder", "encoders.3.norm1.bias"),
        ("encoder_projector.linear1.bias", "adapter", "linear1.bias"),
        ("adapter.linear1.bias", "adapter", "linear1.bias"),
        ("ctc_head.bias", "ctc_head", "bias"),
        ("llm.model.norm.weight", "llm", "model.norm.weight"),
    ],
)
def test_every_known_origin(name, part, inner):
    parts = split_state(state(name), "x")
    assert parts.present() == [part]
    assert list(parts.part(part)) == [inner]


def test_unknown_names_and_absent_parts_are_errors():
    with pytest.raises(WeightsError, match=r"x holds tensors of no known part: decoder\.bias"):
        split_state(state("encoder.after_norm.bias", "decoder.bias"), "x")
    with pytest.raises(WeightsError, match="x holds no encoder, but adapter"):
        split_state(state("encoder_projector.linear1.bias"), "x").part("encoder")
    with pytest.raises(WeightsError, match="but nothing"):
        split_state({}, "x").part("encoder")


def test_a_folder_must_be_a_model_directory(tmp_path):
    with pytest.raises(PathError, match=r"without model\.safetensors"):
        read_parts(tmp_path, "encoder weights")
