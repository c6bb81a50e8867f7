import os
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from mooer.common.errors import PathError, WeightsError
from mooer.models.weights import (
    SCALE_SUFFIX,
    checksums,
    load_state,
    own_tensors,
    quantise_rows,
    read_state,
    state_checksum,
    write_safetensors,
    write_torch,
)


class Attack:
    """Unpickling it makes a file."""

    def __init__(self, target):
        self.target = str(target)

    def __reduce__(self):
        return (os.mkdir, (self.target,))


@pytest.mark.parametrize("write", [torch.save, lambda value, path: path.write_bytes(pickle.dumps(value))])
@pytest.mark.parametrize("name", ["evil.pt", "evil.bin", "evil.pth"])
def test_code_in_a_pickle_never_runs(tmp_path, write, name):
    write({"linear1.weight": Attack(tmp_path / "owned")}, tmp_path / name)
    with pytest.raises(WeightsError, match=name):
        read_state(tmp_path / name)
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("name", ["x.pt", "x.safetensors"])
@pytest.mark.parametrize("content", [b"", b"not tensors at all", b"\xff" * 100, b"PK\x03\x04 half a zip"])
def test_damaged_files_are_named(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match=name):
        read_state(tmp_path / name)


@pytest.mark.parametrize("write", [write_torch, write_safetensors])
def test_others_may_read_what_the_umask_lets_them(tmp_path, write):
    mask = os.umask(0o027)
    try:
        write(tmp_path / "weights", {"weight": torch.ones(2)})
    finally:
        os.umask(mask)
    assert (tmp_path / "weights").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("write", [write_torch, write_safetensors])
def test_a_truncated_file_is_named(tmp_path, write):
    path = tmp_path / ("x.pt" if write is write_torch else "x.safetensors")
    write(path, {"weight": torch.randn(50, 50)})
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(WeightsError, match=path.name):
        read_state(path)


def test_a_missing_file_is_a_path_error(tmp_path):
    with pytest.raises(PathError, match=r"encoder weights .*nope\.pth"):
        read_state(tmp_path / "nope.pth", "encoder weights")


@pytest.mark.parametrize("value", [[1, 2], {"model": {"weight": torch.ones(1)}}, {"epoch": 3}, torch.ones(2)])
def test_only_flat_mappings_of_tensors_are_taken(tmp_path, value):
    torch.save(value, tmp_path / "x.pt")
    with pytest.raises(WeightsError, match=r"x\.pt"):
        read_state(tmp_path / "x.pt")


@pytest.mark.parametrize("name", ["x.pt", "x.safetensors"])
def test_round_trip_keeps_types_and_values(tmp_path, name):
    state = {"a": torch.randn(3, 4), "b": torch.randn(5).bfloat16(), "c": torch.arange(4), "view": torch.randn(9, 9)[2:4].T}
    (write_torch if name.endswith("pt") else write_safetensors)(tmp_path / "folder" / name, state)
    read = read_state(tmp_path / "folder" / name)
    assert read.keys() == state.keys()
    assert all(torch.equal(read[key], state[key]) and read[key].dtype == state[key].dtype for key in state)
    assert [path.name for path in (tmp_path / "folder").iterdir()] == [name]


def test_a_torch_file_holds_no_more_than_its_tensors(tmp_path):
    write_torch(tmp_path / "x.pt", {"row": torch.zeros(1000, 1000)[0]})
    assert (tmp_path / "x.pt").stat().st_size < 10_000


def test_load_reports_missing_unexpected_and_shapes_apart_and_changes_nothing():
    module = nn.Linear(3, 2)
    before = module.weight.clone()
    with pytest.raises(WeightsError) as error:
        load_state(module, {"weight": torch.zeros(3, 3), "wait": torch.zeros(1)}, "file x.pt")
    message = str(error.value)
    assert "file x.pt" in message
    assert "1 missing: bias" in message
    assert "1 unexpected: wait" in message
    assert "weight is [3, 3], must be [2, 3]" in message
    assert torch.equal(module.weight, before)


def test_long_reports_are_cut():
    with pytest.raises(WeightsError, match="and 15 more"):
        load_state(nn.Linear(3, 2), {f"layer{number:02}": torch.zeros(1) for number in range(20)}, "x")


def test_a_tied_tensor_is_one_tensor():
    module = nn.ModuleDict({"embed": nn.Embedding(4, 3), "head": nn.Linear(3, 4, bias=False)})
    module["head"].weight = module["embed"].weight
    assert own_tensors(module).keys() == {"embed.weight"}
    load_state(module, {"embed.weight": torch.ones(4, 3)}, "x")
    assert torch.equal(module["head"].weight, torch.ones(4, 3))


@settings(max_examples=50, deadline=None)
@given(rows=st.integers(1, 8), columns=st.integers(1, 40), scale=st.floats(1e-6, 1e4), seed=st.integers(0, 999))
def test_int8_error_is_at_most_half_a_step_of_its_row(tmp_path_factory, rows, columns, scale, seed):
    generator = torch.Generator().manual_seed(seed)
    matrix = torch.randn(rows, columns, generator=generator) * scale
    matrix[0] = 0.0
    path = tmp_path_factory.mktemp("int8") / "x.safetensors"
    write_safetensors(path, quantise_rows({"matrix": matrix}))
    restored = read_state(path)["matrix"]
    bound = matrix.abs().amax(dim=1, keepdim=True) / 254
    assert restored.dtype == torch.float32
    assert ((restored - matrix).abs() <= bound * 1.001).all()


def test_int8_is_for_matrices_only():
    state = {
        "matrix": torch.randn(4, 3),
        "bias": torch.randn(4),
        "kernel": torch.randn(4, 1, 3),
        "ids": torch.ones(2, 2).long(),
    }
    small = quantise_rows(state)
    assert small["matrix"].dtype == torch.int8 and small["matrix" + SCALE_SUFFIX].shape == (4,)
    assert all(small[name] is state[name] for name in ("bias", "kernel", "ids"))


@pytest.mark.parametrize(
    "state",
    [
        {"m::scale": torch.ones(2)},
        {"m": torch.ones(2, 2), "m::scale": torch.ones(2)},
        {"m": torch.ones(2, 2).to(torch.int8), "m::scale": torch.ones(3)},
    ],
)
def test_scales_without_their_matrix_are_refused(tmp_path, state):
    save_file(state, tmp_path / "x.safetensors")
    with pytest.raises(WeightsError, match="row scales for m"):
        read_state(tmp_path / "x.safetensors")


def test_checksums(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert checksums([tmp_path / "a"]) == {
        str(tmp_path / "a"): "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    }
    state = {"a": torch.ones(2), "b": torch.zeros(3)}
    assert state_checksum(state) == state_checksum(dict(reversed(state.items())))
    assert state_checksum(state) != state_checksum(state | {"a": torch.ones(2).bfloat16()})
