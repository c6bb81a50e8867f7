"""mooer-find-speech: labels by energy and from times of words."""

import numpy as np
import pytest
from click.testing import CliRunner

from mooer.cli.find_speech import main
from mooer.common.speech_times import parse_speech_times
from mooer.data.lists import read_table


@pytest.fixture
def data_dir(tmp_path):
    """Two recordings: a burst of noise from 0.5 to 1.0 s, and silence."""
    soundfile = pytest.importorskip("soundfile")
    rng = np.random.default_rng(0)
    burst = np.zeros(24000, np.float32)
    burst[8000:16000] = 0.1 * rng.standard_normal(8000)
    for name, samples in (("a", burst), ("b", np.zeros(24000, np.float32))):
        soundfile.write(tmp_path / f"{name}.wav", samples, 16000)
    (tmp_path / "wav.scp").write_text("a a.wav\nb b.wav\n")
    return tmp_path


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_speech_is_found_by_energy(data_dir):
    done = run("--data_dir", data_dir, "--output_file", data_dir / "text.speech")
    assert done.exit_code == 0, done.stderr
    labels = read_table(data_dir / "text.speech")
    ((start, end),) = parse_speech_times(labels["a"])
    assert abs(start - 480) <= 30 and abs(end - 1020) <= 30
    assert labels["b"] == "-"


def test_times_of_words_become_labels(data_dir):
    (data_dir / "words.ctm").write_text("a 1 0.5 0.2 one\na 1 0.8 0.2 two\nc 1 0 1 three\n")
    done = run("--data_dir", data_dir, "--ctm", data_dir / "words.ctm", "--output_file", data_dir / "text.speech")
    assert done.exit_code == 1 and "c: no_audio" in done.stderr
    assert read_table(data_dir / "text.speech") == {"a": "0.500-1.000", "b": "-"}
    ways = ("--ctm", data_dir / "words.ctm", "--max_pause_ms", 50)
    run("--data_dir", data_dir, *ways, "--output_file", data_dir / "text.speech")
    assert read_table(data_dir / "text.speech")["a"] == "0.500-0.700 0.800-1.000"


def test_recordings_that_cannot_be_read_are_named(data_dir):
    (data_dir / "wav.scp").write_text("a a.wav\nb gone.wav\n")
    done = run("--data_dir", data_dir, "--output_file", data_dir / "text.speech")
    assert done.exit_code == 1 and "b: missing" in done.stderr
    assert list(read_table(data_dir / "text.speech")) == ["a"]


def test_wrong_use_writes_nothing(data_dir):
    target = data_dir / "text.speech"
    for extra in (("--vad_dir", data_dir / "none"), ("--vad_dir", "x", "--max_pause_ms", 3), ("--data_list", "x")):
        assert run("--data_dir", data_dir, *extra, "--output_file", target).exit_code == 2
    assert not target.exists()
