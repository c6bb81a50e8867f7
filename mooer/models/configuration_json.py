"""configuration.json of a published folder: which file is what. Folders are read by the usual names, so others are errors."""

import json
from pathlib import Path
from typing import Any

from mooer.common.errors import ConfigError

FILE = "configuration.json"
SECTION = "file_path_metas"
# What the section may name, and the names under which mooer reads it.
_NAMES = {
    "init_param": ("model.pt", "campplus_cn_common.bin"),
    "config": ("config.yaml",),
    "tokenizer_conf.token_list": ("tokens.json",),
    "tokenizer_conf.seg_dict_file": ("seg_dict",),
    "frontend_conf.cmvn_file": ("am.mvn",),
    "jieba_usr_dict": ("jieba_usr_dict",),
}


def check_file_names(folder: str | Path) -> None:
    """Refuse a folder whose configuration.json calls its files otherwise. One without the file has the usual names.

    Raises:
        ConfigError: the file is damaged, or names a file that is not read.
    """
    path = Path(folder) / FILE
    if not path.is_file():
        return
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
        named = settings.get(SECTION, {})
        found = dict(_flat(named))
    except (ValueError, AttributeError) as error:
        raise ConfigError(f"{path} is not a JSON object of the published kind: {error}") from error
    for key, value in found.items():
        if key not in _NAMES:
            raise ConfigError(f"{path}: {SECTION} has the unknown key {key!r}; known: {', '.join(_NAMES)}")
        if value not in _NAMES[key]:
            raise ConfigError(f"{path}: {key} is {value!r}; the file must be called {' or '.join(_NAMES[key])}")


def _flat(section: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """The values of nested sections by dotted name."""
    pairs = []
    for key, value in section.items():
        pairs += _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else [(f"{prefix}{key}", value)]
    return pairs
