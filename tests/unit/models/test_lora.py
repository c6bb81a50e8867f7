import json

import pytest
import torch

from mooer.common.errors import ConfigError, PathError, WeightsError
from mooer.models.llm import LlmConfig, build_llm
from mooer.models.lora import LoraConfig, add_lora, base_llm_state, load_lora, lora_state, merge_lora, write_lora
from mooer.models.weights import own_tensors, read_state, write_safetensors

SIZES = LlmConfig(hidden_size=32, num_layers=2, num_heads=2, num_kv_heads=1, intermediate_size=40)


def fresh_llm(seed=0):
    torch.manual_seed(seed)
    return build_llm(SIZES, 60).eval()


def fresh_lora(**changes):
    model = add_lora(fresh_llm(), LoraConfig(**({"r": 2, "alpha": 4} | changes))).eval()
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    return model


def logits(llm):
    with torch.no_grad():
        return llm(inputs_embeds=torch.linspace(-1, 1, 5 * 32).view(1, 5, 32)).logits


def test_a_new_lora_changes_nothing_and_only_it_is_trained():
    model = add_lora(fresh_llm(), LoraConfig(r=2)).eval()
    torch.testing.assert_close(logits(model), logits(fresh_llm()))
    assert all((".lora_" in name) == parameter.requires_grad for name, parameter in model.named_parameters())
    assert len(lora_state(model)) == 2 * 7 * 2


@pytest.mark.parametrize("released_form", [False, True])
def test_written_lora_is_read_back_trainable(tmp_path, released_form):
    model = fresh_lora()
    write_lora(model, tmp_path / "lora", released_form=released_form)
    weights = "adapter_model.bin" if released_form else "adapter_model.safetensors"
    assert {path.name for path in (tmp_path / "lora").iterdir()} == {"adapter_config.json", weights}
    continued = add_lora(fresh_llm(), LoraConfig(path=str(tmp_path / "lora"), dropout=0.3))
    torch.testing.assert_close(logits(continued.eval()), logits(model))
    assert continued.peft_config["default"].lora_dropout == 0.3
    assert {name for name, p in continued.named_parameters() if p.requires_grad} == {
        name for name, p in model.named_parameters() if ".lora_" in name
    }


def test_merged_lora_gives_the_same_logits_in_a_plain_llm(tmp_path):
    model = fresh_lora()
    wanted = logits(model)
    merged = merge_lora(model)
    torch.testing.assert_close(logits(merged), wanted, atol=1e-4, rtol=1e-4)
    assert own_tensors(merged).keys() == own_tensors(fresh_llm()).keys()


def test_base_state_is_the_llms_own():
    state, plain = base_llm_state(fresh_lora()), own_tensors(fresh_llm())
    assert state.keys() == plain.keys()
    assert all(torch.equal(state[name], plain[name]) for name in plain)


def test_some_layers_only(tmp_path):
    model = fresh_lora(target_modules=["q_proj", "v_proj"])
    assert len(lora_state(model)) == 2 * 2 * 2
    write_lora(model, tmp_path / "lora")
    torch.testing.assert_close(logits(load_lora(fresh_llm(), tmp_path / "lora")), logits(model))


def test_unknown_target_layers_are_named():
    with pytest.raises(ConfigError, match=r"no layers called c_attn"):
        add_lora(fresh_llm(), LoraConfig(target_modules=["q_proj", "c_attn"]))


@pytest.fixture
def folder(tmp_path):
    write_lora(fresh_lora(), tmp_path / "lora-folder")
    return tmp_path / "lora-folder"


def rewrite(folder, **changes):
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_another_rank_is_reported(folder):
    rewrite(folder, r=3)
    with pytest.raises(WeightsError, match=r"lora-folder does not fit.*28 of another shape"):
        load_lora(fresh_llm(), folder)


def test_missing_and_unexpected_tensors_are_reported(folder):
    path = folder / "adapter_model.safetensors"
    state = read_state(path)
    name = next(iter(state))
    write_safetensors(path, {key: value for key, value in state.items() if key != name} | {"stranger": torch.ones(1)})
    with pytest.raises(WeightsError, match=rf"1 missing: {name}; 1 unexpected: stranger"):
        load_lora(fresh_llm(), folder)


def test_another_llm_is_reported(folder):
    deeper = build_llm(LlmConfig(**{**vars(SIZES), "num_layers": 3}), 60)
    with pytest.raises(WeightsError, match="14 missing"):
        load_lora(deeper, folder)
    wider = build_llm(LlmConfig(**{**vars(SIZES), "intermediate_size": 44}), 60)
    with pytest.raises(WeightsError, match="of another shape"):
        load_lora(wider, folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"peft_type": "IA3"}, "must describe a LoRA"),
        ({"megatron_config": {"a": 1}}, "not supported: megatron_config"),
        ({"layer_replication": [[0, 1]]}, "not supported: layer_replication"),
        ({"some_new_setting": 5}, "not supported: some_new_setting"),
        ({"target_modules": ["nothing_like_it"]}, "cannot be applied"),
    ],
)
def test_strange_settings_are_refused(folder, changes, message):
    rewrite(folder, **changes)
    with pytest.raises(WeightsError, match=message):
        load_lora(fresh_llm(), folder)


def test_harmless_settings_are_taken(folder):
    rewrite(folder, base_model_name_or_path="x/y", peft_version="9.9", some_new_setting=None, lora_bias=False)
    load_lora(fresh_llm(), folder)


def test_missing_files_are_path_errors(folder, tmp_path):
    with pytest.raises(PathError, match="nope"):
        load_lora(fresh_llm(), tmp_path / "nope")
    (folder / "adapter_model.safetensors").unlink()
    with pytest.raises(PathError, match=r"adapter_model\.bin"):
        load_lora(fresh_llm(), folder)
    (folder / "adapter_config.json").write_text("{")
    with pytest.raises(WeightsError, match="not valid JSON"):
        load_lora(fresh_llm(), folder)


@pytest.mark.parametrize("wrong", [{"r": 0}, {"alpha": 0}, {"dropout": 1.0}, {"target_modules": []}])
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ConfigError):
        LoraConfig(**wrong)
