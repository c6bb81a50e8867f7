import dataclasses

import pytest
import torch

from mooer.common.config import from_dict
from mooer.common.errors import ConfigError, PathError, WeightsError
from mooer.models.conformer_aed import ConformerLosses
from mooer.models.conformer_builder import (
    ConformerConfig,
    build_conformer,
    conformer_state,
    num_active_parameters,
    outline_conformer,
)
from mooer.models.conformer_encoder import ConformerEncoderConfig
from mooer.models.conformer_reference import load_reference, reference_config
from mooer.models.moe_conformer_encoder import MoeConfig
from mooer.models.transformer_decoder import TransformerDecoderConfig
from mooer.models.weights import own_tensors, write_safetensors

VOCAB = 11
ENCODER = ConformerEncoderConfig(input_size=8, output_size=16, attention_heads=2, linear_units=24, num_blocks=1, kernel_size=3)
DECODER = TransformerDecoderConfig(attention_heads=2, linear_units=24, num_blocks=1)
DENSE = ConformerConfig(encoder=ENCODER, decoder=DECODER)
EMBEDDING = dataclasses.replace(ENCODER, output_size=8)
SPARSE = dataclasses.replace(DENSE, moe=MoeConfig(num_experts=3), embedding=EMBEDDING)


def write_model(path, config, seed):
    torch.manual_seed(seed)
    model = outline_conformer(config, VOCAB)
    write_safetensors(path, own_tensors(model))
    return str(path), own_tensors(model)


def differing(model, state):
    """The model's tensors that are not those of the state."""
    return {name for name, tensor in own_tensors(model).items() if name not in state or not torch.equal(tensor, state[name])}


@pytest.mark.parametrize("config", [DENSE, SPARSE], ids=["dense", "sparse"])
def test_start_from_a_model_of_the_same_sizes(config, tmp_path):
    path, state = write_model(tmp_path / "model.safetensors", config, seed=3)
    torch.manual_seed(4)
    model = build_conformer(dataclasses.replace(config, base_path=path), VOCAB)
    assert not differing(model, state)
    assert model.training


def test_an_embedding_network_alone(tmp_path):
    path, state = write_model(tmp_path / "small.safetensors", ConformerConfig(encoder=EMBEDDING, decoder=DECODER), seed=3)
    model = build_conformer(dataclasses.replace(SPARSE, embedding_path=path, freeze=["embedding"]), VOCAB)
    assert not differing(model.encoder.embed, {name.removeprefix("encoder."): tensor for name, tensor in state.items()})
    assert not any(parameter.requires_grad for parameter in model.encoder.embed.parameters())
    assert all(parameter.requires_grad for parameter in model.encoder.blocks.parameters())


def test_a_dense_start_without_embedding_network_keeps_the_random_one(tmp_path):
    path, state = write_model(tmp_path / "base.safetensors", DENSE, seed=3)
    model = build_conformer(dataclasses.replace(SPARSE, base_path=path), VOCAB)
    kept = {name for name in differing(model, state) if ".experts." not in name}
    assert kept == {name for name in own_tensors(model) if name.startswith("encoder.embed.") or "router" in name}


def test_experts_of_another_number_are_refused(tmp_path):
    path, _ = write_model(tmp_path / "base.safetensors", SPARSE, seed=3)
    config = dataclasses.replace(SPARSE, moe=MoeConfig(num_experts=4), base_path=path)
    with pytest.raises(WeightsError, match=r"experts\.w_1\.weight is \[3, 24, 16\], must be \[4, 24, 16\]"):
        build_conformer(config, VOCAB)


def test_a_missing_file_and_another_model_are_refused(tmp_path):
    with pytest.raises(PathError, match="base model"):
        build_conformer(dataclasses.replace(DENSE, base_path=str(tmp_path / "none.pt")), VOCAB)
    path, _ = write_model(tmp_path / "ctc.safetensors", ConformerConfig(encoder=ENCODER), seed=3)
    with pytest.raises(WeightsError, match=r"missing: decoder\."):
        build_conformer(dataclasses.replace(DENSE, base_path=path), VOCAB)


