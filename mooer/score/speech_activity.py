"""How well speech was found: what was missed of it and what was taken for it, as if all of it were of one speaker."""

import dataclasses
from collections.abc import Mapping

from mooer.common.errors import DataError
from mooer.common.speech_times import parse_speech_times
from mooer.score.der import DerConfig, DerReport, score_diarization
from mooer.text.rttm import SECOND, TimedTurn

_SPEAKER = "speech"


def score_speech_activity(references: Mapping[str, str], hypotheses: Mapping[str, str], collar: float = 0.0) -> DerReport:
    """Compare labels of speech (`mooer.common.speech_times`) by recording: a diarization error rate without confusion.

    Args:
        collar: seconds on either side of each border of reference speech that are not scored.

    Raises:
        DataError: no references at all, or a label that breaks the format; the message names the recording.
    """
    report = score_diarization(_turns(references), _turns(hypotheses), DerConfig(collar=collar))
    return dataclasses.replace(report, metric="vad")


def _turns(labels: Mapping[str, str]) -> dict[str, list[TimedTurn]]:
    turns = {}
    for recording, label in labels.items():
        try:
            stretches = parse_speech_times(label)
        except DataError as error:
            raise DataError(f"{recording}: {error}") from error
        turns[recording] = [TimedTurn(start * SECOND // 1000, end * SECOND // 1000, _SPEAKER) for start, end in stretches]
    return turns
