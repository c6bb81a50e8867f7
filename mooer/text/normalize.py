"""What a score compares: normalisers of references and hypotheses, each with a name and a version.

A normaliser decides two things, because in practice they hang together: how a text is cleaned, and how it is cut into the
units that cer, wer and mer count. A change of what one does is a new version, which every score's signature shows.
"""

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from mooer.common.errors import ConfigError
from mooer.text.cjk import split_cjk
from mooer.text.tokenizer import SPACE_SIGN

METRICS = ("cer", "wer", "mer")


class Cut(NamedTuple):
    """How a text becomes units."""

    unit: str
    """What a unit is, for the signature."""
    apply: Callable[[str], list[str]]


@dataclass(frozen=True, kw_only=True)
class Normalizer:
    """A named and versioned rule from a text to the units that a score counts."""

    name: str
    version: int
    """Raised when any text gives other units than before."""
    case: str
    """`upper`, `lower` or `kept`: for the signature."""
    tags: str
    """What becomes of <unk> and its like, `removed` or `kept`: for the signature."""
    cuts: dict[str, Cut]
    """For each of METRICS how a text is cleaned and cut."""

    def units(self, text: str, metric: str) -> list[str]:
        """The units of `text` that `metric` (cer, wer or mer) counts."""
        return self.cuts[metric].apply(text)

    def text(self, text: str) -> str:
        """The cleaned text, words apart by one space: what BLEU is given."""
        return text if self.name == "none" else " ".join(self.units(text, "wer"))


def get_normalizer(name: str) -> Normalizer:
    """The normaliser called `name`. Raises ConfigError for other names."""
    if name not in NORMALIZERS:
        raise ConfigError(f"normalizer {name!r} is unknown; allowed: {', '.join(NORMALIZERS)}")
    return NORMALIZERS[name]


# --- compute-wer: the rule of the field's tool of that name (its options --char, --cs, --rt) ---

_SPACES = " \t\r\n"
# Only these marks are dropped, and only where a unit would begin with one: "HELLO," keeps its comma.
_DROPPED = frozenset("!,?、。！，；？：「」︰『』《》")


def characterize(text: str) -> list[str]:
    """Cut as `compute-wer --char=1` does: letters without case (Han, kana) one by one, the rest by runs of ASCII.

    A run ends before white space and before any character outside ASCII, so that "CAFÉ" is "CAF", "É"; a run that begins
    with "<" ends after ">", so that tags are units of their own. Spaces and unassigned characters are dropped.
    """
    units = []
    start = 0
    while start < len(text):
        character = text[start]
        category = unicodedata.category(character)
        end = start + 1
        if category == "Lo":
            units.append(character)
        elif character not in _DROPPED and character not in _SPACES and category not in ("Zs", "Cn"):
            end = _end_of_run(text, start)
            units.append(text[start:end])
        start = end
    return units


def _end_of_run(text: str, start: int) -> int:
    is_tag = text[start] == "<"
    for end in range(start + 1, len(text)):
        if is_tag and text[end] == ">":
            return end + 1
        if not text[end].isascii() or text[end] in _SPACES:
            return end
    return len(text)


def _remove_tags(unit: str) -> str:
    """The unit without <...>; an opening bracket that is never closed takes the rest with it."""
    return re.sub(r"<[^>]*>?", "", unit)


def _compute_wer(cut: Callable[[str], list[str]], *, upper: bool, keep_tags: bool) -> Callable[[str], list[str]]:
    """The tool's clean-up, unit by unit, after the cut."""

    def units(text: str) -> list[str]:
        cased = (unit.upper() if upper else unit for unit in cut(text))
        cleaned = (unit if keep_tags else _remove_tags(unit) for unit in cased)
        return [unit for unit in cleaned if unit]

    return units


def _compute_wer_normalizer(name: str, *, upper: bool, keep_tags: bool) -> Normalizer:
    characters = _compute_wer(characterize, upper=upper, keep_tags=keep_tags)
    words = _compute_wer(str.split, upper=upper, keep_tags=keep_tags)
    return Normalizer(
        name=name,
        version=1,
        case="upper" if upper else "kept",
        tags="kept" if keep_tags else "removed",
        cuts={
            "cer": Cut("cjk-char+word", characters),
            "wer": Cut("word", words),
            "mer": Cut("cjk-char+word", characters),
        },
    )


# --- none: what is written ---


def _written_characters(text: str) -> list[str]:
    return list(text.strip())


# --- mooer-v1: case, punctuation and width do not count; numbers are compared as written ---

_TAG = re.compile(r"<[^<>\s]+>")
_SPOKEN = frozenset("%&@#*")
_APOSTROPHES = frozenset("'\u2019")


def clean_v1(text: str) -> str:
    """Tags removed, NFKC, lower case, punctuation to spaces, invisible format characters removed.

    Kept are an apostrophe between letters (as '), any mark between two digits, and the signs that are spoken: % & @ # *.
    """
    text = unicodedata.normalize("NFKC", _TAG.sub(" ", text).replace(SPACE_SIGN, " "))
    text = unicodedata.normalize("NFKC", text.lower())
    text = "".join(character for character in text if unicodedata.category(character) != "Cf")
    padded = f" {text} "
    kept = (_keep_or_space(*padded[index : index + 3]) for index in range(len(text)))
    return " ".join("".join(kept).split())


def _keep_or_space(before: str, character: str, after: str) -> str:
    if not unicodedata.category(character).startswith(("P", "Cc")) or character in _SPOKEN:
        return character
    if character in _APOSTROPHES and before.isalpha() and after.isalpha():
        return "'"
    return character if before.isdigit() and after.isdigit() else " "


def _v1(cut: Callable[[str], list[str]]) -> Callable[[str], list[str]]:
    return lambda text: cut(clean_v1(text))


NORMALIZERS = {
    normalizer.name: normalizer
    for normalizer in (
        _compute_wer_normalizer("compute-wer", upper=True, keep_tags=False),
        _compute_wer_normalizer("compute-wer-cased", upper=False, keep_tags=False),
        _compute_wer_normalizer("compute-wer-tags", upper=True, keep_tags=True),
        Normalizer(
            name="none",
            version=1,
            case="kept",
            tags="kept",
            cuts={
                "cer": Cut("char+space", _written_characters),
                "wer": Cut("word", str.split),
                "mer": Cut("cjk-char+word", split_cjk),
            },
        ),
        Normalizer(
            name="mooer-v1",
            version=1,
            case="lower",
            tags="removed",
            cuts={
                "cer": Cut("char", _v1(lambda text: list(text.replace(" ", "")))),
                "wer": Cut("word", _v1(str.split)),
                "mer": Cut("cjk-char+word", _v1(split_cjk)),
            },
        ),
    )
}
