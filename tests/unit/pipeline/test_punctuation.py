"""The block-wise procedure on models whose labels are known."""

import re

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mooer.common.errors import ConfigError
from mooer.common.marks import MARKS
from mooer.decode import packed_linear
from mooer.models.published_folder import PublishedModel, write_published_folder
from mooer.models.punctuation import LoadedPunctuation, PunctuationConfig, build_punctuation
from mooer.models.punctuation_training import PunctuationModelConfig, build_punctuation_training, published_punctuation
from mooer.models.sanm_encoder import SanmEncoderConfig
from mooer.pipeline.punctuation import Punctuator, PunctuatorConfig

TOKENS = ("<blank>", "好", "是", "hello", "AI", "2024", "<unk>")
SIZES = SanmEncoderConfig(input_size=16, output_size=16, attention_heads=2, linear_units=16, num_blocks=2, kernel_size=5)


def random_model(seed=0):
    torch.manual_seed(seed)
    model = build_punctuation(PunctuationConfig(embed_unit=16, att_unit=16), SIZES, len(TOKENS)).eval().requires_grad_(False)
    for parameter in model.parameters():
        parameter.add_(torch.randn_like(parameter) * 0.3)
    return LoadedPunctuation(model, TOKENS, "<unk>")


class ByWord(torch.nn.Module):
    """A network that gives each word its own mark, and notes how many words it saw."""

    def __init__(self, marks):
        super().__init__()
        self.marks = marks
        self.seen = []

    def forward(self, words, lengths):
        self.seen.append(int(lengths[0]))
        labels = [self.marks.get(TOKENS[index], "_") for index in words[0].tolist()]
        return torch.nn.functional.one_hot(torch.tensor([[MARKS.index(label) for label in labels]]), len(MARKS)).float()


def by_word(marks, **settings):
    return Punctuator(LoadedPunctuation(ByWord(marks), TOKENS, "<unk>"), PunctuatorConfig(**settings))


RANDOM = random_model()
# All that marks and the joining of words add or remove.
IGNORED = dict.fromkeys(map(ord, ",.?，。？、"), "")


def bare(text):
    return "".join(text.translate(IGNORED).split()).lower()


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=150), st.sampled_from(["tidy", "published"]))
@example("好" * 400, "tidy")
@example("hello AI 2024 好是 İ ß \x00 \x7f \u3000 ﬁ 😀 ,", "published")
def test_characters_are_conserved(text, style):
    result = Punctuator(RANDOM, PunctuatorConfig(style=style))(text)
    assert bare(result.text) == bare(text)
    assert "".join(word.text for word in result.words) == "".join(text.split())
    assert all(text.startswith(word.text, word.start) for word in result.words)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from(["好", "是", "hello", "AI", "2024", "iOS"]), min_size=1, max_size=130), st.integers(0, 5))
def test_tidy_text_keeps_case_and_spaces(words, seed):
    result = Punctuator(random_model(seed))(" ".join(words))
    assert result.words[-1].ends_sentence
    joined = re.sub(" ?([好是]) ?", r"\1", " ".join(words))
    assert result.text.translate(IGNORED).replace("Hello", "hello") == joined


@pytest.mark.parametrize("text", ["", "   ", "\n\t", "\u3000"])
def test_no_words(text):
    result = Punctuator(RANDOM)(text)
    assert (result.text, result.words) == ("", ())


@pytest.mark.parametrize(
    ("given", "tidy", "published"),
    [
        ("hello AI 好", "Hello. AI好。", " Hello. Ai好。"),
        ("hello", "Hello.", " Hello."),
        ("2024 2024 是", "2024, 2024,是。", None),
        ("AI hello ok ai", "AI hello. Ok ai.", " Ai hello. Ok ai."),
        ("好，是", "好，是。", "好，是。"),
        ("好。", "好。", "好。"),
        ("café crème", "Café crème.", None),
    ],
)
def test_spelling(given, tidy, published):
    marks = {"hello": "。", "2024": "，"}
    assert by_word(marks)(given).text == tidy
    if published is not None:
        assert by_word(marks, style="published")(given).text == published


def test_no_mark_beside_a_mark_of_the_text():
    assert by_word({"好": "，", "是": "，"})("好，是 好 。").text == "好，是，好。"
    assert by_word({"hello": "。"})("hello hello, hello").text == "Hello. Hello, hello."


def test_a_settled_sentence_is_not_read_again():
    punctuate = by_word({"AI": "。"}, block_words=5)
    result = punctuate("好好好 AI 好好 好好好好")
    assert punctuate._model.seen == [5, 6]
    assert result.text == "好好好AI.好好好好好好。"


@pytest.mark.parametrize(
    ("words", "seen"), [("AI 好好好好", [5, 10]), ("好 AI 好好好", [5, 10]), ("好好 AI 好好", [5, 7]), ("好好好好 AI", [5, 10])]
)
def test_which_words_settle_a_block(words, seen):
    punctuate = by_word({"AI": "？"}, block_words=5)
    punctuate(words + "是是是是是")
    assert punctuate._model.seen == seen


def test_a_comma_ends_what_would_be_too_long():
    punctuate = by_word({"AI": "，"}, block_words=5, comma_words=10, longest_words=30)
    result = punctuate("好好好 AI 好好好好好好好好好好好好好好")
    assert punctuate._model.seen == [5, 10, 15, 14]
    assert result.text == "好好好AI.好好好好好好好好好好好好好好。"


def test_a_text_without_marks_takes_bounded_blocks():
    punctuate = by_word({}, block_words=5, comma_words=10, longest_words=30)
    assert punctuate("好" * 200).text == "好" * 200 + "。"
    assert max(punctuate._model.seen) == 35


@pytest.mark.parametrize("length", [19, 20, 21, 39, 40, 41])
def test_every_word_gets_one_mark_at_the_edges_of_blocks(length):
    assert by_word({"是": "。"})("是" * length).text == "是。" * length


def test_the_unknown_label_is_never_written():
    assert "<unk>" not in by_word({"好": "<unk>"})("好好").text


@pytest.mark.parametrize("wrong", [{"block_words": 0}, {"comma_words": 10}, {"longest_words": 200}, {"style": "neat"}])
def test_impossible_settings(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        PunctuatorConfig(**wrong)


def test_linear_layers_are_packed_where_it_gains(monkeypatch, tmp_path):
    sizes = SanmEncoderConfig(input_size=16, output_size=16, attention_heads=2, linear_units=32, num_blocks=2)
    config = PunctuationModelConfig(encoder=sizes)
    tokens = [*"abcdefgh", "<unk>"]
    torch.manual_seed(0)
    settings, weights = published_punctuation(build_punctuation_training(config, len(tokens)), config, len(tokens))
    write_published_folder(tmp_path / "punc", PublishedModel(settings=settings, weights=weights, tokens=tokens, record={}))
    plain = Punctuator.from_folder(tmp_path / "punc", PunctuatorConfig(device="cpu"))
    monkeypatch.setattr(packed_linear, "MIN_WEIGHTS", 0)
    monkeypatch.setattr(packed_linear, "_gain", lambda _: 2.0)
    packed = Punctuator.from_folder(tmp_path / "punc", PunctuatorConfig(device="cpu"))
    kinds = [{type(module) for module in made._model.modules()} for made in (plain, packed)]
    assert packed_linear.PackedLinear in kinds[1] - kinds[0]
    text = " ".join("abcdefghx"[index % 9] for index in range(100))
    assert packed(text) == plain(text)
