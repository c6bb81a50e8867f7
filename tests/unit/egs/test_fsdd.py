"""The maker of connected digits: what recordings are used for, strings that say what their labels say, repeatability."""

import random
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from mooer.common.errors import ConfigError, DataError, PathError
from mooer.data.lists import read_table

ROOT = Path(__file__).resolve().parents[3]
sys.path.append(str(ROOT / "egs" / "fsdd" / "local"))

from digit_directories import write_directory  # noqa: E402
from digit_recordings import DEV_INDICES, SYNTHETIC, list_recordings, load_voices, read_recording, split_recordings  # noqa: E402
from digit_strings import CHINESE, ENGLISH, StringConfig, make_string  # noqa: E402
from digit_table import COLUMNS, SYSTEMS, exact_match, markdown, score  # noqa: E402
from digit_voices import change_tempo, change_voice, colored_noise, equalize, low_pass, reverberate  # noqa: E402

RATE = 8000
SPEAKERS = ("ann", "bob", "eve")
LOUD = StringConfig(
    digits=(1, 6),
    hurried_share=0.5,
    voice=(0.8, 1.25),
    voice_jitter=0.02,
    tempo=(0.8, 1.25),
    digit_gain_db=3.0,
    digit_noise_share=0.6,
    equalizer_share=0.8,
    room_share=0.5,
    low_pass_share=0.5,
    noise_share=0.7,
    floor_share=0.5,
    gain_db=(-10.0, 10.0),
)


def tone(digit, speaker, index):
    """A tone whose frequency tells the digit, and its length the speaker and the index."""
    length = 1600 + 400 * SPEAKERS.index(speaker) + 20 * index
    return 0.1 * np.sin(2 * np.pi * (400 + 200 * digit) * np.arange(length) / RATE)


def build(folder, place):
    """Seven recordings of each digit and speaker; `place` gives the folder of a speaker's recordings."""
    for speaker in SPEAKERS:
        (folder / place(speaker)).mkdir(parents=True, exist_ok=True)
        for digit in range(10):
            for index in range(7):
                path = folder / place(speaker) / f"{digit}_{speaker}_{index}.wav"
                soundfile.write(path, tone(digit, speaker, index), RATE)
    return folder


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return build(tmp_path_factory.mktemp("digits"), lambda speaker: speaker)


def keys(recordings):
    return [(recording.speaker, recording.digit, recording.index) for recording in recordings]


def test_all_layouts_hold_the_same_recordings(corpus, tmp_path):
    flat = build(tmp_path / "flat", lambda _speaker: ".")
    published = build(tmp_path / "published", lambda _speaker: "recordings")
    expected = keys(list_recordings(corpus))
    assert len(expected) == 210
    assert keys(list_recordings(flat)) == keys(list_recordings(published)) == expected


def test_wrong_folders_are_refused(tmp_path):
    with pytest.raises(PathError, match="does not exist"):
        list_recordings(tmp_path / "absent")
    with pytest.raises(DataError, match="holds no"):
        list_recordings(tmp_path)
    soundfile.write(tmp_path / "7_ann_1.wav", tone(7, "ann", 1), RATE)
    (tmp_path / "ann").mkdir()
    soundfile.write(tmp_path / "ann" / "7_ann_1.wav", tone(7, "ann", 1), RATE)
    with pytest.raises(DataError, match="twice"):
        list_recordings(tmp_path)
    (tmp_path / "ann" / "7_ann_1.wav").rename(tmp_path / "ann" / "seven.wav")
    with pytest.raises(DataError, match=r"seven\.wav is not named"):
        list_recordings(tmp_path)


def test_the_test_speaker_is_in_neither_train_nor_dev(corpus):
    recordings = list_recordings(corpus)
    split = split_recordings(recordings, "bob")
    assert {recording.speaker for recording in split.test} == {"bob"}
    assert {recording.speaker for recording in split.train + split.dev} == {"ann", "eve"}
    assert sorted(split.train + split.dev + split.test) == recordings
    assert {recording.index for recording in split.dev} == set(DEV_INDICES)
    assert not {recording.index for recording in split.train} & set(DEV_INDICES)


