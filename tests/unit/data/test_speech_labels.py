import pytest

from mooer.common.errors import AudioError, DataError, PathError
from mooer.data.speech_labels import label_speech, read_ctm_speech
from mooer.data.utterance import AudioRef, Utterance


def test_words_become_stretches(tmp_path):
    path = tmp_path / "words.ctm"
    path.write_text(";; a comment\nb 1 0.00 0.40 yes 0.9\na 1 1.0 0.2 one\na 1 1.3 0.2 two\n\na 1 1.75 0.25 three\n")
    assert read_ctm_speech(path, max_pause_ms=100) == {"b": [(0, 400)], "a": [(1000, 1500), (1750, 2000)]}
    assert read_ctm_speech(path, max_pause_ms=250)["a"] == [(1000, 2000)]


@pytest.mark.parametrize(
    "line", ["a 1 0.0 word", "a 1 x 0.1 word", "a 1 -1 0.1 word", "a 1 inf 0.1 word", "a 1 0 1 two words x"]
)
def test_a_line_that_is_none_is_named(tmp_path, line):
    (tmp_path / "words.ctm").write_text(f"a 1 0.0 0.5 word\n{line}\n")
    with pytest.raises(DataError, match=r"words\.ctm:2"):
        read_ctm_speech(tmp_path / "words.ctm", 0)
    with pytest.raises(PathError):
        read_ctm_speech(tmp_path / "none.ctm", 0)


def test_recordings_that_cannot_be_read_are_told(tmp_path):
    soundfile = pytest.importorskip("soundfile")
    soundfile.write(tmp_path / "a.wav", [0.0] * 1600, 16000)
    utterances = [
        Utterance("a", AudioRef(path=str(tmp_path / "a.wav"))),
        Utterance("gone", AudioRef(path=str(tmp_path / "gone.wav"))),
        Utterance("feats", feats="x.ark:3"),
    ]
    labels, problems = label_speech(utterances, lambda waveform: [(0, len(waveform) // 16)])
    assert labels == {"a": "0.000-0.100"}
    assert [(problem.id, problem.reason) for problem in problems] == [("gone", "missing"), ("feats", "unsupported")]


def test_a_recording_without_a_frame_is_told(tmp_path):
    def find(_waveform):
        raise AudioError("too little", "too_short")

    soundfile = pytest.importorskip("soundfile")
    soundfile.write(tmp_path / "a.wav", [0.0] * 100, 16000)
    _, problems = label_speech([Utterance("a", AudioRef(path=str(tmp_path / "a.wav")))], find)
    assert [problem.reason for problem in problems] == ["too_short"]
