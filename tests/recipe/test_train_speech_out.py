"""The way to speech out on tones: labels of audio tokens, an LLM that learns to write them, its latents, a vocoder."""

import json

import numpy as np
import pytest
import soundfile
import torch
import yaml
from click.testing import CliRunner

from mooer.cli.build_tokenizer import main as build_tokenizer
from mooer.cli.dump_latents import main as dump_latents
from mooer.cli.make_list import main as make_list
from mooer.cli.speak import main as speak
from mooer.cli.tokenize_speech import main as tokenize_speech
from mooer.cli.train import main as train
from mooer.common.lengths import adapter_frames
from mooer.data.archives import read_matrix
from mooer.data.lists import read_data_list, read_table
from mooer.decode.spoken_answer import speech_latents
from mooer.features.frontend import Frontend, FrontendConfig
from mooer.models.audio_tokens import AudioTokenConfig
from mooer.models.released import open_model
from mooer.models.vocoder import Vocoder, VocoderConfig, load_vocoder
from mooer.pipeline import speech_latents as latents_module
from mooer.text.prompts import SPEECH_INSTRUCTIONS, chat_prompt
from mooer.text.speech_tokens import SpeechTokens
from mooer.text.tokenizer import encode_prompt, encode_text, load_tokenizer

WIDTH, NUM_TOKENS, RATE = 32, 6, 22_050
NETWORK = {
    "upsample_rates": [16, 16],
    "upsample_kernel_sizes": [32, 32],
    "upsample_initial_channel": 16,
    "resblock_kernel_sizes": [3],
    "resblock_dilation_sizes": [[1]],
    "input_num_mels": WIDTH,
    "cond_channels": 4,
}
LLM = {
    "family": "speech_llm",
    "encoder": {"output_size": 32, "attention_heads": 2, "linear_units": 64, "num_blocks": 1, "kernel_size": 5},
    "adapter": {"downsample_rate": 2, "hidden_size": 32},
    "llm": {"hidden_size": WIDTH, "num_layers": 2, "num_heads": 2, "num_kv_heads": 2, "intermediate_size": 64},
}
TRAINING = {"log_interval": 1, "tensorboard": False, "num_threads": 1, "checkpoint_interval": 1000}
WORDS = {"low": 300, "high": 1200, "wide": 2500}


def call(command, *options, status=0):
    done = CliRunner().invoke(command, [str(option) for option in options])
    assert done.exit_code == status, done.stderr
    return done


