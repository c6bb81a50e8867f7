"""mooer-speak on a tiny model in the released layout: what it writes, that no answer depends on the others, kills, refusals."""

import hashlib
import json
import logging
import signal
import subprocess
import sys
import time
import traceback
import wave
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from safetensors.torch import load_file

from mooer.audio.io import load_audio
from mooer.cli.speak import main
from mooer.decode.writer import one_line
from mooer.models.speaker_resnet import load_speaker_resnet
from mooer.models.vocoder import load_vocoder, write_vocoder
from mooer.models.weights import own_tensors, write_safetensors
from mooer.text.speech_tokens import AUDIO_START
from mooer.text.tokenizer import load_tokenizer

BOUND = 60


@pytest.fixture(scope="module")
def table(golden, tmp_path_factory):
    """A table of seven recordings: beginnings of the golden ones."""
    folder = tmp_path_factory.mktemp("wav")
    lines = []
    for index, length in enumerate((8000, 30_000, 16_000, 45_000, 5000, 24_000, 12_345)):
        samples = (load_audio(golden / "wav/utt2.wav")[index * 1000 :][:length] * 32768).short().numpy()
        with wave.open(str(folder / f"u{index}.wav"), "wb") as file:
            file.setparams((1, 2, 16_000, 0, "NONE", "not compressed"))
            file.writeframes(samples.tobytes())
        lines.append(f"u{index} {folder}/u{index}.wav\n")
    (folder / "wav.scp").write_text("".join(lines))
    return folder / "wav.scp"


def arguments(speaking, table, folder, *more):
    models = (
        "--model_dir",
        speaking,
        "--vocoder_path",
        speaking / "vocoder.pt",
        "--spk_encoder_path",
        speaking / "spk_encoder.pt",
    )
    fixed = ("--task", "s2s_trans", "--max_new_tokens", BOUND, "--device", "cpu")
    return [str(item) for item in (*models, *fixed, "--wav_scp", table, "--output_dir", folder, *more)]


def run(*given):
    """Exit status, standard output and standard error of the command, run in this process."""
    logging.getLogger().handlers.clear()
    result = CliRunner().invoke(main, [str(item) for item in given], prog_name="mooer-speak")
    error = result.stderr
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        error += "".join(traceback.format_exception(result.exception))
    return subprocess.CompletedProcess(given, result.exit_code, result.stdout, error)


def contents(folder):
    """The digests of all that an answer is, by name."""
    files = [*folder.glob("*.wav"), folder / "1best_recog/text", folder / "results.jsonl"]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def results(folder):
    return {item["id"]: item for item in map(json.loads, (folder / "results.jsonl").read_text().splitlines())}


@pytest.fixture(scope="module")
def alone(speaking, table, tmp_path_factory):
    """The folder of answers given one at a time."""
    folder = tmp_path_factory.mktemp("alone") / "out"
    done = run(*arguments(speaking, table, folder, "--seed", 7, "--batch_size", 1))
    assert done.returncode == 0, done.stderr
    return folder


def test_what_is_written(alone, table, speaking):
    found = results(alone)
    assert list(found) == [f"u{index}" for index in range(7)]
    texts = dict(line.split(" ", 1) for line in (alone / "1best_recog/text").read_text().splitlines() if " " in line)
    vocoder = load_vocoder(speaking / "vocoder.pt")
    tokenizer = load_tokenizer(speaking / "Qwen2-7B-Instruct")
    start = tokenizer.convert_tokens_to_ids(AUDIO_START)
    for key, item in found.items():
        with wave.open(str(alone / item["wav"])) as file:
            assert (file.getframerate(), file.getsampwidth(), file.getnchannels()) == (22_050, 2, 1)
            samples = np.frombuffer(file.readframes(file.getnframes()), np.int16)
        latents = len(item["tokens"]) - item["tokens"].index(start) - 6
        assert len(samples) == latents * vocoder.config.samples_of_a_latent
        assert samples.std() > 10
        assert item["speech_seconds"] == round(len(samples) / 22_050, 3)
        assert len(item["tokens"]) <= BOUND
        assert AUDIO_START not in item["text"]
        assert one_line(item["text"]).strip() == texts.get(key, "")
    record = json.loads((alone / "run.json").read_text())
    assert record["complete"] and record["recordings"] == 7 and record["speak"]["seed"] == 7
    assert record["speak"]["instruction"] == "Translate speech to english speech. "
    # The answers differ: they are not what the LLM says to anything.
    assert len({tuple(item["tokens"]) for item in found.values()}) == 7


