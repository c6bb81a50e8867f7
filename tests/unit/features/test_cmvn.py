import json
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mooer.common.errors import DataError, PathError
from mooer.features.cmvn import Cmvn, CmvnAccumulator, read_cmvn, write_cmvn, write_cmvn_sums

GOOD = """<Nnet>
<Splice> 2 2
[ 0 ]
<AddShift> 2 2
<LearnRateCoef> 0 [ -1.5 2 ]
<Rescale> 2 2
<LearnRateCoef> 0 [ 0.25 1e-3 ]
</Nnet>
"""


@pytest.fixture
def file_with(tmp_path):
    def written(text):
        path = tmp_path / "am.mvn"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return written


FLOATS = st.floats(allow_nan=False, allow_infinity=False, width=32)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(FLOATS, FLOATS), min_size=1, max_size=600))
def test_written_values_are_read_back_to_the_last_bit(tmp_path_factory, values):
    path = tmp_path_factory.mktemp("cmvn") / "am.mvn"
    shift, scale = torch.tensor(values).T
    write_cmvn(path, Cmvn(shift.contiguous(), scale.contiguous()))
    cmvn = read_cmvn(path)
    assert torch.equal(cmvn.shift, shift)
    assert torch.equal(cmvn.scale, scale)


def test_golden_file_survives_a_round_trip(golden, tmp_path):
    cmvn = read_cmvn(golden / "am.mvn")
    write_cmvn(tmp_path / "am.mvn", cmvn)
    again = read_cmvn(tmp_path / "am.mvn")
    assert torch.equal(again.shift, cmvn.shift)
    assert torch.equal(again.scale, cmvn.scale)


def test_layout_and_rule(file_with):
    cmvn = read_cmvn(file_with(GOOD))
    assert cmvn.shift.tolist() == [-1.5, 2.0]
    assert cmvn.dim == 2
    frames = torch.tensor([[1.5, 0.0]])
    torch.testing.assert_close(cmvn.apply_(frames), torch.tensor([[0.0, 2e-3]]))
    torch.testing.assert_close(frames, torch.tensor([[0.0, 2e-3]]))


def test_splice_may_be_absent_and_white_space_is_free(file_with):
    text = GOOD.replace("<Splice> 2 2\n[ 0 ]\n", "").replace("\n", "   \n\n ")
    assert read_cmvn(file_with(text)).dim == 2


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("<Nnet>", "<Net>", "expected '<Nnet>'"),
        ("</Nnet>\n", "", "end of the file"),
        ("</Nnet>\n", "</Nnet> more", "text after"),
        ("[ 0 ]", "[ -1 0 1 ]", "Splice"),
        ("<AddShift>", "<Rescale>", "expected '<AddShift>'"),
        ("-1.5 2 ]", "-1.5 ]", "says 2 values but has 1"),
        ("-1.5 2 ]", "-1.5 2 3 ]", "says 2 values but has 3"),
        ("-1.5 2 ]", "-1.5 two ]", "two"),
        ("-1.5 2 ]", "-1.5 nan ]", "not finite"),
        ("0.25 1e-3 ]", "0.25 1e-3", "never closed"),
        ("<Rescale> 2 2", "<Rescale> 2 3", "must be equal"),
        ("<Rescale> 2 2", "<Rescale> 0 0", "must be equal and positive"),
        ("<Rescale> 2 2\n<LearnRateCoef> 0 [ 0.25 1e-3 ]", "<Rescale> 1 1\n<LearnRateCoef> 0 [ 0.25 ]", "2 values but"),
        ("<LearnRateCoef> 0 [ -1.5", "[ -1.5", "LearnRateCoef"),
        (GOOD, "", "expected '<Nnet>'"),
    ],
)
def test_every_fault_is_named_with_its_file(file_with, old, new, reason):
    assert old in GOOD
    with pytest.raises(DataError, match=reason) as caught:
        read_cmvn(file_with(GOOD.replace(old, new, 1)))
    assert "am.mvn" in str(caught.value)


def test_files_of_another_kind(file_with, tmp_path):
    with pytest.raises(DataError, match="not text"):
        read_cmvn(file_with(b"PK\x03\x04\xff\xfe\x80"))
    with pytest.raises(DataError, match="larger"):
        read_cmvn(file_with(b" " * (17 << 20)))
    with pytest.raises(PathError, match="does not exist"):
        read_cmvn(tmp_path / "gone.mvn")


