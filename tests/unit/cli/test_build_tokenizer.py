"""mooer-build-tokenizer as a user calls it."""

import json

from click.testing import CliRunner

from mooer.cli.build_tokenizer import main
from mooer.text.piece_tokenizer import load_piece_tokenizer
from mooer.text.prompts import SPEECH_INSTRUCTIONS, chat_prompt, instruction
from mooer.text.speech_tokens import speech_special_tokens
from mooer.text.tokenizer import decode_text, encode_prompt, encode_text, load_tokenizer


def test_builds_from_several_files(tmp_path):
    (tmp_path / "text").write_text("a the old boat\nb 老医生\n", encoding="utf-8")
    (tmp_path / "text.zh").write_text("a 船\n", encoding="utf-8")
    arguments = ["--text", f"{tmp_path}/text", f"{tmp_path}/text.zh", "--vocab-size", "400", "--output_dir", f"{tmp_path}/out"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    tokenizer = load_tokenizer(tmp_path / "out")
    assert len(encode_text(tokenizer, "老医生船")) == 4
    assert len(encode_prompt(tokenizer, chat_prompt(tokenizer, instruction("mtl", "zh")))) == 12
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["tokenizer.json", "tokenizer_config.json"]


def test_a_tokenizer_of_an_llm_that_speaks(tmp_path):
    (tmp_path / "text").write_text("a the old boat\n", encoding="utf-8")
    start = ["--text", f"{tmp_path}/text", "--vocab_size", "400"]
    done = CliRunner().invoke(main, [*start, "--audio_tokens", "20", "--output_dir", f"{tmp_path}/out"])
    assert done.exit_code == 0, done.output
    tokenizer = load_tokenizer(tmp_path / "out")
    assert CliRunner().invoke(main, [*start, "--output_dir", f"{tmp_path}/mute"]).exit_code == 0
    mute = load_tokenizer(tmp_path / "mute")
    for task in SPEECH_INSTRUCTIONS.values():
        assert len(encode_prompt(tokenizer, chat_prompt(tokenizer, task))) == 12
    names = speech_special_tokens(20)
    ids = [encode_prompt(tokenizer, name) for name in names]
    assert ids == [[len(tokenizer) - 22 + place] for place in range(22)]
    # What somebody said is no token of sound, and the tokens of sound are no text.
    said = encode_text(tokenizer, "the <|audio_3|>")
    assert not {number for (number,) in ids} & set(said)
    assert decode_text(tokenizer, [*encode_text(tokenizer, "the boat"), ids[0][0], ids[5][0]]) == "the boat"
    # All others are those of a tokenizer without.
    assert len(mute) < len(tokenizer) and encode_text(mute, "the old boat") == encode_text(tokenizer, "the old boat")
    refused = CliRunner().invoke(
        main, [*start, "--layout", "words", "--audio_tokens", "20", "--output_dir", f"{tmp_path}/words"]
    )
    assert refused.exit_code == 2 and "--audio_tokens" in refused.stderr


def test_missing_file_and_small_size_are_usage_errors(tmp_path):
    result = CliRunner().invoke(main, ["--text", f"{tmp_path}/none", "--vocab_size", "400", "--output_dir", f"{tmp_path}/out"])
    assert result.exit_code == 2
    assert "none" in result.output
    (tmp_path / "text").write_text("a b\n")
    result = CliRunner().invoke(main, ["--text", f"{tmp_path}/text", "--vocab_size", "100", "--output_dir", f"{tmp_path}/out"])
    assert result.exit_code == 2
    assert "too small" in result.output
    assert not (tmp_path / "out").exists()


def test_the_tokens_of_a_paraformer(tmp_path):
    (tmp_path / "text").write_text("a the old boat\nb 老医生 the\n", encoding="utf-8")
    start = ["--layout", "paraformer", "--text", f"{tmp_path}/text", "--output_dir", f"{tmp_path}/out"]
    result = CliRunner().invoke(main, [*start, "--vocab_size", "40"])
    assert result.exit_code == 0, result.output
    tokenizer = load_piece_tokenizer(tmp_path / "out")
    assert [tokenizer.tokens[index] for index in tokenizer.encode("the 老 dot")] == ["the", "老", "d@@", "o@@", "t"]
    few = CliRunner().invoke(main, [*start, "--vocab_size", "22"])
    assert "no room for 1 characters: 生" in few.stderr or "no room for" in few.stderr
    refused = CliRunner().invoke(main, [*start, "--vocab_size", "40", "--piece", "[a-z]"])
    assert refused.exit_code == 2 and "belongs to" in refused.stderr


def test_a_list_of_words_for_punctuation(tmp_path):
    (tmp_path / "text").write_text("a Yes, no.\nb no 天。\n", encoding="utf-8")
    options = ["--text", str(tmp_path / "text"), "--vocab_size", "6", "--layout", "words"]
    arguments = [*options, "--output_dir", str(tmp_path / "out")]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, done.stderr
    words = json.loads((tmp_path / "out" / "tokens.json").read_text(encoding="utf-8"))
    assert words == ["<blank>", "<s>", "</s>", "no", "yes", "<unk>"]
    assert CliRunner().invoke(main, [*arguments, "--piece", "x"]).exit_code == 2


def test_a_dictionary_of_characters(tmp_path):
    (tmp_path / "text").write_text("a 今天 <NOISE>\nb OK 天\n", encoding="utf-8")
    (tmp_path / "dev").write_text("a 明天 明日\n", encoding="utf-8")
    (tmp_path / "test").write_text("a 今天\n", encoding="utf-8")
    start = ["--layout", "characters", "--text", f"{tmp_path}/text", "--output_dir", f"{tmp_path}/out", "--mark", "<NOISE>"]
    checks = ["--check_text", f"{tmp_path}/dev", "--check_text", f"{tmp_path}/test"]
    done = CliRunner().invoke(main, [*start, *checks])
    assert done.exit_code == 0, done.output
    lines = (tmp_path / "out" / "lang_char.txt").read_text(encoding="utf-8").splitlines()
    assert lines == ["<blank> 0", "<unk> 1", "▁ 2", "<NOISE> 3", "K 4", "O 5", "今 6", "天 7", "<sos/eos> 8"]
    assert done.stderr.splitlines() == [
        f"{tmp_path}/dev: 3 characters without a token, 2 different ones: 明日",
        f"{tmp_path}/test: 0 characters without a token, 0 different ones",
        f"9 tokens from 2 lines in {tmp_path}/out",
    ]
    few = CliRunner().invoke(main, [*start, "--vocab_size", "7"])
    assert few.exit_code == 0, few.output
    assert "the texts: 2 characters without a token, 2 different ones: O今" in few.stderr


def test_options_of_other_layouts(tmp_path):
    (tmp_path / "text").write_text("a b\n")
    start = ["--text", f"{tmp_path}/text", "--output_dir", f"{tmp_path}/out"]
    for options, message in {
        ("--layout", "words"): "--layout words needs --vocab_size",
        ("--vocab_size", "400", "--mark", "<NOISE>"): "belong to --layout characters",
        ("--vocab_size", "400", "--check_text", f"{tmp_path}/text"): "belong to --layout characters",
        ("--layout", "characters", "--piece", "x"): "--piece belongs to --layout hugging_face",
        ("--layout", "characters", "--check_text", f"{tmp_path}/none"): "none",
    }.items():
        refused = CliRunner().invoke(main, [*start, *options])
        assert (refused.exit_code, (tmp_path / "out").exists()) == (2, False), refused.output
        assert message in refused.stderr
