"""Training data without human labels: recordings are transcribed and translated, and what seems wrong is left out.

Work is done stage by stage, so that one model is in memory at a time: all recordings are transcribed, then again by a second
recogniser, then the transcripts are translated. Results are kept part by part (`part_store`). Judging them is a step of its
own that needs no model, so that bounds can be changed afterwards; hence everything is translated, rejected or not.

Without a recogniser, the first stage takes the transcripts that the recordings come with; all else is the same.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mooer.common.config import to_dict
from mooer.common.errors import ConfigError, DataError
from mooer.common.log import get_logger
from mooer.data.utterance import Problem, Utterance
from mooer.decode.hypothesis import Failure, Refusal
from mooer.decode.recognizer import Recognizer
from mooer.pipeline.label_figure import require_matplotlib, write_figure
from mooer.pipeline.label_filters import FilterConfig, Labels
from mooer.pipeline.label_folder import Tally, check_folder, write_folder
from mooer.pipeline.label_report import write_report
from mooer.pipeline.label_source import LabelSource
from mooer.pipeline.part_store import SETTINGS_FILE, Parts, Stage, compare_settings, keep_settings
from mooer.pipeline.recognition import (
    RecognitionConfig,
    Transcript,
    given_transcripts,
    model_record,
    open_recognizer,
    recognise,
)
from mooer.pipeline.translation import Translation, Translator, TranslatorConfig
from mooer.pipeline.translator import open_translator

PARTS_FOLDER = "parts"
# What makes the transcripts: a recogniser, or whoever made the data.
RECOGNITION, GIVEN = "recognition", "transcripts"
# What changes the time that results take, and not the results.
_FREE = ("device", "batch_size")

Progress = Callable[[Iterable, int], Iterable]

log = get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class PseudoLabelConfig:
    """Models, bounds, and the share of the work that this process does."""

    output_dir: Path
    """Becomes the labelled data directory; what is kept for going on is in its folder parts/."""
    recogniser: RecognitionConfig | None
    """Whose transcripts become the labels; None keeps those of the source, which are only translated."""
    second: RecognitionConfig | None = None
    """A second recogniser, whose transcripts are only compared; None for none."""
    translator: TranslatorConfig | None = None
    """What translates the transcripts; None for none, or where the recogniser translates itself (mtl)."""
    filters: FilterConfig = field(default_factory=FilterConfig)
    """What is rejected."""
    part_size: int = 256
    """Utterances of a part: what a killed process may lose, and what is dealt to shards."""
    num_shards: int = 1
    """Processes that share the work."""
    shard: int = 0
    """Which of them this is, from 0 on."""

    def __post_init__(self) -> None:
        if self.part_size < 1:
            raise ConfigError(f"part_size must be at least 1, found {self.part_size}")
        if not 0 <= self.shard < self.num_shards:
            raise ConfigError(f"shard {self.shard} of {self.num_shards} shards does not exist; they are numbered from 0 on")
        if self.recogniser is None and self.translator is None:
            raise ConfigError("without a recogniser transcripts are only translated; name a translation model")
        if self.recogniser is not None and self.translator is not None and self.recogniser.task == "mtl":
            raise ConfigError("task mtl translates itself; it excludes a translation model")

    @property
    def label(self) -> str | None:
        """The name of the translations (text.LABEL); None if there are none."""
        if self.translator is not None:
            return self.translator.target_language
        return self.recogniser.target_language if self.recogniser.task == "mtl" else None


class PseudoLabeller:
    """One job over one source.

    Raises:
        PathError: the output folder holds what is not of this command.
        ConfigError: it holds results of other settings; matplotlib is missing.
    """

    def __init__(self, config: PseudoLabelConfig, source: LabelSource) -> None:
        require_matplotlib()
        self._config, self._source = config, source
        self._folder = config.output_dir / PARTS_FOLDER
        self._first = GIVEN if config.recogniser is None else RECOGNITION
        check_folder(config.output_dir, self._folder / SETTINGS_FILE)
        self._settings = _settings(config, source)
        compare_settings(self._folder, self._settings)
        self._parts = Parts(num_entries=len(source.entries), part_size=config.part_size)
        later = {"second": config.second, "translation": config.translator}
        self._stages = {
            name: Stage(self._folder / name, Translation if name == "translation" else Transcript, self._parts, self._settings)
            for name in (self._first, *(name for name, model in later.items() if model is not None))
        }

    def label(self, progress: Progress = lambda items, _: items) -> list[Failure]:
        """Make this shard's parts as far as they are not there; returns the utterances that failed, old ones too.

        Raises:
            PathError, WeightsError, ConfigError: a model cannot be opened, or is not the one of earlier results.
            DataError: a part is damaged.
        """
        # Every model is opened before anything is written: what is wrong with the last one shows now and not in a week.
        records = {name: self._open(name)[0] for name in self._stages}
        keep_settings(self._folder, self._settings)
        before = None
        for name, stage in self._stages.items():
            stage.claim(records[name], before)
            before = before or stage
        return [failure for name in self._stages for failure in self._make_parts(name, progress)]

    def _open(self, name: str) -> tuple[dict[str, Any], Callable[[int], list[Any]]]:
        """The record of a stage's model, and what makes the results of a part with it."""
        if name == "translation":
            translator = open_translator(self._config.translator)
            return translator.record(), functools.partial(self._translate, translator)
        if name == "second":
            recognizer = open_recognizer(self._config.second)
            return model_record(recognizer), functools.partial(self._transcribe_again, recognizer)
        if name == GIVEN:
            return {"kind": "given"}, lambda part: list(given_transcripts(self._entries(part)))
        recognizer = open_recognizer(self._config.recogniser)
        return model_record(recognizer), lambda part: list(recognise(recognizer, self._entries(part)))

    def _entries(self, part: int) -> list[Utterance | Problem]:
        return [self._source.entries[place] for place in self._parts.entries(part)]

    def _transcribe_again(self, recognizer: Recognizer, part: int) -> list[Transcript | Failure | None]:
        """What a second recogniser says of those that have a transcript; None for the others."""
        pairs = zip(self._entries(part), self._stages[self._first].read(part), strict=True)
        wanted = [entry if isinstance(first, Transcript) else None for entry, first in pairs]
        results = recognise(recognizer, [entry for entry in wanted if entry is not None])
        return [None if entry is None else next(results) for entry in wanted]

    def _translate(self, translator: Translator, part: int) -> list[Translation | Failure | None]:
        """Translations of all transcripts with something in them; None for the others."""
        first = self._stages[self._first].read(part)
        asked = [item if isinstance(item, Transcript) and item.text else None for item in first]
        answers = iter(translator.translate([item.text for item in asked if item is not None]))
        return [None if item is None else _or_failure(item.id, next(answers)) for item in asked]

    def _make_parts(self, name: str, progress: Progress) -> Iterator[Failure]:
        """Make the parts of a stage that are not there; yields the failures of all of them."""
        stage, make = self._stages[name], None
        parts = self._parts.of_shard(self._config.shard, self._config.num_shards)
        for part in progress(parts, len(parts)):
            stage.sweep(part)
            if not stage.path(part).exists():
                make = make or self._open(name)[1]
                stage.write(part, make(part))
            for result in stage.read(part):
                if isinstance(result, Failure):
                    log.error("%s: %s failed (%s): %s", name, result.id, result.reason, result.message)
                    yield result

    def merge(self) -> Tally:
        """Judge the results of all shards, and write the labelled data directory and its report.

        Raises:
            DataError: parts are missing or damaged.
        """
        before = None
        for name, stage in self._stages.items():
            missing = stage.missing()
            if missing:
                raise DataError(
                    f"{len(missing)} of {len(self._parts)} parts of stage {name} are not there yet, the first of them "
                    f"{stage.path(missing[0]).name}; finish all shards first"
                )
            stage.reclaim(before)
            before = before or stage
        tally = write_folder(self._config.output_dir, self._source, self._results(), self._config.filters, self._config.label)
        write_figure(self._config.output_dir, tally, self._config.filters)
        models = {name: stage.model() for name, stage in self._stages.items()}
        write_report(self._config.output_dir, tally, self._config.filters, {"settings": self._settings, "models": models})
        return tally

    def _results(self) -> Iterator[Labels | Failure]:
        """What all models together say of each entry."""
        for part in range(len(self._parts)):
            for results in zip(*(stage.read(part) for stage in self._stages.values()), strict=True):
                yield self._together(dict(zip(self._stages, results, strict=True)))

    def _together(self, results: dict[str, Any]) -> Labels | Failure:
        for name, result in results.items():
            if isinstance(result, Failure):
                return dataclasses.replace(result, message=f"{name}: {result.message}")
        first, second, translated = results[self._first], results.get("second"), results.get("translation")
        translation = first.translation if self._config.translator is None else translated and translated.text
        return Labels(
            id=first.id,
            seconds=first.seconds,
            text=first.text,
            confidence=first.confidence,
            flags=first.flags,
            second_text=second.text if second else None,
            translation=None if self._config.label is None else translation or "",
            translation_flags=translated.flags if translated else (),
        )


def _settings(config: PseudoLabelConfig, source: LabelSource) -> dict[str, Any]:
    """What the parts depend on, besides the models' weights."""
    models = {RECOGNITION: config.recogniser, "second": config.second, "translation": config.translator}
    return {
        "data": source.fingerprint(),
        "part_size": config.part_size,
        **{name: None if model is None else _bound(to_dict(model)) for name, model in models.items()},
    }


def _bound(settings: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name not in _FREE}


def _or_failure(identity: str, answer: Translation | Refusal) -> Translation | Failure:
    return Failure(identity, answer.reason, answer.message) if isinstance(answer, Refusal) else answer
