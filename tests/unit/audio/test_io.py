import os
import threading

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mooer.audio.io import AudioLimits, RawPcm, load_audio
from mooer.common.errors import AudioError, ConfigError


def reason_of(source, **options):
    with pytest.raises(AudioError) as caught:
        load_audio(source, **options)
    assert str(caught.value)
    return caught.value.reason


def test_sixteen_bit_wav_is_divided_by_32768(make_wav, tmp_path):
    values = np.array([0, 1, -1, 32767, -32768, 12345], dtype="<i2")
    data = make_wav(values.tobytes())
    path = tmp_path / "a b.wav"
    path.write_bytes(data)
    expected = torch.from_numpy(values.astype(np.float32)) / 32768
    for source in (data, bytearray(data), memoryview(data), path, str(path)):
        waveform = load_audio(source)
        assert waveform.dtype == torch.float32
        assert torch.equal(waveform, expected)


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW", "MS_ADPCM"])
@pytest.mark.parametrize("channels", [1, 2])
def test_every_kind_of_wav_sample(encode, tone, subtype, channels):
    samples = tone(0.3, 16000, channels)
    waveform = load_audio(encode(samples, 16000, "WAV", subtype))
    tolerance = {"PCM_U8": 0.01, "ULAW": 0.02, "ALAW": 0.02, "MS_ADPCM": 0.05}.get(subtype, 1e-4)
    assert np.abs(waveform.numpy()[: len(samples)] - samples.mean(1)).max() < tolerance


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "PCM_U8"])
def test_samples_read_by_hand_are_those_of_libsndfile(encode, subtype):
    samples = np.random.default_rng(1).uniform(-1, 1, (1000, 3)).astype(np.float32)
    data = encode(samples, 16000, "WAVEX", subtype)
    import io

    expected = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)[0]
    assert torch.equal(load_audio(data), torch.from_numpy(expected.T.copy()).mean(0))


@pytest.mark.parametrize(
    ("file_format", "subtype", "tolerance"),
    [
        ("WAV", "PCM_16", 2e-3),
        ("FLAC", "PCM_16", 2e-3),
        ("FLAC", "PCM_24", 2e-3),
        ("OGG", "VORBIS", 0.05),
        ("MP3", "MPEG_LAYER_III", 0.05),
        ("AIFF", "PCM_16", 2e-3),
        ("AU", "PCM_16", 2e-3),
        ("CAF", "PCM_16", 2e-3),
        ("W64", "PCM_16", 2e-3),
        ("RF64", "PCM_16", 2e-3),
    ],
)
def test_stereo_at_44100_becomes_mono_at_16000(encode, tone, tmp_path, file_format, subtype, tolerance):
    data = encode(tone(1.0, 44100, 2), 44100, file_format, subtype)
    path = tmp_path / "recording"
    path.write_bytes(data)
    waveform = load_audio(path)
    assert torch.equal(waveform, load_audio(data))
    assert len(waveform) == 16000
    expected = tone(1.0, 16000, 2).mean(1)
    assert np.abs(waveform.numpy() - expected)[800:-800].max() < tolerance


def test_opus(encode, tone):
    waveform = load_audio(encode(tone(1.0, 48000, 1), 48000, "OGG", "OPUS")).numpy()
    assert len(waveform) == 16000
    assert np.corrcoef(waveform[1600:-1600], tone(1.0, 16000)[1600:-1600, 0])[0, 1] > 0.99


def test_eight_channels_are_averaged(make_wav):
    values = np.arange(-400, 400, dtype="<i2").reshape(100, 8)
    waveform = load_audio(make_wav(values.tobytes(), channels=8))
    torch.testing.assert_close(waveform, torch.from_numpy(values.astype(np.float32)).mean(1) / 32768)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ">f4", "<f8"])
@pytest.mark.parametrize("as_tensor", [False, True])
def test_float_arrays_are_taken_as_they_are(dtype, as_tensor):
    array = np.array([0.0, 0.5, -0.25], dtype=dtype)
    if as_tensor:
        if array.dtype.byteorder == ">":
            pytest.skip("torch has no big-endian tensors")
        array = torch.from_numpy(array)
    assert load_audio(array, sample_rate=16000).tolist() == [0.0, 0.5, -0.25]


