"""Which characters belong to scripts that are written without spaces between words."""

import re
from collections.abc import Iterable, Sequence

# Han with its radicals, iteration and number signs, Hiragana, Katakana, compatibility ideographs: the inside of a regular
# expression's character class.
CJK = (
    "\u2e80-\u2fdf\u3005\u3007\u3021-\u3029\u3038-\u30ff\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)


_CHARACTER = re.compile(f"[{CJK}]")


def is_cjk(character: str) -> bool:
    """Whether a character is of such a script."""
    return _CHARACTER.match(character) is not None


def join_texts(texts: Sequence[str]) -> str:
    """The texts with a space between two, unless CJK characters meet there."""
    joined = ""
    for text in filter(None, texts):
        is_apart = joined and not (is_cjk(joined[-1]) and is_cjk(text[0]))
        joined += f" {text}" if is_apart else text
    return joined


def split_cjk(text: str) -> list[str]:
    """Each CJK character by itself, and each other run of characters without white space as one word."""
    return re.findall(rf"[{CJK}]|[^\s{CJK}]+", text)


def is_mostly_cjk(texts: Iterable[str]) -> bool:
    """Whether the texts together have more CJK characters than other words."""
    balance = sum(1 if re.match(f"[{CJK}]", unit) else -1 for text in texts for unit in split_cjk(text))
    return balance > 0
