"""Labels that say where utterances hold speech: found in their recordings, or taken from the times of words."""

from collections.abc import Callable, Iterable
from pathlib import Path

from torch import Tensor

from mooer.common.errors import AudioError, DataError
from mooer.common.files import require_file
from mooer.common.speech_times import Stretch, format_speech_times, join_stretches
from mooer.data.lists import Fault, numbered_lines
from mooer.data.reader import AudioReader
from mooer.data.utterance import Problem, Utterance

# Fields of a line of a CTM: recording, channel, start, duration, word, and maybe a confidence.
_CTM_FIELDS = (5, 6)


def label_speech(
    utterances: Iterable[Utterance], find: Callable[[Tensor], list[Stretch]]
) -> tuple[dict[str, str], list[Problem]]:
    """The label `speech` of each utterance by its id, and those that cannot be read.

    Args:
        find: the stretches of speech of a waveform [S]; may raise AudioError.
    """
    reader, labels, problems = AudioReader(), {}, []
    for utterance in utterances:
        try:
            if utterance.audio is None:
                raise AudioError("speech is found in recordings; only features are given", "unsupported")
            labels[utterance.id] = format_speech_times(find(reader.read(utterance.audio)))
        except AudioError as error:
            problems.append(Problem(utterance.id, error.reason, f"{utterance.id}: {error}"))
    reader.close()
    return labels, problems


def read_ctm_speech(path: str | Path, max_pause_ms: int) -> dict[str, list[Stretch]]:
    """The stretches of speech of each recording of a CTM (`RECORDING CHANNEL START DURATION WORD`, seconds).

    Args:
        max_pause_ms: a shorter pause between two words is a part of the speech.

    Raises:
        PathError: no such file.
        DataError: a line that breaks the format, with file and line.
    """
    words: dict[str, list[Stretch]] = {}
    for number, line in numbered_lines(require_file(path, "CTM file")):
        if isinstance(line, Fault):
            raise DataError(str(line))
        if line.strip() and not line.startswith(";;"):
            recording, word = _ctm_word(line, f"{path}:{number}")
            words.setdefault(recording, []).append(word)
    return {recording: join_stretches(found, max_pause_ms) for recording, found in words.items()}


def _ctm_word(line: str, where: str) -> tuple[str, Stretch]:
    fields = line.split()
    try:
        start, duration = (round(1000 * float(value)) for value in fields[2:4])
    except (ValueError, OverflowError):
        start, duration = -1, -1
    if len(fields) not in _CTM_FIELDS or start < 0 or duration < 0:
        raise DataError(f"{where}: {line!r} is not RECORDING CHANNEL START DURATION WORD with times in seconds")
    return fields[0], (start, start + duration)
