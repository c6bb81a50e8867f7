import shutil
from dataclasses import dataclass, replace

import pytest
import torch

from mooer.common.config import load_yaml
from mooer.common.errors import ConfigError, PathError, WeightsError
from mooer.models.builders import ModelConfig, build_model
from mooer.models.llm import LlmConfig
from mooer.models.lora import LoraConfig
from mooer.models.model_dir import PartPaths, find_model_dir, load_model_dir
from mooer.models.model_export import ModelAssets, export_model_dir
from mooer.models.released import open_model
from mooer.models.weights import read_state, write_safetensors

VOCAB = 50


@dataclass(frozen=True, kw_only=True)
class Frontend:
    lfr_m: int = 7
    """Frames stacked."""


@pytest.fixture
def assets(tokenizer_dir, tmp_path):
    (tmp_path / "source.mvn").write_text("cmvn")
    return ModelAssets(
        tokenizer_dir=tokenizer_dir, cmvn_path=tmp_path / "source.mvn", frontend=Frontend(lfr_m=5), record={"commit": "abc"}
    )


def losses(model, batch):
    with torch.no_grad():
        return model.eval()(**batch).loss_sum


@pytest.fixture
def llm_folder(tiny, tmp_path):
    tiny(seed=7).llm.save_pretrained(tmp_path / "outside-llm")
    return tmp_path / "outside-llm"


@pytest.mark.parametrize("with_lora", [False, True])
@pytest.mark.parametrize("tied", [False, True])
def test_round_trip(tiny, config_of, assets, batch, tmp_path, small_lora, with_lora, tied):
    changes = {
        "llm": replace(config_of().llm, tie_word_embeddings=tied),
        "lora": small_lora if with_lora else None,
        "freeze": ["encoder"],
    }
    model = tiny(**changes)
    export_model_dir(model, config_of(**changes), tmp_path / "out", assets)
    loaded = load_model_dir(tmp_path / "out")
    torch.testing.assert_close(losses(loaded.model, batch), losses(model, batch), atol=1e-4, rtol=1e-5)
    assert not loaded.model.training and not any(parameter.requires_grad for parameter in loaded.model.parameters())
    assert loaded.config == load_yaml(tmp_path / "out" / "config.yaml", ModelConfig)
    assert loaded.cmvn_path.read_text() == "cmvn"
    assert load_yaml(loaded.frontend_path, Frontend) == Frontend(lfr_m=5)
    assert {path.name for path in loaded.tokenizer_dir.iterdir()} == {"tokenizer.json"}
    assert (tmp_path / "out" / "run.json").exists()
    names = {path.name for path in loaded.weight_files}
    assert names == ({"model.safetensors", "adapter_model.safetensors"} if with_lora else {"model.safetensors"})


def test_int8_round_trip_is_near_and_small(tiny, config_of, assets, batch, tmp_path):
    model = tiny()
    export_model_dir(model, config_of(), tmp_path / "full", assets)
    export_model_dir(model, config_of(), tmp_path / "int8", assets, int8=True)
    torch.testing.assert_close(
        losses(load_model_dir(tmp_path / "int8").model, batch), losses(model, batch), rtol=0.02, atol=0.1
    )
    sizes = [(tmp_path / name / "model.safetensors").stat().st_size for name in ("int8", "full")]
    assert sizes[0] < 0.6 * sizes[1]


def test_ctc_round_trip(tiny, config_of, assets, tmp_path):
    model = tiny(family="ctc", blank_id=4).eval()
    export_model_dir(model, config_of(family="ctc", blank_id=4), tmp_path / "out", assets)
    loaded = load_model_dir(tmp_path / "out")
    frames, lengths = torch.randn(2, 8, 12), torch.tensor([8, 5])
    assert loaded.model.blank_id == 4
    torch.testing.assert_close(loaded.model.log_probs(frames, lengths), model.log_probs(frames, lengths), rtol=0, atol=0)


@pytest.mark.parametrize("changes", [{"lora": LoraConfig(r=2)}, {"freeze": ["llm"]}])
def test_an_untouched_outside_llm_is_named_not_copied(tiny, config_of, assets, batch, tmp_path, llm_folder, changes):
    changes = changes | {"llm": LlmConfig(path=str(llm_folder))}
    model = tiny(**changes)
    export_model_dir(model, config_of(**changes), tmp_path / "out", assets)
    assert not any(name.startswith("llm.") for name in read_state(tmp_path / "out" / "model.safetensors"))
    loaded = load_model_dir(tmp_path / "out")
    torch.testing.assert_close(losses(loaded.model, batch), losses(model, batch), atol=1e-4, rtol=1e-5)
    moved = llm_folder.rename(tmp_path / "moved-llm")
    with pytest.raises(PathError, match="outside-llm"):
        load_model_dir(tmp_path / "out")
    shutil.copy(tmp_path / "tokenizer-source" / "tokenizer.json", moved)
    again = load_model_dir(tmp_path / "out", overrides=PartPaths(llm=moved))
    torch.testing.assert_close(losses(again.model, batch), losses(model, batch), atol=1e-4, rtol=1e-5)


