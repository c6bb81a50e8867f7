"""FSMN-VAD against the reference's posteriors and segments."""

import json
import zlib

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from mooer.audio.io import load_audio
from mooer.features.frame_stream import FrameStream, frame_decibels
from mooer.models.vad import FsmnConfig, FsmnVad
from mooer.models.vad_training import VadModelConfig, build_vad_training
from mooer.models.weights import load_state
from mooer.pipeline.speech_segments import SpeechOptions, SpeechSegmenter, merge_segments
from mooer.pipeline.vad_dir import read_detector
from mooer.pipeline.voice_activity import find_speech

DYNAMIC = SpeechOptions(silence_mode="dynamic")
# The reference begins a new window after such a cut, so that it tells the next start later (and loses a short rest of speech).
CUT_IN_VOICE = ("max_seg_2s", "max_seg_2s_with_pauses")


@pytest.fixture(scope="module")
def folder(golden_paraformer):
    return golden_paraformer


@pytest.fixture(scope="module")
def manifest(folder):
    return json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["files"]


@pytest.fixture(scope="module")
def detector(folder):
    return read_detector(folder / "e2e" / "vad")


@pytest.fixture(scope="module")
def known(folder):
    return load_file(folder / "vad_e2e.safetensors")


@pytest.fixture(scope="module")
def cases(folder):
    return json.loads((folder / "vad_state_machine.json").read_text(encoding="utf-8"))["cases"]


@pytest.fixture(scope="module")
def expected(folder):
    return json.loads((folder / "e2e" / "expected.json").read_text(encoding="utf-8"))


def waveform(known, name):
    return known[name].float() / 32768


def plain(segments):
    return [list(segment) for segment in segments]


def told(pieces, accept, finish, open_start):
    """What the reference tells of a stream: [piece, [[start, -1], [-1, end], [start, end] ...]] where there is anything."""
    events, is_told = [], False
    for index, piece in enumerate(pieces):
        found, is_last = accept(piece), index == len(pieces) - 1
        if is_last:
            found += finish()
        new = []
        for segment in found:
            new.append([-1 if is_told else segment.start_ms, segment.end_ms])
            is_told = False
        if open_start() is not None and not is_told and not is_last:
            new.append([open_start(), -1])
            is_told = True
        if new:
            events.append([index, new])
    return events


def weights_by_recipe(shapes, seed):
    """The set's rule for weights that are not stored."""
    state = {}
    for name, shape in shapes.items():
        draws = np.random.RandomState((zlib.crc32(name.encode()) ^ seed) & 0xFFFFFFFF).standard_normal(shape)
        values = draws.astype(np.float32)
        if len(shape) <= 1:
            values = (1 if name.endswith(".weight") else 0) + 0.05 * values
        else:
            values = values / np.sqrt(np.prod(shape[1:]))
        state[name] = torch.from_numpy(values.astype(np.float32))
    return state


def test_full_size_names_and_shapes(folder):
    wanted = json.loads((folder / "full_size_keys.json").read_text(encoding="utf-8"))["fsmn_vad"]
    config = FsmnConfig(**wanted["config"])
    assert config == FsmnConfig()
    with torch.device("meta"):
        state = FsmnVad(config).state_dict()
    assert {name: [list(tensor.shape), "float32"] for name, tensor in state.items()} == wanted["state_dict"]
    assert sum(tensor.numel() for tensor in state.values()) == wanted["n_params"] == 428_738


def test_full_size_posteriors_and_memories(folder, manifest):
    facts = manifest["vad_encoder_full_formula.safetensors"]
    tensors = load_file(folder / "vad_encoder_full_formula.safetensors")
    model = FsmnVad(FsmnConfig(**facts["config"])).eval().requires_grad_(False)
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    load_state(model, weights_by_recipe(shapes, facts["seed"]), "recipe")
    whole, memories = model.encoder(tensors["feats"])
    torch.testing.assert_close(whole, tensors["scores_offline"], atol=1e-5, rtol=0)
    torch.testing.assert_close(whole, tensors["scores_chunked"], atol=1e-5, rtol=0)
    for index, memory in enumerate(memories):
        torch.testing.assert_close(
            memory.transpose(1, 2)[..., None], tensors[f"final_cache.cache_layer_{index}"], atol=1e-5, rtol=1e-5
        )
    pieces, memories = [], None
    for piece in tensors["feats"].split(20, dim=1):
        posteriors, memories = model.encoder(piece, memories)
        pieces.append(posteriors)
    assert torch.equal(torch.cat(pieces, dim=1), whole)


def inputs_of(case):
    silence = np.concatenate([np.full(count, value) for value, count in case["p_sil"]])
    samples = torch.zeros((len(silence) - 1) * 160 + 400)
    if "amplitude" in case:
        samples[: len(silence) * 160] = torch.tensor(case["amplitude"]).repeat_interleave(160)
    return silence, frame_decibels(samples, len(silence))


def test_state_machine_offline(cases):
    modes = {
        "offline": {},
        "chunk20_offline": {},
        "offline_end800": {"max_end_silence_time": 800},
        "offline_thr05_end2000": {"max_end_silence_time": 2000, "speech_noise_thres": 0.5},
    }
    compared = 0
    for case in cases:
        silence, decibels = inputs_of(case)
        for mode in modes.keys() & case.keys():
            segmenter = SpeechSegmenter(SpeechOptions(**case["options"] | modes[mode]))
            length = 20 if mode.startswith("chunk") else len(silence)
            found = []
            for start in range(0, len(silence), length):
                found += segmenter.accept(silence[start : start + length], decibels[start : start + length])
            assert plain(found + segmenter.finish()) == case[mode], (case["name"], mode)
            compared += 1
    assert compared == 25 * 2 + 23 * 2 + 3


