"""Model folders as FunASR's hub publishes them: config.yaml, one file of weights, and what else a model needs.

Of config.yaml only the sections of the model are read; those for its training say nothing about what it computes.
"""

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml

from mooer.common.config import from_dict
from mooer.common.errors import ConfigError
from mooer.common.files import atomic_write, require_dir, require_file, staged_folder
from mooer.models.weights import State, read_state, write_torch

T = TypeVar("T")

CONFIG_FILE = "config.yaml"
WEIGHTS_FILE = "model.pt"
CMVN_FILE = "am.mvn"
TOKENS_FILE = "tokens.json"
RECORD_FILE = "run.json"

# Keys of a file that fine-tuning wrote, under which its tensors lie, and what it put before their names.
_CONTAINERS = ("state_dict", "model_state_dict", "model")
_WRAPPER = "module."


@dataclass(frozen=True)
class PublishedFolder:
    """An opened folder."""

    path: Path
    settings: dict[str, Any]
    """What config.yaml says."""

    def section(self, name: str, cls: type[T]) -> T:
        """The section `name` as the dataclass `cls`, every key checked; an absent section holds the defaults.

        Raises:
            ConfigError: an unknown key or a wrong value.
        """
        where = f"{self.path / CONFIG_FILE}: {name}"
        raw = self.settings.get(name, {})
        if not isinstance(raw, dict):
            raise ConfigError(f"{where} must be a section of keys, found {raw!r}")
        return from_dict(cls, raw, where)

    def require(self, name: str, wanted: str) -> None:
        """Refuse a folder whose key `name` says anything but `wanted`. Raises ConfigError."""
        found = self.settings.get(name)
        if found != wanted:
            raise ConfigError(f"{self.path / CONFIG_FILE} has {name} {found!r}; here it must be {wanted!r}")

    def weights(self, file_name: str) -> State:
        """The tensors of the file `file_name`. Raises PathError or WeightsError."""
        return read_published_weights(self.path / file_name)

    def tokens(self) -> tuple[str, ...]:
        """The entries of tokens.json; the place of each is its id. Raises PathError or ConfigError."""
        return read_published_tokens(self.path / TOKENS_FILE)


def read_published_tokens(path: Path) -> tuple[str, ...]:
    """The entries of a tokens.json. Raises PathError or ConfigError."""
    path = require_file(path, "list of tokens")
    try:
        tokens = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(f"{path} is not JSON: {error}") from error
    if not isinstance(tokens, list) or not all(isinstance(token, str) for token in tokens):
        raise ConfigError(f"{path} must hold a list of strings")
    return tuple(tokens)


def read_published_weights(path: Path) -> State:
    """The tensors of a published file, or of one that fine-tuning wrote. Raises PathError or WeightsError."""
    state = read_state(path, "weights", containers=_CONTAINERS)
    return {name.removeprefix(_WRAPPER): tensor for name, tensor in state.items()}


def open_published_folder(folder: str | Path, model: str) -> PublishedFolder:
    """Open the folder of a model that config.yaml calls `model`.

    Raises:
        PathError: no such folder, or no config.yaml in it.
        ConfigError: config.yaml is damaged, or describes another model.
    """
    path = require_dir(folder, "model folder")
    config = require_file(path / CONFIG_FILE, "model configuration")
    try:
        settings = yaml.safe_load(config.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{config} is not valid YAML: {error}") from error
    if not isinstance(settings, dict):
        raise ConfigError(f"{config} must hold a mapping of keys to values, found {type(settings).__name__}")
    opened = PublishedFolder(path, settings)
    opened.require("model", model)
    return opened


@dataclass(frozen=True, kw_only=True)
class PublishedModel:
    """A trained model as it is written to such a folder."""

    settings: Mapping[str, Any]
    """Of config.yaml."""
    weights: State
    """Of the file of weights."""
    weights_file: str = WEIGHTS_FILE
    """Name of that file."""
    cmvn_path: Path | None = None
    """Copied to am.mvn; None for a model without."""
    tokens: Sequence[str] | None = None
    """Of tokens.json; None for a model without."""
    others: Mapping[str, str] = field(default_factory=dict)
    """Texts of other files, by name."""
    record: Mapping[str, Any]
    """Command, commit, versions and the like, written to run.json beside the rest."""


def write_published_folder(folder: str | Path, model: PublishedModel) -> None:
    """Write a model as a new folder, which takes its name when it is complete.

    Raises:
        PathError: `folder` is a file, or holds anything but an earlier folder of such a model; there is no CMVN file.
    """
    with staged_folder(folder, functools.partial(_is_published_folder, model.weights_file)) as staged:
        _write_text(staged / CONFIG_FILE, yaml.safe_dump(dict(model.settings), sort_keys=False, allow_unicode=True))
        write_torch(staged / model.weights_file, model.weights)
        if model.cmvn_path is not None:
            _write_text(staged / CMVN_FILE, require_file(model.cmvn_path, "CMVN file").read_text(encoding="utf-8"))
        if model.tokens is not None:
            _write_text(staged / TOKENS_FILE, json.dumps(list(model.tokens), ensure_ascii=False, indent=0) + "\n")
        for name, text in model.others.items():
            _write_text(staged / name, text)
        _write_text(staged / RECORD_FILE, json.dumps(dict(model.record), ensure_ascii=False, indent=2) + "\n")


def _is_published_folder(weights_file: str, folder: Path) -> bool:
    return (folder / CONFIG_FILE).is_file() and (folder / weights_file).is_file()


def _write_text(path: Path, text: str) -> None:
    with atomic_write(path) as stream:
        stream.write(text)