def test_none_trains_on_all_and_strangers_are_refused(corpus):
    recordings = list_recordings(corpus)
    assert {recording.speaker for recording in split_recordings(recordings, None).train} == set(SPEAKERS)
    assert split_recordings(recordings, None).test == []
    with pytest.raises(DataError, match="'carl'; there are ann, bob, eve"):
        split_recordings(recordings, "carl")
    with pytest.raises(DataError, match="0 recordings to train on"):
        split_recordings([recording for recording in recordings if recording.index < 5], "bob")


def test_recordings_have_one_level_and_no_offset(tmp_path):
    path = tmp_path / "1_ann_0.wav"
    soundfile.write(path, 0.3 + 0.02 * np.random.default_rng(0).standard_normal((16000, 2)), 16000)
    samples = read_recording(path)
    assert len(samples) == 8000
    assert np.sqrt(np.mean(samples**2)) == pytest.approx(0.05)
    assert abs(samples.mean()) < 1e-3
    soundfile.write(path, np.zeros(100), RATE)
    with pytest.raises(DataError, match="silent"):
        read_recording(path)


def test_a_speaker_without_a_digit_is_named(corpus):
    recordings = [recording for recording in list_recordings(corpus) if (recording.speaker, recording.digit) != ("eve", 4)]
    with pytest.raises(DataError, match="speaker eve has no recording of 4"):
        load_voices(recordings)


def spoken_digits(waveform, voice=1.0):
    """What the tones say: the strongest frequency of each stretch of sound."""
    active = np.convolve(np.abs(waveform) > 0.01, np.ones(41), "same") > 0
    edges = np.flatnonzero(np.diff(active.astype(int), prepend=0, append=0))
    found = []
    for first, stop in zip(edges[::2], edges[1::2], strict=True):
        spectrum = np.abs(np.fft.rfft(waveform[first:stop], RATE))
        found.append(round((np.argmax(spectrum) / voice - 400) / 200))
    return found


def test_a_string_says_what_its_labels_say(corpus):
    voices = load_voices(list_recordings(corpus))
    config = StringConfig(digits=(3, 7), gap_seconds=(0.05, 0.4), voice=(1.2, 1.2))
    for number in range(30):
        string = make_string(voices, config, 1, f"s{number}")
        assert spoken_digits(string.waveform, 1.2) == list(string.digits)
        assert string.english.split() == [ENGLISH[digit] for digit in string.digits]
        assert [CHINESE.index(character) for character in string.chinese] == list(string.digits)
        assert 3 <= len(string.digits) <= 7
        assert len(set(string.speakers)) == 1


def test_strings_depend_on_seed_and_name_only(corpus):
    voices = load_voices(list_recordings(corpus))
    first, again = (make_string(voices, LOUD, 1, "train_00003") for _ in range(2))
    assert first.digits == again.digits
    np.testing.assert_array_equal(first.waveform, again.waveform)
    others = [make_string(voices, LOUD, 2, "train_00003"), make_string(voices, LOUD, 1, "train_00004")]
    assert all(not np.array_equal(first.waveform, other.waveform) for other in others)


def test_mixed_strings_have_several_speakers(corpus):
    voices = load_voices(list_recordings(corpus))
    config = StringConfig(digits=(7, 7), mixed_share=1.0)
    assert {len(set(make_string(voices, config, 1, str(number)).speakers)) for number in range(20)} > {2}


def test_synthetic_speakers_say_their_share(corpus):
    persons = load_voices(list_recordings(corpus))
    voices = dict(persons) | {f"{SYNTHETIC}m1": next(iter(persons.values()))}
    for share in (0.0, 0.5, 1.0):
        config = StringConfig(synthetic_share=share)
        strings = [make_string(voices, config, 1, str(number)) for number in range(60)]
        synthetic = sum(string.speakers[0].startswith(SYNTHETIC) for string in strings)
        assert synthetic == 60 * share if share != 0.5 else 18 < synthetic < 42
        assert all(len(set(string.speakers)) == 1 for string in strings)
    alone = make_string(persons, StringConfig(synthetic_share=0.5), 1, "a")
    assert np.array_equal(alone.waveform, make_string(persons, StringConfig(), 1, "a").waveform)