def tone(pitch, seconds, rate):
    axis = np.arange(int(seconds * rate)) / rate
    return 0.3 * np.sin(2 * np.pi * pitch * axis) + 0.003 * np.random.default_rng(pitch).standard_normal(len(axis))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Data directories of questions and of their answers, labels, lists, and a trained LLM."""
    folder = tmp_path_factory.mktemp("speech_out")
    for name in ("data", "target"):
        (folder / name).mkdir()
    for word, pitch in WORDS.items():
        soundfile.write(folder / "data" / f"{word}.wav", tone(pitch, 0.6, 16_000), 16_000)
        soundfile.write(folder / "target" / f"{word}.wav", tone(2 * pitch, 0.4, RATE), RATE)
    for name in ("data", "target"):
        (folder / name / "wav.scp").write_text("".join(f"{word} {word}.wav\n" for word in sorted(WORDS)))
    (folder / "data/text.en").write_text("".join(f"{word} it is {word}\n" for word in sorted(WORDS)))
    sounds = ("--tokenizer_path", folder / "sounds.safetensors", "--num_tokens", NUM_TOKENS)
    call(tokenize_speech, "--data_dir", folder / "target", *sounds, "--output_file", folder / "data/text.audio")
    given = ("--text", folder / "data/text.en", "--vocab_size", 320, "--audio_tokens", NUM_TOKENS)
    call(build_tokenizer, *given, "--output_dir", folder / "tokenizer")
    call(make_list, "--data_dir", folder / "data", "--output_dir", folder / "lists", "--format", "raw")
    train_config(folder, "llm", LLM | {"tokenizer_path": str(folder / "tokenizer")}, speech_data(folder), 150, 5e-3)
    return folder


def speech_data(folder):
    tasks = [{"task": "s2s_trans"}]
    return {"train_list": str(folder / "lists/data.list"), "tasks": tasks, "num_workers": 0, "num_buckets": 1, "min_frames": 1}


def train_config(folder, name, model, data, steps, rate, *options):
    optimizer = {"learning_rate": rate}
    schedule = {"warmup_steps": 5}
    config = {"model": model, "data": data}
    config["training"] = TRAINING | {"max_steps": steps, "optimizer": optimizer, "schedule": schedule}
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(config))
    call(train, "--config", folder / f"{name}.yaml", "--output_dir", folder / name, "--device", "cpu", *options)


def write_vocoder(path):
    """One with random weights."""
    torch.manual_seed(1)
    names = {name: tuple(value) if isinstance(value, list) else value for name, value in NETWORK.items()}
    vocoder = Vocoder(VocoderConfig(**names | {"resblock_dilation_sizes": ((1,),)}))
    torch.save({"generator": vocoder.state_dict()}, path)
    return ("--vocoder_path", path)


def dump(folder, output_dir, *options, status=0):
    given = ("--model_dir", folder / "llm/final", "--data_list", folder / "lists/data.list", "--device", "cpu")
    return call(dump_latents, *given, "--target_dir", folder / "target", "--output_dir", output_dir, *options, status=status)


def test_an_llm_that_was_trained_answers_in_speech(folder, tmp_path):
    """What it writes is what it was trained on: the text, the sounds one by one, and the end where it belongs."""
    models = ("--model_dir", folder / "llm/final", *write_vocoder(tmp_path / "vocoder.pt"))
    asked = ("--task", "s2s_trans", "--wav_scp", folder / "data/wav.scp", "--greedy", "--max_new_tokens", 60)
    call(speak, *models, *asked, "--device", "cpu", "--output_dir", tmp_path / "out")
    assert read_table(tmp_path / "out/1best_recog/text") == {word: f"it is {word}" for word in sorted(WORDS)}
    tokenizer = load_tokenizer(folder / "tokenizer")
    labels = read_table(folder / "data/text.audio")
    for line in map(json.loads, (tmp_path / "out/results.jsonl").read_text().splitlines()):
        sounds = labels[line["id"]].split()
        wanted = encode_text(tokenizer, f"it is {line['id']}") + SpeechTokens(tokenizer).encode(sounds)
        assert line["tokens"][-len(sounds) - 7 :] == wanted[-len(sounds) - 7 :]
        assert line["flags"] == []
        waveform, rate = soundfile.read(tmp_path / "out" / line["wav"])
        assert rate == RATE
        assert len(waveform) == (len(sounds) + 1) * AudioTokenConfig().samples_of_a_token


def test_latents_are_those_of_each_answer_alone(folder, tmp_path):
    dump(folder, tmp_path / "three", "--batch_size", 3)
    dump(folder, tmp_path / "one", "--batch_size", 1)
    loaded = open_model(folder / "llm/final", "s2s_trans")
    tokenizer, model = load_tokenizer(loaded.tokenizer_dir), loaded.model
    prompt = encode_prompt(tokenizer, chat_prompt(tokenizer, SPEECH_INSTRUCTIONS["s2s_trans"]))
    labels, embed = read_table(folder / "data/text.audio"), model.llm.get_input_embeddings()
    for three, one in zip(*(read_data_list(tmp_path / name / "data.list") for name in ("three", "one")), strict=True):
        frames = Frontend(FrontendConfig())(torch.from_numpy(soundfile.read(folder / f"data/{one.id}.wav", dtype="float32")[0]))
        with torch.inference_mode():
            audio, _ = model.encode(frames[None], torch.tensor([len(frames)]))
            assert audio.shape[1] == adapter_frames(len(frames), 2)
            ids = encode_text(tokenizer, f"it is {one.id}") + SpeechTokens(tokenizer).encode(labels[one.id].split())
            given = torch.cat([audio[0], embed(torch.tensor(prompt))])
            wanted = speech_latents(model.llm, given, embed(torch.tensor(ids)), ids.index(SpeechTokens(tokenizer).start))
        assert len(wanted) == len(labels[one.id].split()) + 1
        torch.testing.assert_close(read_matrix(one.feats), wanted, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(read_matrix(three.feats), wanted, rtol=1e-4, atol=1e-5)
        assert three.audio.path == str(folder / f"target/{one.id}.wav") and three.labels == {}


def test_a_vocoder_is_trained_on_them_and_speaks(folder, tmp_path):
    dump(folder, tmp_path / "latents")
    data = {"input": "latents", "train_list": str(tmp_path / "latents/data.list"), "num_workers": 0}
    data |= {"stretch_latents": 9, "batch_size": 3}  # a stretch is a whole answer, with what comes after its recording
    model = {"family": "vocoder", "network": NETWORK, "discriminators": None}
    train_config(tmp_path, "vocoder", model, data, 8, 2e-3)
    events = [json.loads(line) for line in (tmp_path / "vocoder/train.jsonl").read_text().splitlines()]
    assert not any(event.get("skipped") for event in events)
    losses = [event["loss"] for event in events if event["event"] == "step"]
    assert losses[-1] < losses[0]
    final = tmp_path / "vocoder/final"
    assert load_vocoder(final / "vocoder.safetensors").config.cond_channels == 4
    vocoder = ("--vocoder_path", final / "vocoder.safetensors", "--vocoder_config", final / "config.json")
    asked = ("--task", "s2s_trans", "--greedy", "--max_new_tokens", 60, "--device", "cpu", folder / "data/low.wav")
    call(speak, "--model_dir", folder / "llm", *vocoder, *asked, "--output_dir", tmp_path / "out")
    assert (tmp_path / "out/low.wav").is_file()


def test_voices_are_written_beside_the_latents(folder, golden, tmp_path):
    encoder = golden / "s2st/speaker_encoder_reduced.pt"
    dump(folder, tmp_path / "latents", "--spk_encoder_path", encoder)
    voices = []
    for utterance in read_data_list(tmp_path / "latents/data.list"):
        archive, _, offset = utterance.labels["voice"].rpartition(":")
        voices.append(read_matrix(f"{tmp_path}/latents/{archive}:{offset}"))
        assert voices[-1].norm() == pytest.approx(1.0, abs=1e-5)
    assert not torch.equal(voices[0], voices[1])


def test_a_run_that_was_killed_goes_on_with_the_same_bytes(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(latents_module, "PART_SIZE", 1)
    dump(folder, tmp_path / "whole")
    real, done = latents_module.dump_part, []

    def break_off(models, targets, output, number):
        if number == 2 and not done:
            done.append(number)
            raise KeyboardInterrupt
        return real(models, targets, output, number)

    monkeypatch.setattr(latents_module, "dump_part", break_off)
    given = ("--model_dir", folder / "llm/final", "--data_list", folder / "lists/data.list", "--device", "cpu")
    options = [*given, "--target_dir", folder / "target", "--output_dir", tmp_path / "cut"]
    assert CliRunner().invoke(dump_latents, [str(option) for option in options]).exit_code != 0
    assert not (tmp_path / "cut/data.list").exists()
    assert "--resume" in dump(folder, tmp_path / "cut", status=2).stderr
    assert "batch_size was 16, is 2" in dump(folder, tmp_path / "cut", "--resume", "--batch_size", 2, status=2).stderr
    monkeypatch.setattr(
        latents_module, "dump_part", lambda *given: real(*given) if given[3] == 2 else pytest.fail("this was done already")
    )
    dump(folder, tmp_path / "cut", "--resume")
    names = sorted(path.name for path in (tmp_path / "whole").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "cut").iterdir())
    assert names == ["data.list", *(f"latents_00000{number}.ark" for number in range(3))]
    for name in names:
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "cut" / name).read_bytes()


def test_utterances_without_latents_are_named(folder, tmp_path):
    lines = [json.loads(line) for line in (folder / "lists/data.list").read_text().splitlines()]
    for line in lines:
        line["audio"] = str(folder / "data" / f"{line['id']}.wav")
    extra = [lines[0] | {"id": "nobody"}, lines[0] | {"id": "mute", "labels": {"en": "it is"}}]
    lines[1]["labels"]["audio"] = "<|audio_77|>"
    (tmp_path / "data.list").write_text("".join(json.dumps(line) + "\n" for line in (*lines, *extra)))
    given = ("--model_dir", folder / "llm/final", "--data_list", tmp_path / "data.list", "--target_dir", folder / "target")
    call(dump_latents, *given, "--device", "cpu", "--output_dir", tmp_path / "out", status=1)
    failed = [json.loads(line) for line in (tmp_path / "out/failed.jsonl").read_text().splitlines()]
    assert {item["id"]: item["reason"] for item in failed} == {
        "nobody": "no_audio",
        "mute": "no_label",
        lines[1]["id"]: "unknown_audio_token",
    }
    assert len(read_data_list(tmp_path / "out/data.list")) == 2


def test_a_model_that_does_not_speak_is_refused(folder, tmp_path):
    options = ("--model_dir", "mini", "--data_list", folder / "lists/data.list", "--target_dir", folder / "target")
    done = call(dump_latents, *options, "--device", "cpu", "--output_dir", tmp_path / "out", status=2)
    assert "knows no <|audio_start|>" in done.stderr
    assert not (tmp_path / "out").exists()
