import pytest
import torch

from mooer.common.errors import ConfigError
from mooer.decode.forced_alignment import open_aligner, read_seg_dict, spoken_words
from mooer.decode.recognizer import DecodeConfig, Recognizer

CPU = DecodeConfig(device="cpu")


def noise(seconds):
    return 0.1 * torch.randn(round(16000 * seconds), generator=torch.Generator().manual_seed(0))


def test_what_is_said_of_what_is_written():
    assert spoken_words("“你好”，it's OK!") == [("“你", "你"), ("好”，", "好"), ("it's", "it's"), ("OK!", "OK")]
    assert spoken_words("...") == []


def test_a_paraformer_gives_its_own_text_its_own_times(paraformer_folder):
    folder = paraformer_folder("BiCifParaformer")
    (hypothesis,) = Recognizer.from_model_dir(folder, CPU).recognize([("a", noise(3))])
    words = hypothesis.answer.words
    aligned = open_aligner(folder, CPU)(noise(3), hypothesis.answer.text)
    assert len(words) > 2
    assert [(word.text, word.start, word.end) for word in aligned] == [(word.text, word.start, word.end) for word in words]


@pytest.mark.parametrize("model", ["BiCifParaformer", "Paraformer"])
def test_any_text_gets_as_many_times_as_it_has_words(paraformer_folder, model):
    align = open_aligner(paraformer_folder(model), CPU)
    words = align(noise(2), "今天，hello 不知道 ab!")
    assert [word.text for word in words] == ["今", "天，", "hello", "不", "知", "道", "ab!"]
    assert all(0 <= word.start <= word.end <= 2100 for word in words)
    assert [word.start for word in words] == sorted(word.start for word in words)
    assert all(0 <= word.confidence <= 1 for word in words)
    assert align(noise(2), "，。") == ()
    assert align(torch.zeros(100), "今") is None


def test_parts_of_words(tmp_path):
    path = tmp_path / "seg_dict"
    path.write_text("hello hel@@ lo\n\nempty\n", encoding="utf-8")
    assert read_seg_dict(path) == {"hello": ["hel@@", "lo"]}
    assert read_seg_dict(tmp_path / "none") == {}


def test_a_speech_llm_cannot_align():
    with pytest.raises(ConfigError, match="family speech_llm"):
        open_aligner("mini", CPU)
