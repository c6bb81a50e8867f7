"""Shared fixtures. Golden tensors and real recordings lie beside the checkout where the project is developed; elsewhere the
tests that need them skip and say so."""

import json
from pathlib import Path

import pytest

SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
SHARED = Path(__file__).resolve().parents[2] / "shared"
TIERS = ("unit", "parity", "recipe")
# What takes minutes begins first, so that no process is left alone with it at the end.
FIRST = ("recipe/test_mini.py", "recipe/test_corpus_recipes.py")


def pytest_collection_modifyitems(items):
    """A test's folder is its tier, so that no test can be left unmarked; the longest files come first."""
    for item in items:
        tier = Path(str(item.fspath)).relative_to(Path(__file__).parent).parts[0]
        if tier in TIERS:
            item.add_marker(getattr(pytest.mark, tier))
    items.sort(key=lambda item: not str(item.path).endswith(FIRST))


def _shared(*parts):
    path = SHARED.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"{'/'.join(('shared', *parts))} is not beside this checkout")
    return path


@pytest.fixture(scope="session")
def golden():
    """Folder of the tensors measured on the reference implementation of MooER."""
    return _shared("golden", "mooer")


@pytest.fixture(scope="session")
def speaking(golden, tmp_path_factory):
    """A released folder with a tiny LLM that speaks, `vocoder.pt` and `spk_encoder.pt`."""
    from .speaking_model import write_speaking_folder

    folder = tmp_path_factory.mktemp("speaking")
    write_speaking_folder(golden, folder)
    return folder


@pytest.fixture(scope="session")
def golden_paraformer():
    """Folder of the tensors and results measured on the reference implementation of long-audio recognition."""
    return _shared("golden", "paraformer")


@pytest.fixture(scope="session")
def golden_conformer():
    """Folder of the tensors and results measured on the reference implementation of 3M-ASR."""
    return _shared("golden", "conformer_moe")


@pytest.fixture(scope="session")
def shared_data():
    """Folder of real recordings for development."""
    return _shared("data")


@pytest.fixture(scope="session")
def shared_check():
    """Folder of the scripts that hold the commands to the golden data."""
    return _shared("check")


@pytest.fixture(scope="session")
def encoder_folder(tmp_path_factory):
    """Writes the Hugging Face folder of a small encoder with random weights: `encoder_folder("hubert", layerdrop=0.5)`.

    `preprocessor` goes to the front end's settings, everything else to the encoder's.
    """

    def write(encoder_type, preprocessor=None, **sizes):
        import torch

        model, extractor = _published(encoder_type, preprocessor or {}, sizes)
        for name, parameter in model.named_parameters():
            if parameter.ndim < 2:  # biases and norms begin as zeros and ones, which hide what goes wrong with them
                torch.nn.init.normal_(parameter, mean=float("norm" in name and "weight" in name), std=0.1)
        folder = tmp_path_factory.mktemp(encoder_type)
        model.eval().save_pretrained(folder)
        extractor.save_pretrained(folder)
        return folder

    return write


def _published(encoder_type, preprocessor, sizes):
    import torch

    from mooer.common.torchaudio_compat import ensure_torchaudio

    ensure_torchaudio()
    import transformers

    torch.manual_seed(3)
    if encoder_type == "whisper":
        heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48}
        layers = {"d_model": 32, "encoder_layers": 2, "decoder_layers": 1, "vocab_size": 40}
        ids = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1}
        model = transformers.WhisperForConditionalGeneration(transformers.WhisperConfig(**(heads | layers | ids | sizes)))
        return model, transformers.WhisperFeatureExtractor(**preprocessor)
    if encoder_type == "w2v_bert":
        config = transformers.Wav2Vec2BertConfig(**(SMALL | {"hidden_dropout": 0.1} | sizes))
        return transformers.Wav2Vec2BertModel(config), transformers.SeamlessM4TFeatureExtractor(**preprocessor)
    convolutions = {"conv_dim": [16] * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2}
    config = transformers.HubertConfig(**(SMALL | convolutions | sizes))
    return transformers.HubertModel(config), transformers.Wav2Vec2FeatureExtractor(**preprocessor)


PARAFORMER_TOKENS = ["<blank>", "<s>", "</s>", "今", "天", "hel@@", "lo", "a", "b", "<unk>"]


