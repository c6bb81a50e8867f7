import subprocess
import sys

import pytest

from mooer.audio.info import audio_info
from mooer.audio.io import load_audio
from mooer.common.errors import AudioError


@pytest.mark.parametrize("file_format", ["WAV", "FLAC", "OGG", "MP3", "AIFF"])
@pytest.mark.parametrize(("rate", "channels"), [(16000, 1), (44100, 2), (8000, 1)])
def test_length_without_decoding(encode, tone, tmp_path, file_format, rate, channels):
    path = tmp_path / "a"
    path.write_bytes(encode(tone(0.77, rate, channels), rate, file_format))
    info = audio_info(path)
    assert (info.sample_rate, info.channels) == (rate, channels)
    assert info.num_frames == round(0.77 * rate)
    assert info.seconds == pytest.approx(0.77)
    assert info.num_samples == len(load_audio(path))
    assert audio_info(path.read_bytes()) == info


def test_length_of_what_is_no_recording(tmp_path):
    (tmp_path / "noise").write_bytes(b"not audio at all")
    for source, reason in ((tmp_path / "noise", "unreadable"), (tmp_path / "gone", "missing"), ("x |", "unsupported")):
        with pytest.raises(AudioError) as caught:
            audio_info(source)
        assert caught.value.reason == reason


def test_real_recordings(shared_data):
    for folder, pattern in (("utterances", "*.wav"), ("fsdd/george", "*_0.wav"), ("librispeech_speakers/train", "1*0.ogg")):
        for path in sorted((shared_data / folder).glob(pattern))[:5]:
            assert audio_info(path).num_samples == len(load_audio(path))


def test_no_torch_is_loaded():
    program = "import sys, mooer.audio, mooer.features, mooer.audio.info; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], timeout=120).returncode == 0
