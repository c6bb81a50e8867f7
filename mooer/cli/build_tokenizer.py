"""mooer-build-tokenizer: a byte-level BPE tokenizer for recipes, the tokens of a Paraformer, or words for punctuation."""

from pathlib import Path

import click

from mooer.cli._command import command


@command
@click.option(
    "--text", "text", multiple=True, required=True, help="`ID TEXT` a line; several files may follow or --text be repeated."
)
@click.option("--vocab_size", type=click.IntRange(min=1), required=True, help="Most tokens in all.")
@click.option(
    "--layout",
    type=click.Choice(["hugging_face", "paraformer", "words"]),
    default="hugging_face",
    show_default=True,
    help="Byte-level BPE (256 tokens are the bytes); characters and parts of words; or frequent words for a punctuation "
    "model, without the texts' marks.",
)
@click.option("--piece", metavar="REGEX", help="Of what is tokenised apart from its neighbours, such as pinyin's initials.")
@click.option(
    "--output_dir",
    type=click.Path(file_okay=False),
    required=True,
    help="Gets tokenizer.json and its configuration, tokens.json and seg_dict, or tokens.json.",
)
@click.argument("more_text", nargs=-1, metavar="[FILE]...")
def main(text, vocab_size, layout, piece, output_dir, more_text) -> None:
    """Learn a tokenizer from texts; in the layout hugging_face the chat prompts of all tasks become a handful of its tokens."""
    from mooer.data.lists import read_table

    texts = [line for path in (*text, *more_text) for line in read_table(path).values()]
    if layout == "hugging_face":
        size = _build_bpe(texts, vocab_size, piece, output_dir)
    elif piece is not None:
        raise click.UsageError("--piece belongs to --layout hugging_face")
    elif layout == "paraformer":
        size = _build_pieces(texts, vocab_size, output_dir)
    else:
        size = _build_words(texts, vocab_size, Path(output_dir))
    click.echo(f"{size} tokens from {len(texts)} lines in {output_dir}", err=True)


def _build_bpe(texts: list[str], vocab_size: int, piece: str | None, output_dir: str) -> int:
    """Write a byte-level BPE tokenizer; returns its size."""
    from mooer.text.prompts import TARGET_LANGUAGES, TASKS, chat_prompt, instruction
    from mooer.text.tokenizer import build_bpe_tokenizer, save_tokenizer

    prompts = [chat_prompt(None, instruction(task, language)) for task in TASKS for language in TARGET_LANGUAGES]
    tokenizer = build_bpe_tokenizer(texts, vocab_size, prompts, piece)
    save_tokenizer(tokenizer, output_dir)
    return len(tokenizer)


def _build_pieces(texts: list[str], vocab_size: int, output_dir: str) -> int:
    """Write the tokens of a Paraformer; returns how many."""
    from mooer.text.piece_tokenizer import build_pieces

    vocabulary = build_pieces(texts, vocab_size)
    vocabulary.save(output_dir)
    if vocabulary.left_out:
        click.echo(f"no room for {len(vocabulary.left_out)} characters: {''.join(vocabulary.left_out[:50])}", err=True)
    return len(vocabulary.tokens)


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
