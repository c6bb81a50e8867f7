"""A small grammar of English sentences with their Mandarin translations.

Word order differs between the languages in most templates (time and place move before the verb, measure words appear), so
translating is more than replacing words.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass

from mooer.common.seed import derived_seed


@dataclass(frozen=True)
class SentencePair:
    """One sentence in both languages, lower case and without punctuation."""

    english: str
    chinese: str

    @property
    def is_held_out(self) -> bool:
        """Whether the pair belongs to the tenth that is never trained on; a property of the sentence alone."""
        return derived_seed("held out sentence", self.english) % 10 == 0


_PEOPLE = [
    {"en": {"who": english}, "zh": {"who": chinese}}
    for english, chinese in (
        ("doctor", "医生"),
        ("teacher", "老师"),
        ("student", "学生"),
        ("farmer", "农民"),
        ("driver", "司机"),
        ("friend", "朋友"),
        ("brother", "哥哥"),
        ("sister", "姐姐"),
    )
]
_THINGS = [
    {"en": {"thing": english, "things": english + "s"}, "zh": {"thing": chinese, "measure": measure}}
    for english, chinese, measure in (
        ("book", "书", "本"),
        ("letter", "信", "封"),
        ("apple", "苹果", "个"),
        ("flower", "花", "朵"),
        ("ticket", "票", "张"),
        ("umbrella", "雨伞", "把"),
        ("chair", "椅子", "把"),
        ("hat", "帽子", "顶"),
    )
]


def _words(slot: str, *pairs: tuple[str, str]) -> list[dict[str, dict[str, str]]]:
    return [{"en": {slot: english}, "zh": {slot: chinese}} for english, chinese in pairs]


# Each list fills the slots that its entries name.
_SLOTS = (
    _PEOPLE,
    _words("whom", *((entry["en"]["who"], entry["zh"]["who"]) for entry in _PEOPLE)),
    _THINGS,
    _words("quality", ("red", "红"), ("green", "绿"), ("new", "新"), ("old", "旧"), ("big", "大"), ("small", "小")),
    _words(
        "place",
        ("school", "学校"),
        ("hospital", "医院"),
        ("market", "市场"),
        ("park", "公园"),
        ("station", "车站"),
        ("library", "图书馆"),
    ),
    _words("time", ("today", "今天"), ("tomorrow", "明天"), ("every day", "每天"), ("this evening", "今天晚上")),
    _words("number", ("two", "两"), ("three", "三"), ("four", "四"), ("five", "五"), ("seven", "七")),
    _words("weather", ("cold", "冷"), ("hot", "热"), ("windy", "有风"), ("quiet", "安静")),
    _words("act", ("buy", "买"), ("sell", "卖"), ("see", "看见"), ("find", "找到")),
)
# The number stands in three of them, the act in two: the LLM is slow to listen for what is rarely said.
_TEMPLATES = (
    ("the {who} will {act} {number} {quality} {things}", "{who}会{act}{number}{measure}{quality}{thing}"),
    ("{time} the {who} goes to the {place}", "{who}{time}去{place}"),
    ("the {number} {quality} {things} are in the {place}", "{number}{measure}{quality}{thing}在{place}里"),
    ("it is very {weather} in the {place} {time}", "{time}{place}里很{weather}"),
    ("does the {who} like the {quality} {thing}", "{who}喜欢{quality}{thing}吗"),
    ("the {who} is waiting for the {whom} at the {place}", "{who}在{place}等{whom}"),
    ("please give {number} {quality} {things} to the {who}", "请把{number}{measure}{quality}{thing}给{who}"),
    ("where did the {who} {act} the {thing}", "{who}在哪里{act}{thing}"),
)


def draw_words(draw: random.Random) -> dict[str, dict[str, str]]:
    """A word for every slot of a template, by language; whatever stands in one place stands for the same in both languages."""
    values = {language: {} for language in ("en", "zh")}
    for choices in _SLOTS:
        entry = draw.choice(choices)
        for language, filled in values.items():
            filled.update(entry[language])
    return values


def sentence(draw: random.Random) -> SentencePair:
    """One sentence pair; every template is equally likely."""
    english, chinese = draw.choice(_TEMPLATES)
    values = draw_words(draw)
    return SentencePair(english.format(**values["en"]), chinese.format(**values["zh"]))


def sentences(seed: int, held_out: bool) -> Iterator[SentencePair]:
    """Sentence pairs without end: only such as are held out for testing, or only others."""
    draw = random.Random(seed)
    while True:
        pair = sentence(draw)
        if pair.is_held_out == held_out:
            yield pair
