"""Hugging Face tokenizers: loading one, building a small byte-level BPE, and encoding prompts apart from what people said.

A prompt may hold special tokens such as <|im_start|>; a transcript may not: the same characters in it are plain text.
"""

import json
import re
import tempfile
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mooer.common.errors import ConfigError, PathError
from mooer.common.files import require_dir
from mooer.text.cjk import CJK

if TYPE_CHECKING:
    from tokenizers import Regex, Tokenizer
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import PreTrainedTokenizerBase

PAD_TOKEN = "<|endoftext|>"  # noqa: S105 (padding, and the CTC blank)
START_TOKEN = "<|im_start|>"  # noqa: S105
END_TOKEN = "<|im_end|>"  # noqa: S105
SPECIAL_TOKENS = (PAD_TOKEN, START_TOKEN, END_TOKEN)

# SentencePiece's sign for a space, which the released packaging rule leaves in transcripts.
SPACE_SIGN = "\u2581"
# What bytes become that are no character.
_REPLACEMENT = "\ufffd"

# Radicals, iteration marks, kana, bopomofo's extensions, unified and compatibility ideographs.
_CJK_CHARACTER = re.compile(f"[{CJK}]")
# One CJK character; an English contraction; a word with the space before it; a digit; signs; line ends; other white space.
_PRE_TOKEN = (
    rf"[{CJK}]|'(?:s|t|re|ve|m|ll|d)\b| ?[\p{{L}}\p{{M}}&&[^{CJK}]]+|\p{{N}}"
    r"| ?[^\s\p{L}\p{M}\p{N}]+|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def load_tokenizer(directory: str | Path) -> "PreTrainedTokenizerBase":
    """The tokenizer in a Hugging Face folder, read from local files only and without running code from it.

    Raises:
        PathError: no such folder, or no tokenizer in it.
        ConfigError: a tokenizer without an end-of-sequence or padding token.
    """
    from transformers import AutoTokenizer

    directory = require_dir(directory, "tokenizer folder")
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(directory), local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise PathError(f"no tokenizer can be read from {directory}: {error}") from error
    if tokenizer.eos_token_id is None or tokenizer.pad_token_id is None:
        raise ConfigError(f"the tokenizer in {directory} names no eos_token or no pad_token; both are needed")
    return tokenizer


def build_bpe_tokenizer(
    texts: Iterable[str], vocab_size: int, prompts: Sequence[str], piece: str | None = None, further: Sequence[str] = ()
) -> "PreTrainedTokenizerBase":
    """A byte-level BPE tokenizer of at most `vocab_size` tokens, learned from `texts`; any text can be encoded with it.

    Ids 0, 1, 2 are <|endoftext|> (padding, CTC blank), <|im_start|> and <|im_end|> (end of sequence). Each CJK character is
    a piece of its own and, when it occurs in `texts`, one token, the most frequent ones first as far as the size allows; the
    remaining tokens go to parts of other words, which carry the space before them. The constant stretches of `prompts`
    between special tokens become one token each, line by line: an LLM pays for every token of a prompt at every step.

    Args:
        prompts: complete chat prompts, special tokens included; may be empty.
        piece: regular expression (Oniguruma) of what is tokenised apart from its neighbours, such as the initials of pinyin.
        further: special tokens beside the three, which come last and do not count in `vocab_size`.

    Raises:
        ConfigError: `vocab_size` has no room for the 256 bytes, the special tokens and the prompts, or `piece` is no regular
            expression.
    """
    from tokenizers import AddedToken
    from transformers import PreTrainedTokenizerFast

    pieces = _prompt_pieces(prompts)
    smallest = len(SPECIAL_TOKENS) + 256 + len(pieces)
    if vocab_size < smallest:
        raise ConfigError(f"vocab_size {vocab_size} is too small: bytes, special tokens and these prompts need {smallest}")
    pre_token = _pre_token(piece)
    characters, others = _split_cjk(texts)
    merges = _character_merges(characters, vocab_size - smallest)
    merges += _learn_merges(others, vocab_size - smallest - len(merges), pre_token)
    backend = _backend(merges, pre_token)
    backend.add_tokens([AddedToken(piece, normalized=False, special=False) for piece in pieces])
    backend.add_special_tokens(list(further))
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        eos_token=END_TOKEN,
        pad_token=PAD_TOKEN,
        extra_special_tokens=[START_TOKEN, *further],
        clean_up_tokenization_spaces=False,
    )


def save_tokenizer(tokenizer: "PreTrainedTokenizerBase", directory: str | Path) -> None:
    """Write the tokenizer's files into `directory`, each complete or not at all."""
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory) as temporary:
        tokenizer.save_pretrained(temporary)
        for path in sorted(Path(temporary).iterdir()):
            path.replace(directory / path.name)


def _prompt_pieces(prompts: Sequence[str]) -> list[str]:
    """The texts between the special tokens of the prompts, cut after each line end, without repetition, in order."""
    special = re.compile("|".join(map(re.escape, SPECIAL_TOKENS)))
    lines = [line for prompt in prompts for stretch in special.split(prompt) for line in stretch.splitlines(keepends=True)]
    return list(dict.fromkeys(line for line in lines if line.strip()))


def _split_cjk(texts: Iterable[str]) -> tuple[Counter[str], list[str]]:
    """How often each CJK character occurs, and the texts without them."""
    characters: Counter[str] = Counter()
    others = []
    for text in texts:
        text = unicodedata.normalize("NFC", text.replace(SPACE_SIGN, " "))
        characters.update(_CJK_CHARACTER.findall(text))
        others.append(_CJK_CHARACTER.sub("\n", text))
    return characters, others


