"""How transcripts are written before they are packed into lists and shards: upper case, U+2581 where a space counts."""

import re
import unicodedata

from mooer.common.errors import ConfigError, DataError
from mooer.text.cjk import CJK
from mooer.text.tokenizer import SPACE_SIGN

RULES = ("released", "fixed")
FIXED_VERSION = 1

_ASCII_UPPER = str.maketrans("abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ")
_BETWEEN_LETTERS = re.compile("([A-Z]) ([A-Z])")
_FULL_WIDTH = {code: code - 0xFEE0 for code in (*range(0xFF10, 0xFF1A), *range(0xFF21, 0xFF3B), *range(0xFF41, 0xFF5B))}
# CJK characters, CJK punctuation, full-width forms of other marks; not the quotation marks and dashes that English shares.
_NO_SPACE_BESIDE = f"{CJK}\u3001-\u3003\u3008-\u3020\u3030\uff01-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65"
_SPACE_BESIDE_CJK = re.compile(f"(?<=[{_NO_SPACE_BESIDE}]) | (?=[{_NO_SPACE_BESIDE}])")


def package_line(line: str, rule: str) -> str:
    """One line `ID TRANSCRIPT` (without its line end) under `rule`, one of RULES.

    `released` is the released packaging to the letter, its faults included: only a space ends the id, a line without a
    space is taken as id and transcript both. `fixed` ends the id at any white space and writes an empty transcript as the
    id alone.

    Raises:
        ConfigError: no such rule.
        DataError: under `fixed`, a line that begins with white space or is empty.
    """
    if rule not in RULES:
        raise ConfigError(f"packaging rule {rule!r} is unknown; allowed: {', '.join(RULES)}")
    if rule == "released":
        utterance_id, space, transcript = line.partition(" ")
        return f"{utterance_id} {package_released(transcript if space else line)}"
    if not line[:1].strip():
        raise DataError("the line does not begin with an utterance id")
    utterance_id, *rest = line.split(maxsplit=1)
    return " ".join([utterance_id, package_fixed(rest[0])] if rest else [utterance_id])


def package_released(transcript: str) -> str:
    """ASCII letters upper case, U+2581 for a single space between two of them, all other spaces removed.

    Words beside digits or marks therefore run together ("COVID 19 VACCINE" is COVID19VACCINE), which `package_fixed` mends.
    """
    text = transcript.translate(_ASCII_UPPER)
    # A match takes both letters, so the space after a one-letter word is only found in a second pass.
    for _ in range(2):
        text = _BETWEEN_LETTERS.sub(rf"\1{SPACE_SIGN}\2", text)
    return text.replace(" ", "")


def package_fixed(transcript: str) -> str:
    """Letters of any script upper case, U+2581 for every stretch of white space except beside CJK, where it is removed.

    Composed accents (NFC), full-width letters and digits as ASCII; punctuation stays as it is.
    """
    text = unicodedata.normalize("NFC", transcript).translate(_FULL_WIDTH).upper()
    text = " ".join(text.replace(SPACE_SIGN, " ").split())
    return _SPACE_BESIDE_CJK.sub("", text).replace(" ", SPACE_SIGN)
