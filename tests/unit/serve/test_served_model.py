"""Models of several kinds behind one interface, and what may be asked of each."""

import json

import pytest
import torch

from mooer.common.errors import ConfigError
from mooer.decode.hypothesis import Failure
from mooer.decode.recognizer import DecodeConfig, Recognizer

pytest.importorskip("fastapi")

from mooer.serve import formats
from mooer.serve.api_error import ApiError
from mooer.serve.config import ServedModelConfig, ServiceConfig
from mooer.serve.schema import language_name, parse_request
from mooer.serve.served_model import ServedModel, SpeechJob
from mooer.serve.speech_service import SpeechService


@pytest.fixture(scope="module")
def mini():
    """The packaged model."""
    return ServedModel(ServedModelConfig(device="cpu", beam_size=1), batch_size=4)


@pytest.fixture(scope="module")
def paraformer(paraformer_folder):
    """A small Paraformer that tells when words are said."""
    folder = str(paraformer_folder("BiCifParaformer"))
    return ServedModel(ServedModelConfig(model_dir=folder, names=("whisper-1",), languages=("zh",), device="cpu"), batch_size=4)


@pytest.fixture(scope="module")
def noise():
    """Waveforms [S]."""
    torch.manual_seed(1)
    return [0.1 * torch.randn(16000 + 8000 * number) for number in range(3)]


def decode(model, jobs):
    """The results of jobs that are prepared together."""
    return model.decode(model.prepare(jobs))


def test_tasks_of_one_batch_are_answered_apart_by_one_model(mini, noise):
    assert mini.tasks == ("asr", "ast.en", "ast.zh")
    assert mini.names == ("mini",)
    assert len({id(mini.recognizer(task).loaded.model) for task in mini.tasks}) == 1
    tasks = [mini.tasks[number % 3] for number in range(6)]
    jobs = [SpeechJob(task, noise[number // 2]) for number, task in enumerate(tasks)]
    found = [item.transcription.text for item in decode(mini, jobs)]
    for job, text in zip(jobs, found, strict=True):
        name, _, language = job.task.partition(".")
        config = DecodeConfig(task=name, target_language=language or "en", beam_size=1, device="cpu")
        alone = Recognizer.from_model_dir("mini", config)
        assert next(alone.recognize([("x", job.samples)])).answer.text == text


def test_a_multitask_answer_serves_both_endpoints(noise):
    model = ServedModel(ServedModelConfig(task="mtl", device="cpu", beam_size=1), batch_size=4)
    assert model.tasks == ("asr", "ast.en")
    heard, translated = decode(model, [SpeechJob("asr", noise[0]), SpeechJob("ast.en", noise[0])])
    answer = next(
        Recognizer.from_model_dir("mini", DecodeConfig(task="mtl", beam_size=1, device="cpu")).recognize([("x", noise[0])])
    )
    assert heard.transcription.text == answer.answer.text
    assert translated.transcription.text == answer.answer.translation
    assert not model.writes_tokens("asr")


def test_a_recording_that_fails_leaves_the_others_alone(mini, noise):
    short, whole = decode(mini, [SpeechJob("asr", torch.zeros(100)), SpeechJob("asr", noise[0])])
    assert isinstance(short, Failure)
    assert short.reason == "too_short"
    assert whole.transcription.seconds == 1.0


def test_a_stream_grows_to_the_answer(mini, noise):
    job = SpeechJob("asr", noise[2])
    texts = [item.transcription.text for item in mini.stream(job)]
    assert texts[-1] == decode(mini, [job])[0].transcription.text
    assert len(texts) > 2


def test_words_have_times_where_the_model_tells_them(paraformer, noise):
    fields = [("model", "whisper-1"), ("response_format", "verbose_json"), ("language", "zh")]
    fields += [("timestamp_granularities[]", "word"), ("timestamp_granularities[]", "segment")]
    request = parse_request("transcriptions", fields, paraformer)
    assert request.granularities == ("word", "segment")
    found = decode(paraformer, [SpeechJob("asr", noise[2])])[0]
    values = json.loads(formats.render(found, request, language_name(request, paraformer)).body)
    assert values["language"] == "zh"
    assert values["words"]
    assert [word["word"] for word in values["words"]] == [word.text for word in found.transcription.words]
    assert all(0 <= word["start"] <= word["end"] <= 2.1 for word in values["words"])
    assert values["segments"][0]["start"] <= values["words"][0]["start"]


def test_a_paraformer_does_not_translate(paraformer):
    assert paraformer.tasks == ("asr",)
    with pytest.raises(ApiError, match="does not translate") as caught:
        parse_request("translations", [("model", paraformer.names[0])], paraformer)
    assert caught.value.status == 400


def test_a_transcriber_gives_times_of_a_speech_llm_by_another_model(paraformer_folder, noise):
    aligner = str(paraformer_folder("BiCifParaformer"))
    model = ServedModel(ServedModelConfig(align_dir=aligner, device="cpu"), batch_size=2)
    assert model.has_words("asr")
    assert not model.has_words("ast.zh")
    assert not model.writes_tokens("asr")
    assert model.max_seconds == 60.0
    heard, translated = decode(model, [SpeechJob("asr", noise[0]), SpeechJob("ast.zh", noise[0])])
    assert heard.transcription.words
    assert translated.transcription.text
    long = decode(model, [SpeechJob("asr", torch.zeros(16000 * 61))])[0]
    assert (type(long), long.reason) == (Failure, "too_long")


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ([("model", "mini"), ("model", "mini")], "model", "invalid_value"),
        ([("model", "")], "model", "missing_parameter"),
        ([("model", "mini"), ("stream", "maybe")], "stream", "invalid_value"),
        ([("model", "mini"), ("temperature", "nan")], "temperature", "invalid_value"),
        ([("model", "mini"), ("language", "en")], "language", "unsupported_value"),
        ([("model", "mini"), ("timestamp_granularities", "year")], "timestamp_granularities[]", "invalid_value"),
        ([("model", "mini"), ("seed", "1")], "seed", "unknown_parameter"),
    ],
)
def test_fields_that_are_refused(mini, fields, param, code):
    with pytest.raises(ApiError) as caught:
        parse_request("transcriptions", fields, mini)
    assert (caught.value.status, caught.value.param, caught.value.code) == (400, param, code)


def test_fields_of_the_other_endpoint_are_unknown(mini):
    with pytest.raises(ApiError, match="unknown field 'stream'"):
        parse_request("translations", [("model", "mini"), ("stream", "true")], mini)
    assert parse_request("translations", [("model", "mini"), ("temperature", "0.0"), ("prompt", " ")], mini).task == "ast.en"


@pytest.mark.parametrize("options", [{"task": "ast", "punc_dir": "x"}, {"beam_size": 2, "vad_dir": "x"}])
def test_settings_that_cannot_go_together(options):
    with pytest.raises(ConfigError):
        ServedModel(ServedModelConfig(**options), batch_size=1)


def test_longer_recordings_than_the_model_reads_need_a_detector(mini):
    with pytest.raises(ConfigError, match="at most 300 s"):
        SpeechService(mini, ServiceConfig(max_seconds=301))
