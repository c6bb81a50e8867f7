import pytest
import torch

from mooer.common.config import dump_yaml, from_dict, load_yaml
from mooer.common.errors import ConfigError, WeightsError
from mooer.models.adapter import AdapterConfig
from mooer.models.builders import ModelConfig, build_model
from mooer.models.ctc_model import CtcModel
from mooer.models.llm import LlmConfig
from mooer.models.sanm_encoder import SanmEncoderConfig
from mooer.models.weights import own_tensors, write_safetensors, write_torch

VOCAB = 50


def trainable(model):
    return {name.split(".")[0] for name, parameter in model.named_parameters() if parameter.requires_grad}


def test_every_part_is_trained_unless_frozen(tiny, small_lora):
    assert trainable(tiny()) == {"encoder", "adapter", "llm"}
    assert trainable(tiny(freeze=["encoder", "llm"])) == {"adapter"}
    lora = tiny(freeze=["encoder", "adapter"], lora=small_lora)
    assert {name.split(".")[-3] for name, p in lora.named_parameters() if p.requires_grad} == {"lora_A", "lora_B"}
    assert trainable(tiny(lora=small_lora, freeze=["llm"])) == {"encoder", "adapter", "llm"}, "freezing the LLM spares its LoRA"
    assert trainable(tiny(lora=small_lora, freeze=["lora"])) == {"encoder", "adapter"}


def test_ctc_model(tiny):
    model = tiny(family="ctc", blank_id=3)
    assert isinstance(model, CtcModel) and model.blank_id == 3 and model.ctc_head.out_features == VOCAB
    assert trainable(tiny(family="ctc", freeze=["encoder"])) == {"ctc_head"}


def test_contradictions_are_refused(tiny, config_of, small_lora):
    with pytest.raises(ConfigError, match="no adapter and no LLM"):
        config_of(family="ctc", lora=small_lora)
    with pytest.raises(ConfigError, match="no section lora"):
        config_of(freeze=["lora"])
    with pytest.raises(ConfigError, match="freeze names llm"):
        tiny(family="ctc", freeze=["llm"])
    with pytest.raises(ConfigError, match="blank_id 50"):
        tiny(family="ctc", blank_id=50)


def test_config_survives_yaml_and_names_a_mistyped_key(tmp_path, config_of, small_lora):
    config = config_of(lora=small_lora, freeze=["encoder"])
    (tmp_path / "x.yaml").write_text(dump_yaml(config))
    assert load_yaml(tmp_path / "x.yaml", ModelConfig) == config
    with pytest.raises(ConfigError, match="did you mean 'num_blocks'"):
        from_dict(ModelConfig, {"encoder": {"num_block": 3}})
    with pytest.raises(ConfigError, match="freeze"):
        from_dict(ModelConfig, {"freeze": ["encodr"]})


@pytest.mark.parametrize("form", ["bare.pth", "encoder.model.pt", "encoder.safetensors"])
def test_encoder_sizes_are_read_off_the_file(tiny, config_of, tmp_path, form):
    trained = tiny(seed=5)
    prefix = {"bare.pth": "", "encoder.model.pt": "encoder.model.", "encoder.safetensors": "encoder."}[form]
    state = {prefix + name: tensor for name, tensor in trained.encoder.state_dict().items()}
    (write_safetensors if form.endswith("safetensors") else write_torch)(tmp_path / form, state)
    config = config_of(encoder=SanmEncoderConfig(attention_heads=2), encoder_path=str(tmp_path / form))
    encoder = build_model(config, VOCAB).encoder
    assert all(torch.equal(tensor, encoder.state_dict()[name]) for name, tensor in trained.encoder.state_dict().items())
    frames, lengths = torch.randn(2, 7, 12), torch.tensor([7, 3])
    torch.testing.assert_close(encoder.eval()(frames, lengths)[0], trained.encoder.eval()(frames, lengths)[0])


