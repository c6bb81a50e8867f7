"""Crops of voices: whose they are, what is changed, and that they depend on nothing but their own draws."""

import json

import pytest
import soundfile
import torch

from mooer.common.errors import ConfigError, DataError
from mooer.data.utterance import AudioRef, Utterance
from mooer.data.voice_config import SurroundingsConfig, VoiceConfig
from mooer.data.voice_loader import build_voice_loader, training_speakers
from mooer.data.voices import SPEAKER_LABEL, VoiceDataset, change_surroundings, crop_samples, cut, speaker_names

RATE = 16000
PLAIN = SurroundingsConfig(room_share=0.0, line_share=0.0, noise_share=0.0, gain_db=(0.0, 0.0))


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    """Utterances of three speakers, tones of 200, 400 and 800 Hz, the last one only 0.4 s long."""
    folder = tmp_path_factory.mktemp("voices")
    found = []
    for number, seconds in enumerate((2.0, 1.5, 0.4)):
        time = torch.arange(int(seconds * RATE)) / RATE
        wave = 0.3 * torch.sin(2 * torch.pi * 200 * 2**number * time)
        soundfile.write(folder / f"u{number}.wav", wave.numpy(), RATE, subtype="FLOAT")
        found.append(Utterance(f"u{number}", AudioRef(str(folder / f"u{number}.wav")), None, {SPEAKER_LABEL: f"s{number}"}))
    return found


def write_list(path, utterances):
    lines = [{"id": item.id, "audio": item.audio.path, "num_samples": 1000, "labels": item.labels} for item in utterances]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(path)


def dataset(utterances, changed=True, **settings):
    config = VoiceConfig(train_list="", **({"crop_seconds": (0.5, 1.0), "surroundings": PLAIN} | settings))
    return VoiceDataset(utterances, {name: number for number, name in enumerate(speaker_names(utterances))}, config, changed)


def test_a_crop_does_not_depend_on_who_else_is_in_the_batch(recordings):
    voices = dataset(recordings, surroundings=SurroundingsConfig())
    together, alone = voices[3, [4, 0, 8]].batch, voices[3, [8]].batch
    assert torch.equal(together.frames[2], alone.frames[0])
    assert together.speakers[2] == alone.speakers[0]
    assert together.ids == ["u1", "u0", "u2"]
    again = dataset(recordings, surroundings=SurroundingsConfig())[3, [8]].batch
    assert torch.equal(again.frames, alone.frames)


def test_crops_differ_by_number_epoch_and_seed(recordings):
    first = dataset(recordings)[0, [0]].batch.frames
    assert not torch.equal(first, dataset(recordings)[0, [3]].batch.frames)
    lengths = {crop_samples(VoiceConfig(train_list=""), epoch) for epoch in range(5)}
    assert len(lengths) == 5
    assert all(1.5 * RATE <= length <= 3.0 * RATE for length in lengths)
    assert crop_samples(VoiceConfig(train_list="", seed=1), 0) not in lengths


def test_speed_changes_pitch_and_class(recordings):
    voices = dataset(recordings, speeds=(1.0, 2.0), crop_seconds=(1.0, 1.0))
    batch = voices[0, list(range(0, 60, 3))].batch  # 20 crops of u0
    assert set(batch.speakers.tolist()) == {0, 3}
    assert batch.frames.shape == (20, 98, 80) and batch.frame_lengths.tolist() == [98] * 20
    for waveform, speaker in (voices._crop(0, entry, RATE) for entry in range(0, 60, 3)):
        assert waveform.shape == (RATE,)
        peak = int(torch.fft.rfft(waveform).abs().argmax())
        assert peak == (200 if speaker == 0 else 400)


def test_a_short_recording_is_repeated(recordings):
    batch = dataset(recordings)[0, [2]].batch
    assert batch.frames.shape[1] >= 48
    assert cut(torch.arange(3.0), 7, torch.Generator().manual_seed(0)).numel() == 7