def test_fewer_synthetic_speakers_are_some_of_all():
    """In as many voices as can be. What is drawn after them is the same, however many they are."""
    pytest.importorskip("espeakng_loader")
    from synthesize_digits import ACCENTS_A_VOICE, MAX_SPEAKERS, VOICES, draw_speakers

    draws = [random.Random(1) for _ in range(2)]
    everyone, some = draw_speakers(draws[0], MAX_SPEAKERS), draw_speakers(draws[1], 40)
    assert len(set(everyone)) == len(everyone) == MAX_SPEAKERS
    assert [voice for voice, _ in everyone[::ACCENTS_A_VOICE]] == [voice for voice, _ in some] == list(VOICES)
    assert set(some) < set(everyone)
    assert draws[0].random() == draws[1].random()


def test_noisy_recordings_leave_the_gaps_quiet(corpus):
    voices = load_voices(list_recordings(corpus))
    config = StringConfig(digits=(3, 3), gap_seconds=(0.1, 0.1), digit_noise_share=1.0, digit_noise_snr_db=(10.0, 10.0))
    noisy = make_string(voices, config, 1, "a").waveform
    plain = make_string(voices, StringConfig(digits=(3, 3), gap_seconds=(0.1, 0.1)), 1, "a").waveform
    assert np.sqrt(np.mean(noisy[:800] ** 2)) < 0.001
    assert np.sqrt(np.mean(noisy[900:2300] ** 2)) > 1.02 * np.sqrt(np.mean(plain[900:2300] ** 2))


def test_changed_strings_stay_in_range(corpus):
    voices = load_voices(list_recordings(corpus))
    for number in range(40):
        waveform = make_string(voices, LOUD, 3, str(number)).waveform
        assert np.isfinite(waveform).all()
        assert 0.001 < np.abs(waveform).max() <= 0.99


@pytest.mark.parametrize(
    "wrong", [{"digits": (5, 3)}, {"digits": (0, 3)}, {"room_share": 1.5}, {"voice": (0.0, 1.0)}, {"gap_seconds": (-1.0, 1.0)}]
)
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(ConfigError):
        StringConfig(**wrong)


def frequency(waveform):
    """The strongest frequency, in hertz."""
    return np.argmax(np.abs(np.fft.rfft(waveform * np.hanning(len(waveform)), 8 * RATE))) / 8


@pytest.mark.parametrize("factor", [0.8, 0.97, 1.25])
def test_voice_moves_pitch_and_tempo_does_not(factor):
    waveform = np.sin(2 * np.pi * 500 * np.arange(RATE) / RATE)
    faster, higher = change_tempo(waveform, factor), change_voice(waveform, factor)
    assert len(faster) == pytest.approx(RATE / factor, abs=1)
    assert len(higher) == pytest.approx(RATE / factor, abs=1)
    assert frequency(faster) == pytest.approx(500, rel=0.01)
    assert frequency(higher) == pytest.approx(500 * factor, rel=0.002)
    for changed in (faster, higher):
        middle = changed[1000:-1000]
        assert np.sqrt(np.mean(middle**2)) == pytest.approx(np.sqrt(0.5), rel=0.05)


def test_voice_does_not_fold_high_frequencies_down():
    high = np.sin(2 * np.pi * 3700 * np.arange(RATE) / RATE)
    assert np.sqrt(np.mean(change_voice(high, 1.25)[100:-100] ** 2)) < 0.1


def test_microphones_rooms_and_noise():
    draw = np.random.default_rng(0)
    waveform = np.sin(2 * np.pi * 500 * np.arange(RATE) / RATE) + np.sin(2 * np.pi * 3500 * np.arange(RATE) / RATE)
    spectrum = np.abs(np.fft.rfft(low_pass(waveform, 2000.0)))
    assert spectrum[500] > 3900
    assert spectrum[3500] < 10
    np.testing.assert_allclose(equalize(waveform, 0.0, draw), waveform, atol=1e-9)
    assert not np.allclose(equalize(waveform, 5.0, draw), waveform, atol=0.05)
    click = np.zeros(RATE)
    click[0] = 1.0
    echo = reverberate(click, 0.3, -10.0, draw)
    assert echo[0] == pytest.approx(1.0)
    assert np.sum(echo[1:] ** 2) == pytest.approx(0.1, rel=0.05)
    assert np.sum(echo[2400:] ** 2) < 1e-12
    noise = colored_noise(20000, 1.0, draw)
    power = np.abs(np.fft.rfft(noise)) ** 2
    assert np.mean(noise**2) == pytest.approx(1.0)
    assert power[500:1500].mean() > 4 * power[5000:10000].mean()


