"""Shared fixtures. Golden tensors and real recordings lie beside the checkout where the project is developed; elsewhere the
tests that need them skip and say so."""

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"
TIERS = ("unit", "parity", "recipe")


def pytest_collection_modifyitems(items):
    """A test's folder is its tier, so that no test can be left unmarked."""
    for item in items:
        tier = Path(str(item.fspath)).relative_to(Path(__file__).parent).parts[0]
        if tier in TIERS:
            item.add_marker(getattr(pytest.mark, tier))


def _shared(*parts):
    path = SHARED.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"{'/'.join(('shared', *parts))} is not beside this checkout")
    return path


@pytest.fixture(scope="session")
def golden():
    """Folder of the tensors measured on the reference implementation of MooER."""
    return _shared("golden", "mooer")


@pytest.fixture(scope="session")
def shared_data():
    """Folder of real recordings for development."""
    return _shared("data")


@pytest.fixture(scope="session")
def shared_check():
    """Folder of the scripts that hold the commands to the golden data."""
    return _shared("check")
