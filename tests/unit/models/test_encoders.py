"""What all encoders of transformers must do, and how they are chosen."""

import dataclasses

import pytest
import torch

from mooer.common.config import from_dict
from mooer.common.errors import ConfigError, PathError
from mooer.features.frontend import Frontend, FrontendConfig
from mooer.models.adapter import AdapterConfig
from mooer.models.builders import PUBLISHED_ENCODERS, ModelConfig, build_encoder, build_model, check_frontend
from mooer.models.model_dir import PartPaths, load_model_dir
from mooer.models.model_export import ModelAssets, export_model_dir
from mooer.models.released import export_released
from mooer.models.sanm_encoder import SanmEncoderConfig

TYPES = list(PUBLISHED_ENCODERS)
VOCAB = 50
# Of samples: one as short as can be, one of just too few samples for the next frame.
LENGTHS = [16_000, 560, 9999, 4079, 33_333]


@pytest.fixture(scope="module")
def folders(encoder_folder):
    """A folder of each type, and of HuBERT in both its forms."""
    layered = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
    return {kind: encoder_folder(kind) for kind in TYPES} | {"hubert-layer": encoder_folder("hubert", **layered)}


@pytest.fixture(params=[*TYPES, "hubert-layer"])
def name(request):
    return request.param


def config_of(folders, name, **changes):
    changes = {"family": "ctc", "encoder_type": name.split("-")[0], "encoder_path": str(folders[name])} | changes
    return ModelConfig(**changes)


def frontend_of(encoder):
    return Frontend(FrontendConfig(**encoder.frontend))


def waveforms():
    generator = torch.Generator().manual_seed(1)
    return [0.2 * torch.randn(length, generator=generator) for length in LENGTHS]


@torch.no_grad()
def test_an_utterance_does_not_see_its_batch(folders, name):
    encoder = build_encoder(config_of(folders, name)).eval()
    frontend = frontend_of(encoder)
    frames, lengths = frontend.padded(waveforms())
    for row, length in enumerate(lengths):
        frames[row, length:] = float("nan") if row % 2 else 1e6
    together, together_lengths = encoder(frames, lengths)
    assert together.shape == (len(LENGTHS), int(together_lengths.max()), encoder.output_size)
    for row, waveform in enumerate(waveforms()):
        own = frontend(waveform)
        length = frontend.config.encoder_frames(len(own))
        assert int(together_lengths[row]) == length > 0
        alone, _ = encoder(own[None], torch.tensor([len(own)]))
        assert alone.shape[1] == length
        torch.testing.assert_close(together[row, :length], alone[0], atol=1e-5, rtol=1e-5)
        assert not together[row, length:].any()


@torch.no_grad()
def test_a_row_without_frames_harms_nobody(folders, name):
    encoder = build_encoder(config_of(folders, name)).eval()
    frames, lengths = frontend_of(encoder).padded(waveforms()[:2])
    expected = encoder(frames, lengths)[0][0]
    lengths[1] = 0
    hidden, hidden_lengths = encoder(frames, lengths)
    assert hidden_lengths[1] == 0 and not hidden[1].any()
    torch.testing.assert_close(hidden[0], expected, atol=1e-5, rtol=1e-5)


def test_gradients_reach_every_parameter_that_is_trained(folders, name):
    encoder = build_encoder(config_of(folders, name)).train()
    frames, lengths = frontend_of(encoder).padded(waveforms())
    frames[1, lengths[1] :] = float("nan")
    out = encoder(frames, lengths)[0]
    (out * torch.randn(out.shape, generator=torch.Generator().manual_seed(0))).sum().backward()
    fixed = {name for name, parameter in encoder.named_parameters() if not parameter.requires_grad}
    assert fixed == ({"network.embed_positions.weight"} if name == "whisper" else set())
    for key, parameter in encoder.named_parameters():
        if key not in fixed:
            assert parameter.grad is not None and parameter.grad.isfinite().all(), key
            # Softmax does not see what is added to all of its inputs.
            assert parameter.grad.any() or key.endswith(("k_proj.bias", "linear_k.bias")), key


def test_dropout_follows_torch_s_generator_alone(folders, name):
    """A resumed run repeats a step from torch's seed: nothing may be drawn elsewhere, no layer may be left out."""
    encoder = build_encoder(config_of(folders, name)).train()
    frames, lengths = frontend_of(encoder).padded(waveforms()[:2])
    draws = []
    for _ in range(4):
        torch.manual_seed(5)
        draws.append(encoder(frames, lengths)[0])
    assert all(torch.equal(draw, draws[0]) for draw in draws)


@pytest.mark.parametrize("family", ["ctc", "speech_llm"])
def test_frozen_and_trained(folders, name, family):
    changes = {"family": family, "adapter": AdapterConfig(downsample_rate=6, hidden_size=8)}
    model = build_model(config_of(folders, name, freeze=["encoder"], **changes), VOCAB)
    assert not model.train().encoder.training and not any(item.requires_grad for item in model.encoder.parameters())
    frames, lengths = frontend_of(model.encoder).padded(waveforms()[:2])
    outputs = model.log_probs(frames, lengths)[0] if family == "ctc" else model.encode(frames, lengths)[0]
    outputs.sum().backward()
    assert all(parameter.grad is None for parameter in model.encoder.parameters())
    trained = build_model(config_of(folders, name, **changes), VOCAB).train()
    assert trained.encoder.training and any(item.requires_grad for item in trained.encoder.parameters())


