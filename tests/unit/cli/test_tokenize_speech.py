"""mooer-tokenize-speech: sounds that are learnt, labels that are those of the library, what is named, runs that were killed."""

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner

from mooer.audio.io import load_audio
from mooer.cli.tokenize_speech import main
from mooer.data.directory import read_data_dir
from mooer.data.lists import read_table
from mooer.models.audio_tokens import load_audio_tokenizer
from mooer.pipeline import speech_tokenization
from mooer.pipeline.part_store import open_stage
from mooer.text.speech_tokens import token_names

RATE = 22_050


@pytest.fixture
def data_dir(tmp_path):
    """Seven recordings of tones."""
    folder = tmp_path / "data"
    folder.mkdir()
    for number in range(7):
        axis = np.arange(RATE // 2 + 500 * number) / RATE
        wave = 0.3 * np.sin(2 * np.pi * (200 + 150 * number) * axis * (1 + axis))
        soundfile.write(folder / f"t{number}.wav", wave, RATE)
    (folder / "wav.scp").write_text("".join(f"t{number} t{number}.wav\n" for number in range(7)))
    return folder


def run(data_dir, *options, status=0):
    sounds, labels = str(data_dir / "sounds.safetensors"), str(data_dir / "text.audio")
    given = ["--data_dir", str(data_dir), "--tokenizer_path", sounds, "--output_file", labels, *map(str, options)]
    done = CliRunner().invoke(main, given)
    assert done.exit_code == status, done.stderr
    return done.stderr


def utterances_of(data_dir):
    return read_data_dir(data_dir, labels=()).utterances


def test_labels_are_those_of_the_library(data_dir):
    told = run(data_dir, "--num_tokens", 12)
    assert "12 sounds" in told and "text.audio: 7 utterances" in told
    tokenizer = load_audio_tokenizer(data_dir / "sounds.safetensors")
    labels = read_table(data_dir / "text.audio")
    assert list(labels) == [f"t{number}" for number in range(7)]
    for name, label in labels.items():
        waveform = load_audio(data_dir / f"{name}.wav", target_rate=RATE)
        assert label.split() == token_names(tokenizer.encode(waveform).tolist())
        assert len(label.split()) == len(waveform) // 1024
    assert not (data_dir / "text.audio.parts").exists()
    before = (data_dir / "text.audio").read_bytes()
    run(data_dir, "--num_workers", 2)
    assert (data_dir / "text.audio").read_bytes() == before


def test_recordings_that_cannot_be_read_are_named(data_dir):
    soundfile.write(data_dir / "t2.wav", np.zeros(900), RATE)
    (data_dir / "t4.wav").unlink()
    told = run(data_dir, "--num_tokens", 12, status=1)
    assert "t2: too_short" in told and "t4: missing" in told and "2 could not be used" in told
    assert list(read_table(data_dir / "text.audio")) == ["t0", "t1", "t3", "t5", "t6"]


def test_a_run_that_was_killed_goes_on(data_dir, monkeypatch):
    monkeypatch.setattr(speech_tokenization, "PART_SIZE", 3)
    run(data_dir, "--num_tokens", 12)
    whole = (data_dir / "text.audio").read_bytes()
    (data_dir / "text.audio").unlink()
    done, real = [], speech_tokenization.tokenize_part

    def break_off(utterances, tokenizer_path):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(utterances)
        return real(utterances, tokenizer_path)

    monkeypatch.setattr(speech_tokenization, "tokenize_part", break_off)
    with pytest.raises(KeyboardInterrupt):
        speech_tokenization.tokenize_speech(utterances_of(data_dir), data_dir / "sounds.safetensors", data_dir / "text.audio")
    assert len(list((data_dir / "text.audio.parts").glob("0*.jsonl"))) == 2
    assert not (data_dir / "text.audio").exists()
    monkeypatch.setattr(speech_tokenization, "tokenize_part", real)
    assert "--resume" in run(data_dir, status=2)
    monkeypatch.setattr(
        speech_tokenization,
        "tokenize_part",
        lambda utterances, tokenizer_path: (
            real(utterances, tokenizer_path) if utterances[0].id == "t6" else pytest.fail("this was done already")
        ),
    )
    run(data_dir, "--num_tokens", 12, "--resume")
    assert (data_dir / "text.audio").read_bytes() == whole


def test_parts_of_other_recordings_are_refused(data_dir):
    run(data_dir, "--num_tokens", 12)
    utterances = utterances_of(data_dir)
    begun = [data_dir / "text.audio.parts", speech_tokenization.SpokenLabel, utterances[1:], speech_tokenization.PART_SIZE]
    open_stage(*begun, model={"sounds": "other"}, resume=False)
    assert "sha256 was" in run(data_dir, "--resume", status=2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "sounds.safetensors does not exist"),
        (("--starts", 2), "--starts belongs to --num_tokens"),
        (("--num_tokens", 5000), "too few for 5000 tokens"),
        (("--data_dir", "gone", "--num_tokens", 12), "gone does not exist"),
    ],
)
def test_what_is_refused(data_dir, options, message):
    assert message in run(data_dir, *options, status=2)
    assert not (data_dir / "text.audio").exists()


def test_sounds_are_not_learnt_over(data_dir):
    run(data_dir, "--num_tokens", 12)
    assert "exists" in run(data_dir, "--num_tokens", 12, status=2)
    assert "12 sounds" in run(data_dir, "--num_tokens", 13, "--resume", status=2)
