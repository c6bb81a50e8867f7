import torch

from mooer.data.config import TaskConfig
from mooer.data.tasks import Item, ParaformerSamples
from mooer.data.utterance import Utterance
from mooer.text.piece_tokenizer import PieceTokenizer

TOKENS = ["<blank>", "<s>", "</s>", "今", "天", "a", "<unk>"]


def item(name, text, frames):
    return Item(Utterance(id=name, audio=None, labels={"text": text}), TaskConfig(), torch.zeros(frames, 4))


def test_tokens_end_with_the_end_of_sequence():
    samples = ParaformerSamples(PieceTokenizer(TOKENS, {}))
    made = samples.make([item("a", "今天 a", 9), item("b", "b", 2), item("c", "今天", 2)])
    assert [made[0].targets, made[1].targets] == [[3, 4, 5, 2], [6, 2]]
    assert made[2] == "more_tokens_than_frames"
    batch = samples.collate(made[:2])
    assert batch.targets.tolist() == [[3, 4, 5, 2], [6, 2, 0, 0]]
    assert batch.target_lengths.tolist() == [4, 2]
    assert batch.frame_lengths.tolist() == [9, 2]
