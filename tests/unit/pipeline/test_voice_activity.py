"""A network whose posterior of silence falls with the loudness of a frame, in a folder of the published layout."""

import copy
import itertools
import re
from pathlib import Path

import pytest
import soundfile
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from mooer.common.errors import AudioError, ConfigError, PathError, WeightsError
from mooer.features.cmvn import Cmvn, write_cmvn
from mooer.features.frontend import Frontend, FrontendConfig
from mooer.models.vad import FsmnConfig, FsmnVad
from mooer.pipeline.speech_segments import SpeechOptions
from mooer.pipeline.vad_dir import read_detector
from mooer.pipeline.voice_activity import VoiceActivityDetector, find_speech

DOCS = Path(__file__).resolve().parents[3] / "docs"
SIZES = {
    "input_dim": 400,
    "input_affine_dim": 4,
    "fsmn_layers": 1,
    "linear_dim": 4,
    "proj_dim": 2,
    "lorder": 3,
    "rorder": 0,
    "lstride": 1,
    "rstride": 0,
    "output_affine_dim": 4,
    "output_dim": 2,
}
CONFIG = {
    "model": "FsmnVADStreaming",
    "model_conf": {"sample_rate": 16000, "max_end_silence_time": 800, "sil_pdf_ids": [0], "silence_pdf_num": 1, "snr_mode": 0},
    "encoder": "FSMN",
    "encoder_conf": SIZES,
    "frontend": "WavFrontendOnline",
    "frontend_conf": {"fs": 16000, "window": "hamming", "n_mels": 80, "lfr_m": 5, "lfr_n": 1, "dither": 0.0},
    "train_conf": {"max_epoch": 1},
}


def loudness_model():
    """Logit of silence 8 minus the mean log mel energy (where that is above 0), which passes through one unit of each layer."""
    with torch.device("meta"):
        model = FsmnVad(FsmnConfig(**SIZES))
    state = {name: torch.zeros(tensor.shape) for name, tensor in model.state_dict().items()}
    for name in ("in_linear2.linear", "fsmn.0.linear.linear", "fsmn.0.affine.linear", "out_linear1.linear"):
        state[f"encoder.{name}.weight"][0, 0] = 1
    state["encoder.in_linear1.linear.weight"][0] = 1 / 400
    state["encoder.out_linear2.linear.weight"][0, 0] = -1
    state["encoder.out_linear2.linear.bias"][0] = 8
    model.load_state_dict(state, assign=True)
    return model.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def detector():
    return VoiceActivityDetector(Frontend(FrontendConfig(lfr_m=5, lfr_n=1)), loudness_model())


def bursts(*seconds, seed=0):
    """Silence and noise in turn, so many seconds of each, with a whisper of noise everywhere."""
    generator = torch.Generator().manual_seed(seed)
    parts = [torch.full((int(length * 16000),), 0.1 * (index % 2)) for index, length in enumerate(seconds)]
    volume = torch.cat(parts) + 1e-6
    return volume * torch.randn(len(volume), generator=generator)


