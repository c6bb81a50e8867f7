"""The recipe of speakers: who trains, trials, conversations with known turns, and where speech is in them."""

import itertools
import random
import sys
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from mooer.common.errors import ConfigError, DataError
from mooer.data.check import check_data_dir
from mooer.data.lists import read_table
from mooer.pipeline.speaker_clustering import ClusteringConfig
from mooer.score.der import DerConfig, DerReport, RecordingScore, SpeakerTime
from mooer.score.eer import read_trials
from mooer.text.rttm import SECOND, TimedTurn

ROOT = Path(__file__).resolve().parents[3]
sys.path.append(str(ROOT / "egs" / "speakers" / "local"))

from conversations import (  # noqa: E402
    LEVEL,
    ConversationConfig,
    make_conversations,
    speaker_order,
    without_silent_ends,
)
from known_speech import speech_segments  # noqa: E402
from voice_corpus import Recording, hold_out, list_recordings  # noqa: E402

RATE = 16000


def recording(name):
    return Recording(name, name.split("-")[0], Path(f"{name}.wav"))


def write_corpus(folder, names):
    import soundfile

    for name in names:
        path = folder / f"{name}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, 0.1 * torch.randn(RATE, generator=torch.Generator().manual_seed(1)).numpy(), RATE)


def test_data_directories_are_sound_and_disjoint(tmp_path):
    import prepare_speakers

    write_corpus(tmp_path / "corpus" / "train", ["1-a-0", "2-b-0", "3-c-0", "3-c-1", "4-d-0"])
    write_corpus(tmp_path / "corpus" / "test", ["8/8-x-0", "8/8-x-1", "9/9-y-0"])
    options = ["--recordings", str(tmp_path / "corpus"), "--num_dev_speakers", "2", "--output_dir", str(tmp_path / "data")]
    done = CliRunner().invoke(prepare_speakers.main, options)
    assert done.exit_code == 0, done.stderr
    for name in ("train", "dev", "test"):
        assert check_data_dir(tmp_path / "data" / name).faults == []
    assert read_table(tmp_path / "data" / "train" / "text.speaker") == {"2-b-0": "2", "4-d-0": "4"}
    assert set(read_table(tmp_path / "data" / "dev" / "utt2spk").values()) == {"1", "3"}
    expected = {("8-x-0", "8-x-1"): True, ("8-x-0", "9-y-0"): False, ("8-x-1", "9-y-0"): False}
    assert read_trials(tmp_path / "data" / "test" / "trials") == expected
    write_corpus(tmp_path / "corpus" / "test", ["1/1-z-0"])
    done = CliRunner().invoke(prepare_speakers.main, options)
    assert done.exit_code == 2 and "in train and in test: 1" in done.stderr


def test_held_out_speakers_are_spread_and_whole():
    recordings = [recording(f"{speaker:02d}-{number}") for speaker in range(10) for number in range(2)]
    kept, held = hold_out(recordings, 3)
    assert {item.speaker for item in held} == {"00", "03", "06"}
    assert len(held) == 6 and sorted(kept + held) == recordings
    with pytest.raises(DataError, match="takes at least two"):
        hold_out(recordings, 9)


@pytest.mark.parametrize(
    ("names", "message"), [([], "holds no recording"), (["103"], "not named SPEAKER-"), (["a/1-x", "b/1-x"], "the same name")]
)
def test_a_corpus_that_is_not_in_the_layout(tmp_path, names, message):
    write_corpus(tmp_path, names)
    with pytest.raises(DataError, match=message):
        list_recordings(tmp_path)


@pytest.fixture(scope="module")
def made():
    """Conversations of six voices, each a tone of its own between two silences, and their settings."""
    time = torch.arange(5 * RATE) / RATE
    voices = {}
    for number in range(6):
        tone = torch.sin(2 * torch.pi * (300 + 200 * number) * time)
        tone[:RATE] = tone[-RATE:] = 0.0
        voices[f"v{number}"] = [tone, 0.2 * tone]
    config = ConversationConfig(conversations=2, turns=8, turn_seconds=(1.0, 2.5), snr_db=(30.0, 30.0))
    return make_conversations(voices, config, seed=3), config