def frames_of(seed, length=50):
    return torch.randn(length, 80, generator=torch.Generator().manual_seed(seed)) * 3 - 11


def test_estimate_of_all_processes_together():
    everything = torch.cat([frames_of(seed) for seed in range(6)])
    parts = [CmvnAccumulator(), CmvnAccumulator()]
    for seed in range(6):
        parts[seed % 2].accumulate(frames_of(seed))
    total = pickle.loads(pickle.dumps(parts[0]))
    total.merge(parts[1])
    cmvn = total.finish(lfr_m=7)
    assert total.num_frames == 300
    torch.testing.assert_close(cmvn.shift, -everything.mean(0).repeat(7))
    torch.testing.assert_close(cmvn.scale, 1 / everything.std(0, correction=0).repeat(7))
    normalised = cmvn.apply_(everything.repeat(1, 7))
    torch.testing.assert_close(normalised.mean(0), torch.zeros(560), atol=1e-5, rtol=0)
    torch.testing.assert_close(normalised.std(0, correction=0), torch.ones(560), atol=1e-5, rtol=0)


def test_nothing_to_estimate_from_and_a_value_that_never_changes():
    with pytest.raises(DataError, match="not a single frame"):
        CmvnAccumulator().finish()
    accumulator = CmvnAccumulator()
    accumulator.accumulate(torch.full((10, 80), -15.9424))
    assert torch.isfinite(accumulator.finish().scale).all()


def test_sizes_must_agree():
    with pytest.raises(DataError):
        Cmvn(torch.zeros(3), torch.ones(4))


SUMS = {"mean_stat": [4.0, -8.0], "var_stat": [8.0, 16.0], "frame_num": 4}


def test_sums_become_mean_and_deviation(file_with):
    cmvn = read_cmvn(file_with(json.dumps(SUMS)))
    assert cmvn.shift.tolist() == [-1.0, 2.0]
    # Variances 2 - 1 and 4 - 4, of which the second has the floor.
    torch.testing.assert_close(cmvn.scale, torch.tensor([1.0, 1e5]))


def test_written_sums_are_read_back(tmp_path):
    frames = torch.randn(50, 3, generator=torch.Generator().manual_seed(1)) * 3.0 + 7.0
    sums = CmvnAccumulator(3)
    sums.accumulate(frames)
    write_cmvn_sums(tmp_path / "global_cmvn", sums)
    record = json.loads((tmp_path / "global_cmvn").read_text())
    assert (list(record), record["frame_num"]) == (["mean_stat", "var_stat", "frame_num"], 50)
    normalised = read_cmvn(tmp_path / "global_cmvn").apply_(frames)
    torch.testing.assert_close(normalised.mean(0), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(normalised.std(0, unbiased=False), torch.ones(3), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"frame_num": 0}, "frame_num must be a whole number from 1 up, found 0"),
        ({"frame_num": 4.0}, "frame_num must be a whole number"),
        ({"frame_num": True}, "frame_num must be a whole number"),
        ({"frame_num": 1}, "variance would be negative"),
        ({"mean_stat": [1.0]}, "mean_stat has 1 values but var_stat 2"),
        ({"mean_stat": [], "var_stat": []}, "mean_stat must be a list of finite numbers, not empty"),
        ({"var_stat": [8.0, float("nan")]}, "var_stat must be a list of finite numbers"),
        ({"var_stat": [8.0, "16"]}, "var_stat must be a list of finite numbers"),
        ({"var_stat": 8.0}, "var_stat must be a list of finite numbers"),
        ({"frames": 4}, "must have the keys mean_stat, var_stat, frame_num; found mean_stat, "),
    ],
)
def test_sums_that_cannot_be(file_with, change, message):
    with pytest.raises(DataError, match=message) as caught:
        read_cmvn(file_with(json.dumps(SUMS | change)))
    assert "am.mvn" in str(caught.value)


@pytest.mark.parametrize("text", ["{", "{}", '{"mean_stat": [1]}', json.dumps(SUMS) + "}"])
def test_damaged_sums(file_with, text):
    with pytest.raises(DataError):
        read_cmvn(file_with(text))
