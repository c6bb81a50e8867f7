"""The examples of docs/ run as they stand there, on the tiny published folders."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def run_example(page, folder, links):
    for name, target in links.items():
        (folder / name).symlink_to(target)
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / page).read_text(encoding="utf-8"), re.DOTALL)
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", example], cwd=folder, env=environment, capture_output=True, encoding="utf-8", timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_punctuation(golden_paraformer, tmp_path):
    text, *words = run_example("punctuation.md", tmp_path, {"ct-punc": golden_paraformer / "e2e" / "punc"})
    assert re.sub("[，。？、,.?]", "", text).lower() == "我们去公园玩吧hello world"
    assert len(words) == 9
    assert words[-1].split()[:2] == ["world", "18"]
    assert words[-1].endswith("True")


def test_speakers(golden_paraformer, tmp_path):
    folder = golden_paraformer / "e2e"
    *turns, sentence = run_example("speakers.md", tmp_path, {"campplus": folder / "spk", "meeting.wav": folder / "audio.wav"})
    assert {line.split()[2] for line in turns} == {"0", "1"}
    assert re.fullmatch("from 2 s to 3 s: [01]", sentence)
    lines = (tmp_path / "meeting.rttm").read_text(encoding="utf-8").splitlines()
    assert len(lines) == len(turns)
    assert lines[0].startswith("SPEAKER meeting 1 0.330 ")


def test_long_audio(golden_paraformer, tmp_path):
    folder = golden_paraformer / "e2e"
    links = {"paraformer-large": folder / "asr", "fsmn-vad": folder / "vad", "ct-punc": folder / "punc"}
    text, *sentences = run_example("long_audio.md", tmp_path, links | {"meeting.wav": folder / "audio.wav"})
    assert text.startswith("继。Gram为为，在为")
    assert sentences[0] == "640 880 继。 1"
    assert sum(int(line.rsplit(" ", 1)[1]) for line in sentences) > 40


def test_audio_tokens(golden, tmp_path):
    (line,) = run_example("speech_out.md", tmp_path, {"voice.wav": golden / "wav" / "utt2.wav"})
    assert re.fullmatch(r"(<\|audio_\d+\|>){3}", line)
    assert (tmp_path / "tokens.safetensors").is_file()