def test_turns_are_where_the_voices_are(made):
    conversations, config = made
    assert [item.id for item in conversations] == [f"speakers{n}-{i}" for n in (2, 3, 5) for i in ("01", "02")]
    for conversation in conversations:
        assert len({turn.speaker for turn in conversation.turns}) == int(conversation.id[8])
        end = 0
        for turn in conversation.turns:
            assert config.gap_seconds[0] - 0.01 <= (turn.start - end) / SECOND <= config.gap_seconds[1]
            assert 0 < turn.end - turn.start <= 2.5 * SECOND
            speech = conversation.waveform[turn.start * RATE // SECOND : turn.end * RATE // SECOND]
            assert float(speech.square().mean().sqrt()) == pytest.approx(LEVEL, rel=0.05)
            loudest = int(torch.fft.rfft(speech).abs().argmax()) * RATE / len(speech)
            assert loudest == pytest.approx(300 + 200 * int(turn.speaker[1]), abs=3)
            pause = conversation.waveform[end * RATE // SECOND : turn.start * RATE // SECOND]
            assert float(pause.square().mean().sqrt()) < 0.2 * LEVEL
            end = turn.end


def test_conversations_depend_on_the_seed_alone():
    time = torch.arange(5 * RATE) / RATE
    voices = {f"v{n}": [torch.sin((2 + n) * 400 * time)] for n in range(6)}
    config = ConversationConfig(num_speakers=(2,), conversations=1, turns=4)
    first, second, other = (make_conversations(voices, config, seed)[0] for seed in (1, 1, 2))
    assert torch.equal(first.waveform, second.waveform) and first.turns == second.turns
    assert first.turns != other.turns


def test_nobody_speaks_twice_in_a_row_and_everybody_speaks():
    for seed in range(20):
        order = speaker_order(["a", "b", "c"], 9, random.Random(seed))
        assert set(order[:3]) == {"a", "b", "c"}
        assert all(first != second for first, second in itertools.pairwise(order))


def test_silent_ends_are_cut_off():
    wave = torch.zeros(RATE)
    wave[4000:8000] = 0.1
    assert 4000 <= without_silent_ends(wave).numel() <= 4000 + 2 * 160
    with pytest.raises(DataError, match="silent"):
        without_silent_ends(torch.zeros(RATE))


def test_nothing_is_said_twice():
    """Voices of four tones each, in one utterance: each is heard at most once, until somebody has said them all."""
    time = torch.arange(2 * RATE) / RATE
    tones = [torch.sin(2 * torch.pi * 200 * (number + 1) * time) for number in range(12)]
    voices = {f"v{n}": [torch.cat(tones[4 * n : 4 * n + 4])] for n in range(3)}
    sizes = {"num_speakers": (3,), "conversations": 3, "turns": 24, "piece_seconds": 1.9, "turn_seconds": (2.0, 2.0)}
    for conversation in make_conversations(voices, ConversationConfig(**sizes, repeated=False, snr_db=(30.0, 30.0)), seed=1):
        heard = []
        for turn in conversation.turns:
            speech = conversation.waveform[turn.start * RATE // SECOND : turn.end * RATE // SECOND]
            assert speech.numel() == 2 * RATE
            heard.append(int(torch.fft.rfft(speech).abs().argmax()))
        assert len(set(heard)) == len(heard)
        assert max([turn.speaker for turn in conversation.turns].count(speaker) for speaker in voices) == 4
    (again, *_) = make_conversations(voices, ConversationConfig(**sizes), seed=1)
    assert len(again.turns) == 24


@pytest.mark.parametrize(
    "settings",
    [{"num_speakers": (1,)}, {"num_speakers": (5,), "turns": 4}, {"snr_db": (9.0, 3.0)}, {"piece_seconds": 0.0}],
)
def test_impossible_conversations(settings):
    with pytest.raises(ConfigError, match=next(iter(settings))):
        ConversationConfig(**settings)
    with pytest.raises(DataError, match="there are 2"):
        make_conversations({"a": [], "b": []}, ConversationConfig(), 0)


def test_speech_is_joined_over_short_pauses():
    turns = [(0, 1000), (1400, 2000), (2500, 3000), (2800, 2900), (4000, 5000)]
    timed = [TimedTurn(1000 * start, 1000 * end, "x") for start, end in turns]
    assert speech_segments(timed) == [(0, 2000), (2500, 3000), (4000, 5000)]


def report_of(*percents):
    """A report on recordings with so many percent of errors each."""
    times = [SpeakerTime(speech=1000, confusion=round(10 * percent)) for percent in percents]
    recordings = [
        RecordingScore(id=str(number), time=time, mapping={}, num_speakers=(2, 2)) for number, time in enumerate(times)
    ]
    return DerReport(config=DerConfig(), recordings=tuple(recordings), missing=(), extra=())


def test_settings_are_the_first_that_are_within_a_standard_error_of_the_best():
    import calibrate_clustering

    ways = [ClusteringConfig(max_likeness=value) for value in (0.5, 0.6, 0.7)]
    # The last has a mean of 20 and a standard error of 5.
    best = report_of(15.0, 25.0)
    assert calibrate_clustering.first_good(ways, [report_of(25.1), report_of(25.0), best]).max_likeness == 0.6
    assert calibrate_clustering.first_good(ways, [report_of(24.9), report_of(10.0), best]).max_likeness == 0.6
    assert calibrate_clustering.first_good(ways, [report_of(24.9), report_of(25.0), best]).max_likeness == 0.5