def test_a_trained_outside_llm_is_written(tiny, config_of, assets, batch, tmp_path, llm_folder):
    changes = {"llm": LlmConfig(path=str(llm_folder))}
    model = tiny(**changes)
    export_model_dir(model, config_of(**changes), tmp_path / "out", assets)
    shutil.rmtree(llm_folder)
    torch.testing.assert_close(losses(load_model_dir(tmp_path / "out").model, batch), losses(model, batch))


def test_training_goes_on_from_a_model_directory(tiny, config_of, assets, batch, tmp_path, small_lora):
    model = tiny(lora=small_lora)
    export_model_dir(model, config_of(lora=small_lora), tmp_path / "out", assets)
    out = str(tmp_path / "out")
    config = config_of(
        encoder_path=out, adapter_path=out, llm=LlmConfig(path=out), lora=LoraConfig(path=f"{out}/lora", dropout=0.0)
    )
    continued = build_model(config, VOCAB)
    torch.testing.assert_close(losses(continued, batch), losses(model, batch))
    assert any(parameter.requires_grad for parameter in continued.llm.parameters())


def test_overrides_replace_single_parts(tiny, config_of, assets, tmp_path):
    first, second = tiny(seed=0), tiny(seed=1)
    for name, model in (("first", first), ("second", second)):
        export_model_dir(model, config_of(), tmp_path / name, assets)
    mixed = load_model_dir(tmp_path / "first", overrides=PartPaths(encoder=tmp_path / "second")).model
    assert torch.equal(mixed.encoder.after_norm.bias, second.encoder.after_norm.bias)
    assert torch.equal(mixed.adapter.linear1.weight, first.adapter.linear1.weight)
    mixed = load_model_dir(tmp_path / "first", overrides=PartPaths(adapter=tmp_path / "second")).model
    assert torch.equal(mixed.adapter.linear1.weight, second.adapter.linear1.weight)


def test_a_run_folder_stands_for_its_final_model(tiny, config_of, assets, tmp_path):
    export_model_dir(tiny(), config_of(), tmp_path / "exp" / "final", assets)
    assert find_model_dir(tmp_path / "exp") == tmp_path / "exp" / "final"
    with pytest.raises(PathError, match="nope"):
        find_model_dir(tmp_path / "nope")
    with pytest.raises(PathError, match="no model directory"):
        find_model_dir(tmp_path)


def test_a_damaged_model_directory_is_reported(tiny, config_of, assets, tmp_path):
    export_model_dir(tiny(), config_of(), tmp_path / "out", assets)
    path = tmp_path / "out" / "model.safetensors"
    state = read_state(path)
    write_safetensors(path, {name: tensor for name, tensor in state.items() if name != "adapter.linear2.bias"})
    with pytest.raises(WeightsError, match=r"1 missing: linear2\.bias"):
        load_model_dir(tmp_path / "out")
    write_safetensors(path, state | {"decoder.bias": torch.ones(1)})
    with pytest.raises(WeightsError, match=r"no known part: decoder\.bias"):
        load_model_dir(tmp_path / "out")
    write_safetensors(path, state)
    config = tmp_path / "out" / "config.yaml"
    config.write_text(config.read_text().replace("blank_id", "blank_it"))
    with pytest.raises(ConfigError, match="did you mean 'blank_id'"):
        load_model_dir(tmp_path / "out")


def test_a_part_that_the_family_does_not_have_is_reported(tiny, config_of, assets, tmp_path):
    export_model_dir(tiny(family="ctc"), config_of(family="ctc"), tmp_path / "out", assets)
    with pytest.raises(ConfigError, match="ctc, which has no adapter, no lora"):
        load_model_dir(tmp_path / "out", overrides=PartPaths(adapter=tmp_path / "out", lora=tmp_path / "out"))
    with pytest.raises(ConfigError, match="downsample rate 2"):
        open_model(tmp_path / "out", "asr", downsample_rate=2)
    config = tmp_path / "out" / "config.yaml"
    config.write_text(config.read_text().replace("family: ctc", "family: speech_llm"))
    with pytest.raises(WeightsError, match=r"must hold adapter, encoder, llm .* it holds encoder, ctc_head"):
        load_model_dir(tmp_path / "out")


def test_a_folder_of_something_else_is_never_replaced(tiny, config_of, assets, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("dear")
    with pytest.raises(PathError, match="is no model directory"):
        export_model_dir(tiny(), config_of(), tmp_path / "out", assets)
    assert (tmp_path / "out" / "thesis.txt").read_text() == "dear"
    with pytest.raises(PathError, match=r"thesis\.txt exists"):
        export_model_dir(tiny(), config_of(), tmp_path / "out" / "thesis.txt", assets)


def test_export_replaces_an_earlier_model_and_a_failure_leaves_it(tiny, config_of, assets, batch, tmp_path):
    first, second = tiny(seed=0), tiny(seed=1)
    for model in (first, second):
        export_model_dir(model, config_of(), tmp_path / "out", assets)
        torch.testing.assert_close(losses(load_model_dir(tmp_path / "out").model, batch), losses(model, batch))
    with pytest.raises(PathError, match="no tokenizer"):
        export_model_dir(first, config_of(), tmp_path / "out", replace(assets, tokenizer_dir=tmp_path))
    torch.testing.assert_close(losses(load_model_dir(tmp_path / "out").model, batch), losses(second, batch))
    assert not list(tmp_path.glob(".out*"))
