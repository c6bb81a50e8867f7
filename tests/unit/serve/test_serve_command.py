"""What the command says before it serves."""

import importlib.util
import socket

from click.testing import CliRunner

from mooer.cli.serve import main


def run(*arguments):
    return CliRunner().invoke(main, list(map(str, arguments)), catch_exceptions=False)


def test_missing_packages_are_named_with_their_extra(monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in ("fastapi", "websockets") else real(name))
    done = run()
    assert done.exit_code == 2
    assert "needs fastapi, websockets; install the extra" in done.stderr
    assert "mooer[serve]" in done.stderr


def test_a_port_that_is_taken():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = run("--port", taken.getsockname()[1], "--device", "cpu")
    assert done.exit_code == 2
    assert "cannot listen at 127.0.0.1" in done.stderr


def test_a_model_that_is_not_there(tmp_path):
    done = run("--model_dir", tmp_path / "none")
    assert done.exit_code == 2
    assert "none" in done.stderr


def test_keys_are_read_before_the_model(tmp_path):
    (tmp_path / "keys").write_text("short\n")
    done = run("--api_key_file", tmp_path / "keys", "--model_dir", tmp_path / "none")
    assert done.exit_code == 2
    assert "key 1 of" in done.stderr
