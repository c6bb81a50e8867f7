"""mooer: LLM-based speech recognition and translation from the command line.

Audio goes in at the left, a scored transcript comes out at the right:
audio -> features -> batch -> model -> text -> score.
"""

__version__ = "0.1.0"

_LIBRARY = {
    "Transcriber": "mooer.pipeline.long_audio",
    "TranscriberConfig": "mooer.pipeline.transcriber_config",
    "Transcription": "mooer.pipeline.transcription",
    "LiveRecognizer": "mooer.pipeline.live_recognition",
    "LiveConfig": "mooer.pipeline.live_recognition",
    "LiveEvent": "mooer.pipeline.live_recognition",
    "Sentence": "mooer.pipeline.transcription",
    "SpeechSegment": "mooer.pipeline.speech_segments",
    "Word": "mooer.decode.hypothesis",
}


def __getattr__(name: str) -> object:
    """The library's names are imported when they are used: `import mooer` alone loads nothing."""
    if name not in _LIBRARY:
        raise AttributeError(f"module 'mooer' has no attribute {name!r}; it has {', '.join(_LIBRARY)}")
    import importlib

    return getattr(importlib.import_module(_LIBRARY[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_LIBRARY])
