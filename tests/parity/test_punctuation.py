"""The punctuation model and the block-wise procedure against the reference's texts."""

import json

import pytest
import torch
from safetensors.torch import load_file

from mooer.common.marks import MARKS, UNKNOWN
from mooer.models.punctuation import (
    LoadedPunctuation,
    PunctuationConfig,
    build_punctuation,
    load_punctuation,
)
from mooer.models.punctuation_training import PunctuationModelConfig, PunctuationTraining, build_punctuation_training
from mooer.models.sanm_encoder import SanmEncoderConfig
from mooer.models.weights import load_state
from mooer.pipeline.punctuation import Punctuator, PunctuatorConfig


def published(block_words=20):
    return PunctuatorConfig(style="published", block_words=block_words)


FULL_SIZE = {
    "ct_punc_zh_vocab272727": {"attention_heads": 8, "linear_units": 1024, "num_blocks": 4},
    "ct_punc_cn_en_vocab471067_large": {"attention_heads": 12, "linear_units": 2048, "num_blocks": 12},
}


@pytest.fixture(scope="module")
def tensors(golden_paraformer):
    return load_file(golden_paraformer / "punc_tiny.safetensors")


@pytest.fixture(scope="module")
def texts(golden_paraformer):
    return json.loads((golden_paraformer / "punc_tiny.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def tiny(tensors, texts):
    """The model of the golden file, with the bias of a variant: `tiny("base")`."""
    encoder = SanmEncoderConfig(input_size=32, output_size=32, attention_heads=4, linear_units=64, num_blocks=2)
    config = PunctuationConfig(embed_unit=32, att_unit=32)
    state = {name.removeprefix("model."): tensor for name, tensor in tensors.items() if name.startswith("model.")}

    def build(variant):
        model = build_punctuation(config, encoder, len(texts["token_list"])).eval().requires_grad_(False)
        load_state(model, state | {"decoder.bias": torch.tensor(texts["decoder_bias_variants"][variant]).float()}, "golden")
        return LoadedPunctuation(model, tuple(texts["token_list"]), "<unk>")

    return build


def test_logits(tiny, tensors):
    logits = tiny("base").model(tensors["ids"], tensors["lengths"])
    for row, length in enumerate(tensors["lengths"].tolist()):
        torch.testing.assert_close(logits[row, :length], tensors["logits"][row, :length], atol=1e-4, rtol=0)


def test_the_loss_is_that_of_the_references_logits(tiny, tensors):
    ids, lengths, logits = tensors["ids"], tensors["lengths"], tensors["logits"].double()
    marks = torch.randint(1, len(MARKS), ids.shape, generator=torch.Generator().manual_seed(0))
    marks[torch.arange(ids.shape[1]) >= lengths[:, None]] = UNKNOWN
    output = PunctuationTraining(tiny("base").model)(ids, lengths, marks)
    is_known = marks != UNKNOWN
    wanted = -logits.log_softmax(dim=-1).gather(2, marks[..., None])[..., 0][is_known].sum()
    assert output.loss_sum.item() == pytest.approx(wanted.item(), rel=1e-5)
    assert output.num_tokens == lengths.sum()
    guesses = logits[:, :, 1:].argmax(dim=-1) + 1
    assert output.num_correct == ((guesses == marks) & is_known).sum()


def test_training_starts_from_a_published_directory(golden_paraformer):
    folder = golden_paraformer / "e2e" / "punc"
    loaded = load_punctuation(folder)
    model = build_punctuation_training(PunctuationModelConfig(path=str(folder)), len(loaded.tokens))
    state = loaded.model.state_dict()
    assert {name: tensor.shape for name, tensor in model.state_dict().items()} == {
        name: item.shape for name, item in state.items()
    }
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("variant", ["base", "comma_only", "never", "always_period", "dun_or_comma", "question"])
def test_texts(tiny, texts, variant):
    loaded = tiny(variant)
    cases = [case for case in texts["cases"] if case["variant"] == variant]
    assert cases
    for case in cases:
        result = Punctuator(loaded, published(case.get("split_size", 20)))(case["text"])
        assert result.text == case["out_text"]
        assert "words" not in case or [word.text for word in result.words] == case["words"]
        assert [word.mark for word in result.words] == (case["punc_array"] or [])


RUNS = ("vad_punc_sentence_timestamp", "spacejoin_vad_punc_sentence_timestamp", "asr_punc_no_vad")


@pytest.mark.parametrize("run", RUNS)
def test_published_folder(golden_paraformer, run):
    expected = json.loads((golden_paraformer / "e2e" / "expected.json").read_text(encoding="utf-8"))[run][0]
    punctuate = Punctuator.from_folder(golden_paraformer / "e2e" / "punc", published())
    assert punctuate(expected["raw_text"]).text == expected["text"]


def test_punctuation_alone(golden_paraformer):
    """The text that went in is not recorded: it is what came out without its marks and capitals."""
    expected = json.loads((golden_paraformer / "e2e" / "expected.json").read_text(encoding="utf-8"))["punc_alone"][0]
    result = Punctuator.from_folder(golden_paraformer / "e2e" / "punc", published())(
        "今天天气很好我们去公园 hello the program 吧"
    )
    assert result.text == expected["text"]
    assert [word.mark for word in result.words] == expected["punc_array"]


@pytest.mark.parametrize("name", FULL_SIZE)
def test_full_size_names_and_shapes(golden_paraformer, name):
    wanted = json.loads((golden_paraformer / "full_size_keys.json").read_text(encoding="utf-8"))[name]
    width, vocab_size = wanted["config"]["embed_unit"], wanted["config"]["vocab_size"]
    with torch.device("meta"):
        encoder = SanmEncoderConfig(input_size=width, output_size=width, **FULL_SIZE[name])
        model = build_punctuation(PunctuationConfig(embed_unit=width, att_unit=width), encoder, vocab_size)
    found = {key: [list(tensor.shape), str(tensor.dtype).removeprefix("torch.")] for key, tensor in model.state_dict().items()}
    assert found == wanted["state_dict"]
    assert sum(parameter.numel() for parameter in model.parameters()) == wanted["n_params"]


def test_loaded_folder(golden_paraformer):
    loaded = load_punctuation(golden_paraformer / "e2e" / "punc")
    assert not loaded.model.training
    assert loaded.tokens[-1] == loaded.unknown == "<unk>"
    assert loaded.model.embed.num_embeddings == len(loaded.tokens)