def _character_merges(characters: Counter[str], room: int) -> list[tuple[str, str]]:
    """At most `room` merges that make one token of the bytes of each character, the most frequent characters first."""
    to_bytes = _byte_level()
    merges: dict[tuple[str, str], None] = {}
    for character, _ in sorted(characters.items(), key=lambda item: (-item[1], item[0])):
        ((letters, _),) = to_bytes.pre_tokenize_str(character)
        wanted = [(letters[:end], letters[end]) for end in range(1, len(letters))]
        new = [merge for merge in wanted if merge not in merges]
        if len(merges) + len(new) > room:
            break
        merges.update(dict.fromkeys(new))
    return list(merges)


def _pre_token(piece: str | None) -> "Regex":
    """What BPE works within. Raises ConfigError."""
    from tokenizers import Regex

    try:
        return Regex(_PRE_TOKEN if piece is None else f"{piece}|{_PRE_TOKEN}")
    except Exception as error:  # the library raises nothing more specific
        raise ConfigError(f"{piece!r} is no regular expression: {error}") from error


def _learn_merges(texts: list[str], room: int, pre_token: "Regex") -> list[tuple[str, str]]:
    """The `room` most frequent merges of `texts`, or all there are, by BPE."""
    from tokenizers import trainers

    backend = _backend([], pre_token)
    trainer = trainers.BpeTrainer(vocab_size=256 + room, initial_alphabet=_alphabet(), show_progress=False)
    backend.train_from_iterator(texts, trainer)
    return [tuple(merge) for merge in json.loads(backend.to_str())["model"]["merges"]]


def _backend(merges: list[tuple[str, str]], pre_token: "Regex") -> "Tokenizer":
    """A byte-level BPE with exactly these merges and the special tokens as its first ids."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

    tokens = [*SPECIAL_TOKENS, *_alphabet(), *(left + right for left, right in merges)]
    vocab = {token: index for index, token in enumerate(dict.fromkeys(tokens))}
    backend = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    backend.normalizer = normalizers.NFC()
    split = pre_tokenizers.Split(pre_token, behavior="isolated")
    backend.pre_tokenizer = pre_tokenizers.Sequence([split, _byte_level()])
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(list(SPECIAL_TOKENS))
    return backend


def _byte_level() -> "ByteLevel":
    from tokenizers.pre_tokenizers import ByteLevel

    return ByteLevel(add_prefix_space=False, use_regex=False)


def _alphabet() -> list[str]:
    """The 256 signs that stand for bytes, in a fixed order."""
    return sorted(_byte_level().alphabet())


def encode_prompt(tokenizer: "PreTrainedTokenizerBase", prompt: str) -> list[int]:
    """Token ids of a prompt, in which special tokens are recognised."""
    return tokenizer(prompt, add_special_tokens=False, split_special_tokens=False)["input_ids"]


def encode_text(tokenizer: "PreTrainedTokenizerBase", text: str) -> list[int]:
    """Token ids of a transcript or translation: special tokens in it are plain text, U+2581 is a space."""
    return encode_texts(tokenizer, [text])[0]


def encode_texts(tokenizer: "PreTrainedTokenizerBase", texts: Sequence[str]) -> list[list[int]]:
    """`encode_text` of each text, in one call of the tokenizer."""
    plain = [text.replace(SPACE_SIGN, " ") for text in texts]
    return tokenizer(plain, add_special_tokens=False, split_special_tokens=True)["input_ids"] if plain else []


def encode_ctc_targets(tokenizer: "PreTrainedTokenizerBase", texts: Sequence[str]) -> list[list[int]]:
    """Token ids of transcripts for CTC: a first word gets a space before it, so that it has the token that it has elsewhere.

    A CTC layer would otherwise have to tell by the ear whether a word is the first one.
    """
    begins_word = re.compile(rf"[^\s{SPACE_SIGN}{CJK}]")
    return encode_texts(tokenizer, [f" {text}" if begins_word.match(text) else text for text in texts])


def encode_prompt_and_answers(
    tokenizer: "PreTrainedTokenizerBase", prompt: str, answers: Sequence[str]
) -> tuple[list[list[int]], int]:
    """Token ids of prompt, answer and the end-of-sequence token for each answer, and how many of them encode the prompt alone.

    What follows the prompt's last special token is tokenised together with the answer, as the released training does, so a
    token may span the border; special tokens inside the answer are plain text.
    """
    cut = max((prompt.rfind(token) + len(token) for token in tokenizer.all_special_tokens if token in prompt), default=0)
    head = encode_prompt(tokenizer, prompt[:cut])
    rest = encode_texts(tokenizer, [prompt[cut:] + answer for answer in answers])
    return [[*head, *ids, tokenizer.eos_token_id] for ids in rest], len(encode_prompt(tokenizer, prompt))


def decode_text(tokenizer: "PreTrainedTokenizerBase", ids: Sequence[int]) -> str:
    """The text of generated ids, special tokens left out."""
    return tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)


def decode_settled_text(tokenizer: "PreTrainedTokenizerBase", ids: Sequence[int]) -> str:
    """The text of the first ids of an answer, as far as none that follow can change it.

    The bytes of one character may lie in several tokens; until all have come, the tokenizer shows replacement marks.
    """
    return decode_text(tokenizer, ids).rstrip(_REPLACEMENT)
