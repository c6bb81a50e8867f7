import torch

from mooer.data.config import TaskConfig
from mooer.data.speech_frames import SpeechFramesSamples
from mooer.data.tasks import Item
from mooer.data.utterance import Utterance


def item(label, num_frames):
    utterance = Utterance(f"u{num_frames}", labels={"speech": label})
    return Item(utterance, TaskConfig(), torch.full((num_frames, 2), float(num_frames)))


def test_frames_get_the_label_of_their_middle():
    (sample,) = SpeechFramesSamples().make([item("0.020-0.045 0.060-0.070", 8)])
    # Middles: 12.5, 22.5, 32.5, 42.5, 52.5, 62.5, 72.5, 82.5 ms.
    assert sample.is_speech.tolist() == [False, True, True, True, False, True, False, False]


def test_a_recording_without_speech_is_learnt_too():
    (sample,) = SpeechFramesSamples().make([item("-", 3)])
    assert not sample.is_speech.any()


def test_labels_that_cannot_be_right_are_named():
    made = SpeechFramesSamples().make([item("0.5-0.4", 9), item("0.000-9.000", 9), item("0.000-0.150", 9)])
    assert made[:2] == ["bad_speech_label", "speech_beyond_end"]
    assert made[2].is_speech.all()  # a label may reach a little beyond the last frame


def test_a_batch_is_padded_with_silence():
    samples = SpeechFramesSamples()
    batch = samples.collate(samples.make([item("0-0.030", 2), item("0-1", 95)]))
    assert batch.ids == ["u2", "u95"] and batch.frame_lengths.tolist() == [2, 95]
    assert batch.is_speech.shape == (2, 95) and batch.is_speech.sum(dim=1).tolist() == [2, 95]
    assert batch.frames[0, 2:].abs().sum() == 0
    moved = batch.to("cpu")
    assert moved.ids == batch.ids and torch.equal(moved.frames, batch.frames)