def test_a_data_directory_is_complete_and_repeatable(corpus, tmp_path):
    recordings = split_recordings(list_recordings(corpus), "bob").train
    folders = [tmp_path / name / "train" for name in "ab"]
    for folder, count, workers in zip(folders, (6, 4), (2, 1), strict=True):
        write_directory(folder, recordings, LOUD, count, seed=5, num_workers=workers)
    first, second = (
        {name: read_table(folder / name) for name in ("wav.scp", "text", "text.zh", "utt2spk")} for folder in folders
    )
    names = [f"train_{number:05d}" for number in range(6)]
    assert all(list(table) == names for table in first.values())
    assert set(first["utt2spk"].values()) <= {"ann", "eve"}
    for name in names[:4]:
        assert [first[table][name] for table in first] == [second[table][name] for table in second]
        assert (folders[0] / first["wav.scp"][name]).read_bytes() == (folders[1] / second["wav.scp"][name]).read_bytes()
    # A rerun leaves nothing of a larger set behind.
    write_directory(folders[0], recordings, LOUD, 2, seed=5, num_workers=1)
    assert len(list((folders[0] / "wav").iterdir())) == 2


def test_table_counts_words_characters_and_whole_strings(tmp_path):
    data, decoded = tmp_path / "data", tmp_path / "decoded"
    data.mkdir()
    (data / "text").write_text("a ONE TWO THREE FOUR\nb FIVE\n")
    (data / "text.zh").write_text("a 一二三四\nb 五\n", encoding="utf-8")
    for system in ("ctc", "asr", "ast", "mtl", "silence"):
        folder = decoded / system / "1best_recog"
        folder.mkdir(parents=True)
        is_translation = system == "ast"
        (folder / "text").write_text("a 一二三四\nb 四\n" if is_translation else "a ONE THREE FOUR\nb FIVE\n", encoding="utf-8")
        if system in ("mtl", "silence"):
            (folder / "text.ast").write_text("a 一二三四\n", encoding="utf-8")
    results = score(data, decoded)
    assert results["asr"] == {"wer": 20.0, "wer.exact": 50.0}
    assert results["ast"] == {"cer": 20.0, "cer.exact": 50.0}
    assert results["mtl"] == {"wer": 20.0, "wer.exact": 50.0, "cer": 20.0, "cer.exact": 50.0}
    table = markdown(results, SYSTEMS, COLUMNS).splitlines()
    assert len(table) == 7
    assert table[4] == "| LLM, ast |  |  | 20.00 | 50.00 |"
    assert exact_match({"a": "x", "b": "y"}, {"a": "x"}) == 50.0


class Middle:
    """Draws the middle of each range."""

    def randint(self, low, high):
        return (low + high) // 2


def test_every_accent_has_a_word_for_every_digit():
    pytest.importorskip("espeakng_loader")
    sys.path.append(str(ROOT / "egs" / "mini" / "local"))
    from accents import SPELLINGS
    from espeak import Espeak
    from synthesize_digits import ENGLISH_ACCENTS, speak

    espeak = Espeak(1)
    for accent in (*ENGLISH_ACCENTS, *SPELLINGS):
        words = SPELLINGS.get(accent, ENGLISH)
        assert len(set(words)) == 10
        spoken = [speak(espeak, word.lower(), f"{accent}+m3", Middle()) for word in words]
        # What espeak-ng cannot pronounce it spells letter by letter, which takes longer.
        assert all(0.1 < len(waveform) / 8000 < 0.65 for waveform in spoken), accent
