"""The source follows the table of layers, and the check itself can fail."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def check_layers():
    spec = importlib.util.spec_from_file_location("check_layers", ROOT / "tools" / "check_layers.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_tree_has_no_faults(check_layers):
    assert list(check_layers.check_tree(ROOT)) == []


@pytest.mark.parametrize(
    ("file", "source", "fault"),
    [
        ("mooer/models/a.py", "from mooer.data.batch import Batch\n", "models may not import mooer.data.batch"),
        ("mooer/models/a.py", "def f():\n    import mooer.features.fbank\n", "models may not import mooer.features.fbank"),
        ("mooer/train/a.py", "from mooer import decode\n", "train may not import mooer.decode"),
        ("mooer/common/a.py", "import torch\n", "torch must be imported inside the function"),
        ("mooer/cli/a.py", "import transformers\n", "transformers must be imported inside the function"),
        ("mooer/models/a.py", "from . import b\n", "relative-import"),
        ("mooer/extra/a.py", "", "no place in the table"),
        ("mooer/models/utils.py", "", "says nothing"),
        ("mooer/models/a.py", "def f():\n" + "    x = 1\n" * 60, "at most 60"),
        ("egs/x/local/a.py", "x = 1\n" * 401, "at most 400"),
    ],
)
def test_fault_is_found(check_layers, tmp_path, file, source, fault):
    path = tmp_path / file
    path.parent.mkdir(parents=True)
    path.write_text(source)
    faults = list(check_layers.check_tree(tmp_path))
    assert len(faults) == 1
    assert fault in faults[0]


def test_allowed_imports_pass(check_layers, tmp_path):
    path = tmp_path / "mooer" / "data" / "a.py"
    path.parent.mkdir(parents=True)
    path.write_text("import torch\nfrom mooer.features.fbank import fbank\nfrom mooer.common.files import sha256\n")
    (tmp_path / "mooer" / "common").mkdir()
    (tmp_path / "mooer" / "common" / "b.py").write_text("def f():\n    import torch\n    return torch\n")
    assert list(check_layers.check_tree(tmp_path)) == []