def test_reference_names_become_ours():
    encoder_alone = {"blocks.0.concat_linear.weight": torch.zeros(1), "after_norm.bias": torch.ones(1)}
    assert list(conformer_state(encoder_alone)) == ["encoder.after_norm.bias"]
    whole = {"encoder.after_norm.bias": torch.ones(1), "decoder.after_norm.bias": torch.ones(1)}
    assert conformer_state(whole) == whole


def test_parameters_that_a_frame_meets():
    sparse, dense = outline_conformer(SPARSE, VOCAB), outline_conformer(DENSE, VOCAB)
    added = [
        tensor.numel() for name, tensor in own_tensors(sparse).items() if "router" in name or name.startswith("encoder.embed.")
    ]
    assert num_active_parameters(sparse) == num_active_parameters(dense) + sum(added)
    assert num_active_parameters(dense) == sum(parameter.numel() for parameter in dense.parameters())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"embedding": None}, "go together"),
        ({"moe": None, "embedding": None, "embedding_path": "x"}, "there are no experts"),
        ({"decoder": None, "freeze": ["decoder"]}, "freeze names decoder"),
        ({"moe": None, "embedding": None, "freeze": ["embedding"]}, "freeze names embedding"),
        ({"moe": None, "embedding": None, "decoder": None, "freeze": ["embedding"]}, "freeze names embedding"),
        ({"losses": ConformerLosses(reverse_weight=0.3)}, "r_num_blocks"),
        ({"embedding": dataclasses.replace(EMBEDDING, reference_padding=True)}, "reference_padding"),
    ],
)
def test_parts_that_contradict_each_other_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        dataclasses.replace(SPARSE, **changes)


def test_the_section_of_a_training_file():
    raw = {"family": "conformer", "encoder": {"num_blocks": 2}, "moe": {"num_experts": 4}, "embedding": {"num_blocks": 1}}
    config = from_dict(ConformerConfig, raw)
    assert (config.moe.num_experts, config.encoder.num_blocks, config.embedding.num_blocks) == (4, 2, 1)
    with pytest.raises(ConfigError, match="num_expert'"):
        from_dict(ConformerConfig, raw | {"moe": {"num_expert": 4}})


PUBLISHED = {"attention_dim": 16, "attention_heads": 2, "num_blocks": 1, "linear_units": 24, "cnn_module_norm": "layer_norm"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"nnet_proto": "transformer", "model_conf": PUBLISHED}, "found 'transformer'"),
        ({"nnet_proto": "conformer"}, "model_conf"),
        ({"nnet_proto": "conformer", "model_conf": PUBLISHED | {"input_layer": "conv2d6"}}, "input_layer"),
        ({"nnet_proto": "conformer", "model_conf": PUBLISHED | {"attention_dimm": 3}}, "attention_dimm"),
        ({"nnet_proto": "conformer", "model_conf": PUBLISHED | {"linear_units": None}}, "needs linear_units"),
        ({"nnet_proto": "conformer_moe_catEmbed", "model_conf": PUBLISHED}, "needs moe_conf"),
        ({"nnet_proto": "conformer_aed", "model_conf": {"encoder_conf": PUBLISHED}}, "decoder_conf"),
        (
            {
                "nnet_proto": "conformer_aed",
                "model_conf": {"encoder_conf": PUBLISHED, "decoder_conf": {}, "decoder_type": "bitransformer"},
            },
            "r_num_blocks",
        ),
    ],
)
def test_published_settings_that_are_not_known_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        reference_config(settings, "conf.yaml")


def test_a_file_of_settings_that_is_none(tmp_path):
    path = tmp_path / "conf.yaml"
    with pytest.raises(PathError, match="config"):
        load_reference(path, tmp_path / "model.pt")
    for text, message in (("- a list", "must hold a mapping"), ("a: [", "not valid YAML")):
        path.write_text(text)
        with pytest.raises(ConfigError, match=message):
            load_reference(path, tmp_path / "model.pt")
