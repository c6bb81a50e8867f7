import pytest
import torch

from mooer.common.config import from_dict
from mooer.common.errors import ConfigError, WeightsError
from mooer.models.paraformer_builder import (
    ParaformerDecoderConfig,
    ParaformerModelConfig,
    build_paraformer_training,
    published_settings,
)
from mooer.models.paraformer_dir import ParaformerConfig, build_paraformer, load_paraformer, module_names, published_names
from mooer.models.paraformer_training import ParaformerLosses
from mooer.models.sanm_encoder import SanmEncoder, SanmEncoderConfig

ENCODER = SanmEncoderConfig(output_size=16, attention_heads=2, linear_units=24, num_blocks=2, kernel_size=3, dropout=0.2)
DECODER = ParaformerDecoderConfig(attention_heads=2, linear_units=24, num_blocks=1, kernel_size=3, dropout=0.3)


def configured(**fields):
    return ParaformerModelConfig(**{"token_dir": "tokens", "encoder": ENCODER, "decoder": DECODER, **fields})


@pytest.mark.parametrize("times", [True, False])
def test_the_published_settings_are_those_of_the_model(times):
    config = configured(token_times=times)
    model = build_paraformer_training(config, 12)
    published = from_dict(ParaformerConfig, published_settings(config))
    assert published.has_times == times == (model.token_times is not None)
    again = build_paraformer(published, 12)
    sizes = {name: tensor.shape for name, tensor in model.paraformer().state_dict().items()}
    assert {name: tensor.shape for name, tensor in again.state_dict().items()} == sizes
    assert (model.encoder.encoders[0].dropout.rate, model.decoder.decoders[0].dropout.rate) == (0.2, 0.3)
    assert model.training and model.ctc is None


def test_published_names_are_the_way_back():
    state = build_paraformer_training(configured(), 12).paraformer().state_dict()
    published = published_names(state)
    assert "predictor.cif_output2.weight" in published and not any(name.startswith("token_times") for name in published)
    assert module_names(published).keys() == state.keys()


def test_an_encoder_brings_its_sizes_and_weights(tmp_path):
    encoder = SanmEncoder(**vars(ENCODER))
    torch.save(encoder.state_dict(), tmp_path / "encoder.pth")
    sizes = SanmEncoderConfig(attention_heads=2)
    config = configured(encoder=sizes, encoder_path=str(tmp_path / "encoder.pth"), losses=ParaformerLosses(ctc_weight=0.1))
    model = build_paraformer_training(config, 12)
    for name, tensor in encoder.state_dict().items():
        assert torch.equal(model.encoder.state_dict()[name], tensor)
    assert published_settings(config)["encoder_conf"]["linear_units"] == 24
    assert model.ctc.ctc_lo.weight.shape == (12, 16)


def test_a_published_directory_goes_on(paraformer_folder):
    folder = paraformer_folder()
    config = ParaformerModelConfig(init_dir=str(folder), freeze=["encoder"])
    model = build_paraformer_training(config, 10)
    first = load_paraformer(folder)[0].state_dict()
    assert all(torch.equal(first[name], tensor) for name, tensor in model.state_dict().items())
    assert not any(parameter.requires_grad for parameter in model.encoder.parameters())
    assert all(parameter.requires_grad for parameter in model.decoder.parameters())
    assert published_settings(config)["model"] == "BiCifParaformer"
    assert config.token_folder == folder
    with_ctc = ParaformerModelConfig(init_dir=str(folder), losses=ParaformerLosses(ctc_weight=0.2))
    assert build_paraformer_training(with_ctc, 10).ctc.ctc_lo.weight.shape == (10, 16)
    assert published_settings(with_ctc)["model_conf"]["ctc_weight"] == 0.2
    with pytest.raises(ConfigError, match=r"has 10 tokens, .* 11"):
        build_paraformer_training(config, 11)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"token_dir": None}, "needs token_dir"),
        ({"init_dir": "folder"}, "brings all parts"),
        ({"decoder": ParaformerDecoderConfig(dropout=1.0)}, "decoder.dropout"),
    ],
)
def test_wrong_settings(fields, message):
    with pytest.raises(ConfigError, match=message):
        configured(**fields)


def test_sizes_that_contradict_each_other(tmp_path):
    with pytest.raises(ConfigError, match="must divide"):
        build_paraformer_training(configured(decoder=ParaformerDecoderConfig(attention_heads=3)), 12)
    torch.save({"ctc_head.weight": torch.zeros(2, 2)}, tmp_path / "head.pth")
    with pytest.raises(WeightsError, match="holds no encoder"):
        build_paraformer_training(configured(encoder_path=str(tmp_path / "head.pth")), 12)
