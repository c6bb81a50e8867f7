"""How long a recording is, from its header, checked against the size of its file. Needs no torch."""

import dataclasses
from pathlib import Path

from mooer.audio.containers import open_container
from mooer.audio.ffmpeg import container_name, decode_with_ffmpeg
from mooer.audio.limits import AudioLimits
from mooer.audio.source import AudioStream, open_source
from mooer.audio.wav import read_wav_header
from mooer.common.errors import AudioError
from mooer.common.lengths import SAMPLE_RATE


@dataclasses.dataclass(frozen=True)
class AudioInfo:
    """Size of a recording."""

    sample_rate: int
    channels: int
    num_frames: int
    """Samples a channel, at the recording's own rate."""

    @property
    def seconds(self) -> float:
        """Duration."""
        return self.num_frames / self.sample_rate

    @property
    def num_samples(self) -> int:
        """Samples that `load_audio` makes of the whole recording at 16 kHz."""
        return -(-self.num_frames * SAMPLE_RATE // self.sample_rate)


def audio_info(source: str | Path | bytes) -> AudioInfo:
    """Rate, channels and length of a recording without decoding it (what only ffmpeg reads is decoded, there is no other way).

    Raises:
        AudioError: as `load_audio` does for what the header shows: missing, unreadable, truncated, empty, unsupported.
    """
    with open_source(source) as audio:
        info = _stream_info(audio)
    if info.num_frames == 0:
        raise AudioError(f"{audio.name}: there are no samples", "empty")
    return info


def _stream_info(audio: AudioStream) -> AudioInfo:
    header = read_wav_header(audio)
    if header is not None and header.encoding is not None:
        return AudioInfo(header.sample_rate, header.channels, header.num_frames)
    if container_name(audio):
        samples, sample_rate = decode_with_ffmpeg(audio, None, None, AudioLimits())
        return AudioInfo(sample_rate, samples.shape[1], len(samples))
    with open_container(audio) as sound:
        return AudioInfo(sound.samplerate, sound.channels, sound.frames)
