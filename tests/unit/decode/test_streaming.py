"""Answers as they grow: the same as in one piece, and nothing that was shown is taken back."""

import functools
import itertools
import logging

import pytest
import soundfile
import torch
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from mooer.cli.decode import main
from mooer.common.errors import AudioError, ConfigError
from mooer.data.utterance import Problem
from mooer.decode.generate import GenerateConfig, Generator, Prompt
from mooer.decode.recognizer import DecodeConfig, Recognizer
from mooer.text.tokenizer import build_bpe_tokenizer, decode_settled_text, decode_text, encode_text

REPLACEMENT = "\ufffd"


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tiny_recognisers):
    """Tokenizer, a model of each family with random weights, and a recording. The answers are mostly bytes of no character."""
    folder = tmp_path_factory.mktemp("models")
    tiny_recognisers(folder, ["one two three 一二三"], seed=2, llm_scale=20)
    soundfile.write(folder / "a.wav", noise(0).numpy(), 16000, subtype="FLOAT")
    return folder


def noise(seed, num_samples=24_000):
    return torch.randn(num_samples, generator=torch.Generator().manual_seed(seed)) * 0.1


def opened(folder, family, **settings):
    return Recognizer.from_model_dir(folder / family, DecodeConfig(device="cpu", **settings))


@pytest.mark.parametrize("task", ["asr", "mtl"])
@pytest.mark.parametrize("beam_size", [1, 4])
def test_the_last_text_is_the_greedy_one(folder, task, beam_size):
    waveforms = [noise(seed, 16_000 + 3000 * seed) for seed in range(6)]
    together = opened(folder, "llm", task=task, beam_size=1)
    whole = together.recognize((str(number), item) for number, item in enumerate(waveforms))
    recognizer, sizes = opened(folder, "llm", task=task, beam_size=beam_size), set()
    for waveform, result in zip(waveforms, whole, strict=True):
        answers = list(recognizer.stream_answers(waveform))
        expected = (result.answer.text, result.answer.translation, result.answer.tokens, result.answer.flags)
        assert (answers[-1].text, answers[-1].translation, answers[-1].tokens, answers[-1].flags) == expected
        assert answers[-1].score == pytest.approx(result.answer.score, rel=1e-5)
        texts = list(recognizer.stream(waveform))
        assert texts == [answer.full_text for answer in answers]
        assert all(later.startswith(earlier) for earlier, later in itertools.pairwise(texts[:-1]))
        assert not any(text.endswith(REPLACEMENT) for text in texts[:-1])
        assert not any(answer.flags for answer in answers[:-1])
        sizes.add(len(texts))
    assert max(sizes) > 5


def test_a_model_without_tokens_one_by_one_gives_the_text_at_once(folder):
    recognizer = opened(folder, "ctc")
    (result,) = recognizer.recognize([("a", noise(0))])
    assert list(recognizer.stream(noise(0))) == [result.answer.text]


def test_what_fails_is_an_error(folder):
    recognizer = opened(folder, "llm")
    with pytest.raises(AudioError) as caught:
        list(recognizer.stream(noise(0)[:100]))
    assert caught.value.reason == "too_short"
    with pytest.raises(AudioError, match="no such"):
        list(recognizer.stream_utterance(Problem("a", "missing", "no such")))
    assert list(recognizer.stream(noise(0)[:500])) == [""]
    recognizer.loaded.model.llm.get_input_embeddings().weight.data.fill_(float("nan"))
    with pytest.raises(AudioError) as caught:
        list(recognizer.stream(noise(0)))
    assert caught.value.reason == "not_finite"


def test_bound_holds(folder):
    recognizer = opened(folder, "llm", max_new_tokens=3)
    *_, last = recognizer.stream_answers(noise(0))
    assert len(last.tokens) == 3
    assert last.flags == ("max_new_tokens",)


def test_an_answer_grows_token_by_token(folder):
    recognizer = opened(folder, "llm")
    llm, eos = recognizer.loaded.model.llm, 2
    prompt = Prompt(embeddings=torch.randn(7, 16, generator=torch.Generator().manual_seed(3)), max_new_tokens=9)
    greedy = Generator(llm, eos, GenerateConfig(beam_size=1))
    grown, ((_, whole),) = list(greedy.grow(prompt)), greedy.run([prompt])
    assert grown[-1] == whole
    assert [item.tokens for (item,) in grown[:-1]] == [whole[0].tokens[:count] for count in range(1, len(grown))]
    assert len(whole[0].tokens) in (len(grown) - 1, len(grown))
    with pytest.raises(ConfigError, match="beam_size 1"):
        next(Generator(llm, eos, GenerateConfig(beam_size=2)).grow(prompt))


@functools.cache
def bytes_tokenizer():
    return build_bpe_tokenizer([], 300, [])


@given(text=st.text(st.sampled_from("ab é一二犬🎉👩‍🚀\u0301\n"), max_size=12))
def test_settled_text_only_grows(text):
    tokenizer = bytes_tokenizer()
    ids = encode_text(tokenizer, text)
    whole, shown = decode_text(tokenizer, ids), ""
    for count in range(len(ids) + 1):
        settled = decode_settled_text(tokenizer, ids[:count])
        assert settled.startswith(shown)
        assert whole.startswith(settled)
        assert REPLACEMENT not in settled
        shown = settled
    assert shown == whole


def run(folder, *arguments):
    logging.getLogger().handlers.clear()
    options = ["--model_dir", folder / "llm", "--device", "cpu", *arguments]
    return CliRunner().invoke(main, [*map(str, options)], catch_exceptions=False)


@pytest.mark.parametrize("task", ["asr", "mtl"])
def test_the_command_prints_the_same_line(folder, task):
    expected = run(folder, folder / "a.wav", "--task", task, "--beam_size", 1)
    result = run(folder, folder / "a.wav", "--task", task, "--stream")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-1] == expected.stdout.splitlines()[0]
    assert len(result.stdout) > 10


@pytest.mark.parametrize(
    ("options", "named"),
    [(["--beam_size", 2], "beam_size"), (["--output_dir", "out"], "output_dir"), (["--wav_path", "a.wav"], "one recording")],
)
def test_the_command_refuses_what_cannot_be_streamed(folder, options, named, monkeypatch):
    monkeypatch.chdir(folder)
    result = run(folder, folder / "a.wav", "--stream", *options)
    assert result.exit_code == 2
    assert named in result.stderr
    assert result.stdout == ""


def test_the_command_names_what_fails(folder):
    result = run(folder, folder / "tokenizer" / "tokenizer.json", "--stream")
    assert result.exit_code == 1
    assert "tokenizer.json" in result.stderr