def write_folder(folder, **changes):
    config = copy.deepcopy(CONFIG)
    for name, change in changes.items():
        config[name] = {**config[name], **change} if isinstance(change, dict) else change
    folder.mkdir()
    (folder / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    torch.save(loudness_model().state_dict(), folder / "model.pt")
    write_cmvn(folder / "am.mvn", Cmvn(torch.zeros(400), torch.ones(400)))
    return folder


def test_bursts_of_noise(detector):
    found = find_speech(detector, bursts(1.0, 1.5, 2.0, 0.8, 1.2))
    assert len(found) == 2
    for (start, end), (first, last) in zip(found, ((1000, 2500), (4500, 5300)), strict=True):
        assert first - 300 <= start <= first - 200
        assert last + 100 <= end <= last + 200


@pytest.mark.parametrize("samples", [0, 1, 160, 399])
def test_less_than_a_frame(detector, samples):
    assert find_speech(detector, torch.full((samples,), 0.1)) == []
    assert find_speech(detector, []) == []


def test_one_frame(detector):
    assert find_speech(detector, bursts(0, 0.025)) == []


def test_short_speech(detector):
    assert find_speech(detector, bursts(0, 0.145)) == []  # 13 frames
    assert find_speech(detector, bursts(0, 0.2)) == [(0, 180)]


def test_silence(detector):
    assert find_speech(detector, torch.zeros(16000 * 70)) == []
    assert find_speech(detector, torch.zeros(16000) + 0.3) == []  # an offset without sound


def test_a_tone(detector):
    samples = torch.zeros(48000)
    samples[16000:32000] = torch.sin(torch.arange(16000) * 0.4)
    (segment,) = find_speech(detector, samples)
    assert 600 <= segment.start_ms <= 1000
    assert 2000 <= segment.end_ms <= 2300


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("length", [160, 16000])
def test_not_finite(detector, value, length):
    samples = torch.zeros(length)
    samples[100] = value
    with pytest.raises(AudioError, match="not finite") as error:
        find_speech(detector, samples)
    assert error.value.reason == "not_finite"


def test_what_is_no_waveform(detector):
    for samples in (torch.zeros(2, 800), torch.zeros(800, dtype=torch.int16)):
        with pytest.raises(AudioError, match="must be float32 samples") as error:
            find_speech(detector, samples)
        assert error.value.reason == "unsupported"


@settings(max_examples=20, deadline=None)
@given(
    cuts=st.lists(st.integers(0, 16000 * 14), max_size=30),
    seed=st.integers(0, 99),
    mode=st.sampled_from(["fixed", "dynamic"]),
    limit=st.sampled_from([1000, 60000]),
)
def test_a_stream_in_any_pieces_is_the_whole(detector, cuts, seed, mode, limit):
    audio = bursts(0.7, 1.1, 0.9, 0.4, 1.6, 3.0, 0.5, 0.6, 2.4, 0.3, 1.0, seed=seed)
    options = SpeechOptions(silence_mode=mode, dynamic_interval_ms=1000, max_single_segment_time=limit)
    bounds = [0, *sorted(min(cut, len(audio)) for cut in cuts), len(audio)]
    pieces = [audio[start:end] for start, end in itertools.pairwise(bounds)]
    whole = find_speech(detector, audio, options)
    assert whole
    assert find_speech(detector, iter(pieces), options) == whole


def test_options_of_a_call_are_not_kept(detector):
    audio = bursts(0.5, 4.0, 1.0)
    before = find_speech(detector, audio)
    limited = find_speech(detector, audio, SpeechOptions(max_single_segment_time=1000))
    assert len(before) == 1
    assert len(limited) == 5
    assert find_speech(detector, audio) == before


def test_a_stream_tells_what_has_begun(detector):
    stream = detector.stream()
    assert stream.accept(bursts(1.0, 1.0)) == []
    assert 700 <= stream.open_start_ms <= 800
    (segment,) = stream.accept(bursts(1.0))
    assert segment.start_ms in range(700, 801)
    assert stream.open_start_ms is None
    assert stream.finish() == []
    with pytest.raises(ValueError, match="finished"):
        stream.accept(torch.zeros(160))


def test_two_streams_do_not_meet(detector):
    audio, other = bursts(0.5, 1.0, 1.5), bursts(0, 3.0)
    first, second = detector.stream(), detector.stream()
    found = [], []
    for start in range(0, 48000, 8000):
        found[0].extend(first.accept(audio[start : start + 8000]))
        found[1].extend(second.accept(other[start : start + 8000]))
    assert found[0] + first.finish() == find_speech(detector, audio)
    assert found[1] + second.finish() == find_speech(detector, other)


def test_a_front_end_that_does_not_fit():
    with pytest.raises(ConfigError, match="560 values, the network reads 400"):
        VoiceActivityDetector(Frontend(FrontendConfig(lfr_n=1)), loudness_model())


def test_a_published_folder(tmp_path, detector):
    folder = write_folder(tmp_path / "vad", model_conf={"max_end_silence_time": 300, "nn_eval_block_size": 8})
    read = read_detector(folder)
    assert read.options == SpeechOptions(max_end_silence_time=300)
    audio = bursts(1.0, 1.5, 0.4, 0.8, 1.2)
    assert len(find_speech(read, audio)) == 2
    assert len(find_speech(detector, audio)) == 1
    assert find_speech(read, audio, SpeechOptions()) == find_speech(detector, audio)


FAULTS = {
    "model 'Paraformer'; here it must be 'FsmnVADStreaming'": {"model": "Paraformer"},
    "encoder 'SANMEncoder'; here it must be 'FSMN'": {"encoder": "SANMEncoder"},
    "frontend None; here it must be 'WavFrontendOnline'": {"frontend": None},
    "encoder_conf: unknown key 'depth'": {"encoder_conf": {"depth": 3}},
    "encoder_conf: rorder is 2": {"encoder_conf": {"rorder": 2}},
    "model_conf: unknown key 'max_end_silence' (did you mean 'max_end_silence_time'?)": {
        "model_conf": {"max_end_silence": 500}
    },
    "frame_in_ms is 20": {"model_conf": {"frame_in_ms": 20}},
    "silence_pdf_num is 2": {"model_conf": {"silence_pdf_num": 2}},
    "max_end_silence_time must be int": {"model_conf": {"max_end_silence_time": "long"}},
    "max_end_silence_time must be at least 0": {"model_conf": {"max_end_silence_time": -1}},
    "sil_pdf_ids is [2]": {"model_conf": {"sil_pdf_ids": [2]}},
    "sil_pdf_ids[0] must be int": {"model_conf": {"sil_pdf_ids": ["0"]}},
    "window is 'povey'": {"frontend_conf": {"window": "povey"}},
    "frontend_conf: unknown key 'upsample'": {"frontend_conf": {"upsample": True}},
    "encoder_conf must be a section of keys": {"encoder_conf": None},
    "the CMVN has 400 values": {"frontend_conf": {"lfr_m": 4}},
}


@pytest.mark.parametrize("message", FAULTS)
def test_a_config_of_something_else(tmp_path, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        read_detector(write_folder(tmp_path / "vad", **FAULTS[message]))


def test_a_config_without_sense(tmp_path):
    folder = write_folder(tmp_path / "vad")
    for text, message in (("- a\n", "must hold a mapping"), ("a: [", "not valid YAML")):
        (folder / "config.yaml").write_text(text, encoding="utf-8")
        with pytest.raises(ConfigError, match=message):
            read_detector(folder)


def test_sizes_that_differ_from_the_weights(tmp_path):
    with pytest.raises(WeightsError, match=r"conv_left.weight is \[2, 1, 3, 1\], must be \[2, 1, 20, 1\]"):
        read_detector(write_folder(tmp_path / "vad", encoder_conf={"lorder": 20}))


@pytest.mark.parametrize("name", ["config.yaml", "model.pt", "am.mvn"])
def test_a_file_that_is_missing(tmp_path, name):
    folder = write_folder(tmp_path / "vad")
    (folder / name).unlink()
    with pytest.raises(PathError, match=re.escape(name)):
        read_detector(folder)
    with pytest.raises(PathError, match="model folder"):
        read_detector(tmp_path / "other")


def test_the_examples_of_the_documentation_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_folder(tmp_path / "fsmn_vad")
    soundfile.write("meeting.wav", bursts(1.0, 1.5, 2.0, 0.8, 1.2).numpy(), 16000)
    examples = re.findall(r"```python\n(.*?)```", (DOCS / "vad.md").read_text(encoding="utf-8"), re.DOTALL)
    names = {}
    printed = []
    for example in examples:
        exec(compile(example, "docs/vad.md", "exec"), names)
        printed.append(capsys.readouterr().out.splitlines())
    detector = read_detector("fsmn_vad")
    wanted = [f"{start} {end}" for start, end in find_speech(detector, names["waveform"])]
    assert len(wanted) == 2
    assert printed[0] == wanted
    assert printed[1:] == [wanted, [f"from {line.split()[0]}" for line in wanted]]
