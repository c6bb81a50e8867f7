"""Model directories of Conformers."""

import pytest
import torch

from mooer.common.errors import ConfigError, PathError, WeightsError
from mooer.features.frontend import FrontendConfig
from mooer.models.conformer_builder import ConformerConfig, outline_conformer
from mooer.models.conformer_encoder import ConformerEncoderConfig
from mooer.models.model_dir import PartPaths, load_model_dir
from mooer.models.model_export import ModelAssets, export_conformer_dir
from mooer.models.moe_conformer_encoder import MoeConfig
from mooer.models.released import open_model
from mooer.models.transformer_decoder import TransformerDecoderConfig
from mooer.models.weights import read_state, write_safetensors
from mooer.text.characters import build_dictionary

ENCODER = ConformerEncoderConfig(output_size=16, attention_heads=2, linear_units=24, num_blocks=1, kernel_size=3)
DECODER = TransformerDecoderConfig(attention_heads=2, linear_units=24, num_blocks=1)
SIZES = {
    "dense": {"decoder": DECODER},
    "ctc": {},
    "experts": {"decoder": DECODER, "moe": MoeConfig(num_experts=2), "embedding": ENCODER},
}


@pytest.fixture(params=SIZES)
def written(request, tmp_path):
    dictionary = build_dictionary(["abc"])
    (tmp_path / "tokenizer").mkdir()
    dictionary.save(tmp_path / "tokenizer")
    config = ConformerConfig(encoder=ENCODER, **SIZES[request.param])
    torch.manual_seed(1)
    model = outline_conformer(config, len(dictionary.tokens))
    assets = ModelAssets(
        tokenizer_dir=tmp_path / "tokenizer",
        frontend=FrontendConfig(lfr_m=1, lfr_n=1, subsampling=4, window="povey"),
        record={"step": 3},
    )
    export_conformer_dir(model, config, tmp_path / "model", assets)
    return tmp_path / "model", config, model


def test_there_and_back(written):
    folder, config, model = written
    for loaded in (load_model_dir(folder), open_model(folder, "asr")):
        assert loaded.config == config
        assert not loaded.model.training
        states = loaded.model.state_dict(), model.state_dict()
        assert states[0].keys() == states[1].keys()
        assert all(torch.equal(states[0][name], states[1][name]) for name in states[1])
        assert (loaded.tokenizer_dir / "lang_char.txt").exists()
        assert loaded.cmvn_path is None


def test_paths_and_frozen_parts_are_not_written(written, tmp_path):
    folder, config, model = written
    started = ConformerConfig(**(vars(config) | {"base_path": "/nowhere", "freeze": ["encoder"]}))
    assets = ModelAssets(tokenizer_dir=folder / "tokenizer", frontend=FrontendConfig(lfr_m=1, lfr_n=1, subsampling=4))
    export_conformer_dir(model, started, tmp_path / "other", assets)
    assert load_model_dir(tmp_path / "other").config == config


def test_int8_is_close(written, tmp_path):
    folder, config, model = written
    assets = ModelAssets(tokenizer_dir=folder / "tokenizer", frontend=FrontendConfig(lfr_m=1, lfr_n=1, subsampling=4))
    export_conformer_dir(model, config, tmp_path / "small", assets, int8=True)
    exact, rounded = model.encoder.out_linear.weight, load_model_dir(tmp_path / "small").model.encoder.out_linear.weight
    assert 0 < (exact - rounded).abs().max() < exact.abs().max() / 100


def test_tensors_that_are_missing_or_strange(written):
    folder, *_ = written
    state = read_state(folder / "model.safetensors")
    name = "encoder.after_norm.weight"
    tensor = state.pop(name)
    write_safetensors(folder / "model.safetensors", state)
    with pytest.raises(WeightsError, match=f"1 missing: {name}"):
        load_model_dir(folder)
    write_safetensors(folder / "model.safetensors", state | {name: tensor, "encoder.other": tensor.clone()})
    with pytest.raises(WeightsError, match=r"1 unexpected: encoder\.other"):
        load_model_dir(folder)
    write_safetensors(folder / "model.safetensors", {"encoder.other": tensor.clone()})
    with pytest.raises(WeightsError, match="holds no Conformer"):
        load_model_dir(folder)


def test_what_it_does_not_have(written, tmp_path):
    folder, *_ = written
    with pytest.raises(ConfigError, match="family conformer; its llm cannot be taken"):
        load_model_dir(folder, overrides=PartPaths(llm=tmp_path))
    with pytest.raises(ConfigError, match="no adapter, but its downsample rate 2 was named"):
        open_model(folder, "asr", downsample_rate=2)
    with pytest.raises(PathError, match="CMVN file"):
        load_model_dir(folder, overrides=PartPaths(cmvn=tmp_path / "none"))