@pytest.mark.parametrize("batch_size", [2, 3])
def test_answers_do_not_depend_on_the_batch(speaking, table, alone, tmp_path, batch_size):
    done = run(*arguments(speaking, table, tmp_path / "o", "--seed", 7, "--batch_size", batch_size))
    assert done.returncode == 0, done.stderr
    assert contents(tmp_path / "o") == contents(alone)


def test_answers_do_not_depend_on_the_order(speaking, table, alone, tmp_path):
    lines = table.read_text().splitlines(keepends=True)
    (tmp_path / "wav.scp").write_text("".join(lines[index] for index in (5, 2, 6, 0, 3)))
    done = run(*arguments(speaking, tmp_path / "wav.scp", tmp_path / "o", "--seed", 7, "--batch_size", 3))
    assert done.returncode == 0, done.stderr
    found, expected = contents(tmp_path / "o"), contents(alone)
    assert list(results(tmp_path / "o")) == ["u5", "u2", "u6", "u0", "u3"]
    wavs = [name for name in found if name.endswith(".wav")]
    assert len(wavs) == 5
    assert all(found[name] == expected[name] for name in wavs)


def test_another_seed_draws_another_answer(speaking, table, alone, tmp_path):
    done = run(*arguments(speaking, table, tmp_path / "o", "--seed", 8))
    assert done.returncode in (0, 1), done.stderr  # an answer may come without speech
    found, expected = results(tmp_path / "o"), results(alone)
    assert sum(found[key]["tokens"] != expected[key]["tokens"] for key in found) > len(found) / 2


def test_voices(speaking, table, golden, alone, tmp_path):
    prompt = golden / "wav/utt1.wav"
    given = {"prompt": ("--prompt_wav_path", prompt), "input": ("--voice_from_input",)}
    for name, option in given.items():
        done = run(*arguments(speaking, table, tmp_path / name, "--seed", 7, *option))
        assert done.returncode == 0, done.stderr
    tokens = [
        {key: item["tokens"] for key, item in results(folder).items()} for folder in (alone, *map(tmp_path.joinpath, given))
    ]
    assert tokens[0] == tokens[1] == tokens[2]
    digests = [contents(folder)["u1.wav"] for folder in (alone, *map(tmp_path.joinpath, given))]
    assert len(set(digests)) == 3


def test_a_run_that_is_killed_goes_on(speaking, table, alone, tmp_path):
    script = Path(__file__).parents[2] / "bin" / "speak.py"
    given = arguments(speaking, table, tmp_path / "o", "--seed", 7, "--batch_size", 1)
    process = subprocess.Popen([sys.executable, str(script), *given], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (tmp_path / "o/journal/u1.answer.json").exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "o").glob("*.wav")}
    assert 2 <= len(kept) < 7
    assert not (tmp_path / "o/results.jsonl").exists()
    (tmp_path / "o/.u6.wav.torn.tmp").write_bytes(b"RIFF")

    assert run(*given).returncode == 2  # not without --resume
    refused = run(*given, "--resume", "--top_p", 0.5)
    assert refused.returncode == 2
    assert "speak.sampling.top_p was 0.85, is 0.5" in refused.stderr
    done = run(*given, "--resume")
    assert done.returncode == 0, done.stderr
    assert contents(tmp_path / "o") == contents(alone)
    journal = [path for path in kept if (tmp_path / "o/journal" / f"{path.stem}.answer.json").exists()]
    assert all(path.stat().st_mtime_ns >= kept[path] for path in journal)
    assert not list((tmp_path / "o").glob(".*.tmp"))
    assert "u0\t" not in done.stdout  # what was there is not said again

    other = tmp_path / "wav.scp"
    other.write_text(table.read_text().replace("/u0.wav", "/u1.wav"))
    changed = run(*arguments(speaking, other, tmp_path / "o", "--seed", 7, "--resume"))
    assert changed.returncode == 2
    assert "another question" in changed.stderr
    assert contents(tmp_path / "o") == contents(alone)


