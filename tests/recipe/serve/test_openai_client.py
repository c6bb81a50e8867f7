"""A live server on the packaged model, asked by the official client."""

import io
import json
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import soundfile

openai = pytest.importorskip("openai")
# The client marks translations so.
pytestmark = pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")


@pytest.fixture(scope="module")
def server(start_server):
    """One server for the module."""
    return start_server("--model_name", "mini", "--model_name", "whisper-1", "--languages", "en,zh")


@pytest.fixture(scope="module")
def client(server):
    """The official client."""
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none is needed", max_retries=0) as opened:
        yield opened


@pytest.fixture
def sentence(speech):
    """An English test utterance."""
    return next(path for path in speech if path.name.startswith("en_"))


def metric(server, name):
    """The value of a counter without labels."""
    with urllib.request.urlopen(f"{server.url}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(f"{name} "))


def test_transcription(client, sentence, expected):
    answer = client.audio.transcriptions.create(model="mini", file=sentence)
    assert answer.text == expected["asr"][sentence]
    assert answer.usage.type == "duration"


def test_any_name_of_the_model_and_a_language_that_it_tells_by_itself(client, sentence, expected):
    answer = client.audio.transcriptions.create(model="whisper-1", file=sentence, language="en", temperature=0)
    assert answer.text == expected["asr"][sentence]


@pytest.mark.parametrize("language", [None, "en", "zh"])
def test_translation(client, speech, expected, language):
    for path in (speech[0], speech[-5]):
        extra = {"language": language} if language else {}
        answer = client.audio.translations.create(model="mini", file=path, extra_body=extra)
        assert answer.text == expected[f"ast.{language or 'en'}"][path]


def test_text(client, sentence, expected):
    answer = client.audio.transcriptions.create(model="mini", file=sentence, response_format="text")
    assert answer == expected["asr"][sentence] + "\n"


def test_subtitles(client, sentence, expected):
    text = expected["asr"][sentence]
    srt = client.audio.transcriptions.create(model="mini", file=sentence, response_format="srt")
    assert srt.splitlines()[0] == "1"
    assert srt.splitlines()[1].startswith("00:00:00,000 --> 00:00:0")
    assert srt.splitlines()[2] == text
    vtt = client.audio.translations.create(model="mini", file=sentence, response_format="vtt")
    assert vtt.startswith("WEBVTT\n\n00:00:00.000 --> 00:00:0")
    assert vtt.splitlines()[3] == expected["ast.en"][sentence]


def test_verbose_json(client, sentence, expected):
    answer = client.audio.transcriptions.create(
        model="mini", file=sentence, response_format="verbose_json", timestamp_granularities=["segment"]
    )
    text = expected["asr"][sentence]
    assert (answer.text, answer.segments[0].text) == (text, text)
    assert answer.segments[0].start == 0.0
    assert answer.segments[0].end == pytest.approx(answer.duration, abs=0.001)
    assert len(answer.segments[0].tokens) >= len(text.split())
    assert answer.segments[0].avg_logprob < 0
    translated = client.audio.translations.create(
        model="mini", file=sentence, response_format="verbose_json", extra_body={"language": "zh"}
    )
    assert (translated.text, translated.language) == (expected["ast.zh"][sentence], "chinese")


def test_stream_grows_to_the_text_of_greedy_search(client, sentence):
    from mooer.audio.io import load_audio
    from mooer.decode.recognizer import DecodeConfig, Recognizer

    greedy = Recognizer.from_model_dir("mini", DecodeConfig(beam_size=1, device="cpu"))
    text = next(greedy.recognize([("x", load_audio(sentence))])).answer.text
    events = list(client.audio.transcriptions.create(model="mini", file=sentence, stream=True))
    deltas = [event.delta for event in events if event.type == "transcript.text.delta"]
    assert "".join(deltas) == text
    assert len(deltas) >= len(text.split())
    assert events[-1].type == "transcript.text.done"
    assert events[-1].text == text


def test_many_clients_get_the_texts_of_the_recogniser_alone(server, client, speech, expected):
    def ask(number):
        path = speech[number % len(speech)]
        if number % 3 == 2:
            answer = client.audio.translations.create(model="mini", file=path, extra_body={"language": "zh"})
            return answer.text, expected["ast.zh"][path]
        return client.audio.transcriptions.create(model="mini", file=path).text, expected["asr"][path]

    batches, sizes = metric(server, "mooer_batch_size_count"), metric(server, "mooer_batch_size_sum")
    with ThreadPoolExecutor(24) as pool:
        answers = list(pool.map(ask, range(96)))
    assert [given for given, _ in answers] == [wanted for _, wanted in answers]
    assert metric(server, "mooer_batch_size_sum") - sizes == 96
    assert metric(server, "mooer_batch_size_count") - batches < 48
    assert metric(server, "mooer_queue_length") == 0
    assert metric(server, 'mooer_audio_seconds_total{path="transcriptions"}') > 0


def test_an_upload_of_several_megabytes_of_another_form(client):
    from mooer.audio.io import load_audio
    from mooer.decode.recognizer import DecodeConfig, Recognizer

    stream = io.BytesIO()
    noise = np.random.default_rng(1).normal(0, 0.05, (48000 * 15, 2))
    soundfile.write(stream, noise, 48000, format="WAV")
    assert len(stream.getvalue()) > 2 << 20
    answer = client.audio.transcriptions.create(model="mini", file=("a.wav", stream.getvalue()))
    alone = Recognizer.from_model_dir("mini", DecodeConfig(device="cpu"))
    assert answer.text == next(alone.recognize([("x", load_audio(stream.getvalue()))])).answer.text


@pytest.mark.parametrize(
    ("options", "param", "words"),
    [
        ({"temperature": 0.5}, "temperature", "must be 0"),
        ({"prompt": "Bonjour."}, "prompt", "cannot be followed"),
        ({"language": "fr"}, "language", "allowed: en, zh"),
        ({"response_format": "docx"}, "response_format", "verbose_json"),
        ({"response_format": "srt", "stream": True}, "stream", "srt"),
        ({"timestamp_granularities": ["segment"]}, "timestamp_granularities[]", "verbose_json"),
        (
            {"timestamp_granularities": ["word"], "response_format": "verbose_json"},
            "timestamp_granularities[]",
            "not known to this model",
        ),
        ({"include": ["logprobs"]}, "include[]", "include"),
        ({"chunking_strategy": "auto"}, "chunking_strategy", "detector"),
        ({"extra_body": {"beam": "4"}}, "beam", "unknown field"),
    ],
)
def test_what_cannot_be_followed_is_refused(client, sentence, options, param, words):
    with pytest.raises(openai.BadRequestError) as caught:
        client.audio.transcriptions.create(model="mini", file=sentence, **options)
    assert caught.value.param == param
    assert words in caught.value.body["message"]
    assert set(caught.value.body) == {"message", "type", "param", "code"}


def test_other_models_are_not_found(client, sentence):
    with pytest.raises(openai.NotFoundError, match="whisper-2") as caught:
        client.audio.transcriptions.create(model="whisper-2", file=sentence)
    assert caught.value.code == "model_not_found"
    assert [model.id for model in client.models.list()] == ["mini", "whisper-1"]
    assert client.models.retrieve("whisper-1").owned_by == "mooer"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("whisper-2")


def test_health_and_documentation(server):
    for path in ("/healthz", "/healthz/ready"):
        with urllib.request.urlopen(server.url + path) as answer:
            assert json.load(answer)["status"] in ("ok", "ready")
    with urllib.request.urlopen(f"{server.url}/openapi.json") as answer:
        body = json.load(answer)["paths"]["/v1/audio/transcriptions"]["post"]["requestBody"]
    assert set(body["content"]["multipart/form-data"]["schema"]["required"]) == {"file", "model"}