@pytest.fixture(scope="session")
def paraformer_folder(tmp_path_factory):
    """Writes a small published Paraformer directory with random weights: `paraformer_folder("BiCifParaformer")`.

    `settings` replace sections of config.yaml; the sizes of the weights stay as they are.
    """

    def write(model="BiCifParaformer", **settings):
        import torch
        import yaml

        from mooer.common.config import from_dict
        from mooer.features.cmvn import Cmvn, write_cmvn
        from mooer.models.paraformer_dir import ParaformerConfig, build_paraformer

        published = _published_paraformer(model)
        torch.manual_seed(5)
        network = build_paraformer(from_dict(ParaformerConfig, published), len(PARAFORMER_TOKENS))
        torch.nn.init.constant_(network.predictor.cif_output.bias, -1.0)  # a token in three or four frames
        state = {name.replace("token_times.", "predictor."): tensor for name, tensor in network.state_dict().items()}
        folder = tmp_path_factory.mktemp(model)
        torch.save(state, folder / "model.pt")
        (folder / "config.yaml").write_text(yaml.safe_dump(published | settings))
        (folder / "tokens.json").write_text(json.dumps(PARAFORMER_TOKENS), encoding="utf-8")
        write_cmvn(folder / "am.mvn", Cmvn(torch.full((560,), 8.0), torch.full((560,), 0.2)))
        return folder

    return write


def _published_paraformer(model):
    sizes = {"attention_heads": 2, "linear_units": 24, "num_blocks": 2, "kernel_size": 3}
    predictor = {"idim": 16, "threshold": 1.0, "l_order": 1, "r_order": 1, "tail_threshold": 0.45}
    if model == "BiCifParaformer":
        predictor |= {"smooth_factor2": 0.25, "noise_threshold2": 0.01, "upsample_times": 3, "upsample_type": "cnn_blstm"}
    return {
        "model": model,
        "model_conf": {"lsm_weight": 0.1},
        "encoder": "SANMEncoder",
        "encoder_conf": sizes | {"output_size": 16, "input_layer": "pe", "selfattention_layer_type": "sanm"},
        "decoder": "ParaformerSANMDecoder",
        "decoder_conf": sizes | {"att_layer_num": 2},
        "predictor": "CifPredictorV3" if model == "BiCifParaformer" else "CifPredictorV2",
        "predictor_conf": predictor,
        "frontend": "WavFrontend",
        "frontend_conf": {"fs": 16000, "window": "hamming", "n_mels": 80, "lfr_m": 7, "lfr_n": 6},
        "tokenizer": "CharTokenizer",
    }


@pytest.fixture(scope="session")
def lm_folder(tmp_path_factory):
    """Writes a small language model, with large random weights, for the tokens of a folder: `lm_folder(tokenizer_dir)`."""

    def write(tokenizer_dir):
        import torch

        from mooer.models.language_model_dir import write_language_model
        from mooer.models.transformer_lm import SpecialTokens, TransformerLm, TransformerLmConfig
        from mooer.text.vocabulary import load_vocabulary

        known = load_vocabulary(tokenizer_dir)
        sizes = TransformerLmConfig(embed_unit=6, att_unit=8, head=2, unit=12, layer=2)
        special = SpecialTokens(blank=known.blank_id, start=known.start_id, end=known.end_id)
        torch.manual_seed(8)
        model = TransformerLm(sizes, len(known.tokens), special)
        model.decoder.weight.data *= 3.0
        folder = tmp_path_factory.mktemp("lm") / "model"
        write_language_model(model, sizes, folder, known.save, {})
        return folder

    return write


@pytest.fixture(scope="session")
def tiny_recognisers():
    """Writes small random recognisers, `ctc` and `llm`, and their `tokenizer`: `tiny_recognisers(folder, texts)`."""

    def write(folder, texts, special=(), seed=1, llm_scale=1.0):
        """`llm_scale`: what the LLM's layers are multiplied by, so that its answers are no loops."""
        import torch

        from mooer.models.adapter import AdapterConfig
        from mooer.models.builders import ModelConfig, build_model
        from mooer.models.llm import LlmConfig
        from mooer.models.model_export import ModelAssets, export_model_dir
        from mooer.models.sanm_encoder import SanmEncoderConfig
        from mooer.text.tokenizer import build_bpe_tokenizer, save_tokenizer

        tokenizer = build_bpe_tokenizer(list(texts), 300, list(special))
        save_tokenizer(tokenizer, folder / "tokenizer")
        encoder = SanmEncoderConfig(output_size=16, attention_heads=2, linear_units=32, num_blocks=2)
        llm = LlmConfig(hidden_size=16, num_layers=1, num_heads=2, num_kv_heads=1, intermediate_size=32)
        configs = {
            "ctc": ModelConfig(family="ctc", encoder=encoder),
            "llm": ModelConfig(encoder=encoder, adapter=AdapterConfig(hidden_size=16), llm=llm),
        }
        for name, config in configs.items():
            torch.manual_seed(seed)
            model = build_model(config, len(tokenizer))
            if name == "llm":
                for parameter_name, parameter in model.llm.named_parameters():
                    if parameter.ndim == 2 and "embed" not in parameter_name:
                        parameter.data *= llm_scale
            export_model_dir(model, config, folder / name, ModelAssets(tokenizer_dir=folder / "tokenizer"))

    return write