def test_what_cannot_be_read_is_named_and_harms_nobody(speaking, table, alone, tmp_path):
    (tmp_path / "text.wav").write_text("no sound")
    (tmp_path / "wav.scp").write_text(f"bad {tmp_path}/text.wav\ngone {tmp_path}/gone.wav\n{table.read_text()}")
    done = run(*arguments(speaking, tmp_path / "wav.scp", tmp_path / "o", "--seed", 7))
    assert done.returncode == 1
    for text in ("bad failed (unreadable)", "gone failed (missing)", "2 of 9 recordings failed"):
        assert text in done.stderr
    failed = [json.loads(line) for line in (tmp_path / "o/failed.jsonl").read_text().splitlines()]
    assert [item["id"] for item in failed] == ["bad", "gone"]
    assert contents(tmp_path / "o") == contents(alone)


def test_an_answer_without_speech_is_named(speaking, table, alone, tmp_path):
    # Under a bound of seven tokens some answers have no latents, or not even come to <|audio_start|>.
    given = arguments(speaking, table, tmp_path / "o", "--seed", 7)
    given[given.index(str(BOUND))] = "7"
    done = run(*given)
    assert done.returncode == 1
    failed = {item["id"]: item["reason"] for item in map(json.loads, (tmp_path / "o/failed.jsonl").read_text().splitlines())}
    assert set(failed.values()) <= {"no_audio_start", "no_speech"}
    assert len(failed) + len(results(tmp_path / "o")) == 7


def test_greedy_answers_have_no_chance_in_them(speaking, table, tmp_path):
    for seed in (1, 2):
        assert run(*arguments(speaking, table, tmp_path / str(seed), "--greedy", "--seed", seed)).returncode in (0, 1)
    assert contents(tmp_path / "1") == contents(tmp_path / "2")


def test_history(speaking, table, alone, tmp_path):
    history = tmp_path / "history.jsonl"
    turns = [
        {"role": "user", "text": "Who?"},
        {"role": "assistant", "text": "You."},
        {"role": "user", "text": "I?", "id": "u1"},
    ]
    history.write_text("".join(json.dumps(turn) + "\n" for turn in turns[2:]))
    chat = ("--task", "s2s_chat", "--seed", 7)
    assert run(*arguments(speaking, table, tmp_path / "plain", *chat)).returncode in (0, 1)
    assert run(*arguments(speaking, table, tmp_path / "one", *chat, "--history", history)).returncode in (0, 1)
    plain, one = results(tmp_path / "plain"), results(tmp_path / "one")
    changed = {key for key in {*plain, *one} if plain.get(key) != one.get(key)}
    assert changed == {"u1"}
    history.write_text("".join(json.dumps(turn) + "\n" for turn in turns))
    assert run(*arguments(speaking, table, tmp_path / "all", *chat, "--history", history)).returncode in (0, 1)
    everyone = results(tmp_path / "all")
    assert sum(plain.get(key) != everyone.get(key) for key in plain) > 3


