import pytest
import torch
import yaml

from mooer.common.errors import ConfigError, PathError, WeightsError
from mooer.common.marks import MARKS, NO_MARK, PERIOD, UNKNOWN
from mooer.models.published_folder import PublishedModel, write_published_folder
from mooer.models.punctuation import load_punctuation
from mooer.models.punctuation_training import (
    PunctuationModelConfig,
    build_punctuation_training,
    published_punctuation,
    unknown_word,
)
from mooer.models.sanm_encoder import SanmEncoderConfig

SMALL = SanmEncoderConfig(input_size=8, output_size=12, attention_heads=2, linear_units=16, num_blocks=2, kernel_size=3)
TOKENS = ("<blank>", "<s>", "</s>", "a", "b", "<unk>")


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(1)
    words = torch.randint(len(TOKENS), (3, 9), generator=generator)
    marks = torch.randint(1, len(MARKS), (3, 9), generator=generator)
    lengths = torch.tensor([9, 4, 6])
    marks[torch.arange(9) >= lengths[:, None]] = UNKNOWN
    marks[0, 3] = UNKNOWN
    return words, lengths, marks


def built(**settings):
    torch.manual_seed(0)
    return build_punctuation_training(PunctuationModelConfig(encoder=SMALL, **settings), len(TOKENS)).eval()


@pytest.mark.parametrize("weights", [None, (0.0, 1.0, 2.0, 0.5, 3.0, 1.0)])
def test_the_loss_is_the_sum_over_known_marks(batch, weights):
    words, lengths, marks = batch
    model = built(mark_weights=weights)
    output = model(words, lengths, marks)
    wanted, correct = 0.0, 0
    for row, length in enumerate(lengths.tolist()):
        hidden, _ = model.encoder(model.embed(words[row : row + 1, :length]), lengths[row : row + 1])
        logits = model.decoder(hidden)[0]
        for place in range(length):
            mark = int(marks[row, place])
            if mark != UNKNOWN:
                wanted -= (1.0 if weights is None else weights[mark]) * logits[place].log_softmax(dim=-1)[mark].item()
                correct += int(logits[place, 1:].argmax()) + 1 == mark
    assert output.loss_sum.item() == pytest.approx(wanted, rel=1e-5)
    assert (output.num_tokens.item(), output.num_correct.item(), output.num_infinite.item()) == (18, correct, 0)


def test_what_stands_in_the_padding_does_not_matter(batch):
    words, lengths, marks = batch
    model = built()
    first = model(words, lengths, marks).loss_sum
    words[torch.arange(9) >= lengths[:, None]] = 4
    assert torch.equal(model(words, lengths, marks).loss_sum, first)


def test_a_batch_of_nothing_known_has_no_loss(batch):
    words, lengths, marks = batch
    output = built()(words, lengths, torch.full_like(marks, UNKNOWN))
    assert output.loss_sum.item() == 0.0 and output.num_tokens.item() == 0
    output.loss_sum.backward()


def test_marks_are_learnt(batch):
    """Of two words one always ends a sentence."""
    words, lengths, _ = batch
    marks = torch.where(words == 3, PERIOD, NO_MARK)
    marks[torch.arange(9) >= lengths[:, None]] = UNKNOWN
    model = built().train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(80):
        optimizer.zero_grad()
        output = model(words, lengths, marks)
        output.loss_sum.backward()
        optimizer.step()
    output = model.eval()(words, lengths, marks)
    assert output.num_correct == output.num_tokens == 19


def exported(model, config, folder, tokens=TOKENS):
    settings, weights = published_punctuation(model, config, len(tokens))
    write_published_folder(folder, PublishedModel(settings=settings, weights=weights, tokens=tokens, record={}))
    return folder


def test_the_kind_of_encoder_is_written(tmp_path):
    """The reference's own defaults are a layer that halves the words twice, and plain attention."""
    folder = exported(built(), PunctuationModelConfig(encoder=SMALL), tmp_path / "punc")
    written = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))["encoder_conf"]
    kinds = {"input_layer": "pe", "selfattention_layer_type": "sanm", "pos_enc_class": "SinusoidalPositionEncoder"}
    assert written | kinds == written


def test_what_is_exported_is_opened(batch, tmp_path):
    words, lengths, _ = batch
    model = built()
    loaded = load_punctuation(exported(model, PunctuationModelConfig(encoder=SMALL), tmp_path / "punc"))
    assert loaded.tokens == TOKENS and loaded.unknown == "<unk>"
    hidden, _ = model.encoder(model.embed(words), lengths)
    assert torch.equal(loaded.model(words, lengths), model.decoder(hidden))


def test_training_goes_on_from_a_published_directory(tmp_path):
    model = built()
    folder = exported(model, PunctuationModelConfig(encoder=SMALL), tmp_path / "first")
    (folder / "config.yaml").write_text((folder / "config.yaml").read_text().replace("punc_list", "ignore_id: 0\n  punc_list"))
    again = PunctuationModelConfig(path=str(folder))
    assert unknown_word(again) == "<unk>"
    continued = build_punctuation_training(again, len(TOKENS))
    assert continued.training and torch.equal(continued.embed.weight, model.embed.weight)
    assert "ignore_id: 0" in (exported(continued, again, tmp_path / "second") / "config.yaml").read_text()
    with pytest.raises(WeightsError, match=r"embed\.weight"):
        build_punctuation_training(again, len(TOKENS) + 1)


def test_the_smaller_published_sizes_are_the_default():
    model = build_punctuation_training(PunctuationModelConfig(), 7)
    assert model.embed.embedding_dim == model.encoder.output_size == 256
    assert len(model.encoder.encoders) == 3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"path": "punc", "encoder": SMALL}, "remove encoder"),
        ({"mark_weights": (1.0, 1.0)}, "mark_weights needs 6"),
        ({"mark_weights": (-1.0, 1.0, 1.0, 1.0, 1.0, 1.0)}, "mark_weights needs 6"),
    ],
)
def test_settings_that_contradict_each_other(settings, message):
    with pytest.raises(ConfigError, match=message):
        PunctuationModelConfig(**settings)
    with pytest.raises(PathError):
        build_punctuation_training(PunctuationModelConfig(path="nowhere"), 3)
