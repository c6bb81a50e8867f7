import torch

from mooer.common.marks import COMMA, NO_MARK, PERIOD, UNKNOWN
from mooer.data.punctuation import PunctuationSamples
from mooer.data.text_lines import TextLine

IDS = {"<unk>": 0, "yes": 1, "no": 2, "天": 3}


def made(*texts):
    samples = PunctuationSamples(IDS, unknown_id=0, lower_case=True)
    return samples, samples.make([TextLine(f"l{number}", text) for number, text in enumerate(texts)])


def test_words_become_ids_and_marks_labels():
    _, (sample,) = made("Yes, perhaps 天。no.")
    assert sample.word_ids == [1, 0, 3, 2]
    assert sample.marks == [COMMA, NO_MARK, PERIOD, PERIOD]
    assert len(sample) == 4


def test_nobody_knows_what_follows_a_broken_line():
    _, (sample,) = made("yes. no no")
    assert sample.marks == [PERIOD, NO_MARK, UNKNOWN]


def test_lines_without_anything_to_learn_are_named():
    assert made("。 ...", "yes")[1] == ["no_words", "nothing_to_learn"]


def test_padding_is_not_learnt():
    samples, lines = made("yes.", "no, yes no.")
    batch = samples.collate(lines)
    assert batch.ids == ["l0", "l1"] and batch.lengths.tolist() == [1, 3]
    assert batch.words.tolist() == [[1, 0, 0], [2, 1, 2]]
    assert batch.marks.tolist() == [[PERIOD, UNKNOWN, UNKNOWN], [COMMA, NO_MARK, PERIOD]]
    assert torch.equal(batch.to("cpu").words, batch.words)
