"""Settings of a server, and its file of keys."""

import pytest

from mooer.common.errors import ConfigError, PathError
from mooer.serve.config import ServiceConfig, read_api_keys


def test_keys_are_read_one_a_line(tmp_path):
    (tmp_path / "keys").write_text("# ours\n\n  0123456789abcdef  \nfedcba9876543210\n")
    assert read_api_keys(tmp_path / "keys") == ("0123456789abcdef", "fedcba9876543210")


@pytest.mark.parametrize("text", ["", "# nothing\n", "short\n", "0123456789 abcdef\n", "0123456789abcdé\n"])
def test_keys_that_cannot_be_used(tmp_path, text):
    (tmp_path / "keys").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        read_api_keys(tmp_path / "keys")
    assert "abcdef" not in str(caught.value)


def test_a_file_of_keys_must_be_there(tmp_path):
    with pytest.raises(PathError):
        read_api_keys(tmp_path / "keys")


@pytest.mark.parametrize(
    "options", [{"batch_size": 0}, {"batch_window_ms": -1}, {"timeout": 0}, {"max_seconds": 0}, {"max_queue": 0}]
)
def test_bounds_are_checked(options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        ServiceConfig(**options)
