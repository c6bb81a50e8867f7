"""What a demo page that answers in speech asks of its models, and which options it refuses; the page is in tests/recipe."""

import logging

import pytest
import soundfile
from click.testing import CliRunner

from mooer.audio.io import load_audio
from mooer.cli.demo import main
from mooer.common.errors import AudioError, DataError
from mooer.data.packing import encode_audio
from mooer.decode.hypothesis import Failure
from mooer.pipeline.recording_sources import recordings_of_files
from mooer.pipeline.speech_models import SpeechConfig, SpeechModels, SpeechPaths
from mooer.pipeline.speech_to_speech import answer_recordings
from mooer.pipeline.spoken import Spoken, Unspoken
from mooer.serve.demo_speech import DemoSpeech, speech_of
from mooer.text.prompts import Turn

SPEECH = ("--task", "s2s_chat", "--model_dir", "m")


@pytest.fixture(scope="module")
def models(speaking):
    paths = SpeechPaths(model_dir=str(speaking), vocoder=str(speaking / "vocoder.pt"))
    return SpeechModels(paths, SpeechConfig(task="s2s_chat", device="cpu"))


@pytest.fixture(scope="module")
def paths(golden, tmp_path_factory):
    folder = tmp_path_factory.mktemp("questions")
    samples = load_audio(golden / "wav/utt2.wav").numpy()
    for index in range(8):
        soundfile.write(folder / f"q{index}.wav", samples[1000 * index :][:12_000], 16000, "PCM_16")
    return [str(path) for path in sorted(folder.iterdir())]


def test_answers_are_those_of_the_command_with_and_without_speech(models, paths):
    model, kinds = DemoSpeech(models), set()
    for path, wanted in zip(paths, answer_recordings(models, recordings_of_files(paths, allow_url=False)), strict=True):
        found = model.answer(path)
        kinds.add(type(found))
        assert type(found) is type(wanted)
        assert found.text == wanted.text
        expected = None if isinstance(wanted, Failure) else encode_audio(wanted.waveform, "wav", wanted.sample_rate)
        assert speech_of(found) == expected
    assert kinds == {Spoken, Unspoken}


def test_what_a_conversation_remembers(models, paths):
    model = DemoSpeech(models)
    answers = [model.answer(path) for path in paths]
    turns = model.turns_of(next(item for item in answers if item.text.strip()))
    assert [turn.role for turn in turns] == ["user", "assistant"]
    assert turns[0].text == "Answer my question with speech."
    assert model.turns_of(Unspoken("a", "no_speech", "nothing", " \n")) == ()
    assert [model.answer(path, turns).text for path in paths] != [item.text for item in answers]
    with pytest.raises(DataError, match=r"<\|audio_start\|>"):
        model.answer(paths[0], [Turn("assistant", "<|audio_start|>")])


def test_a_recording_without_an_answer_is_named_without_its_folder(models, tmp_path):
    model = DemoSpeech(models)
    (tmp_path / "broken.wav").write_bytes(b"no sound")
    soundfile.write(tmp_path / "short.wav", [0.1] * 100, 16000)
    for name, reason in (("broken.wav", "unreadable"), ("short.wav", "too_short")):
        with pytest.raises(AudioError) as caught:
            model.answer(str(tmp_path / name))
        assert caught.value.reason == reason
        assert str(tmp_path) not in str(caught.value)
    with pytest.raises(AudioError, match=r"^broken\.wav: (?!broken)"):
        model.answer(str(tmp_path / "broken.wav"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--vocoder_path", "v.pt"), "--vocoder_path does not go with --task asr; ask for --task s2s_trans or s2s_chat"),
        (("--task", "mtl", "--voice_from_input"), "--voice_from_input does not go with --task mtl"),
        (SPEECH, "--task s2s_chat needs a vocoder; name one (--vocoder_path)"),
        (("--task", "s2s_trans", "--vocoder_path", "v.pt"), "--task s2s_trans needs a speech LLM; name one (--model_dir)"),
        ((*SPEECH, "--vocoder_path", "v.pt", "--vad_dir", "vad"), "--vad_dir does not go with --task s2s_chat"),
        ((*SPEECH, "--vocoder_path", "v.pt", "--target_language", "en"), "--target_language does not go with"),
        ((*SPEECH, "--vocoder_path", "v.pt", "--max_seconds", "9"), "--max_seconds does not go with"),
        (
            (*SPEECH, "--vocoder_path", "v.pt", "--dtype", "int8"),
            "s2s_chat; allowed: float32, bfloat16, float16",
        ),
        ((*SPEECH, "--vocoder_path", "v.pt", "--prompt_wav_path", "p.wav"), "a voice needs a speaker encoder"),
        ((*SPEECH, "--vocoder_path", "v.pt", "--prompt_wav_path", "p.wav", "--voice_from_input"), "not from both"),
        ((*SPEECH, "--vocoder_path", "v.pt"), "vocoder v.pt does not exist"),
    ],
)
def test_options_that_do_not_go_together(options, message, monkeypatch, tmp_path):
    pytest.importorskip("gradio")
    monkeypatch.chdir(tmp_path)
    logging.getLogger().handlers.clear()
    result = CliRunner().invoke(main, options)
    assert result.exit_code == 2, result.stderr
    assert message in " ".join(result.stderr.split())
    assert result.stdout == ""