@pytest.mark.parametrize(("dtype", "full"), [("int8", 2**7), ("int16", 2**15), ("int32", 2**31), (">i2", 2**15)])
def test_integer_arrays_are_scaled_by_their_full_scale(dtype, full):
    array = np.array([0, full // 2, -full // 4, -full], dtype=dtype)
    assert load_audio(array, sample_rate=16000).tolist() == [0.0, 0.5, -0.25, -1.0]


def test_unsigned_bytes_and_bfloat16():
    assert load_audio(np.array([128, 192, 0], dtype=np.uint8), sample_rate=16000).tolist() == [0.0, 0.5, -1.0]
    assert load_audio(torch.tensor([0.5, -1.0]).bfloat16().requires_grad_(), sample_rate=16000).tolist() == [0.5, -1.0]


@pytest.mark.parametrize("dtype", ["int64", "uint16", "bool", "complex64"])
def test_arrays_without_a_known_full_scale_are_refused(dtype):
    assert reason_of(np.ones(500, dtype=dtype), sample_rate=16000) == "unsupported"


def test_the_shorter_axis_is_the_channels():
    array = np.array([[0.1, 0.2, 0.3], [0.3, 0.4, 0.5]], dtype=np.float32)
    for layout in (array, array.T, torch.from_numpy(array)):
        torch.testing.assert_close(load_audio(layout, sample_rate=16000), torch.tensor([0.2, 0.3, 0.4]))
    assert reason_of(np.zeros((3, 3)), sample_rate=16000) == "unsupported"
    assert reason_of(np.zeros((1, 2, 3)), sample_rate=16000) == "unsupported"
    assert reason_of(np.zeros(100)) == "unsupported"


@pytest.mark.parametrize("source", [None, 3, ["a.wav"], {"path": "a.wav"}])
def test_other_types_are_refused(source):
    assert reason_of(source) == "unsupported"


@pytest.mark.parametrize(
    ("encoding", "data"),
    [
        ("u8", bytes([128, 192, 0])),
        ("s8", np.array([0, 64, -128], np.int8).tobytes()),
        ("s16le", np.array([0, 2**14, -(2**15)], "<i2").tobytes()),
        ("s16be", np.array([0, 2**14, -(2**15)], ">i2").tobytes()),
        ("s24le", b"\x00\x00\x00\x00\x00\x40\x00\x00\x80"),
        ("s32le", np.array([0, 2**30, -(2**31)], "<i4").tobytes()),
        ("f32le", np.array([0, 0.5, -1], "<f4").tobytes()),
        ("f32be", np.array([0, 0.5, -1], ">f4").tobytes()),
        ("f64le", np.array([0, 0.5, -1], "<f8").tobytes()),
    ],
)
def test_raw_samples(encoding, data):
    assert load_audio(RawPcm(data=data, encoding=encoding)).tolist() == [0.0, 0.5, -1.0]


def test_raw_samples_of_two_channels_at_8000_hertz():
    data = np.zeros((800, 2), "<i2").tobytes()
    assert len(load_audio(RawPcm(data=data, sample_rate=8000, channels=2))) == 1600
    assert reason_of(RawPcm(data=data[:-1], channels=2)) == "truncated"
    assert reason_of(RawPcm(data=data, encoding="mp3")) == "unsupported"
    assert reason_of(RawPcm(data=data, sample_rate=0)) == "unsupported"
    assert reason_of(RawPcm(data=b"")) == "empty"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite(encode, value):
    samples = np.zeros(1000, dtype=np.float32)
    samples[500] = value
    assert reason_of(samples, sample_rate=16000) == "not_finite"
    assert reason_of(encode(samples, 16000, "WAV", "FLOAT")) == "not_finite"
    assert reason_of(RawPcm(data=samples.tobytes(), encoding="f32le")) == "not_finite"


def test_integers_stored_as_floats_are_refused():
    assert reason_of(np.full(1000, 3000.0), sample_rate=16000) == "unsupported"
    assert load_audio(np.full(1000, 1.5), sample_rate=16000).max() == 1.5


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("http://localhost/a.wav", "unsupported"),
        ("https://localhost/a.wav", "unsupported"),
        ("file:///etc/passwd", "unsupported"),
        ("cat a.wav |", "unsupported"),
        ("touch ran | ", "unsupported"),
        ("|touch ran", "unsupported"),
        ("", "missing"),
        ("a\0b", "missing"),
        ("no/such/file.wav", "missing"),
        ("present/child.wav", "missing"),
        ("folder", "unreadable"),
        ("empty", "empty"),
        ("/dev/zero", "unreadable"),
    ],
)
def test_names_that_are_no_recording(tmp_path, monkeypatch, name, reason):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "present").write_bytes(b"x")
    assert reason_of(name) == reason
    assert not (tmp_path / "ran").exists()


