"""Small models, made in no time, for the tests of this folder."""

import json

import pytest
import torch

from mooer.models.adapter import AdapterConfig
from mooer.models.builders import ModelConfig, build_model
from mooer.models.llm import LlmConfig
from mooer.models.lora import LoraConfig
from mooer.models.sanm_encoder import SanmEncoderConfig

VOCAB = 50


def tiny_config(**changes):
    """A model of a few thousand parameters; `changes` replace sections of its configuration."""
    sections = {
        "encoder": SanmEncoderConfig(
            input_size=12, output_size=16, attention_heads=2, linear_units=24, num_blocks=2, kernel_size=3
        ),
        "adapter": AdapterConfig(hidden_size=20),
        "llm": LlmConfig(hidden_size=32, num_layers=2, num_heads=2, num_kv_heads=1, intermediate_size=40),
    }
    return ModelConfig(**(sections | changes))


def tiny_model(seed=0, **changes):
    """The tiny model, with a LoRA that does something where there is one."""
    torch.manual_seed(seed)
    model = build_model(tiny_config(**changes), VOCAB)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.2)
    return model


@pytest.fixture
def tiny():
    """`tiny_model`, as a fixture because test modules here are no package."""
    return tiny_model


@pytest.fixture
def config_of():
    return tiny_config


@pytest.fixture
def small_lora():
    return LoraConfig(r=2, alpha=4, dropout=0.0)


@pytest.fixture
def batch():
    """Arguments of SpeechLlm.forward: three rows with 4, 3 and 0 audio columns, padded on both sides."""
    torch.manual_seed(1)
    a, pad, no = -1, 0, -100
    return {
        "frames": torch.randn(3, 9, 12),
        "frame_lengths": torch.tensor([9, 6, 1]),
        "input_ids": torch.tensor(
            [
                [a, a, a, a, 5, 6, 7, 8, 9, 2],
                [pad, a, a, a, 5, 6, 7, 2, pad, pad],
                [pad, pad, pad, pad, 5, 6, 3, 4, 2, pad],
            ]
        ),
        "labels": torch.tensor(
            [
                [no, no, no, no, no, no, 7, 8, 9, 2],
                [no, no, no, no, no, no, 7, 2, no, no],
                [no, no, no, no, no, no, 3, 4, 2, no],
            ]
        ),
        "attention_mask": torch.tensor([[1] * 10, [0] + [1] * 7 + [0] * 2, [0] * 4 + [1] * 5 + [0]]).bool(),
    }


@pytest.fixture
def tokenizer_dir(tmp_path):
    """A folder that looks like a tokenizer's, beside other files."""
    folder = tmp_path / "tokenizer-source"
    folder.mkdir()
    (folder / "tokenizer.json").write_text(json.dumps({"version": "1.0"}))
    (folder / "model.safetensors").write_text("not a tokenizer's file")
    return folder
