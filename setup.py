"""Installation of mooer. Every `mooer/cli/NAME.py` becomes the console script `mooer-NAME`."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).resolve().parent
VERSION = re.search(r'__version__ = "(.+)"', (ROOT / "mooer" / "__init__.py").read_text(encoding="utf-8")).group(1)

COMMANDS = sorted(path.stem for path in (ROOT / "mooer" / "cli").glob("*.py") if not path.stem.startswith("_"))

EXTRAS = {
    # The synthetic speech of egs/mini.
    "mini": ["espeakng-loader>=0.2.4"],
    # The pinyin of egs/hsk.
    "hsk": ["pypinyin>=0.53"],
    # `mooer-download --source modelscope`; the hub's client alone, not the large package modelscope.
    "download": ["modelscope-hub>=0.5"],
    # The figure of mooer-pseudo-label.
    "report": ["matplotlib>=3.9"],
    # `mooer-demo`.
    "demo": ["gradio>=6.0"],
    # Speakers of more than 25 minutes of speech whose number is not given.
    "speakers": ["umap-learn>=0.5.7", "scikit-learn>=1.6"],
    # mooer-serve.
    "serve": ["fastapi>=0.130", "uvicorn>=0.35", "websockets>=14", "prometheus-client>=0.20", "python-multipart>=0.0.18"],
}
# The tests use these extras.
EXTRAS["dev"] = [
    *("pytest>=8", "pytest-xdist>=3.6", "hypothesis>=6.100", "ruff>=0.9", "pre-commit>=3"),
    *(*EXTRAS["download"], *EXTRAS["report"], *EXTRAS["hsk"], *EXTRAS["speakers"], *EXTRAS["demo"]),
    "selenium>=4.20",
    *(*EXTRAS["serve"], "openai>=2"),
]

setup(
    name="mooer",
    version=VERSION,
    description="LLM-based speech recognition and translation from the command line",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=find_packages(include=["mooer", "mooer.*"]),
    package_data={"mooer": ["pretrained/*/*", "pretrained/*/*/*"]},
    install_requires=[
        "torch>=2.5",
        "torchaudio>=2.5",
        "transformers>=5.0",
        "peft>=0.17",
        "deepspeed>=0.17",
        "safetensors>=0.5",
        "huggingface_hub>=1.0",
        "soundfile>=0.12",
        "kaldiio>=2.18",
        "numpy>=1.26",
        "pyyaml>=6",
        "click>=8.1",
        "tqdm>=4.66",
        "jiwer>=4.0",
        "rapidfuzz>=3.9",
        "sacrebleu>=2.4",
        "tensorboard>=2.16",
    ],
    extras_require=EXTRAS,
    entry_points={"console_scripts": [f"mooer-{name.replace('_', '-')} = mooer.cli.{name}:main" for name in COMMANDS]},
)
