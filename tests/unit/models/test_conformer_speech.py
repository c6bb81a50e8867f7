"""A trained Conformer as the encoder of another model: of a speech LLM, or with a CTC layer of its own."""

import dataclasses

import pytest
import torch

from mooer.common.errors import ConfigError, WeightsError
from mooer.features.frontend import Frontend, FrontendConfig
from mooer.models.adapter import AdapterConfig
from mooer.models.builders import ModelConfig, build_encoder, build_model, check_frontend
from mooer.models.conformer_builder import ConformerConfig, ConformerParts, outline_conformer
from mooer.models.conformer_encoder import ConformerEncoderConfig
from mooer.models.llm import LlmConfig
from mooer.models.model_dir import PartPaths, load_model_dir
from mooer.models.model_export import ModelAssets, export_model_dir
from mooer.models.moe_conformer_encoder import MoeConfig
from mooer.models.sanm_encoder import SanmEncoderConfig
from mooer.models.transformer_decoder import TransformerDecoderConfig
from mooer.models.weights import own_tensors, write_safetensors, write_torch

VOCAB = 50
ENCODER = ConformerEncoderConfig(output_size=16, attention_heads=2, linear_units=24, num_blocks=1, kernel_size=3)
DENSE = ConformerParts(encoder=ENCODER)
SPARSE = ConformerParts(encoder=ENCODER, moe=MoeConfig(num_experts=3), embedding=ENCODER)
ADAPTER = AdapterConfig(downsample_rate=3, hidden_size=8)
LLM = LlmConfig(hidden_size=32, num_layers=1, num_heads=2, num_kv_heads=1, intermediate_size=40)


@pytest.fixture(params=[DENSE, SPARSE], ids=["dense", "sparse"])
def parts(request):
    return request.param


@pytest.fixture
def trained(parts, tmp_path):
    """A Conformer with CTC and decoder, and the file that its weights are in."""
    torch.manual_seed(2)
    decoder = TransformerDecoderConfig(attention_heads=2, linear_units=24, num_blocks=1)
    fields = {name.name: getattr(parts, name.name) for name in dataclasses.fields(parts)}
    model = outline_conformer(ConformerConfig(decoder=decoder, **fields), VOCAB).eval()
    write_safetensors(tmp_path / "trained" / "model.safetensors", own_tensors(model))
    return model, tmp_path / "trained"


def config_of(parts, **changes):
    return ModelConfig(**({"encoder_type": "conformer", "conformer": parts, "adapter": ADAPTER, "llm": LLM} | changes))


def batch_of():
    generator = torch.Generator().manual_seed(1)
    frontend = Frontend(FrontendConfig(lfr_m=1, lfr_n=1, subsampling=4))
    return frontend, frontend.padded([0.2 * torch.randn(length, generator=generator) for length in (16_000, 1360, 1359, 9999)])


@torch.no_grad()
def test_the_front_end_knows_how_many_frames_come_out(parts):
    encoder = build_encoder(config_of(parts)).eval()
    frontend, (frames, lengths) = batch_of()
    check_frontend(encoder, frontend.config)
    _, encoded = encoder(frames, lengths)
    assert encoded.tolist() == [frontend.config.encoder_frames(length) for length in lengths.tolist()]
    assert encoded.tolist() == [frontend.config.encoder_frames_in(samples) for samples in (16_000, 1360, 1359, 9999)]
    assert encoded.tolist()[1:3] == [1, 0]
    assert frontend.config.encoder_frame_seconds == pytest.approx(0.04)


@torch.no_grad()
def test_frames_that_the_front_end_stacks():
    """As many come out as went in, and how long an embedding is depends on how far apart they are."""
    stacked = dataclasses.replace(ENCODER, input_layer="linear", input_size=560)
    adapter = dataclasses.replace(ADAPTER, downsample_rate=2)
    encoder = build_encoder(config_of(ConformerParts(encoder=stacked), adapter=adapter)).eval()
    frontend = Frontend(FrontendConfig())
    check_frontend(encoder, frontend.config)
    frames, lengths = frontend.padded([torch.randn(16_000), torch.randn(5000)])
    assert encoder(frames, lengths)[1].tolist() == lengths.tolist() == [17, 5]
    with pytest.raises(ConfigError, match="this encoder needs kind: kaldi_fbank, feature_dim: 560, subsampling: 1"):
        check_frontend(encoder, FrontendConfig(lfr_m=1, lfr_n=1, subsampling=4))
    with pytest.raises(ConfigError, match="input_layer must be linear in both"):
        ConformerParts(encoder=stacked, moe=MoeConfig(), embedding=dataclasses.replace(ENCODER, input_size=560))