def test_validation_changes_nothing(recordings):
    voices = dataset(recordings, changed=False, speeds=(2.0, 0.5), surroundings=SurroundingsConfig(noise_share=1.0))
    batch = voices[0, [0, 1, 2]].batch
    assert batch.speakers.tolist() == [0, 1, 2]
    waveform, _ = voices._crop(0, 0, RATE)
    assert float(waveform.square().mean()) == pytest.approx(0.045, rel=0.01)


def test_surroundings_follow_their_shares():
    wave = torch.sin(torch.arange(RATE) / 10)
    silent = change_surroundings(wave, PLAIN, torch.Generator().manual_seed(0))
    assert torch.equal(silent, wave)
    noisy = SurroundingsConfig(room_share=0.0, line_share=0.0, noise_share=1.0, noise_snr_db=(10.0, 10.0), gain_db=(0.0, 0.0))
    noise = change_surroundings(wave, noisy, torch.Generator().manual_seed(0)) - wave
    assert float(wave.square().sum() / noise.square().sum()) == pytest.approx(10.0, rel=1e-3)
    louder = change_surroundings(wave, SurroundingsConfig(**EVERYTHING), torch.Generator().manual_seed(0))
    assert louder.shape == wave.shape and not torch.equal(louder, wave)


EVERYTHING = {"room_share": 1.0, "line_share": 1.0, "noise_share": 1.0}


def test_the_loader_gives_every_crop_once_an_epoch(recordings, tmp_path):
    path = write_list(tmp_path / "train.list", recordings)
    config = VoiceConfig(train_list=path, crops_an_epoch=4, batch_size=6, num_workers=0, crop_seconds=(0.5, 0.5))
    assert training_speakers(config) == ("s0", "s1", "s2")
    loader = build_voice_loader(config, "train")
    batches = list(loader.epoch(0))
    assert [len(batch.ids) for batch in batches] == [6, 6] and loader.batches_in_epoch(0) == 2
    assert sorted(name for batch in batches for name in batch.ids) == sorted(["u0", "u1", "u2"] * 4)
    assert [batch.ids for batch in loader.epoch(1)] != [batch.ids for batch in batches]
    assert loader.frames_in_epoch(0) == 12 * 48
    # Ranks share the batches; going on in the middle starts later.
    ranks = [list(build_voice_loader(config, "train", rank, 2).epoch(0)) for rank in range(2)]
    assert [ranks[0][0].ids, ranks[1][0].ids] == [batch.ids for batch in batches]
    assert [batch.ids for batch in loader.epoch(0, done=1)] == [batches[1].ids]


def test_what_cannot_be_read_is_named_and_left_out(recordings, tmp_path):
    lost = Utterance("lost", AudioRef(str(tmp_path / "lost.wav")), None, {SPEAKER_LABEL: "s0"})
    path = write_list(tmp_path / "train.list", [*recordings, lost])
    config = VoiceConfig(train_list=path, crops_an_epoch=1, batch_size=4, num_workers=0)
    loader = build_voice_loader(config, "train")
    (batch,) = loader.epoch(0)
    assert sorted(batch.ids) == ["u0", "u1", "u2"]
    assert [problem.id for problem in loader.problems] == ["lost"]


def test_speakers_must_be_named_and_known(recordings, tmp_path):
    with pytest.raises(DataError, match="u0 has no label 'speaker'"):
        speaker_names([Utterance("u0", recordings[0].audio)])
    with pytest.raises(DataError, match="1 speakers"):
        speaker_names(recordings[:1])
    train, dev = write_list(tmp_path / "train.list", recordings[:2]), write_list(tmp_path / "dev.list", recordings[1:])
    with pytest.raises(DataError, match="speaker 's2' does not occur"):
        build_voice_loader(VoiceConfig(train_list=train, dev_list=dev), "dev")
    with pytest.raises(ConfigError, match="dev_list is not set"):
        build_voice_loader(VoiceConfig(train_list=train), "dev")
