"""Published directories of full size with random weights, which both mooer and funasr open: for measurements.

| folder | model |
| --- | --- |
| Paraformer, BiCifParaformer | Paraformer-large, without and with timestamps; 8404 tokens, about four of them a second |
| vad | FSMN-VAD; what it hears is the loudness |
| punc | the larger ct-punc, 471,067 words; a mark after some words |
| spk | CAM++ |

One unit of each of the detector's layers hands on the mean of the log mel bins of five frames, and silence is where that is
below a threshold; all other weights are random and have no say, so that the work is that of a trained network.
"""

import json
from pathlib import Path
from typing import Any

import torch
from paraformer import VOCABULARY, random_state
from torch import nn

from mooer.common.config import from_dict
from mooer.features.cmvn import Cmvn, write_cmvn
from mooer.models.paraformer_builder import ParaformerModelConfig, published_settings
from mooer.models.paraformer_dir import ParaformerConfig, build_paraformer, published_names
from mooer.models.published_folder import CMVN_FILE, CONFIG_FILE, TOKENS_FILE, PublishedModel, write_published_folder
from mooer.models.punctuation_training import PunctuationModelConfig, build_punctuation_training, published_punctuation
from mooer.models.sanm_encoder import SanmEncoderConfig
from mooer.models.speaker import Campplus, CampplusConfig, published_speaker_model
from mooer.models.vad_training import VadModelConfig, build_vad_training, published_vad

PUNCTUATION = SanmEncoderConfig(input_size=516, output_size=516, attention_heads=12, linear_units=2048, num_blocks=12)
PUNCTUATION_WORDS = 471_067
# Of log mel bins of samples at 16 bits, roughly.
MEAN, DEVIATION = 10.0, 4.0
# Loudness, in deviations from the mean, below which there is silence; and how sharply.
THRESHOLD, SHARPNESS = -0.4, 10.0
# The unit that hands on the loudness is zero below minus this, so that silence is never so sure that funasr fails at the rest.
LIFT = 1.5
# Of the logits of no mark, so that a sentence has about a dozen words.
NO_MARK_BIAS = 1.5
RECORD = {"weights": "random, for measurements"}


def write_folders(folder: Path) -> None:
    """Write those that are not there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, mean in (("asr", 560), ("vad", 400)):
        write_cmvn(folder / f"{name}.mvn", Cmvn(torch.full((mean,), -MEAN), torch.full((mean,), 1 / DEVIATION)))
    makers = {
        "Paraformer": lambda: paraformer(folder, has_times=False),
        "BiCifParaformer": lambda: paraformer(folder, has_times=True),
        "vad": lambda: activity(folder),
        "punc": punctuation,
        "spk": voices,
    }
    for name, make in makers.items():
        if not (folder / name).exists():
            torch.manual_seed(0)
            write_published_folder(folder / name, make())


def paraformer(folder: Path, has_times: bool) -> PublishedModel:
    """Paraformer-large."""
    settings = published_settings(ParaformerModelConfig(token_dir="unused", token_times=has_times))  # noqa: S106 (no password)
    model = build_paraformer(from_dict(ParaformerConfig, settings), VOCABULARY)
    weights = published_names(random_state(model))
    tokens = ["<blank>", "<s>", "</s>", *characters(VOCABULARY - 4), "<unk>"]
    return published(settings, weights, cmvn_path=folder / "asr.mvn", tokens=tokens)


@torch.no_grad()
def activity(folder: Path) -> PublishedModel:
    """FSMN-VAD that hears the loudness."""
    config = VadModelConfig()
    model = build_vad_training(config)
    encoder = model.encoder
    hand_on(encoder.in_linear1.linear, 1 / encoder.input_dim, every_input=True)
    hand_on(encoder.in_linear2.linear, 1.0, LIFT)
    for block in encoder.fsmn:
        hand_on(block.linear.linear, 1.0)
        block.fsmn_block.conv_left.weight[0] = 0.0
        hand_on(block.affine.linear, 1.0)
    hand_on(encoder.out_linear1.linear, 1.0)
    output = encoder.out_linear2.linear
    output.weight.mul_(0.1).index_fill_(1, torch.tensor(0), 0.0)
    # The other classes have a logit of about 0 each.
    evidence = torch.tensor(float(len(output.weight) - 1)).log()
    hand_on(output, -SHARPNESS, SHARPNESS * (THRESHOLD + LIFT) + evidence)
    settings, weights = published_vad(model, config, {"n_mels": 80, "lfr_m": 5, "lfr_n": 1})
    return published(settings, weights, cmvn_path=folder / "vad.mvn")


def hand_on(layer: nn.Linear, factor: float, lift: float = 0.0, every_input: bool = False) -> None:
    """Make the first output a multiple of the first input, or of the sum of all."""
    layer.weight[0] = factor if every_input else 0.0
    layer.weight[0, 0] = factor
    if layer.bias is not None:
        layer.bias[0] = lift


def punctuation() -> PublishedModel:
    """The larger ct-punc."""
    config = PunctuationModelConfig(encoder=PUNCTUATION)
    model = build_punctuation_training(config, PUNCTUATION_WORDS)
    model.load_state_dict(random_state(model))
    model.decoder.bias.data[1] += NO_MARK_BIAS
    settings, weights = published_punctuation(model, config, PUNCTUATION_WORDS)
    words = ["<blank>", "<s>", "</s>", *characters(VOCABULARY)]
    words += [f"w{index}" for index in range(PUNCTUATION_WORDS - len(words) - 1)]
    return published(settings, weights, tokens=[*words, "<unk>"])


def voices() -> PublishedModel:
    """CAM++."""
    config = CampplusConfig()
    model = published_speaker_model(Campplus(config), config, RECORD)
    return published(dict(model.settings), model.weights, weights_file=model.weights_file)


def published(settings: dict[str, Any], weights: dict[str, torch.Tensor], **files: Any) -> PublishedModel:
    """With the configuration.json that tells funasr which file is which."""
    named = {"init_param": files.get("weights_file", "model.pt"), "config": CONFIG_FILE}
    if "tokens" in files:
        named["tokenizer_conf"] = {"token_list": TOKENS_FILE}
    if "cmvn_path" in files:
        named["frontend_conf"] = {"cmvn_file": CMVN_FILE}
    texts = {"configuration.json": json.dumps({"framework": "pytorch", "file_path_metas": named})}
    return PublishedModel(settings=settings, weights=weights, others=texts, record=RECORD, **files)


def characters(count: int) -> list[str]:
    """So many Chinese characters."""
    return [chr(0x4E00 + index) for index in range(count)]
