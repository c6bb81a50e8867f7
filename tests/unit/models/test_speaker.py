import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mooer.common.errors import ConfigError, PathError, WeightsError
from mooer.models.speaker import SHORTEST_FRAMES, WEIGHTS_FILE, Campplus, CampplusConfig, load_speaker_model

SIZES = {"feat_dim": 16, "embedding_size": 12, "growth_rate": 4, "bn_size": 2, "init_channels": 8}


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    model = Campplus(CampplusConfig(**SIZES)).eval().requires_grad_(False)
    for name, tensor in model.state_dict().items():  # norms begin as the identity, which hides what goes wrong with them
        if name.endswith(("running_mean", "bias")):
            tensor.normal_(std=0.3)
        elif name.endswith("running_var"):
            tensor.uniform_(0.5, 1.5)
    return model


@settings(max_examples=12, deadline=None)
@given(lengths=st.lists(st.integers(SHORTEST_FRAMES, 450), min_size=1, max_size=4), extra=st.integers(0, 9))
def test_an_embedding_does_not_see_its_batch(model, lengths, extra):
    frames = torch.randn(len(lengths), max(lengths) + extra, 16) * 3
    for row, length in enumerate(lengths):
        frames[row, length:] = float("nan") if row % 2 else 1e6
    together = model(frames, torch.tensor(lengths))
    assert together.shape == (len(lengths), 12)
    for row, length in enumerate(lengths):
        alone = model(frames[row : row + 1, :length], torch.tensor([length]))
        torch.testing.assert_close(together[row], alone[0], atol=2e-5, rtol=2e-5)


@pytest.mark.parametrize(
    "wrong", [{"feat_dim": 20}, {"embedding_size": 0}, {"growth_rate": 3}, {"bn_size": 0}, {"init_channels": 7}]
)
def test_impossible_sizes_are_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        CampplusConfig(**wrong)


@pytest.fixture
def folder(tmp_path, model):
    sizes = "".join(f"  {name}: {value}\n" for name, value in SIZES.items())
    (tmp_path / "config.yaml").write_text(f"model: CAMPPlus\nmodel_conf:\n{sizes}frontend: WavFrontend\n", encoding="utf-8")
    torch.save(model.state_dict(), tmp_path / WEIGHTS_FILE)
    return tmp_path


def test_a_folder_gives_the_same_model(folder, model):
    frames, lengths = torch.randn(2, 90, 16), torch.tensor([90, 61])
    loaded = load_speaker_model(folder)
    assert not loaded.training
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    torch.testing.assert_close(loaded(frames, lengths), model(frames, lengths), atol=0, rtol=0)


def test_folders_that_are_refused(folder):
    config = (folder / "config.yaml").read_text(encoding="utf-8")
    for old, new, message in (
        ("growth_rate: 4", "growth_rate: 8", "does not fit"),
        ("growth_rate", "growth", "unknown key 'growth'"),
        ("CAMPPlus", "ERes2Net", "'ERes2Net'"),
        ("model_conf:\n", "model_conf:\n  output_level: frame\n", "output_level"),
    ):
        (folder / "config.yaml").write_text(config.replace(old, new), encoding="utf-8")
        with pytest.raises((ConfigError, WeightsError), match=message):
            load_speaker_model(folder)
    (folder / "config.yaml").write_text(config, encoding="utf-8")
    (folder / WEIGHTS_FILE).unlink()
    with pytest.raises(PathError, match=WEIGHTS_FILE):
        load_speaker_model(folder)
