"""mooer-build-tokenizer: a small byte-level BPE tokenizer for recipes without a pretrained LLM."""

import click

from mooer.cli._command import command


@command
@click.option(
    "--text", "text", multiple=True, required=True, help="`ID TEXT` a line; several files may follow or --text be repeated."
)
@click.option("--vocab_size", type=click.IntRange(min=1), required=True, help="Most tokens in all; 256 of them are the bytes.")
@click.option("--piece", metavar="REGEX", help="Of what is tokenised apart from its neighbours, such as pinyin's initials.")
@click.option(
    "--output_dir", type=click.Path(file_okay=False), required=True, help="Gets tokenizer.json and its configuration."
)
@click.argument("more_text", nargs=-1, metavar="[FILE]...")
def main(text, vocab_size, piece, output_dir, more_text) -> None:
    """Learn a tokenizer from texts; the chat prompts of all tasks become a handful of its tokens."""
    from mooer.data.lists import read_table
    from mooer.text.prompts import TARGET_LANGUAGES, TASKS, chat_prompt, instruction
    from mooer.text.tokenizer import build_bpe_tokenizer, save_tokenizer

    texts = [line for path in (*text, *more_text) for line in read_table(path).values()]
    prompts = [chat_prompt(None, instruction(task, language)) for task in TASKS for language in TARGET_LANGUAGES]
    tokenizer = build_bpe_tokenizer(texts, vocab_size, prompts, piece)
    save_tokenizer(tokenizer, output_dir)
    click.echo(f"{len(tokenizer)} tokens from {len(texts)} lines in {output_dir}", err=True)
