"""The reference's checkpoint files: their names, their refusal where they do not belong, and their export."""

import json
import os
import pickle
import shutil

import pytest
import torch

from mooer.common.errors import PathError, WeightsError
from mooer.models.builders import ModelConfig, build_model
from mooer.models.llm import LlmConfig
from mooer.models.lora import LoraConfig
from mooer.models.model_dir import PartPaths
from mooer.models.released import export_released, open_model
from mooer.models.weights import read_state


@pytest.fixture
def parts(golden):
    model = golden / "model"
    return PartPaths(
        encoder=model / "paraformer-encoder.pth",
        adapter=model / "adapter_project.pt",
        llm=model / "llm",
        lora=model / "lora_bin",
        cmvn=golden / "am.mvn",
    )


def with_part(parts, **changes):
    return PartPaths(**(vars(parts) | changes))


def test_every_tensor_of_the_reference_has_its_place(parts, golden):
    facts = json.loads((golden / "model_facts.json").read_text(encoding="utf-8"))
    names = {"encoder.": "encoder.model.", "adapter.": "encoder_projector.", "llm.": "llm."}
    shapes = {}
    for name, tensor in open_model(None, "asr", parts).model.state_dict().items():
        ours = next(prefix for prefix in names if name.startswith(prefix))
        shapes[names[ours] + name.removeprefix(ours)] = list(tensor.shape)
    known = facts["inference_state_dict_keys"]  # lists the first encoder block for all
    later_blocks = {name for name in shapes if name.startswith("encoder.model.encoders.")}
    assert {name: shape for name, shape in shapes.items() if name not in later_blocks} == known
    encoder = {f"encoder.model.{name}" for name in read_state(parts.encoder)}
    assert later_blocks == {name for name in encoder if name not in known}


def test_wrong_downsample_rate(parts):
    with pytest.raises(WeightsError, match="downsample rate 2; asked for was 3"):
        open_model(None, "asr", parts, 3)


def test_adapter_given_as_encoder_and_encoder_as_adapter(parts):
    with pytest.raises(WeightsError, match="holds no encoder, but adapter"):
        open_model(None, "asr", with_part(parts, encoder=parts.adapter))
    with pytest.raises(WeightsError, match="holds no adapter, but encoder"):
        open_model(None, "asr", with_part(parts, adapter=parts.encoder))


def test_folders_exchanged(parts):
    with pytest.raises(PathError, match=r"config\.json"):
        open_model(None, "asr", with_part(parts, llm=parts.lora))
    with pytest.raises(PathError, match=r"adapter_config\.json"):
        open_model(None, "asr", with_part(parts, lora=parts.llm))


def test_malicious_pickle(parts, tmp_path):
    class Evil:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "owned"),))

    path = tmp_path / "evil.pt"
    path.write_bytes(pickle.dumps({"encoder_projector.linear1.weight": Evil()}))
    for part in ("adapter", "encoder"):
        with pytest.raises(WeightsError, match=r"evil\.pt"):
            open_model(None, "asr", with_part(parts, **{part: path}))
    lora = shutil.copytree(parts.lora, tmp_path / "lora")
    (lora / "adapter_model.bin").write_bytes(path.read_bytes())
    with pytest.raises(WeightsError, match=r"adapter_model\.bin"):
        open_model(None, "asr", with_part(parts, lora=lora))
    assert not (tmp_path / "owned").exists()


def test_released_export_has_the_references_layout_and_values(parts, golden, tmp_path):
    """What is read in the released form and written again is the same, file by file, tensor by tensor."""
    config = ModelConfig(
        encoder_path=str(parts.encoder),
        adapter_path=str(parts.adapter),
        llm=LlmConfig(path=str(parts.llm)),
        lora=LoraConfig(path=str(parts.lora)),
        freeze=["encoder"],
    )
    export_released(build_model(config, 300), config, tmp_path, "asr", parts.cmvn, parts.llm)
    layout = json.loads((golden / "checkpoint_layout.json").read_text(encoding="utf-8"))
    assert set(read_state(tmp_path / "asr" / "adapter_project.pt")) == set(layout["adapter_project_keys_frozen_encoder"])
    written = {
        parts.encoder: tmp_path / "paraformer_encoder" / "paraformer-encoder.pth",
        parts.adapter: tmp_path / "asr" / "adapter_project.pt",
        parts.lora / "adapter_model.bin": tmp_path / "asr" / "lora_weights" / "adapter_model.bin",
    }
    for original, copy in written.items():
        wanted, got = read_state(original), read_state(copy)
        assert wanted.keys() == got.keys()
        assert all(torch.equal(wanted[name], got[name]) and wanted[name].dtype == got[name].dtype for name in wanted)
    wanted, got = (
        json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
        for folder in (parts.lora, tmp_path / "asr" / "lora_weights")
    )
    for name in ("r", "lora_alpha", "lora_dropout", "bias", "peft_type", "task_type", "use_dora", "use_rslora"):
        assert got[name] == wanted[name]
    assert set(got["target_modules"]) == set(wanted["target_modules"])
    assert got.keys() <= wanted.keys(), "a setting that the reference's peft does not know"
    assert (tmp_path / "paraformer_encoder" / "am.mvn").read_bytes() == parts.cmvn.read_bytes()
