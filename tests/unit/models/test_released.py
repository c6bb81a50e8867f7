import json
import shutil
from dataclasses import replace

import pytest
import torch

from mooer.common.errors import ConfigError, PathError, WeightsError
from mooer.models.adapter import AdapterConfig
from mooer.models.llm import LlmConfig
from mooer.models.model_dir import PartPaths
from mooer.models.model_export import ModelAssets, export_model_dir
from mooer.models.released import export_released, load_released, open_model
from mooer.models.weights import read_state


def losses(model, batch):
    with torch.no_grad():
        return model.eval()(**batch).loss_sum


@pytest.fixture
def cmvn(tmp_path):
    (tmp_path / "source.mvn").write_text("cmvn")
    return tmp_path / "source.mvn"


@pytest.fixture
def four_heads(config_of):
    """The released encoder's number of heads, which its file does not tell."""
    return {"encoder": replace(config_of().encoder, attention_heads=4)}


@pytest.fixture
def export(tiny, config_of, four_heads, small_lora, cmvn, tokenizer_dir, tmp_path):
    def write(task="asr", **changes):
        changes = four_heads | {"lora": small_lora, "freeze": ["encoder"]} | changes
        model = tiny(**changes)
        export_released(model, config_of(**changes), tmp_path / "released", task, cmvn, tokenizer_dir)
        return model, tmp_path / "released"

    return write


@pytest.mark.parametrize(("task", "folder"), [("asr", "asr"), ("ast", "ast"), ("mtl", "asr_ast_mtl")])
def test_round_trip_in_the_released_layout(export, batch, task, folder):
    model, released = export(task)
    assert {str(path.relative_to(released)) for path in released.rglob("*") if path.is_file()} == {
        "paraformer_encoder/paraformer-encoder.pth",
        "paraformer_encoder/am.mvn",
        f"{folder}/adapter_project.pt",
        f"{folder}/lora_weights/adapter_config.json",
        f"{folder}/lora_weights/adapter_model.bin",
        "Qwen2-7B-Instruct/config.json",
        "Qwen2-7B-Instruct/model.safetensors",
        "Qwen2-7B-Instruct/tokenizer.json",
    }
    loaded = open_model(released, task)
    torch.testing.assert_close(losses(loaded.model, batch), losses(model, batch), atol=1e-4, rtol=1e-5)
    assert loaded.cmvn_path.read_text() == "cmvn"
    assert loaded.tokenizer_dir == released / "Qwen2-7B-Instruct"
    assert len(loaded.weight_files) == 4
    assert loaded.config.encoder.num_blocks == 2
    others = {"asr", "ast", "mtl"} - {task}
    for other in others:
        with pytest.raises(PathError, match=f"no checkpoint for task {other}"):
            open_model(released, other)


def test_key_names_are_the_released_ones(export):
    model, released = export()
    assert set(read_state(released / "asr" / "adapter_project.pt")) == {
        f"encoder_projector.{layer}.{kind}" for layer in ("linear1", "linear2") for kind in ("weight", "bias")
    }
    assert set(read_state(released / "paraformer_encoder" / "paraformer-encoder.pth")) == set(model.encoder.state_dict())
    lora = read_state(released / "asr" / "lora_weights" / "adapter_model.bin")
    assert "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight" in lora
    settings = json.loads((released / "asr" / "lora_weights" / "adapter_config.json").read_text())
    assert settings["peft_type"] == "LORA" and settings["r"] == 2 and settings["lora_alpha"] == 4


def test_a_trained_encoder_is_in_the_adapter_file_and_wins(export, tiny, batch, four_heads, tmp_path):
    model, released = export(freeze=[])
    assert "encoder.model.after_norm.bias" in read_state(released / "asr" / "adapter_project.pt")
    other = tiny(seed=9, **four_heads)
    torch.save(other.encoder.state_dict(), released / "paraformer_encoder" / "paraformer-encoder.pth")
    loaded = open_model(released, "asr")
    torch.testing.assert_close(losses(loaded.model, batch), losses(model, batch), atol=1e-4, rtol=1e-5)


def test_a_merged_training_checkpoint_with_the_other_parts_named(export, batch, cmvn, tmp_path):
    model, released = export()
    merged = tmp_path / "asr_epoch_1_step_1_merged"
    shutil.copytree(released / "asr", merged)
    (merged / "lora_weights").rename(merged / "new_llm")
    with pytest.raises(ConfigError, match="--encoder_path, --llm_path, --cmvn_path"):
        open_model(merged, "asr")
    encoder = released / "paraformer_encoder" / "paraformer-encoder.pth"
    parts = PartPaths(encoder=encoder, llm=released / "Qwen2-7B-Instruct", cmvn=cmvn)
    loaded = open_model(merged, "asr", parts)
    torch.testing.assert_close(losses(loaded.model, batch), losses(model, batch), atol=1e-4, rtol=1e-5)


