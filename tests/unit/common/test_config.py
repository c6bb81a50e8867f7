"""Configurations: round trip, strictness, overrides."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from mooer.common.config import dump_yaml, from_dict, load_yaml
from mooer.common.errors import ConfigError, PathError


@dataclass(frozen=True, kw_only=True)
class Inner:
    size: int = 3
    rate: float = 0.1

    def __post_init__(self):
        if self.size < 1:
            raise ConfigError(f"size is {self.size}; it must be at least 1")


@dataclass(frozen=True, kw_only=True)
class Outer:
    name: str
    inner: Inner = field(default_factory=Inner)
    optional: Inner | None = None
    names: list[str] = field(default_factory=list)
    pair: tuple[float, float] = (0.0, 1.0)
    mode: Literal["a", "b"] = "a"
    path: Path | None = None
    flag: bool = False


def write(tmp_path, text):
    path = tmp_path / "c.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_round_trip(tmp_path):
    config = Outer(name="x", optional=Inner(size=9), names=["p", "中"], pair=(0.5, 2.0), mode="b", path=Path("a/b"), flag=True)
    assert load_yaml(write(tmp_path, dump_yaml(config)), Outer) == config


def test_float_without_point_is_a_number(tmp_path):
    assert load_yaml(write(tmp_path, "name: x\ninner: {rate: 1e-4}\n"), Outer).inner.rate == 1e-4


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: x\ninner: {sise: 4}\n", "did you mean 'size'"),
        ("name: x\nnmaes: []\n", "valid keys: name, inner"),
        ("inner: {}\n", "required key 'name'"),
        ("name: x\ninner: {size: big}\n", "size must be int"),
        ("name: x\ninner: {size: true}\n", "size must be int"),
        ("name: x\ninner: {size: 0}\n", "at least 1"),
        ("name: x\nmode: c\n", "allowed: 'a', 'b'"),
        ("name: x\npair: [1]\n", "2 values"),
        ("name: x\nflag: 1\n", "flag must be bool"),
        ("name: 5\n", "name must be str"),
        ("name: x\ninner: 5\n", "section of keys"),
        ("- a\n", "mapping"),
        ("name: [\n", "not valid YAML"),
    ],
)
def test_wrong_config_is_named(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message.replace("[", r"\[")):
        load_yaml(write(tmp_path, text), Outer)


def test_overrides(tmp_path):
    path = write(tmp_path, "name: x\n")
    config = load_yaml(path, Outer, ("inner.size=7", "optional.rate=2", "names=[a, b]", "flag=true"))
    assert (config.inner.size, config.optional.rate, config.names, config.flag) == (7, 2.0, ["a", "b"], True)
    with pytest.raises(ConfigError, match="key=value"):
        load_yaml(path, Outer, ("inner.size",))
    with pytest.raises(ConfigError, match="unknown key 'sise'"):
        load_yaml(path, Outer, ("inner.sise=7",))
    with pytest.raises(ConfigError, match="not a section"):
        load_yaml(path, Outer, ("name.size=7",))


def test_missing_file(tmp_path):
    with pytest.raises(PathError, match="does not exist"):
        load_yaml(tmp_path / "none.yaml", Outer)


def test_python_objects_in_yaml_are_refused(tmp_path):
    with pytest.raises(ConfigError):
        load_yaml(write(tmp_path, "name: !!python/object/apply:os.getcwd []\n"), Outer)


def test_from_dict_keeps_none():
    assert from_dict(Outer, {"name": "x", "optional": None}).optional is None


@dataclass(frozen=True, kw_only=True)
class Dog:
    animal: Literal["dog", "wolf"] = "dog"
    teeth: int = 42


@dataclass(frozen=True, kw_only=True)
class Hen:
    animal: Literal["hen"] = "hen"
    eggs: int = 1


@dataclass(frozen=True, kw_only=True)
class Yard:
    pet: Dog | Hen = field(default_factory=Dog)


def test_the_first_field_tells_which_section_it_is(tmp_path):
    for pet in (Dog(teeth=3), Dog(animal="wolf"), Hen(eggs=5)):
        assert load_yaml(write(tmp_path, dump_yaml(Yard(pet=pet))), Yard).pet == pet
    assert from_dict(Yard, {"pet": {"teeth": 2}}).pet == Dog(teeth=2)
    with pytest.raises(ConfigError, match="animal is 'cat'; allowed: 'dog', 'wolf', 'hen'"):
        from_dict(Yard, {"pet": {"animal": "cat"}})
    with pytest.raises(ConfigError, match="unknown key 'teeth'; valid keys: animal, eggs"):
        from_dict(Yard, {"pet": {"animal": "hen", "teeth": 2}})
