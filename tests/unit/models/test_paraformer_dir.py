import shutil

import pytest
import torch
import yaml

from mooer.common.errors import ConfigError, PathError, WeightsError
from mooer.models.paraformer_dir import is_paraformer_dir, load_paraformer
from mooer.models.released import open_model


@pytest.fixture
def folder(paraformer_folder, tmp_path):
    """A directory of its own for each test."""
    return shutil.copytree(paraformer_folder(), tmp_path / "paraformer")


def configure(folder, section=None, **values):
    path = folder / "config.yaml"
    settings = yaml.safe_load(path.read_text())
    (settings if section is None else settings[section]).update(values)
    path.write_text(yaml.safe_dump(settings))


def rewrite(folder, change):
    state = torch.load(folder / "model.pt", weights_only=True)
    torch.save(change(state), folder / "model.pt")


@pytest.mark.parametrize(("name", "has_times"), [("Paraformer", False), ("BiCifParaformer", True)])
def test_directory(paraformer_folder, name, has_times):
    folder = paraformer_folder(name)
    assert is_paraformer_dir(folder)
    model, config = load_paraformer(folder)
    stored = torch.load(folder / "model.pt", weights_only=True)
    assert config.has_times == has_times == (model.token_times is not None)
    assert len(model.state_dict()) == len(stored)
    assert torch.equal(model.decoder.decoders[1].norm3.weight, stored["decoder.decoders.1.norm3.weight"])
    if has_times:
        assert torch.equal(model.token_times.cif_output2.weight, stored["predictor.cif_output2.weight"])
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_checkpoint_of_fine_tuning(folder):
    """Its tensors lie under a key beside other things, and each name has the wrapper's prefix."""
    before = load_paraformer(folder)[0].state_dict()
    rewrite(folder, lambda state: {"epoch": 3, "state_dict": {f"module.{name}": tensor for name, tensor in state.items()}})
    after = load_paraformer(folder)[0].state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize(
    ("section", "values", "message"),
    [
        (None, {"model": "SeacoParaformer"}, "'SeacoParaformer'; allowed: 'Paraformer', 'BiCifParaformer'"),
        (None, {"colour": 1}, "unknown key 'colour'"),
        (None, {"encoder": "ConformerEncoder"}, "encoder is 'ConformerEncoder'"),
        (None, {"predictor": "CifPredictorV2"}, "has predictor CifPredictorV3, found CifPredictorV2"),
        ("encoder_conf", {"num_block": 3}, "unknown key 'num_block' .did you mean 'num_blocks'"),
        ("encoder_conf", {"sanm_shfit": 5}, "sanm_shfit is 5"),
        ("encoder_conf", {"attention_heads": 3}, "attention_heads 3 must divide output_size 16"),
        ("decoder_conf", {"attention_heads": 3}, "attention_heads 3 must divide"),
        ("decoder_conf", {"att_layer_num": 1}, "att_layer_num 1 must be num_blocks"),
        ("decoder_conf", {"num_blocks": 0}, "num_blocks must be at least 1"),
        ("decoder_conf", {"kernel_size": 4}, "kernel_size must be odd"),
        ("predictor_conf", {"threshold": 0.9}, "threshold must be 1.0"),
        ("predictor_conf", {"tail_threshold": 1.5}, "tail_threshold must be in"),
        ("predictor_conf", {"upsample_times": None}, "needs upsample_times"),
        ("predictor_conf", {"upsample_times": 0}, "upsample_times must be at least 1"),
        ("predictor_conf", {"l_order": -1}, "l_order must be at least 0"),
        ("predictor_conf", {"idim": 32}, "idim 32"),
        ("predictor_conf", {"use_cif1_cnn": True}, "use_cif1_cnn is True"),
        ("frontend_conf", {"window": "povey"}, "window is 'povey'"),
        ("frontend_conf", {"lfr_n": 3}, "lfr_n is 3"),
    ],
)
def test_settings_that_would_change_the_result(folder, section, values, message):
    configure(folder, section, **values)
    with pytest.raises(ConfigError, match=message):
        load_paraformer(folder)


def test_second_predictor_of_a_model_without(paraformer_folder, tmp_path):
    folder = shutil.copytree(paraformer_folder("Paraformer"), tmp_path / "copy")
    configure(folder, "predictor_conf", upsample_times=3)
    with pytest.raises(ConfigError, match="remove upsample_times"):
        load_paraformer(folder)


@pytest.mark.parametrize(
    ("section", "values", "name"),
    [
        ("encoder_conf", {"num_blocks": 3}, "encoder.encoders.1.feed_forward.w_1.bias"),
        ("encoder_conf", {"linear_units": 32}, "encoder.encoders.0.feed_forward.w_1.bias is .24., must be .32."),
        ("decoder_conf", {"num_blocks": 1, "att_layer_num": 1}, "unexpected: decoder.decoders.1"),
        ("predictor_conf", {"r_order": 2}, "predictor.cif_conv1d.weight is .16, 16, 3., must be .16, 16, 4."),
        ("predictor_conf", {"upsample_times": 2}, "token_times.upsample_cnn.weight"),
    ],
)
def test_sizes_that_the_checkpoint_does_not_have(folder, section, values, name):
    configure(folder, section, **values)
    with pytest.raises(WeightsError, match=name):
        load_paraformer(folder)


def test_missing_and_unexpected_tensors_are_named(folder):
    def change(state):
        state["bias_encoder.weight"] = state.pop("predictor.cif_output.bias")
        return state

    rewrite(folder, change)
    with pytest.raises(WeightsError, match=r"1 missing: predictor.cif_output.bias; 1 unexpected: bias_encoder.weight"):
        load_paraformer(folder)
    torch.save({"some.weight": torch.ones(2)}, folder / "model.pt")
    with pytest.raises(WeightsError, match=r"no Paraformer: it has no matrix decoder.output_layer.weight, but some.weight"):
        load_paraformer(folder)


class Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize(
    "wrap", [lambda evil: {"w": evil}, lambda evil: {"state_dict": {"w": torch.ones(1)}, "optimizer": evil}]
)
def test_malicious_checkpoint(folder, wrap):
    torch.save(wrap(Evil(folder / "ran")), folder / "model.pt")
    with pytest.raises(WeightsError, match="nothing in it was run"):
        load_paraformer(folder)
    assert not (folder / "ran").exists()


@pytest.mark.parametrize("name", ["tokens.json", "am.mvn"])
def test_missing_files(folder, name):
    (folder / name).unlink()
    with pytest.raises(PathError, match=name):
        open_model(folder, "asr")


def test_published_directory_of_another_model(folder):
    """Whatever else it lacks, its kind is what the message begins with."""
    configure(folder, model="FsmnVADStreaming")
    (folder / "tokens.json").unlink()
    with pytest.raises(ConfigError, match=r"is no Paraformer directory of a kind known here: .*model is 'FsmnVADStreaming'"):
        load_paraformer(folder)


def test_without_weights_it_is_no_model_directory(folder):
    (folder / "model.pt").unlink()
    assert not is_paraformer_dir(folder)
    with pytest.raises(PathError, match="is no model directory"):
        open_model(folder, "asr")
