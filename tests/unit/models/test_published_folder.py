"""Folders in the published layout: what is refused, and how the messages say so."""

import json
import re

import pytest
import torch

from mooer.common.errors import ConfigError, PathError, WeightsError
from mooer.common.marks import MARKS
from mooer.models.published_folder import open_published_folder
from mooer.models.punctuation import PunctuationConfig, build_punctuation, load_punctuation
from mooer.models.sanm_encoder import SanmEncoderConfig

TOKENS = ["<blank>", "好", "hello", "<unk>"]
CONFIG = {
    "model": "CTTransformer",
    "model_conf": {"embed_unit": 16, "att_unit": 16, "punc_list": list(MARKS), "sentence_end_id": 3, "ignore_id": 0},
    "encoder": "SANMEncoder",
    "encoder_conf": {
        **{"input_size": 16, "output_size": 16, "attention_heads": 2, "linear_units": 16, "num_blocks": 2, "dropout_rate": 0.2},
        **{"kernel_size": 5, "input_layer": "pe", "sanm_shfit": 0, "padding_idx": 0},
    },
    "tokenizer": "CharTokenizer",
    "tokenizer_conf": {"unk_symbol": "<unk>"},
    "optim": "adam",
}
SIZES = SanmEncoderConfig(input_size=16, output_size=16, attention_heads=2, linear_units=16, num_blocks=2, kernel_size=5)


@pytest.fixture
def folder(tmp_path):
    """A whole published punctuation model; YAML is a superset of JSON."""
    model = build_punctuation(PunctuationConfig(embed_unit=16, att_unit=16), SIZES, len(TOKENS))
    (tmp_path / "config.yaml").write_text(json.dumps(CONFIG), encoding="utf-8")
    (tmp_path / "tokens.json").write_text(json.dumps(TOKENS), encoding="utf-8")
    torch.save(model.state_dict(), tmp_path / "model.pt")
    return tmp_path


def change(folder, section, **values):
    config = json.loads(json.dumps(CONFIG))
    config[section] = (config[section] | values) if values else None
    (folder / "config.yaml").write_text(json.dumps(config), encoding="utf-8")


def test_whole_folder(folder):
    loaded = load_punctuation(folder)
    assert loaded.tokens == tuple(TOKENS)
    assert not any(parameter.requires_grad or parameter.is_meta for parameter in loaded.model.parameters())
    assert loaded.model.encoder.encoders[0].dropout.rate == 0.2


def test_marks_of_half_width_are_the_same(folder):
    change(folder, "model_conf", punc_list=["<unk>", "_", ",", "。", "?", "、"])
    assert load_punctuation(folder).model.decoder.out_features == 6


@pytest.mark.parametrize("container", ["state_dict", "model_state_dict", "model"])
def test_a_file_that_fine_tuning_wrote(folder, container):
    state = torch.load(folder / "model.pt", weights_only=True)
    torch.save({container: {f"module.{name}": tensor for name, tensor in state.items()}, "epoch": 3}, folder / "model.pt")
    assert torch.equal(load_punctuation(folder).model.embed.weight, state["embed.weight"])


@pytest.mark.parametrize("name", ["config.yaml", "tokens.json", "model.pt"])
def test_a_missing_file(folder, name):
    (folder / name).unlink()
    with pytest.raises(PathError, match=re.escape(name)):
        load_punctuation(folder)


@pytest.mark.parametrize(
    ("section", "values", "message"),
    [
        ("model_conf", {"embed_unit": 8}, "embed_unit 8"),
        ("model_conf", {"embeding_unit": 8}, "unknown key 'embeding_unit'"),
        ("model_conf", {"punc_list": ["_", "."]}, "punc_list"),
        ("model_conf", {"sentence_end_id": 2}, "sentence_end_id"),
        ("model_conf", {"vocab_size": 7}, "vocab_size is 7"),
        ("encoder_conf", {"sanm_shfit": 5}, "sanm_shfit is 5"),
        ("encoder_conf", {"input_layer": "linear"}, "input_layer is 'linear'"),
        ("encoder_conf", {"blocks": 5}, "unknown key 'blocks'"),
        ("tokenizer_conf", {"unk_symbol": "<none>"}, "<none>"),
        ("encoder", {}, "encoder None"),
        ("model", {}, "model None"),
    ],
)
def test_settings_that_are_refused(folder, section, values, message):
    change(folder, section, **values)
    with pytest.raises(ConfigError, match=message):
        load_punctuation(folder)


@pytest.mark.parametrize(
    ("name", "text", "error"),
    [
        ("config.yaml", "model: [", ConfigError),
        ("config.yaml", "- model", ConfigError),
        ("tokens.json", "{", ConfigError),
        ("tokens.json", "[1, 2]", ConfigError),
        ("tokens.json", '["<unk>"]', WeightsError),
        ("model.pt", "nothing", WeightsError),
    ],
)
def test_damaged_files(folder, name, text, error):
    (folder / name).write_text(text, encoding="utf-8")
    with pytest.raises(error):
        load_punctuation(folder)


def test_a_section_that_is_none(folder):
    change(folder, "model_conf")
    with pytest.raises(ConfigError, match="model_conf must be a section"):
        load_punctuation(folder)


def test_the_number_of_heads_is_never_guessed(folder):
    config = json.loads(json.dumps(CONFIG))
    del config["encoder_conf"]["attention_heads"]
    (folder / "config.yaml").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(ConfigError, match="'attention_heads' is missing"):
        load_punctuation(folder)


def test_another_model(folder):
    with pytest.raises(ConfigError, match="'CTTransformer'; here it must be 'CAMPPlus'"):
        open_published_folder(folder, "CAMPPlus")
