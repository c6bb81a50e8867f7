"""Long-audio recognition of many recordings: one that cannot be read leaves the others alone."""

from collections.abc import Iterator, Sequence

from mooer.common.errors import AudioError
from mooer.data.utterance import Problem
from mooer.decode.hypothesis import Failure
from mooer.pipeline.long_audio import Transcriber
from mooer.pipeline.recording_sources import Recording
from mooer.pipeline.transcript_folder import TranscriptFolder
from mooer.pipeline.transcription import Transcription


def transcribe_recordings(
    transcriber: Transcriber, recordings: Sequence[Recording | Problem], folder: TranscriptFolder | None = None
) -> Iterator[Transcription | Failure]:
    """The result for each recording, in their order; with a folder, kept there as they become known.

    Raises:
        ConfigError, DataError: the folder's journal of a recording is of another recording, or damaged; a name of a recording
            cannot be that of a file.
    """
    if folder is not None:
        folder.check_names(item.key for item in recordings if isinstance(item, Recording))
    for recording in recordings:
        result = _transcribe(transcriber, recording, folder)
        if folder is not None:
            folder.add(result)
        yield result


def _transcribe(
    transcriber: Transcriber, recording: Recording | Problem, folder: TranscriptFolder | None
) -> Transcription | Failure:
    if isinstance(recording, Problem):
        return Failure(recording.id, recording.reason, recording.message)
    try:
        with recording.opened() as source:
            journal = None if folder is None else folder.journal(recording.key, recording.origin(source))
            return transcriber(source, key=recording.key, start=recording.start, end=recording.end, journal=journal)
    except AudioError as error:
        return Failure(recording.key, error.reason, str(error))
