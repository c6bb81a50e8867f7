"""Pinyin of words, in dictionary tones."""

import re

from pypinyin import Style, lazy_pinyin

from mooer.common.errors import DataError

TONES = "12345"
# Whatever they are pronounced as before other tones; pypinyin writes some words as spoken and some as in the dictionary.
_DICTIONARY_TONES = {"一": "yi1", "不": "bu4"}
_SPOKEN_TONES = {"一": ("yi2", "yi4"), "不": ("bu2",)}
_SUFFIX, _SUFFIX_SYLLABLE = "儿", "r5"
# A 儿 after one of these is a child, a syllable of its own.
_CHILDREN = frozenset("女男婴幼孤胎健少宠患")

_SYLLABLE = re.compile(f"[a-z]+[{TONES}]")


def transcript(word: str) -> str:
    """Toned pinyin, a syllable a character: 一下儿 is "yi1 xia4 r5".

    Tones are the dictionary's, not changed by their neighbours (一 yi1, 不 bu4, and a third tone before a third); 5 is the
    neutral tone, v is ü, and a 儿 that only colours the syllable before it is r5. Of several readings it is the one that
    pypinyin's dictionary gives the word.

    Raises:
        DataError: a character that has no pinyin.
    """
    syllables = lazy_pinyin(word, style=Style.TONE3, neutral_tone_with_five=True)
    if len(syllables) != len(word) or not all(map(_SYLLABLE.fullmatch, syllables)):
        raise DataError(f"{word!r} cannot be written in pinyin, found {' '.join(syllables)!r}; only Chinese characters can")
    for place, character in enumerate(word):
        if syllables[place] in _SPOKEN_TONES.get(character, ()):
            syllables[place] = _DICTIONARY_TONES[character]
    if len(word) > 1 and word[-1] == _SUFFIX and word[-2] not in _CHILDREN:
        syllables[-1] = _SUFFIX_SYLLABLE
    return " ".join(syllables)
