"""Results of long work, kept part by part, so that a run that was killed goes on where it was and many machines can share it.

    FOLDER/settings.json            what all results depend on
    FOLDER/STAGE/model.json         the model of a stage, and the run that opened it first
    FOLDER/STAGE/000042.jsonl       the results of entries 42 * part_size and on, a line each

A part appears under its name when it is complete. What is in it depends neither on the number of shards nor on the order in
which parts are made: a part is always the same stretch of entries.
"""

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mooer.common import provenance
from mooer.common.errors import ConfigError, DataError, PathError
from mooer.common.files import atomic_write, require_file
from mooer.decode.hypothesis import Failure

SETTINGS_FILE, MODEL_FILE = "settings.json", "model.json"


@dataclass(frozen=True, kw_only=True)
class Parts:
    """How entries are cut into parts, and parts are dealt to shards."""

    num_entries: int
    part_size: int
    """Entries of a part; the last one may have fewer."""

    def __len__(self) -> int:
        return -(-self.num_entries // self.part_size)

    def of_shard(self, shard: int, num_shards: int) -> range:
        """Every `num_shards`-th part, from number `shard` on."""
        return range(shard, len(self), num_shards)

    def entries(self, part: int) -> range:
        """The positions of a part's entries."""
        return range(part * self.part_size, min((part + 1) * self.part_size, self.num_entries))


class Stage:
    """The parts of one stage of the work.

    Args:
        kind: dataclass of its results; an entry may have a Failure or nothing in its place.
    """

    def __init__(self, folder: Path, kind: type, parts: Parts, settings: dict[str, Any]) -> None:
        self._folder, self._kind, self._parts, self._settings = folder, kind, parts, settings
        self.digest: str | None = None

    def claim(self, model: dict[str, Any], before: "Stage | None" = None) -> None:
        """Say which model makes this stage's results, and the stage whose results it works on.

        Raises:
            ConfigError: the results that are there are another model's.
        """
        path = self._folder / MODEL_FILE
        if not path.exists():
            with atomic_write(path) as stream:
                json.dump({"model": model, "run": provenance.record()}, stream, ensure_ascii=False, indent=2)
                stream.write("\n")
        found = self.model()["model"]
        found_differences = differences(found, _plain(model))
        if found_differences:
            raise ConfigError(
                f"{self._folder} holds results of another model: {'; '.join(found_differences)}. "
                "Take the model that they were begun with, or name another --output_dir"
            )
        self.digest = _digest([self._settings, before.digest if before else None, found])

    def reclaim(self, before: "Stage | None" = None) -> None:
        """The same, for the model that is named there. Raises PathError if there is none."""
        self.claim(self.model()["model"], before)

    def model(self) -> dict[str, Any]:
        """The record of the model: `model` and `run`. Raises PathError or DataError."""
        path = require_file(self._folder / MODEL_FILE, "record of a model")
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise DataError(f"{path} is damaged: {error}") from error

    def path(self, part: int) -> Path:
        """Where a part's results are."""
        return self._folder / f"{part:06d}.jsonl"

    def missing(self) -> list[int]:
        """The parts that are not there yet."""
        return [part for part in range(len(self._parts)) if not self.path(part).exists()]

    def sweep(self, part: int) -> None:
        """Remove what a process that was killed left of a part. Nobody else may be at work on it."""
        for path in self._folder.glob(f".{self.path(part).name}.*.tmp"):
            path.unlink(missing_ok=True)

    def write(self, part: int, results: Sequence[Any]) -> None:
        """Keep the results of a part's entries, None for an entry without one."""
        assert len(results) == len(self._parts.entries(part)), "a result for every entry"
        with atomic_write(self.path(part)) as stream:
            for line in self._lines(part, results):
                json.dump(line, stream, ensure_ascii=False)
                stream.write("\n")

    def _lines(self, part: int, results: Sequence[Any]) -> Iterator[dict[str, Any] | None]:
        yield {"part": part, "digest": self.digest, "results": len(results)}
        for result in results:
            yield None if result is None else dataclasses.asdict(result)

    def read(self, part: int) -> list[Any]:
        """The results of a part. Raises DataError if they are damaged, or of other settings or another model."""
        path = self.path(part)
        try:
            with path.open(encoding="utf-8", newline="\n") as stream:
                head, *lines = map(json.loads, stream)
            results = [self._result(line) for line in lines]
            given = (head["part"], head["digest"], head["results"])
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise DataError(f"{path} is damaged ({error}); remove it, and run again") from error
        if given != (part, self.digest, len(self._parts.entries(part))) or len(results) != given[2]:
            raise DataError(f"{path} was made with other settings or another model; remove it, and run again")
        return results

    def _result(self, line: dict[str, Any] | None) -> Any:
        if line is None:
            return None
        if "reason" in line:
            return Failure(**line)
        return self._kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in line.items()})


def open_stage(
    folder: Path, kind: type, entries: Sequence[Any], part_size: int, *, model: dict[str, Any], resume: bool
) -> Stage:
    """The stage of work that has one alone: new, or left by a run that was killed.

    Args:
        kind: as of `Stage`.
        entries: what the work is on; each is told from others by its repr.
        model: what makes the results.

    Raises:
        ConfigError: there are results, and `resume` is not asked for; or they are of other entries or another model.
        PathError: the folder cannot be made.
    """
    if folder.exists() and not resume:
        raise ConfigError(f"{folder} was left by a run that did not end; go on with --resume, or remove it")
    digest = hashlib.sha256("".join(f"{entry!r}\n" for entry in entries).encode("utf-8")).hexdigest()
    settings = {"entries": len(entries), "sha256": digest, "part_size": part_size}
    compare_settings(folder, settings)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PathError(f"the folder {folder} cannot be made: {error.strerror}") from error
    keep_settings(folder, settings)
    stage = Stage(folder, kind, Parts(num_entries=len(entries), part_size=part_size), settings)
    stage.claim(model)
    return stage


def compare_settings(folder: Path, settings: dict[str, Any]) -> None:
    """Raise ConfigError if `folder` holds results of other settings, which are named; DataError if it cannot be told."""
    path = folder / SETTINGS_FILE
    if not path.exists():
        return
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path} is damaged ({error}); name another --output_dir") from error
    found_differences = differences(found, _plain(settings))
    if found_differences:
        raise ConfigError(
            f"{folder.parent} holds results of other settings: {'; '.join(found_differences)}. "
            "Give those it was begun with, or name another --output_dir"
        )


def keep_settings(folder: Path, settings: dict[str, Any]) -> None:
    """Write down what all results in `folder` depend on, where nobody has yet. Raises as `compare_settings`."""
    path = folder / SETTINGS_FILE
    if not path.exists():
        with atomic_write(path) as stream:
            json.dump(settings, stream, ensure_ascii=False, indent=2)
            stream.write("\n")
    compare_settings(folder, settings)


def differences(found: Any, given: Any, name: str = "") -> list[str]:
    """What differs between two nested dictionaries, by dotted name."""
    if not (isinstance(found, dict) and isinstance(given, dict)):
        return [] if found == given else [f"{name} was {_short(found)}, is {_short(given)}"]
    return [
        difference
        for key in dict.fromkeys([*found, *given])
        for difference in differences(found.get(key), given.get(key), f"{name}.{key}" if name else str(key))
    ]


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _plain(values: Any) -> Any:
    """As JSON gives it back."""
    return json.loads(json.dumps(values, ensure_ascii=False))


def _digest(values: Any) -> str:
    return hashlib.sha256(json.dumps(values, ensure_ascii=False, sort_keys=True).encode("utf-8")).hexdigest()
