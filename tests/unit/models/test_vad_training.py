import pytest
import torch

from mooer.common.errors import ConfigError, PathError
from mooer.models.published_folder import PublishedModel, write_published_folder
from mooer.models.vad import FsmnConfig, FsmnVad
from mooer.models.vad_training import VadModelConfig, VadTraining, build_vad_training, input_size, published_vad
from mooer.pipeline.vad_dir import read_detector

SIZES = {"input_dim": 400, "input_affine_dim": 6, "fsmn_layers": 2, "linear_dim": 8, "proj_dim": 5, "lorder": 4}
SMALL = FsmnConfig(**SIZES, output_affine_dim=7, output_dim=4)
TWO_CLASSES = FsmnConfig(**SIZES, output_affine_dim=7, output_dim=2)
SOUND = {"n_mels": 80, "lfr_m": 5, "lfr_n": 1}


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(1)
    frames = torch.randn(3, 50, 400, generator=generator)
    return frames, torch.tensor([50, 17, 33]), torch.rand(3, 50, generator=generator) > 0.5


def built(**settings):
    torch.manual_seed(0)
    return build_vad_training(VadModelConfig(**settings))


@pytest.mark.parametrize("silence_ids", [(0,), (1, 3)])
def test_the_loss_is_that_of_the_posteriors(batch, silence_ids):
    """Against the posteriors that decoding gets of the same weights, row by row without padding."""
    frames, lengths, is_speech = batch
    model = built(encoder=SMALL, silence_ids=silence_ids)
    output = model(frames, lengths, is_speech)
    reference = FsmnVad(SMALL, silence_ids)
    reference.encoder = model.encoder
    loss, correct = 0.0, 0
    for row, length in enumerate(lengths.tolist()):
        silence = reference(frames[row : row + 1, :length])[0][0].double()
        wanted = is_speech[row, :length]
        loss -= torch.where(wanted, 1.0 - silence, silence).log().sum()
        correct += ((silence < 0.5) == wanted).sum()
    assert output.loss_sum.item() == pytest.approx(loss.item(), rel=1e-5)
    assert (output.num_tokens.item(), output.num_correct.item()) == (100, int(correct))
    assert output.num_infinite.item() == 0


def test_two_classes_have_the_usual_cross_entropy(batch):
    frames, lengths, is_speech = batch
    model = built(encoder=TWO_CLASSES)
    logits = model.encoder.logits(frames[:1])[0][0, :50]
    wanted = torch.nn.functional.cross_entropy(logits, is_speech[0].long(), reduction="sum")
    assert model(frames[:1], lengths[:1], is_speech[:1]).loss_sum.item() == pytest.approx(wanted.item(), rel=1e-6)


def test_what_stands_in_the_padding_does_not_matter(batch):
    frames, lengths, is_speech = batch
    model = built(encoder=SMALL)
    first = model(frames, lengths, is_speech)
    for row, length in enumerate(lengths.tolist()):
        frames[row, length:], is_speech[row, length:] = 1e3, True
    assert torch.equal(model(frames, lengths, is_speech).loss_sum, first.loss_sum)


def test_the_loss_goes_down(batch):
    frames, lengths, is_speech = batch
    model = built(encoder=SMALL)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        losses.append(model(frames, lengths, is_speech).loss_sum)
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < losses[0] / 2


def test_the_full_size_is_the_default():
    assert input_size(VadModelConfig()) == 400
    assert built().encoder.out_linear2.linear.out_features == 248


def exported(model, config, folder):
    settings, weights = published_vad(model, config, SOUND)
    mvn = folder.parent / "source.mvn"
    vector = " ".join(["0.5"] * 400)
    parts = "".join(f"<{name}> 400 400\n<LearnRateCoef> 0 [ {vector} ]\n" for name in ("AddShift", "Rescale"))
    mvn.write_text(f"<Nnet>\n<Splice> 400 400\n[ 0 ]\n{parts}</Nnet>\n")
    write_published_folder(folder, PublishedModel(settings=settings, weights=weights, cmvn_path=mvn, record={}))
    return folder


def test_what_is_exported_is_opened(tmp_path):
    config = VadModelConfig(encoder=SMALL, silence_ids=(1, 2))
    model = build_vad_training(config)
    detector = read_detector(exported(model, config, tmp_path / "vad"))
    assert detector.model.silence_ids == [1, 2]
    frames = torch.randn(1, 20, 400)
    assert torch.equal(detector.model.encoder(frames)[0], model.encoder(frames)[0])


def test_training_goes_on_from_a_published_directory(tmp_path):
    first = VadModelConfig(encoder=SMALL, silence_ids=(3,))
    model = build_vad_training(first)
    folder = exported(model, first, tmp_path / "first")
    text = (folder / "config.yaml").read_text().replace("model_conf:", "model_conf:\n  max_end_silence_time: 300")
    (folder / "config.yaml").write_text(text)
    again = VadModelConfig(path=str(folder))
    continued = build_vad_training(again)
    assert isinstance(continued, VadTraining) and continued.is_silence.tolist() == [False, False, False, True]
    assert torch.equal(continued.encoder.in_linear1.linear.weight, model.encoder.in_linear1.linear.weight)
    assert all(parameter.requires_grad for parameter in continued.parameters())
    detector = read_detector(exported(continued, again, tmp_path / "second"))
    assert detector.options.max_end_silence_time == 300 and detector.model.silence_ids == [3]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"silence_ids": (0, 1), "encoder": TWO_CLASSES}, "none is speech"),
        ({"silence_ids": (4,), "encoder": SMALL}, "sil_pdf_ids"),
        ({"path": "vad", "encoder": SMALL}, "remove them"),
        ({"path": "vad", "silence_ids": (0,)}, "remove them"),
    ],
)
def test_settings_that_contradict_each_other(settings, message):
    with pytest.raises(ConfigError, match=message):
        VadModelConfig(**settings)


def test_a_directory_of_another_model_is_refused(tmp_path):
    with pytest.raises(PathError):
        build_vad_training(VadModelConfig(path=str(tmp_path / "none")))
    (tmp_path / "config.yaml").write_text("model: CAMPPlus\n")
    with pytest.raises(ConfigError, match="FsmnVADStreaming"):
        build_vad_training(VadModelConfig(path=str(tmp_path)))
