"""What a run records of itself."""

import json

import mooer
from mooer.common import provenance


def test_record_is_json_and_names_the_versions():
    record = json.loads(json.dumps(provenance.record()))
    assert record["versions"]["mooer"] == mooer.__version__
    assert {"torch", "transformers", "sacrebleu", "python"} <= record["versions"].keys()
    assert record["command"]


def test_commit_follows_the_work_tree(tmp_path, monkeypatch):
    import subprocess

    package = tmp_path / "mooer"
    package.mkdir()
    (package / "__init__.py").write_text("")
    monkeypatch.setattr(provenance.mooer, "__file__", str(package / "__init__.py"))
    assert provenance.commit() is None

    def git(*arguments):
        subprocess.run(["git", "-C", tmp_path, "-c", "user.name=a", "-c", "user.email=a@b.c", *arguments], check=True)

    git("init", "-q")
    git("add", ".")
    git("commit", "-q", "-m", "one")
    clean = provenance.commit()
    assert len(clean) == 40
    (package / "__init__.py").write_text("x = 1\n")
    assert provenance.commit() == clean + "+changes"