@pytest.mark.parametrize("length", [20, 6])
def test_state_machine_in_a_stream(cases, length):
    compared = 0
    for case in cases:
        if f"chunk{length}_streaming" not in case:
            continue
        silence, decibels = inputs_of(case)
        segmenter = SpeechSegmenter(SpeechOptions(**case["options"]))
        pieces = [slice(start, start + length) for start in range(0, len(silence), length)]
        events = told(
            pieces,
            lambda piece, s=silence, d=decibels, m=segmenter: m.accept(s[piece], d[piece]),
            segmenter.finish,
            lambda m=segmenter: m.open_start_ms,
        )
        assert [event for _, new in events for event in new] == case[f"chunk{length}_streaming"], case["name"]
        wanted = case[f"chunk{length}_streaming_events"]
        if case["name"] in CUT_IN_VOICE:
            assert events != wanted
            assert [[i, e] for i, new in events for e in new if e[0] == -1] == [
                [i, e] for i, new in wanted for e in new if e[0] == -1
            ]
        else:
            assert events == wanted, case["name"]
        compared += 1
    assert compared == 25


@pytest.mark.parametrize("index", range(4))
def test_from_waveform_to_segments(detector, known, manifest, index):
    samples, wanted = waveform(known, f"wav{index}_int16"), manifest["vad_e2e.safetensors"]["results"][index]
    stream = FrameStream(detector.frontend)
    frames = torch.cat((stream.accept(samples)[0], stream.finish()[0]))
    silence, _ = detector.model(frames[None])
    torch.testing.assert_close(silence[0], known[f"wav{index}.p_sil"], atol=1e-4, rtol=0)
    assert plain(find_speech(detector, samples)) == wanted["no_dynamic"] == wanted["end800"]
    assert plain(find_speech(detector, samples, SpeechOptions(speech_noise_thres=0.5))) == wanted["end800_thr05"]
    assert plain(find_speech(detector, samples, DYNAMIC)) == wanted["default"]


@pytest.mark.parametrize("index", range(4))
@pytest.mark.parametrize("milliseconds", [200, 600])
def test_stream_of_samples(detector, known, manifest, index, milliseconds):
    stream = detector.stream(SpeechOptions(silence_mode="dynamic", dynamic_interval_ms=milliseconds))
    pieces = waveform(known, f"wav{index}_int16").split(milliseconds * 16)
    events = told(pieces, stream.accept, stream.finish, lambda: stream.open_start_ms)
    assert events == manifest["vad_e2e.safetensors"]["results"][index][f"stream{milliseconds}"]


def test_long_recordings(detector, known, folder):
    modes = {
        "default": DYNAMIC,
        "chunk30s": SpeechOptions(silence_mode="dynamic", dynamic_interval_ms=30000),
        "end800": SpeechOptions(),
        "no_dynamic": SpeechOptions(),
    }
    for case in json.loads((folder / "vad_long.json").read_text(encoding="utf-8")):
        samples = waveform(known, case["wav"]).repeat(case["tile"])[: case["truncate_to"]]
        for mode, options in modes.items():
            assert plain(find_speech(detector, samples, options)) == case[mode], (case["wav"], mode)


def test_model_directory(detector, folder, expected):
    audio = load_audio(folder / "e2e" / "audio.wav")
    assert plain(find_speech(detector, audio)) == expected["vad_alone_end800"][0]["value"]
    assert plain(find_speech(detector, audio, DYNAMIC)) == expected["vad_alone_default"][0]["value"]
    assert find_speech(detector, load_audio(folder / "e2e" / "silence.wav")) == []


def test_speech_that_goes_on_briefly_after_a_cut_is_kept(detector, folder, expected):
    """The reference loses the 120 ms; all else is equal."""
    options = SpeechOptions(silence_mode="dynamic", max_single_segment_time=3000)
    found = plain(find_speech(detector, load_audio(folder / "e2e" / "audio.wav"), options))
    assert [segment for segment in found if segment != [18540, 18660]] == expected["vad_alone_ctor_max3s"][0]["value"]
    assert [18540, 18660] in found
    assert [15530, 18540] in found


def test_a_longest_segment_holds_when_asked_for_at_call_time(detector, folder, expected):
    """The reference ignores it there: its segments of 5 s at most are those without a limit."""
    assert expected["vad_alone_max5s"] == expected["vad_alone_default"]
    options = SpeechOptions(max_single_segment_time=5000)
    found = plain(find_speech(detector, load_audio(folder / "e2e" / "audio.wav"), options))
    assert max(end - start for start, end in found) == 5010
    assert found[:4] == [[330, 3860], [5730, 10740], [10740, 13560], [15530, 18660]]


def test_merged_segments_begin_with_speech(detector, folder):
    """The reference's first one begins at 0 ms, half a second before the speech."""
    found = find_speech(detector, load_audio(folder / "e2e" / "audio.wav"))
    merged = merge_segments(found, 15000)
    assert plain(merged) == [[330, 13560], [15530, 30050]]


def test_training_goes_on_from_the_reference(folder, detector, known):
    """The first loss on a published directory is that of the reference's posteriors."""
    model = build_vad_training(VadModelConfig(path=str(folder / "e2e" / "vad")))
    frames, silence = detector.frontend(waveform(known, "wav0_int16")), known["wav0.p_sil"].double()
    is_speech = torch.arange(len(frames)) % 3 == 0
    output = model(frames[None], torch.tensor([len(frames)]), is_speech[None])
    wanted = -torch.where(is_speech, 1.0 - silence, silence).log().sum()
    assert output.loss_sum.item() == pytest.approx(wanted.item(), rel=1e-4)
    assert output.num_correct.item() == int(((silence < 0.5) == is_speech).sum())
