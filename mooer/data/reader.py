"""From utterances by reference to frames: recordings in files and shards, features in archives."""

from collections.abc import Callable, Mapping

from torch import Tensor

from mooer.audio.io import AudioLimits, load_audio
from mooer.common.errors import AudioError
from mooer.data.archives import read_matrix
from mooer.data.open_files import OpenFiles
from mooer.data.parallel import chunks
from mooer.data.utterance import AudioRef, Problem, Utterance
from mooer.features.frontend import Frontend

# Recordings in one pass of the front end: enough to spread its overhead, few enough to stay in the processor's cache.
FRONTEND_GROUP = 8


class AudioReader:
    """Reads recordings by reference; shards stay open, as they are read many times."""

    def __init__(self, limits: AudioLimits | None = None) -> None:
        self._limits = limits or AudioLimits()
        self._shards = OpenFiles()

    def read(self, reference: AudioRef) -> Tensor:
        """Samples [S] float32, mono, 16 kHz.

        Raises:
            AudioError: whatever is wrong with the recording, with its reason.
        """
        source = reference.path if reference.offset is None else self.member(reference)
        try:
            return load_audio(source, start=reference.start, end=reference.end, limits=self._limits)
        except AudioError as error:
            raise AudioError(f"{reference.path}: {error}", error.reason) from error

    def member(self, reference: AudioRef) -> bytes:
        """The bytes of a recording that is a member of a shard. Raises AudioError (missing, unreadable, truncated)."""
        try:
            data = self._shards.read(reference.path, reference.offset, reference.size)
        except FileNotFoundError as error:
            raise AudioError(f"shard {reference.path} does not exist", "missing") from error
        except OSError as error:
            raise AudioError(f"shard {reference.path} cannot be read: {error}", "unreadable") from error
        if data is None:
            raise AudioError(f"shard {reference.path} ends inside of a recording", "truncated")
        return data

    def close(self) -> None:
        """Close all shards; reading opens them again."""
        self._shards.close()


class FrameReader:
    """Utterances to frames, many in one pass of the front end."""

    def __init__(self, frontend: Frontend, limits: AudioLimits | None = None) -> None:
        self._frontend = frontend
        self._audio = AudioReader(limits)
        self._archives = OpenFiles()

    def read(
        self, utterances: Mapping[int, Utterance], change: Callable[[Tensor, int], Tensor] | None = None
    ) -> tuple[dict[int, Tensor], list[Problem]]:
        """Frames [T, D] of the utterances that can be loaded, under the same keys, and what is wrong with the others.

        Args:
            change: makes another waveform of a waveform and its key.
        """
        frames: dict[int, Tensor] = {}
        waveforms: dict[int, Tensor] = {}
        problems = []
        for key, utterance in utterances.items():
            try:
                if utterance.feats is not None:
                    frames[key] = self._frontend.from_fbank(read_matrix(utterance.feats, self._archives))
                else:
                    waveforms[key] = self._waveform(key, utterance, change)
            except AudioError as error:
                problems.append(Problem(utterance.id, error.reason, f"{utterance.id}: {error}"))
        for keys in chunks(list(waveforms), FRONTEND_GROUP):
            frames.update(zip(keys, self._frontend.many([waveforms[key] for key in keys]), strict=True))
        return frames, problems

    def _waveform(self, key: int, utterance: Utterance, change: Callable[[Tensor, int], Tensor] | None) -> Tensor:
        waveform = self._audio.read(utterance.audio)
        if change is not None:
            waveform = change(waveform, key)
        self._frontend.config.check_length(len(waveform))
        return waveform