def test_a_fifo_neither_blocks_nor_counts_as_a_file(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    result = []
    thread = threading.Thread(target=lambda: result.append(reason_of(tmp_path / "fifo")), daemon=True)
    thread.start()
    thread.join(20)
    assert result == ["unreadable"]


def test_a_part_is_the_part_of_the_whole(encode, tone, tmp_path):
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, 32000).astype(np.float32)
    for file_format in ("WAV", "FLAC"):
        path = tmp_path / f"a.{file_format}"
        path.write_bytes(encode(samples, 16000, file_format, "PCM_16"))
        whole = load_audio(path)
        assert torch.equal(load_audio(path, start=0.5, end=1.25), whole[8000:20000])
        assert torch.equal(load_audio(path.read_bytes(), start=1.0), whole[16000:])
        assert torch.equal(load_audio(path, end=0.01), whole[:160])
        assert torch.equal(load_audio(path, start=1.9, end=2.3), whole[30400:])
        assert reason_of(path, start=2.0) == "empty"
        assert reason_of(path, start=1.0, end=1.0) == "empty"
        assert reason_of(path, start=1.0, end=2.6) == "truncated"
        assert reason_of(path, start=-1.0) == "unsupported"
        assert reason_of(path, end=float("nan")) == "unsupported"
    assert torch.equal(load_audio(whole, sample_rate=16000, start=0.5, end=1.0), whole[8000:16000])


def test_limits_hold_for_every_source(encode, tone):
    samples = tone(2.0, 16000, 2)
    short = AudioLimits(max_seconds=1.0)
    small = AudioLimits(max_bytes=1000)
    for limits in (short, small):
        for file_format in ("WAV", "FLAC", "OGG", "MP3"):
            data = encode(samples, 16000, file_format)
            assert reason_of(data, limits=limits) == "too_long"
            assert len(load_audio(data, end=0.005, limits=limits)) == 80
        assert reason_of(samples, sample_rate=16000, limits=limits) == "too_long"
        assert reason_of(RawPcm(data=bytes(100000)), limits=limits) == "too_long"
    with pytest.raises(ConfigError):
        AudioLimits(max_seconds=0.0)


def test_a_rate_that_contradicts_the_file_is_refused(make_wav):
    data = make_wav(bytes(3200), rate=8000)
    assert len(load_audio(data, sample_rate=8000)) == 3200
    assert reason_of(data, sample_rate=16000) == "unsupported"


def test_threads_are_left_alone(make_wav):
    before = torch.get_num_threads()
    load_audio(make_wav(bytes(3200), rate=8000))
    assert torch.get_num_threads() == before


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=400))
def test_any_bytes_give_samples_or_a_named_error(data):
    try:
        waveform = load_audio(data, limits=AudioLimits(max_seconds=10, decoder_seconds=10))
    except AudioError as error:
        assert error.reason in {"unreadable", "truncated", "empty", "unsupported", "too_long", "not_finite"}
    else:
        assert len(waveform) > 0
        assert torch.isfinite(waveform).all()


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(["WAV", "FLAC", "OGG", "MP3", "AIFF"]), st.data())
def test_damaged_files_give_samples_or_a_named_error(file_format, data):
    content = bytearray(_encoded(file_format))
    for _ in range(data.draw(st.integers(0, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        waveform = load_audio(content, limits=AudioLimits(max_seconds=10))
    except AudioError:
        return
    assert 0 < len(waveform) <= 160000
    assert torch.isfinite(waveform).all()


def _encoded(file_format):
    import io

    stream = io.BytesIO()
    soundfile.write(stream, np.sin(np.arange(8000) / 10), 16000, format=file_format)
    return stream.getvalue()


@pytest.mark.parametrize("name", ["jfk.flac", "mooer-demo.wav", "librispeech-1995-1837-0001.wav"])
def test_real_recordings(shared_data, name):
    waveform = load_audio(shared_data / "utterances" / name)
    samples, rate = soundfile.read(shared_data / "utterances" / name)
    assert len(waveform) == -(-len(samples) * 16000 // rate)
    assert 0.01 < waveform.abs().max() <= 1.0
    part = load_audio(shared_data / "utterances" / name, start=1.0, end=2.0)
    torch.testing.assert_close(part[100:-100], waveform[16100:31900], atol=1e-3, rtol=0)


def test_real_mp3s(shared_data):
    for path in sorted((shared_data / "cmn_hsk" / "mp3").glob("*.mp3"))[::2000]:
        waveform = load_audio(path)
        assert torch.equal(waveform, load_audio(path.read_bytes()))
        assert 0.2 < len(waveform) / 16000 < 10
