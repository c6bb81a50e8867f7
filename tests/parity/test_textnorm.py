"""Equal to the released packaging of transcripts, line for line."""

import json

from click.testing import CliRunner

from mooer.cli.normalize_text import main
from mooer.text.packaging import package_line


def test_every_line(golden):
    pairs = json.loads((golden / "textnorm" / "pairs.json").read_text(encoding="utf-8"))
    assert [package_line(pair["line_in"], "released") for pair in pairs] == [pair["line_out"] for pair in pairs]


def test_whole_file_by_the_command(golden, tmp_path):
    source, output = golden / "textnorm" / "text_in.txt", tmp_path / "out"
    result = CliRunner().invoke(main, ["--rule", "released", "--input", str(source), "--output", str(output)])
    assert result.exit_code == 0, result.stderr
    assert output.read_bytes() == (golden / "textnorm" / "text_out.txt").read_bytes()