@pytest.mark.parametrize("family", ["ctc", "speech_llm"])
@torch.no_grad()
def test_a_trained_encoder_in_a_model_directory(trained, parts, family, tokenizer_dir, tmp_path):
    source, folder = trained
    config = config_of(parts, family=family, encoder_path=str(folder))
    model = build_model(config, VOCAB).eval()
    _, (frames, lengths) = batch_of()
    wanted = source.encoder(frames, lengths)[0]
    assert torch.equal(model.encoder(frames, lengths)[0], wanted)
    export_model_dir(model, config, tmp_path / "out", ModelAssets(tokenizer_dir=tokenizer_dir))
    loaded = load_model_dir(tmp_path / "out")
    assert torch.equal(loaded.model.encoder(frames, lengths)[0], wanted)
    assert loaded.config.conformer == parts
    again = build_encoder(dataclasses.replace(config, encoder_path=str(tmp_path / "out"))).eval()
    assert torch.equal(again(frames, lengths)[0], wanted)
    torch.manual_seed(9)
    fresh = build_model(dataclasses.replace(config, encoder_path=None), VOCAB)
    export_model_dir(fresh, config, tmp_path / "fresh", ModelAssets(tokenizer_dir=tokenizer_dir))
    replaced = load_model_dir(tmp_path / "fresh", overrides=PartPaths(encoder=folder))
    assert torch.equal(replaced.model.encoder(frames, lengths)[0], wanted)


def test_a_speech_llm_trains_through_it(parts):
    torch.manual_seed(0)
    model = build_model(config_of(parts), VOCAB).train()
    _, (frames, lengths) = batch_of()
    embeddings, counts = model.encode(frames, lengths)
    assert counts.tolist() == [7, 0, 0, 4]
    embeddings.square().sum().backward()
    assert all(block.feed_forward_macaron.w_1.weight.grad.any() for block in model.encoder.blocks)


def test_a_checkpoint_of_an_encoder_alone(trained, parts, tmp_path):
    state = {name.removeprefix("encoder."): tensor for name, tensor in own_tensors(trained[0]).items() if "encoder." in name}
    write_torch(tmp_path / "alone.pt", state | {"blocks.0.concat_linear.bias": torch.zeros(16)})
    encoder = build_encoder(config_of(parts, encoder_path=str(tmp_path / "alone.pt"))).eval()
    _, (frames, lengths) = batch_of()
    torch.testing.assert_close(encoder(frames, lengths)[0], trained[0].encoder(frames, lengths)[0])


def test_choices_that_contradict_each_other(trained, parts, tmp_path):
    with pytest.raises(ConfigError, match="go together"):
        ModelConfig(encoder_type="conformer", adapter=ADAPTER)
    with pytest.raises(ConfigError, match="go together"):
        ModelConfig(conformer=parts)
    with pytest.raises(ConfigError, match="section encoder sizes a SANM encoder"):
        config_of(parts, encoder=SanmEncoderConfig(num_blocks=2))
    with pytest.raises(ConfigError, match=r"joins 80 ms of encoder conformer; allowed: 3, 6"):
        config_of(parts, adapter=AdapterConfig(downsample_rate=2))
    with pytest.raises(ConfigError, match="this encoder needs num_mel_bins: 80, lfr_m: 1, lfr_n: 1, subsampling: 4"):
        check_frontend(build_encoder(config_of(parts)), FrontendConfig())
    with pytest.raises(ConfigError, match="input_size must be 80"):
        ConformerParts(encoder=ENCODER, moe=MoeConfig(), embedding=dataclasses.replace(ENCODER, input_size=40))
    wider = dataclasses.replace(parts, encoder=dataclasses.replace(ENCODER, linear_units=32))
    with pytest.raises(WeightsError, match="of another shape"):
        build_encoder(config_of(wider, encoder_path=str(trained[1])))
    write_torch(tmp_path / "decoder.pt", {"decoder.after_norm.bias": torch.zeros(16)})
    with pytest.raises(WeightsError, match="hold no encoder"):
        build_encoder(config_of(parts, encoder_path=str(tmp_path / "decoder.pt")))
