"""Keyword-only dataclasses to and from YAML.

An unknown key is an error that names the valid ones; values are checked against the field's type, so a mistyped option
never silently becomes a default.
"""

import dataclasses
import difflib
import types
import typing
from pathlib import Path
from typing import Any, TypeVar

import yaml

from mooer.common.errors import ConfigError, PathError

T = TypeVar("T")


def load_yaml(path: str | Path, cls: type[T], overrides: tuple[str, ...] = ()) -> T:
    """Read the dataclass `cls` from the YAML file at `path`.

    Args:
        cls: may be a union of dataclasses, which the value of their first field tells apart.
        overrides: `dotted.key=value` strings, applied before checking; the value is parsed as YAML.

    Raises:
        PathError: no such file.
        ConfigError: not a YAML mapping, an unknown key, a missing or wrongly typed value.
    """
    path = Path(path)
    if not path.is_file():
        raise PathError(f"config file {path} does not exist")
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from error
    raw = {} if raw is None else raw
    if not isinstance(raw, dict):
        raise ConfigError(f"{path} must hold a mapping of keys to values, found {type(raw).__name__}")
    for override in overrides:
        _apply_override(raw, override)
    return _convert(cls, raw, str(path))


def from_dict(cls: type[T], raw: dict[str, Any], where: str = "config") -> T:
    """Build the dataclass `cls` from plain values, checking every key and type. Raises ConfigError."""
    hints = typing.get_type_hints(cls)
    fields = {field.name: field for field in dataclasses.fields(cls)}
    for key in raw:
        if key not in fields:
            raise ConfigError(f"{where}: unknown key {key!r}{_suggest(key, fields)}; valid keys: {', '.join(fields)}")
    values = {}
    for name, field in fields.items():
        if name in raw:
            values[name] = _convert(hints[name], raw[name], f"{where}: {name}")
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise ConfigError(f"{where}: required key {name!r} is missing")
    try:
        return cls(**values)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error


def to_dict(config: Any) -> dict[str, Any]:
    """The plain values (YAML and JSON ready) of a config dataclass."""
    return {field.name: _plain(getattr(config, field.name)) for field in dataclasses.fields(config)}


def dump_yaml(config: Any) -> str:
    """The config as YAML text that `load_yaml` reads back to an equal config."""
    return yaml.safe_dump(to_dict(config), sort_keys=False, allow_unicode=True)


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return to_dict(value)
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return str(value) if isinstance(value, Path) else value


def _suggest(key: Any, valid: typing.Iterable[str]) -> str:
    close = difflib.get_close_matches(str(key), list(valid), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def _apply_override(raw: dict[str, Any], override: str) -> None:
    name, equals, text = override.partition("=")
    if not equals or not name.strip():
        raise ConfigError(f"override {override!r} is not of the form key=value")
    *parents, last = name.strip().split(".")
    node = raw
    for parent in parents:
        child = node.get(parent)
        if child is None:
            child = node[parent] = {}
        if not isinstance(child, dict):
            raise ConfigError(f"override {override!r}: {parent!r} is not a section")
        node = child
    try:
        node[last] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"override {override!r}: the value is not valid YAML") from error


def _convert(hint: Any, value: Any, where: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return _convert_union(arguments, value, where)
    if origin is typing.Literal:
        if value not in arguments:
            raise ConfigError(f"{where} is {value!r}; allowed: {', '.join(map(repr, arguments))}")
        return value
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, dict):
            raise ConfigError(f"{where} must be a section of keys, found {value!r}")
        return from_dict(hint, value, where)
    if origin in (list, tuple):
        return _convert_sequence(origin, arguments, value, where)
    if origin is dict:
        if not isinstance(value, dict):
            raise ConfigError(f"{where} must be a mapping, found {value!r}")
        return {
            _convert(arguments[0], key, where): _convert(arguments[1], item, f"{where}.{key}") for key, item in value.items()
        }
    return _convert_scalar(hint, value, where)


def _convert_union(arguments: tuple[Any, ...], value: Any, where: str) -> Any:
    if value is None and type(None) in arguments:
        return None
    choices = [argument for argument in arguments if argument is not type(None)]
    if len(choices) > 1 and all(map(dataclasses.is_dataclass, choices)):
        return _convert_tagged(choices, value, where)
    error = None
    for choice in choices:
        try:
            return _convert(choice, value, where)
        except ConfigError as caught:
            error = error or caught
    raise error if error else ConfigError(f"{where} may not be {value!r}")


def _convert_tagged(choices: list[type], value: Any, where: str) -> Any:
    """The dataclass that the value of the first field tells, a Literal in each of them; without a value, the first one."""
    tag = dataclasses.fields(choices[0])[0].name
    if not isinstance(value, dict) or tag not in value:
        return _convert(choices[0], value, where)
    allowed = {name: choice for choice in choices for name in typing.get_args(typing.get_type_hints(choice)[tag])}
    if value[tag] not in allowed:
        raise ConfigError(f"{where}: {tag} is {value[tag]!r}; allowed: {', '.join(map(repr, allowed))}")
    return _convert(allowed[value[tag]], value, where)


def _convert_sequence(origin: type, arguments: tuple[Any, ...], value: Any, where: str) -> Any:
    if not isinstance(value, (list, tuple)):
        raise ConfigError(f"{where} must be a list, found {value!r}")
    if origin is tuple and arguments and arguments[-1] is not Ellipsis:
        if len(value) != len(arguments):
            raise ConfigError(f"{where} must have {len(arguments)} values, found {len(value)}")
        return tuple(_convert(item_hint, item, where) for item_hint, item in zip(arguments, value, strict=True))
    item_hint = arguments[0] if arguments else Any
    return origin(_convert(item_hint, item, f"{where}[{index}]") for index, item in enumerate(value))


def _convert_scalar(hint: Any, value: Any, where: str) -> Any:
    if hint is Any:
        return value
    if hint is float and not isinstance(value, bool):
        # YAML 1.1 reads 1e-4 (no point) as a string.
        try:
            return float(value)
        except (TypeError, ValueError):
            pass
    elif hint is Path and isinstance(value, (str, Path)):
        return Path(value)
    elif hint is bool and isinstance(value, bool):
        return value
    elif hint in (int, str) and isinstance(value, hint) and not isinstance(value, bool):
        return value
    raise ConfigError(f"{where} must be {getattr(hint, '__name__', hint)}, found {value!r}")
