"""What a run must record so that somebody else can repeat it."""

import importlib.metadata
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import mooer

PACKAGES = (
    "torch",
    "torchaudio",
    "transformers",
    "peft",
    "deepspeed",
    "kaldiio",
    "soundfile",
    "tokenizers",
    "safetensors",
    "jiwer",
    "sacrebleu",
    "numpy",
)


def versions() -> dict[str, str]:
    """Versions of mooer, Python and the packages a result depends on; absent packages are left out."""
    found = {"mooer": mooer.__version__, "python": platform.python_version(), "platform": platform.platform()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def commit() -> str | None:
    """The git commit of the source tree mooer runs from, with `+changes` if it differs; None where that is unknown."""
    root = Path(mooer.__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None
    try:
        head = _git(root, "rev-parse", "HEAD")
        return head + ("+changes" if _git(root, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=10, check=True)
    return done.stdout.strip()


def record() -> dict[str, Any]:
    """Command, commit and versions, ready for a run.json."""
    return {"command": [Path(sys.argv[0]).name, *sys.argv[1:]], "commit": commit(), "versions": versions()}
