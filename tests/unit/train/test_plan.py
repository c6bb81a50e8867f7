import json

import pytest

from mooer.models.builders import ModelConfig, build_model
from mooer.models.llm import LlmConfig
from mooer.models.lora import LoraConfig
from mooer.models.sanm_encoder import SanmEncoderConfig
from mooer.train.plan import PartSize, part_sizes, state_bytes

ENCODER = SanmEncoderConfig(output_size=32, attention_heads=2, linear_units=64, num_blocks=2, kernel_size=3)
SIZES = {"hidden_size": 32, "num_layers": 2, "num_heads": 2, "num_kv_heads": 1, "intermediate_size": 64}


def test_an_outline_has_the_sizes_of_the_model():
    config = ModelConfig(encoder=ENCODER, llm=LlmConfig(**SIZES), lora=LoraConfig(r=4), freeze=["encoder"])
    real, outlined = (part_sizes(build_model(config, 60, outline=outline)) for outline in (False, True))
    assert outlined == real
    sizes = {part.name: part for part in outlined}
    assert sizes.keys() == {"encoder", "adapter", "llm", "lora"}
    assert (sizes["encoder"].trained, sizes["llm"].trained) == (0, 0)
    assert sizes["lora"].trained == sizes["lora"].total > 0


def test_of_a_large_llm_only_the_configuration_is_read(tmp_path):
    llm = build_model(ModelConfig(encoder=ENCODER, llm=LlmConfig(**SIZES)), 60, outline=True).llm
    sizes = llm.config.to_dict() | {
        "num_hidden_layers": 28,
        "hidden_size": 3584,
        "intermediate_size": 18944,
        "vocab_size": 152064,
    }
    sizes |= {"num_attention_heads": 28, "num_key_value_heads": 4, "head_dim": 128, "tie_word_embeddings": False}
    sizes["layer_types"] = ["full_attention"] * 28
    (tmp_path / "config.json").write_text(json.dumps(sizes))
    model = build_model(ModelConfig(encoder=ENCODER, llm=LlmConfig(path=str(tmp_path)), lora=LoraConfig()), 1000, outline=True)
    parts = {part.name: part for part in part_sizes(model)}
    # Qwen2-7B as published, and the released LoRA.
    assert parts["llm"].total == 7_615_616_512
    assert parts["lora"].total == 161_480_704


@pytest.mark.parametrize(("stage", "expected"), [(0, 16 * 100), (1, 8 * 100 + 12 * 25), (2, 4 * 100 + 16 * 25), (3, 20 * 25)])
def test_bytes_of_the_states(stage, expected):
    trained, frozen = PartSize("adapter", 100, 100), PartSize("llm", 80, 0)
    assert state_bytes([trained], stage, 4, half=False) == expected
    share = 4 if stage == 3 else 1
    assert state_bytes([trained, frozen], stage, 4, half=True) == expected + 2 * 80 / share


@pytest.mark.parametrize(("stage", "expected"), [(0, 16 * 100), (1, 8 * 100 + 12 * 37.5), (2, 4 * 100 + 16 * 37.5)])
def test_bytes_of_shared_experts(stage, expected):
    """50 values that all have, and 100 of experts, of which each rank has 50: on 4 ranks there are two copies."""
    parts = [PartSize("encoder", 50, 50), PartSize("experts", 100, 100)]
    assert state_bytes(parts, stage, 4, half=False, sharing=2) == expected