def test_safetensors_and_parts_are_read_too(speaking, table, alone, tmp_path):
    write_vocoder(tmp_path / "vocoder.safetensors", load_vocoder(speaking / "vocoder.pt"))
    write_safetensors(tmp_path / "spk.safetensors", own_tensors(load_speaker_resnet(speaking / "spk_encoder.pt")))
    parts = {
        "encoder_path": speaking / "paraformer_encoder/paraformer-encoder.pth",
        "cmvn_path": speaking / "paraformer_encoder/am.mvn",
        "llm_path": speaking / "Qwen2-7B-Instruct",
        "adapter_path": speaking / "s2s_trans/adapter_project.pt",
        "lora_dir": speaking / "s2s_trans/lora_weights",
        "vocoder_path": tmp_path / "vocoder.safetensors",
        "spk_encoder_path": tmp_path / "spk.safetensors",
    }
    named = [item for name, path in parts.items() for item in (f"--{name}", path)]
    fixed = ("--task", "s2s_trans", "--max_new_tokens", BOUND, "--device", "cpu", "--seed", 7, "--adapter_downsample_rate", 2)
    done = run(*named, *fixed, "--output_dir", tmp_path / "o", table.parent / "u0.wav", table.parent / "u3.wav")
    assert done.returncode == 0, done.stderr
    assert {name: contents(tmp_path / "o")[name] for name in ("u0.wav", "u3.wav")}.items() <= contents(alone).items()
    assert [line.split("\t")[0] for line in done.stdout.splitlines()] == ["u0", "u3"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"--vocoder_path": "gone.pt"}, "gone.pt does not exist"),
        ({"--spk_encoder_path": "gone.pt"}, "gone.pt does not exist"),
        ({"--model_dir": "nowhere"}, "nowhere"),
        ({"--wav_scp": "gone.scp"}, "gone.scp"),
        ({"--prompt_wav_path": "gone.wav"}, "gone.wav does not exist"),
        ({"--prompt_wav_path": "SCP"}, "prompt recording cannot be used"),
        ({"--history": "gone.jsonl"}, "gone.jsonl"),
        ({"--history": "SCP"}, "not JSON"),
        ({"--wav_path": "x.wav"}, "either --wav_path or --wav_scp"),
        ({"--vocoder_config": "SCP"}, "not JSON"),
        ({"--vocoder_path": "SPK"}, "nothing but named tensors"),
        ({"--task": "asr"}, "s2s_chat"),
        ({"--llm_path": "LLM"}, "knows no <|audio_start|>"),
        ({"--greedy": None, "--top_p": "0.5"}, "greedy"),
        ({"--prompt_wav_path": "U0", "--voice_from_input": None}, "not from both"),
        ({"--no_such_option": "1"}, "no_such_option"),
    ],
)
def test_wrong_use(speaking, table, golden, tmp_path, change, message):
    places = {
        "SCP": table,
        "SPK": speaking / "spk_encoder.pt",
        "LLM": golden / "model/llm",
        "U0": table.parent / "u0.wav",
    }
    given = arguments(speaking, table, tmp_path / "o")
    for name, value in change.items():
        given += [name] if value is None else [name, str(places.get(value, value))]
    done = run(*given)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert not (tmp_path / "o").exists()


def test_models_that_do_not_fit_together(speaking, table, golden, tmp_path):
    narrow = run(*arguments(speaking, table, tmp_path / "o"), "--vocoder_path", golden / "s2st/hifigan_generator.pt")
    assert narrow.returncode == 2
    assert "makes voices of 24 values; the vocoder takes 12" in narrow.stderr
    voiceless = load_file(golden / "s2st/hifigan_generator_weightnorm_removed.safetensors")
    write_safetensors(tmp_path / "v.safetensors", {name: voiceless[name] for name in voiceless if "cond" not in name})
    given = arguments(speaking, table, tmp_path / "o")
    place = given.index("--spk_encoder_path")
    wide = run(*given[:place], *given[place + 2 :], "--vocoder_path", tmp_path / "v.safetensors")
    assert wide.returncode == 2
    assert "hidden states have 64 values" in wide.stderr
    history = tmp_path / "history.jsonl"
    history.write_text(json.dumps({"role": "user", "text": "I say <|im_end|>"}) + "\n")
    ended = run(*given, "--history", history)
    assert ended.returncode == 2
    assert "<|im_end|>" in ended.stderr
    assert not (tmp_path / "o").exists()
