"""Every command exists in its three forms and starts without the heavy libraries."""

import os
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = sorted(path.stem for path in (ROOT / "mooer" / "cli").glob("*.py") if not path.stem.startswith("_"))


@pytest.mark.parametrize("name", COMMANDS)
def test_command_has_shim_and_console_script(name):
    shim = (ROOT / "bin" / f"{name}.py").read_text(encoding="utf-8")
    assert f"from mooer.cli.{name} import main" in shim
    scripts = {script.name: script.value for script in entry_points(group="console_scripts")}
    assert scripts.get(f"mooer-{name.replace('_', '-')}") == f"mooer.cli.{name}:main"


def test_every_shim_has_a_command():
    assert sorted(path.stem for path in (ROOT / "bin").glob("*.py")) == COMMANDS


def test_what_names_its_interpreter_can_be_executed():
    scripts = [path for name in ("bin", "egs", "tools") for path in (ROOT / name).rglob("*.[ps][yh]")]
    named = [path for path in scripts if path.read_bytes().startswith(b"#!")]
    assert len(named) > 30
    assert not [path.name for path in named if not os.access(path, os.X_OK)]


@pytest.mark.parametrize("name", COMMANDS)
def test_help_needs_no_heavy_import(name):
    code = (
        f"import sys; from mooer.cli.{name} import main; main(['--help'], standalone_mode=False);"
        "print([m for m in ('torch', 'transformers', 'peft', 'deepspeed', 'torchaudio', 'sacrebleu') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert "Usage" in done.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_unknown_option_is_refused(name):
    done = subprocess.run(
        [sys.executable, ROOT / "bin" / f"{name}.py", "--no_such_option", "1"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": ""},
        check=False,
    )
    assert done.returncode == 2
    assert "no_such_option" in done.stderr
    assert "Traceback" not in done.stderr