def all_parts(released):
    return PartPaths(
        encoder=released / "paraformer_encoder" / "paraformer-encoder.pth",
        cmvn=released / "paraformer_encoder" / "am.mvn",
        adapter=released / "asr" / "adapter_project.pt",
        lora=released / "asr" / "lora_weights",
        llm=released / "Qwen2-7B-Instruct",
    )


@pytest.mark.parametrize("part", ["encoder", "cmvn", "adapter", "lora", "llm"])
def test_a_mistyped_path_is_named(export, part, tmp_path):
    _, released = export()
    parts = replace(all_parts(released), **{part: tmp_path / "mistyped"})
    with pytest.raises(PathError, match="mistyped"):
        open_model(None, "asr", parts)
    with pytest.raises(PathError, match="mistyped"):
        open_model(released, "asr", PartPaths(**{part: tmp_path / "mistyped"}))


def test_missing_parts_are_named_by_their_options(tmp_path):
    with pytest.raises(ConfigError, match="or --encoder_path, --adapter_path, --llm_path, --cmvn_path"):
        open_model(None, "asr")
    with pytest.raises(PathError, match="nope"):
        open_model(tmp_path / "nope", "asr")
    with pytest.raises(PathError, match=r"is no model directory.*mooer-download"):
        open_model(tmp_path, "asr")


def test_without_lora_only_when_parts_are_named(export, batch):
    model, released = export()
    loaded = load_released(replace(all_parts(released), lora=None), 2)
    assert losses(loaded.model, batch) != losses(model, batch)
    moved = (released / "asr" / "lora_weights").rename(released / "moved")
    with pytest.raises(PathError, match="lora_weights"):
        open_model(released, "asr")
    loaded = open_model(released, "asr", PartPaths(lora=moved))
    torch.testing.assert_close(losses(loaded.model, batch), losses(model, batch), atol=1e-4, rtol=1e-5)


def test_exchanged_files_and_wrong_rates_are_refused(export):
    _, released = export()
    parts = all_parts(released)
    with pytest.raises(WeightsError, match="holds no encoder, but adapter"):
        load_released(replace(parts, encoder=parts.adapter), 2)
    with pytest.raises(WeightsError, match="holds no adapter, but encoder"):
        load_released(replace(parts, adapter=parts.encoder), 2)
    with pytest.raises(WeightsError, match="downsample rate 2; asked for was 3"):
        load_released(parts, 3)


def test_open_model_takes_a_directory_of_ours(tiny, config_of, cmvn, tokenizer_dir, tmp_path, batch):
    model = tiny()
    assets = ModelAssets(tokenizer_dir=tokenizer_dir, cmvn_path=cmvn)
    export_model_dir(model, config_of(), tmp_path / "exp" / "final", assets)
    for path in (tmp_path / "exp", tmp_path / "exp" / "final"):
        torch.testing.assert_close(losses(open_model(path, "asr").model, batch), losses(model, batch))
    with pytest.raises(WeightsError, match="downsample rate 2; asked for was 4"):
        open_model(tmp_path / "exp", "asr", downsample_rate=4)


def test_the_layout_cannot_hold_everything(export, tmp_path, config_of, tiny, cmvn, tokenizer_dir):
    with pytest.raises(ConfigError, match="layer_norm"):
        export(adapter=AdapterConfig(hidden_size=20, layer_norm=True))
    with pytest.raises(ConfigError, match="released layout"):
        export_released(tiny(family="ctc"), config_of(family="ctc"), tmp_path / "x", "asr", cmvn, tokenizer_dir)
    assert not (tmp_path / "released").exists()


def test_an_untouched_outside_llm_is_not_copied(export, tiny, batch, tmp_path, tokenizer_dir):
    tiny(seed=3).llm.save_pretrained(tmp_path / "outside")
    model, released = export(llm=LlmConfig(path=str(tmp_path / "outside")))
    assert not (released / "Qwen2-7B-Instruct").exists()
    with pytest.raises(ConfigError, match="--llm_path"):
        open_model(released, "asr")
    loaded = open_model(released, "asr", PartPaths(llm=tmp_path / "outside"))
    torch.testing.assert_close(losses(loaded.model, batch), losses(model, batch), atol=1e-4, rtol=1e-5)
