"""The language model: no token sees a later one or another row, and the loss is over all tokens and ends."""

import pytest
import torch

from mooer.common.errors import ConfigError, WeightsError
from mooer.models.language_model_dir import load_language_model, write_language_model
from mooer.models.transformer_lm import SpecialTokens, TransformerLm, TransformerLmConfig
from mooer.models.weights import write_safetensors

SIZES = TransformerLmConfig(embed_unit=6, att_unit=8, head=2, unit=12, layer=2, dropout_rate=0.1)
SPECIAL = SpecialTokens(blank=0, start=1, end=2)


@pytest.fixture(params=["sinusoidal", None])
def model(request):
    torch.manual_seed(1)
    config = TransformerLmConfig(**vars(SIZES) | {"pos_enc": request.param})
    return TransformerLm(config, 11, SPECIAL).eval().requires_grad_(False)


def test_no_token_sees_a_later_one(model):
    tokens = torch.tensor([[1, 4, 5, 6, 7]])
    other = torch.tensor([[1, 4, 5, 9, 8]])
    torch.testing.assert_close(model.logits(tokens)[:, :3], model.logits(other)[:, :3])
    assert not torch.allclose(model.logits(tokens)[:, 3:], model.logits(other)[:, 3:])


def test_no_token_sees_a_blank(model):
    left, right = (model.logits(torch.tensor([[1, 4, token, 6]])) for token in (0, 3))
    model.embed.weight.data[0] += 1.0
    moved = model.logits(torch.tensor([[1, 4, 0, 6]]))
    torch.testing.assert_close(left[:, 3], moved[:, 3])
    assert not torch.allclose(left[:, 3], right[:, 3])


def test_the_loss_is_that_of_every_token_and_end(model):
    rows = [[4, 5, 6], [7], [8, 9]]
    tokens = torch.tensor([row + [0] * (3 - len(row)) for row in rows])
    output = model(tokens, torch.tensor([len(row) for row in rows]))
    expected = 0.0
    for row in rows:
        log_probs = model.logits(torch.tensor([[1, *row]]))[0].log_softmax(-1)
        expected -= float(sum(log_probs[place, token] for place, token in enumerate([*row, 2])))
    assert float(output.loss_sum) == pytest.approx(expected, rel=1e-5)
    assert int(output.num_tokens) == 9


def test_a_folder_gives_the_model_back(tmp_path):
    model = TransformerLm(SIZES, 11, SPECIAL).eval()
    write_language_model(model, SIZES, tmp_path / "lm", lambda folder: (folder / "tokens").touch(), {"step": 3})
    loaded = load_language_model(tmp_path / "lm")
    tokens = torch.tensor([[1, 4, 5]])
    assert torch.equal(loaded.model.logits(tokens), model.logits(tokens))
    assert loaded.model.special == SPECIAL
    assert (loaded.tokenizer_dir / "tokens").exists()


def test_other_folders_are_refused(model, tmp_path):
    write_language_model(model, SIZES, tmp_path / "lm", lambda folder: None, {})
    write_safetensors(tmp_path / "lm" / "model.safetensors", {"x": torch.zeros(2)})
    with pytest.raises(WeightsError, match="has no matrix"):
        load_language_model(tmp_path / "lm")
    (tmp_path / "lm" / "config.yaml").write_text("family: ctc\n")
    with pytest.raises(ConfigError, match="holds no language model"):
        load_language_model(tmp_path / "lm")


@pytest.mark.parametrize("wrong", [{"layer": 0}, {"head": 3}, {"dropout_rate": 1.0}])
def test_impossible_sizes(wrong):
    with pytest.raises(ConfigError):
        TransformerLmConfig(**vars(SIZES) | wrong)
