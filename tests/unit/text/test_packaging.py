"""Packaging rules: the mended one, and the command around both."""

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from mooer.cli.normalize_text import main
from mooer.common.errors import ConfigError, DataError
from mooer.text.packaging import package_fixed, package_line


@pytest.mark.parametrize(
    ("transcript", "packaged"),
    [
        ("iphone 15 pro max 发布", "IPHONE▁15▁PRO▁MAX发布"),
        ("covid 19 疫情", "COVID▁19疫情"),
        ("A  B\tdouble   space", "A▁B▁DOUBLE▁SPACE"),
        ("hello, world!", "HELLO,▁WORLD!"),
        ("café au lait", "CAFÉ▁AU▁LAIT"),
        ("cafe\u0301", "CAFÉ"),
        ("全角 ＡＢＣ abc １２", "全角ABC▁ABC▁12"),
        ("今天， ok 吗", "今天，OK吗"),
        ("▁already▁marked a b", "ALREADY▁MARKED▁A▁B"),
        ("中 文\u3000空 格", "中文空格"),
        ("“hello” world", "“HELLO”▁WORLD"),
        ("  ", ""),
    ],
)
def test_fixed_rule(transcript, packaged):
    assert package_fixed(transcript) == packaged


@given(st.text())
def test_fixed_rule_leaves_no_white_space_and_is_settled(transcript):
    packaged = package_fixed(transcript)
    assert packaged.split() == ([packaged] if packaged else [])
    assert not packaged.startswith("▁") and not packaged.endswith("▁") and "▁▁" not in packaged


@given(st.lists(st.text("abc1.", min_size=1), min_size=1))
def test_fixed_rule_never_joins_words(words):
    assert package_fixed(" ".join(words)).split("▁") == [word.upper() for word in words]


def test_lines():
    assert package_line("a\thello there", "fixed") == "a HELLO▁THERE"
    assert package_line("a", "fixed") == package_line("a ", "fixed") == "a"
    with pytest.raises(DataError, match="does not begin with an utterance id"):
        package_line(" a", "fixed")
    with pytest.raises(ConfigError, match="allowed: released, fixed"):
        package_line("a b", "mended")


def run(tmp_path, content, rule="fixed"):
    (tmp_path / "in").write_bytes(content)
    return CliRunner().invoke(main, ["--rule", rule, "--input", f"{tmp_path}/in", "--output", f"{tmp_path}/out"])


def test_command_writes_a_line_for_a_line(tmp_path):
    assert run(tmp_path, "a covid 19 wave\r\nb 你 好".encode()).exit_code == 0
    assert (tmp_path / "out").read_text(encoding="utf-8") == "a COVID▁19▁WAVE\nb 你好\n"
    assert run(tmp_path, b"").exit_code == 0
    assert (tmp_path / "out").read_bytes() == b""


@pytest.mark.parametrize(("content", "message"), [(b"a x\nb \xff\n", "in:2: not valid UTF-8"), (b"a x\n\nb y\n", "in:2: ")])
def test_command_refuses_faulty_lines_and_writes_nothing(tmp_path, content, message):
    result = run(tmp_path, content)
    assert result.exit_code == 2
    assert message in result.stderr
    assert not (tmp_path / "out").exists()


def test_command_refuses_unknown_rules(tmp_path):
    assert run(tmp_path, b"a x\n", "mended").exit_code == 2
