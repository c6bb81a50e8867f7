"""A preparation script of a recipe, run as its command is."""

import importlib
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner

from mooer.data.check import check_data_dir
from mooer.data.lists import read_table

ROOT = Path(__file__).resolve().parents[3]
sys.path += [str(ROOT / "egs" / recipe / "local") for recipe in ("mt5k", "wenetspeech")]


@dataclass
class Prepared:
    """What a script made of a corpus."""

    folder: Path
    status: int
    stderr: str

    def table(self, name):
        """A table by `SET/TABLE`."""
        return read_table(self.folder / name)

    def tables(self, name):
        """Names of the files of a set."""
        return sorted(path.name for path in (self.folder / name).iterdir())

    def left_out(self, name):
        """Reasons by id of a set's failed.jsonl."""
        path = self.folder / name / "failed.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        return {problem["id"]: problem["reason"] for problem in map(json.loads, lines)}


@pytest.fixture
def prepare(tmp_path):
    """Runs a preparation script of egs/mt5k or egs/wenetspeech; what it writes must be sound."""

    def run(name, corpus, *options):
        main = importlib.import_module(f"prepare_{name}").main
        folder = tmp_path / "out"
        arguments = ["--corpus_dir", str(corpus), "--output_dir", str(folder), *map(str, options)]
        # catch_exceptions=False: nothing but a MooerError may come up, and those end as exit statuses.
        done = CliRunner().invoke(main, arguments, catch_exceptions=False)
        for directory in sorted(folder.iterdir()) if done.exit_code != 2 else []:
            assert check_data_dir(directory).faults == []
        return Prepared(folder, done.exit_code, done.stderr)

    return run
