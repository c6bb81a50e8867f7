"""The punctuation marks that are learnt and written, in the published order: a mark is its place in MARKS."""

MARKS = ("<unk>", "_", "，", "。", "？", "、")
UNKNOWN, NO_MARK, COMMA, PERIOD, QUESTION, PAUSE = range(len(MARKS))
SENTENCE_ENDS = (PERIOD, QUESTION)
FULL_WIDTH = {",": "，", "?": "？"}
