"""Equal to the field's compute-wer: every count of every utterance, overall and by kind of word."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mooer.score.align import Counts
from mooer.score.tables import cluster_totals
from mooer.score.texts import read_texts
from mooer.score.wer import score_error_rate

# The golden runs (named after the tool's options) and what they are here.
RUNS = {
    "char1": ("cer", "compute-wer"),
    "word": ("wer", "compute-wer"),
    "char1_cs1": ("cer", "compute-wer-cased"),
    "char1_rt0": ("cer", "compute-wer-tags"),
}


@pytest.fixture(scope="module")
def expected(golden):
    return json.loads((golden / "wer" / "wer.json").read_text(encoding="utf-8"))


def counts_of(values):
    return Counts(values["C"], values["S"], values["D"], values["I"])


def score(golden, run, *, skip_missing):
    """The report of a golden run; the tool itself skips references without a hypothesis."""
    references, hypotheses = (read_texts(golden / "wer" / name) for name in ("ref.txt", "hyp.txt"))
    if skip_missing:
        references = {name: text for name, text in references.items() if name in hypotheses}
    return score_error_rate(references, hypotheses, *RUNS[run])


@pytest.mark.parametrize("run", RUNS)
def test_every_utterance_and_the_totals(golden, expected, run):
    report = score(golden, run, skip_missing=True)
    wanted = expected["runs"][run]
    assert {utterance.id: utterance.counts for utterance in report.utterances} == {
        name: counts_of(values) for name, values in wanted["utterances"].items()
    }
    for utterance in report.utterances:
        assert round(utterance.counts.percent, 2) == wanted["utterances"][utterance.id]["percent"]
    assert report.counts == counts_of(wanted["overall"])
    assert round(report.counts.percent, 2) == wanted["overall"]["percent"]
    assert cluster_totals(report) == {name: counts_of(values) for name, values in wanted["clusters"].items()}


@pytest.mark.parametrize("run", ["char1", "word"])
def test_missing_hypotheses_are_deleted_where_the_tool_skips_them(golden, expected, run):
    skipped, whole = (score(golden, run, skip_missing=skip) for skip in (True, False))
    added = whole.counts.n - skipped.counts.n
    assert added > 0
    assert whole.counts == skipped.counts + Counts(deletions=added)
    assert sorted(whole.missing) == sorted(expected["missing_in_hyp"])
    assert sorted(whole.extra) == sorted(expected["extra_in_hyp"])


# Duplicate ids, which the tool counts twice or overwrites, are refused (unit tests of read_texts); a Chinese id, which it
# cuts into characters and counts as text, is an id; a control character, on which it crashes, is a unit of kind Other.
@pytest.mark.parametrize("quirk", ["id_with_comma", "all_empty", "empty_ref_only"])
@pytest.mark.parametrize("run", ["char1", "word"])
def test_quirks_that_are_kept(expected, tmp_path, quirk, run):
    case = expected["quirks"][f"{quirk}_{run}"]
    assert quirk_counts(case, tmp_path, run) == counts_of(case["result"])


@pytest.mark.parametrize(
    ("quirk", "run", "counts"),
    [
        ("non_ascii_id", "char1", Counts(correct=3, substitutions=1)),
        ("non_ascii_id", "word", Counts(correct=1, substitutions=1)),
        ("control_char_in_hyp", "char1", Counts(correct=2, insertions=1)),
        ("control_char_in_hyp", "word", Counts(substitutions=1)),
    ],
)
def test_faults_that_are_mended(expected, tmp_path, quirk, run, counts):
    assert quirk_counts(expected["quirks"][f"{quirk}_{run}"], tmp_path, run) == counts


def quirk_counts(case, tmp_path, run):
    for side in ("ref", "hyp"):
        (tmp_path / side).write_text("\n".join(case[side]) + "\n", encoding="utf-8")
    report = score_error_rate(read_texts(tmp_path / "ref"), read_texts(tmp_path / "hyp"), *RUNS[run])
    cluster_totals(report)
    return report.counts


def test_shared_check_of_the_command(golden, shared_check):
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    command = [sys.executable, shared_check / "score_parity.py", golden]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PATH": path})
    assert done.returncode == 0, done.stdout + done.stderr
