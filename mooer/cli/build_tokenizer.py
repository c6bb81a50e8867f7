"""mooer-build-tokenizer: a byte-level BPE tokenizer for recipes, the tokens of a Paraformer, characters, or words."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mooer.cli._command import command

if TYPE_CHECKING:
    from collections import Counter

SHOWN_CHARACTERS = 50


@command
@click.option(
    "--text", "text", multiple=True, required=True, help="`ID TEXT` a line; several files may follow or --text be repeated."
)
@click.option(
    "--vocab_size",
    type=click.IntRange(min=1),
    help="Most tokens in all; needed by all layouts but characters, which without it has them all.",
)
@click.option(
    "--layout",
    type=click.Choice(["hugging_face", "paraformer", "characters", "words"]),
    default="hugging_face",
    show_default=True,
    help="Byte-level BPE (256 tokens are the bytes); characters and parts of words; characters alone, as WeNet has them; or "
    "frequent words for a punctuation model, without the texts' marks.",
)
@click.option("--piece", metavar="REGEX", help="Of what is tokenised apart from its neighbours, such as pinyin's initials.")
@click.option(
    "--audio_tokens",
    type=click.IntRange(min=2),
    metavar="N",
    help="For an LLM that speaks: N audio tokens, <|audio_start|> and <|audio_end|> beside the --vocab_size, and its prompts.",
)
@click.option("--mark", "marks", multiple=True, help="What is one token of the layout characters, as <NOISE>; repeatable.")
@click.option(
    "--check_text",
    "checked",
    multiple=True,
    metavar="FILE",
    help="`ID TEXT` a line: the characters that the layout characters has no token for are counted and named; repeatable.",
)
@click.option(
    "--output_dir",
    type=click.Path(file_okay=False),
    required=True,
    help="Gets tokenizer.json and its configuration, tokens.json and seg_dict, lang_char.txt, or tokens.json.",
)
@click.argument("more_text", nargs=-1, metavar="[FILE]...")
def main(text, vocab_size, layout, piece, audio_tokens, marks, checked, output_dir, more_text) -> None:
    """Learn a tokenizer from texts; in the layout hugging_face the chat prompts of all tasks become a handful of its tokens."""
    for option, value in {"--piece": piece, "--audio_tokens": audio_tokens}.items():
        if value is not None and layout != "hugging_face":
            raise click.UsageError(f"{option} belongs to --layout hugging_face")
    if (marks or checked) and layout != "characters":
        raise click.UsageError("--mark and --check_text belong to --layout characters")
    if vocab_size is None and layout != "characters":
        raise click.UsageError(f"--layout {layout} needs --vocab_size")
    texts = _read_texts((*text, *more_text))
    if layout == "hugging_face":
        size = _build_bpe(texts, vocab_size, piece, audio_tokens, output_dir)
    elif layout == "paraformer":
        size = _build_pieces(texts, vocab_size, output_dir)
    elif layout == "characters":
        size = _build_characters(texts, vocab_size, marks, {path: _read_texts([path]) for path in checked}, Path(output_dir))
    else:
        size = _build_words(texts, vocab_size, Path(output_dir))
    click.echo(f"{size} tokens from {len(texts)} lines in {output_dir}", err=True)


def _read_texts(paths) -> list[str]:
    from mooer.data.lists import read_table

    return [line for path in paths for line in read_table(path).values()]


def _build_bpe(texts: list[str], vocab_size: int, piece: str | None, audio_tokens: int | None, output_dir: str) -> int:
    """Write a byte-level BPE tokenizer; returns its size."""
    from mooer.text.prompts import SPEECH_INSTRUCTIONS, TARGET_LANGUAGES, TASKS, chat_prompt, instruction
    from mooer.text.speech_tokens import speech_special_tokens
    from mooer.text.tokenizer import build_bpe_tokenizer, save_tokenizer

    prompts = [chat_prompt(None, instruction(task, language)) for task in TASKS for language in TARGET_LANGUAGES]
    further: tuple[str, ...] = ()
    if audio_tokens is not None:
        prompts += [chat_prompt(None, words) for words in SPEECH_INSTRUCTIONS.values()]
        further = speech_special_tokens(audio_tokens)
    tokenizer = build_bpe_tokenizer(texts, vocab_size, prompts, piece, further)
    save_tokenizer(tokenizer, output_dir)
    return len(tokenizer)


def _build_pieces(texts: list[str], vocab_size: int, output_dir: str) -> int:
    """Write the tokens of a Paraformer; returns how many."""
    from mooer.text.piece_tokenizer import build_pieces

    vocabulary = build_pieces(texts, vocab_size)
    vocabulary.save(output_dir)
    if vocabulary.left_out:
        shown = "".join(vocabulary.left_out[:SHOWN_CHARACTERS])
        click.echo(f"no room for {len(vocabulary.left_out)} characters: {shown}", err=True)
    return len(vocabulary.tokens)


def _build_characters(
    texts: list[str], vocab_size: int | None, marks: tuple[str, ...], checked: dict[str, list[str]], output_dir: Path
) -> int:
    """Write a dictionary of characters and name what it lacks; returns its size."""
    from mooer.text.characters import build_dictionary

    dictionary = build_dictionary(texts, vocab_size, marks)
    dictionary.save(output_dir)
    if vocab_size is not None:
        _name_unknown("the texts", dictionary.unknown(texts))
    for path, lines in checked.items():
        _name_unknown(path, dictionary.unknown(lines))
    return len(dictionary.tokens)


def _name_unknown(where: str, unknown: "Counter[str]") -> None:
    ranked = sorted(unknown, key=lambda token: (-unknown[token], token))
    shown = f": {''.join(ranked[:SHOWN_CHARACTERS])}" if ranked else ""
    click.echo(f"{where}: {unknown.total()} characters without a token, {len(ranked)} different ones{shown}", err=True)


def _build_words(texts: list[str], vocab_size: int, output_dir: Path) -> int:
    """Write the words of a punctuation model; returns how many."""
    import json

    from mooer.common.files import atomic_write
    from mooer.text.word_list import build_word_list

    words = build_word_list(texts, vocab_size)
    with atomic_write(output_dir / "tokens.json") as stream:
        json.dump(words, stream, ensure_ascii=False, indent=0)
        stream.write("\n")
    return len(words)
