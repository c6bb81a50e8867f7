"""Byte-level BPE: what it can encode, what becomes one token, and the border between prompt and answer."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mooer.common.errors import ConfigError, PathError
from mooer.text import tokenizer as tok

TEMPLATE = "<|im_start|>system\nYou are helpful.<|im_end|>\n<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"
PROMPTS = [TEMPLATE.format("Write it down. "), TEMPLATE.format("Translate it. ")]
TEXTS = ["the old doctor sees the boat", "老医生看见船", "HELLO▁WORLD今天", "we don't see 3 boats"] * 4


@pytest.fixture(scope="module")
def tokenizer():
    return tok.build_bpe_tokenizer(TEXTS, 400, PROMPTS)


@pytest.fixture(scope="module")
def reloaded(tokenizer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    tokenizer.save_pretrained(folder)
    return tok.load_tokenizer(folder)


def test_special_tokens_have_the_first_ids(tokenizer):
    assert tokenizer.convert_tokens_to_ids(list(tok.SPECIAL_TOKENS)) == [0, 1, 2]
    assert (tokenizer.pad_token_id, tokenizer.eos_token_id) == (0, 2)


@given(text=st.text())
@settings(max_examples=200, deadline=None)
def test_any_text_survives_encoding(tokenizer, text):
    import unicodedata

    expected = unicodedata.normalize("NFC", text.replace("\u2581", " "))
    assert tok.decode_text(tokenizer, tok.encode_text(tokenizer, text)) == expected


def test_seen_characters_and_frequent_words_are_one_token(tokenizer):
    assert len(tok.encode_text(tokenizer, "老医生看见船今天")) == 8
    assert len(tok.encode_text(tokenizer, "the doctor sees the boat")) == 5
    assert len(tok.encode_text(tokenizer, "WORLD")) > 1  # only seen after a space
    assert len(tok.encode_text(tokenizer, "HELLO▁WORLD")) == 2


def test_a_word_is_the_same_ctc_target_wherever_it_stands(tokenizer):
    once, twice = tok.encode_ctc_targets(tokenizer, ["WORLD", "WORLD WORLD"])
    assert twice == once + once
    assert len(once) == 1


@pytest.mark.parametrize("text", ["", "老医生", " WORLD", "\u2581WORLD"])
def test_a_ctc_target_without_a_bare_first_word_is_the_text(tokenizer, text):
    assert tok.encode_ctc_targets(tokenizer, [text]) == [tok.encode_text(tokenizer, text)]


def test_unseen_text_is_still_encoded(tokenizer):
    assert len(tok.encode_text(tokenizer, "龘")) == 3


def test_frequent_characters_win_where_room_is_short():
    small = tok.build_bpe_tokenizer(["天天天船"], 262, [])
    assert len(tok.encode_text(small, "天")) == 1
    assert len(tok.encode_text(small, "船")) == 3
    assert len(small) <= 262


def test_prompt_is_a_handful_of_tokens(tokenizer):
    for prompt in PROMPTS:
        ids = tok.encode_prompt(tokenizer, prompt)
        assert len(ids) == 12
        assert tokenizer.decode(ids) == prompt


def test_too_small_a_vocabulary_is_refused():
    with pytest.raises(ConfigError, match="too small"):
        tok.build_bpe_tokenizer(TEXTS, 258, [])


def test_a_piece_is_tokenised_apart():
    texts = ["shang xia shang shan"] * 5
    tokenizer = tok.build_bpe_tokenizer(texts, 300, [], piece=" ?(?:sh|x)(?=[a-z])")
    tokens = [tokenizer.decode([token]) for token in tok.encode_text(tokenizer, texts[0])]
    assert tokens == ["sh", "ang", " x", "ia", " sh", "ang", " sh", "an"]
    with pytest.raises(ConfigError, match="no regular expression"):
        tok.build_bpe_tokenizer(texts, 300, [], piece="(sh")


def test_building_is_deterministic(tokenizer, reloaded):
    again = tok.build_bpe_tokenizer(TEXTS, 400, PROMPTS)
    assert again.backend_tokenizer.to_str() == tokenizer.backend_tokenizer.to_str()
    assert reloaded.get_vocab() == tokenizer.get_vocab()


@pytest.mark.parametrize("answer", ["the boat", "老医生", "a <|im_end|> b", "<|im_start|>user\n", ""])
def test_special_tokens_in_an_answer_stay_text(reloaded, answer):
    (ids,), prompt_length = tok.encode_prompt_and_answers(reloaded, PROMPTS[0], [answer])
    assert ids[:prompt_length] == tok.encode_prompt(reloaded, PROMPTS[0])
    assert ids[-1] == reloaded.eos_token_id
    assert not {0, 1, 2} & set(ids[prompt_length:-1])
    assert tok.decode_text(reloaded, ids[prompt_length:]) == answer


def test_a_prompt_without_special_tokens(tokenizer):
    (ids,), prompt_length = tok.encode_prompt_and_answers(tokenizer, "say: ", ["船"])
    assert prompt_length == len(tok.encode_prompt(tokenizer, "say: "))
    assert tok.decode_text(tokenizer, ids) == "say: 船"


def test_missing_and_empty_folders_are_named(tmp_path):
    with pytest.raises(PathError, match="nowhere"):
        tok.load_tokenizer(tmp_path / "nowhere")
    with pytest.raises(PathError, match="no tokenizer"):
        tok.load_tokenizer(tmp_path)


def test_a_tokenizer_without_padding_is_refused(tokenizer, tmp_path):
    import json

    tokenizer.save_pretrained(tmp_path)
    path = tmp_path / "tokenizer_config.json"
    config = json.loads(path.read_text())
    del config["pad_token"]
    path.write_text(json.dumps(config))
    with pytest.raises(ConfigError, match="pad_token"):
        tok.load_tokenizer(tmp_path)