def test_model_directory(folders, name, tokenizer_dir, tmp_path):
    """It needs no other folder; its encoder can be the beginning of another model, and be replaced."""
    config = config_of(folders, name)
    model = build_model(config, VOCAB).eval()
    with torch.no_grad():
        for parameter in model.encoder.parameters():
            parameter.mul_(0.9)
    export_model_dir(model, config, tmp_path / "out", ModelAssets(tokenizer_dir=tokenizer_dir))
    loaded = load_model_dir(tmp_path / "out")
    assert loaded.config.encoder_path is None and loaded.config.encoder_type == config.encoder_type
    frames, lengths = frontend_of(model.encoder).padded(waveforms())
    with torch.no_grad():
        expected = model.encoder(frames, lengths)[0]
        assert torch.equal(loaded.model.encoder(frames, lengths)[0], expected)
        again = build_encoder(dataclasses.replace(config, encoder_path=str(tmp_path / "out"))).eval()
        assert torch.equal(again(frames, lengths)[0], expected) and again.frontend == model.encoder.frontend
        replaced = load_model_dir(tmp_path / "out", overrides=PartPaths(encoder=folders[name])).model.encoder
        original = build_encoder(config).eval()
        assert torch.equal(replaced(frames, lengths)[0], original(frames, lengths)[0])
    export_model_dir(model, config, tmp_path / "int8", ModelAssets(tokenizer_dir=tokenizer_dir), int8=True)
    small = load_model_dir(tmp_path / "int8").model.encoder(frames, lengths)[0]
    torch.testing.assert_close(small, expected, atol=0.1, rtol=0.1)


@torch.no_grad()
def test_half_precision(folders, name):
    exact = build_encoder(config_of(folders, name)).eval()
    rounded = build_encoder(config_of(folders, name)).eval().bfloat16()
    frames, lengths = frontend_of(exact).padded(waveforms()[:2])
    out = rounded(frames, lengths)[0]
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out.float(), exact(frames, lengths)[0], atol=0.1, rtol=0.1)


@pytest.mark.parametrize("kind", TYPES)
def test_embeddings_of_120_180_or_240_ms(kind):
    for rate in (6, 9, 12):
        assert ModelConfig(encoder_type=kind, adapter=AdapterConfig(downsample_rate=rate)).encoder_type == kind
    for rate in (1, 2, 3, 5, 8, 18):
        with pytest.raises(
            ConfigError, match=rf"downsample_rate {rate} joins {20 * rate} ms of .*; allowed: 6, 9, 12 \(120, 180"
        ):
            ModelConfig(encoder_type=kind, adapter=AdapterConfig(downsample_rate=rate))
    assert ModelConfig(encoder_type=kind, family="ctc").adapter.downsample_rate == 2, "CTC has no adapter"


def test_sanm_keeps_its_rates():
    for rate in (1, 2, 3, 4, 5):
        assert ModelConfig(adapter=AdapterConfig(downsample_rate=rate)).frontend_kind == "kaldi_fbank"


def test_choices_that_contradict_each_other(folders):
    with pytest.raises(ConfigError, match=r"section encoder sizes a SANM encoder.*hubert"):
        ModelConfig(encoder_type="hubert", family="ctc", encoder=SanmEncoderConfig(num_blocks=2))
    with pytest.raises(ConfigError, match="encoder_type whisper needs encoder_path"):
        build_encoder(ModelConfig(encoder_type="whisper", family="ctc"))
    with pytest.raises(PathError, match="absent"):
        build_encoder(ModelConfig(encoder_type="whisper", family="ctc", encoder_path="absent"))
    with pytest.raises(
        ConfigError, match="encoder_type is 'wavlm'; allowed: 'sanm', 'conformer', 'whisper', 'w2v_bert', 'hubert'"
    ):
        from_dict(ModelConfig, {"encoder_type": "wavlm"})


def test_the_front_end_must_be_the_encoder_s(folders, encoder_folder):
    whisper = build_encoder(config_of(folders, "whisper"))
    check_frontend(whisper, FrontendConfig(kind="whisper"))
    with pytest.raises(ConfigError, match="has kind: kaldi_fbank, num_mel_bins: 80, but this encoder needs kind: whisper"):
        check_frontend(whisper, FrontendConfig())
    large = encoder_folder("whisper", {"feature_size": 128}, num_mel_bins=128)
    with pytest.raises(ConfigError, match="needs kind: whisper, num_mel_bins: 128"):
        check_frontend(build_encoder(config_of({"whisper": large}, "whisper")), FrontendConfig(kind="whisper"))
    plain = build_encoder(config_of({"hubert": encoder_folder("hubert", {"do_normalize": False})}, "hubert"))
    check_frontend(plain, FrontendConfig(kind="waveform", normalise=False))
    with pytest.raises(ConfigError, match="needs kind: waveform, normalise: False"):
        check_frontend(plain, FrontendConfig(kind="waveform"))
    sanm = build_encoder(ModelConfig(encoder=SanmEncoderConfig(num_blocks=1)))
    check_frontend(sanm, FrontendConfig(lfr_n=4))
    with pytest.raises(ConfigError, match="feature_dim: 240, but this encoder needs kind: kaldi_fbank, feature_dim: 560"):
        check_frontend(sanm, FrontendConfig(lfr_m=3))


def test_the_released_layout_holds_no_such_encoder(folders, tmp_path):
    config = config_of(folders, "hubert", family="speech_llm", adapter=AdapterConfig(downsample_rate=6, hidden_size=8))
    with pytest.raises(ConfigError, match="a SANM encoder"):
        export_released(build_model(config, VOCAB), config, tmp_path / "out", "asr", tmp_path, tmp_path)
    assert not (tmp_path / "out").exists()