def test_encoder_files_that_do_not_fit_are_named(tiny, config_of, tmp_path):
    state = tiny().encoder.state_dict()
    path = tmp_path / "e.pth"

    def build(changed, heads=2):
        write_torch(path, changed)
        base = SanmEncoderConfig(attention_heads=heads, output_size=heads)
        return build_model(config_of(encoder=base, encoder_path=str(path)), VOCAB)

    with pytest.raises(WeightsError, match=r"e\.pth does not fit.*1 missing: after_norm\.bias"):
        build({name: tensor for name, tensor in state.items() if name != "after_norm.bias"})
    with pytest.raises(WeightsError, match=r"1 unexpected: after_norm\.extra"):
        build(state | {"after_norm.extra": torch.ones(1)})
    with pytest.raises(WeightsError, match=r"missing: encoders\.0"):  # block 1 of 2 is not there
        build({name.replace("encoders.0.", "encoders.1."): tensor for name, tensor in state.items()})
    with pytest.raises(WeightsError, match="holds no encoder, but adapter"):
        build({"encoder_projector.linear1.weight": torch.ones(2, 2)})
    with pytest.raises(WeightsError, match="no SANM encoder"):
        build({"after_norm.bias": torch.ones(2)})
    with pytest.raises(WeightsError, match="attention_heads 3 must divide"):
        build(state, heads=3)


def write_adapter(path, model, **more):
    write_torch(path, {f"encoder_projector.{name}": tensor for name, tensor in model.adapter.state_dict().items()} | more)


def test_adapter_sizes_are_read_off_the_file_and_its_rate_is_checked(tiny, config_of, tmp_path):
    trained, path = tiny(seed=5), tmp_path / "adapter_project.pt"
    write_adapter(path, trained)
    adapter = build_model(config_of(adapter_path=str(path)), VOCAB).adapter
    assert torch.equal(adapter.linear2.weight, trained.adapter.linear2.weight)
    with pytest.raises(WeightsError, match=r"takes 32 inputs.*downsample rate 2; asked for was 3"):
        build_model(config_of(adapter_path=str(path), adapter=AdapterConfig(downsample_rate=3)), VOCAB)
    wide = SanmEncoderConfig(input_size=12, output_size=20, attention_heads=2, linear_units=8, num_blocks=1)
    with pytest.raises(WeightsError, match="no downsample rate of an encoder of width 20"):
        build_model(config_of(adapter_path=str(path), encoder=wide), VOCAB)
    with pytest.raises(WeightsError, match=r"linear2\.weight is \[32, 20\], must be \[64, 20\]"):
        build_model(config_of(adapter_path=str(path), llm=LlmConfig(hidden_size=64, num_heads=2, num_kv_heads=1)), VOCAB)


def test_a_trained_encoder_beside_the_adapter_is_not_lost(tiny, config_of, tmp_path):
    trained, path = tiny(seed=5), tmp_path / "adapter_project.pt"
    write_adapter(path, trained, **{f"encoder.model.{n}": t for n, t in own_tensors(trained.encoder).items()})
    with pytest.raises(ConfigError, match="set encoder_path to it too"):
        build_model(config_of(adapter_path=str(path)), VOCAB)
    model = build_model(config_of(adapter_path=str(path), encoder_path=str(path)), VOCAB)
    assert torch.equal(model.encoder.after_norm.weight, trained.encoder.after_norm.weight)


def test_dtype_is_that_of_the_whole_model(config_of):
    model = build_model(config_of(), VOCAB, torch.bfloat16)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    output = model.eval()(
        torch.randn(1, 5, 12),
        torch.tensor([5]),
        torch.tensor([[-1, -1, 3, 4]]),
        torch.tensor([[-100, -100, -100, 4]]),
        torch.ones(1, 4).bool(),
    )
    assert output.loss_sum.dtype == torch.float32 and output.loss_sum.isfinite()
