"""A language model and CTC beside the model's own scores, through the recognizer and the command."""

import json
import logging

import numpy as np
import pytest
import soundfile
import torch
from click.testing import CliRunner

from mooer.cli.decode import main
from mooer.common.errors import ConfigError
from mooer.decode.int8_linear import has_int8
from mooer.decode.recognizer import DecodeConfig, Recognizer
from mooer.models.builders import ModelConfig, build_model
from mooer.models.model_export import ModelAssets, export_model_dir
from mooer.models.sanm_encoder import SanmEncoderConfig
from mooer.models.weights import read_state
from mooer.text.tokenizer import build_bpe_tokenizer, save_tokenizer

ENCODER = SanmEncoderConfig(output_size=16, attention_heads=2, linear_units=32, num_blocks=2)


@pytest.fixture(scope="module")
def ctc_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ctc")
    tokenizer = build_bpe_tokenizer(["one two three", "一二三"], 300, [])
    save_tokenizer(tokenizer, folder / "tokenizer")
    config = ModelConfig(family="ctc", encoder=ENCODER)
    torch.manual_seed(1)
    export_model_dir(
        build_model(config, len(tokenizer)), config, folder / "model", ModelAssets(tokenizer_dir=folder / "tokenizer")
    )
    return folder / "model"


@pytest.fixture(scope="module")
def paraformer_dir(paraformer_folder):
    """A Paraformer with a CTC layer and with timestamps."""
    folder = paraformer_folder()
    state = read_state(folder / "model.pt")
    generator = torch.Generator().manual_seed(2)
    state |= {"ctc.ctc_lo.weight": torch.randn(10, 16, generator=generator), "ctc.ctc_lo.bias": torch.zeros(10)}
    torch.save(state, folder / "model.pt")
    return folder


@pytest.fixture(scope="module")
def lm_dirs(lm_folder, ctc_dir, paraformer_dir):
    return {"ctc": str(lm_folder(ctc_dir / "tokenizer")), "paraformer": str(lm_folder(paraformer_dir))}


def waveforms():
    """Recordings of many lengths, not in their order."""
    generator = np.random.default_rng(0)
    seconds = (1.3, 0.2, 2.1, 0.03, 0.7)
    return [
        (f"w{number}", torch.from_numpy(generator.normal(0, 0.1, int(16000 * s)).astype(np.float32)))
        for number, s in enumerate(seconds)
    ]


@pytest.fixture
def recognizer(ctc_dir, paraformer_dir, lm_dirs):
    """Makes one with a language model: `recognizer("paraformer", lm_weight=0.5)`."""

    def make(family, **settings):
        lm = {} if settings.get("lm_weight") == 0 else {"lm_dir": lm_dirs[family]}
        settings = {name: value for name, value in settings.items() if value != 0} | lm
        if family == "ctc":
            settings["mode"] = "ctc_prefix_beam"
        folder = {"ctc": ctc_dir, "paraformer": paraformer_dir}[family]
        return Recognizer.from_model_dir(folder, DecodeConfig(device="cpu", **settings))

    return make


@pytest.mark.parametrize(
    ("family", "settings"),
    [
        ("paraformer", {"lm_weight": 0.5}),
        ("paraformer", {"lm_weight": 0.5, "ctc_weight": 0.4, "length_bonus": 0.2}),
        ("ctc", {"lm_weight": 0.5, "length_bonus": 0.3}),
    ],
)
def test_alone_and_together(recognizer, family, settings):
    used = recognizer(family, beam_size=4, nbest=3, **settings)
    together = list(used.recognize(waveforms()))
    assert [result.id for result in together] == [identity for identity, _ in waveforms()]
    for result, waveform in zip(together, waveforms(), strict=True):
        (alone,) = used.recognize([waveform])
        assert alone.answer.tokens == result.answer.tokens
        assert alone.answer.score == pytest.approx(result.answer.score, abs=1e-3)
        alternatives = result.answer.alternatives
        assert 1 <= len(alternatives) <= 3
        assert (alternatives[0].text, alternatives[0].tokens) == (result.answer.text, result.answer.tokens)
        assert sorted((item.score for item in alternatives), reverse=True) == [item.score for item in alternatives]
    assert sum(len(result.answer.tokens) for result in together) > 5


@pytest.mark.parametrize("family", ["paraformer", "ctc"])
def test_the_language_model_is_heard(recognizer, family):
    """The more it weighs, the more probable it finds what is written."""
    lm = recognizer(family, beam_size=16).fusion.lm
    scores = []
    for weight in (0, 0.5, 3.0):
        results = list(recognizer(family, beam_size=16, lm_weight=weight).recognize(waveforms()))
        scores.append(sum(sentence_score(lm, result.answer.tokens) for result in results))
    assert scores[0] < scores[1] < scores[2]


def sentence_score(lm, tokens):
    log_probs = lm.logits(torch.tensor([[lm.special.start, *tokens]]))[0].log_softmax(-1)
    return float(sum(log_probs[place, token] for place, token in enumerate([*tokens, lm.special.end])))


def test_times_stay(recognizer):
    for family in ("paraformer", "ctc"):
        for result in recognizer(family, beam_size=4).recognize(waveforms()):
            answer = result.answer
            times = [time for word in answer.words for time in (word.start, word.end)]
            assert times == sorted(times)
            assert " ".join(word.text for word in answer.words).split() == answer.text.split() or family == "ctc"


@pytest.mark.skipif(not has_int8(), reason="this torch has no kernels for 8 bits")
@pytest.mark.parametrize("family", ["paraformer", "ctc"])
def test_beside_a_model_of_eight_bits(recognizer, family):
    """The language model stays as it is."""
    used = recognizer(family, dtype="int8")
    assert used.fusion.lm.decoder.weight.dtype == torch.float32
    (result,) = used.recognize(waveforms()[:1])
    assert result.answer.score < 0.0


def test_what_is_recorded(recognizer, lm_dirs):
    record = recognizer("paraformer", ctc_weight=0.3).record()
    assert (record["decode"]["beam_size"], record["decode"]["lm_weight"], record["decode"]["ctc_weight"]) == (10, 0.15, 0.3)
    (path,) = record["language_model"]["weights_sha256"]
    assert path.startswith(lm_dirs["paraformer"])


def test_tokens_of_another_model(ctc_dir, lm_dirs):
    with pytest.raises(ConfigError, match="have different tokens"):
        Recognizer.from_model_dir(ctc_dir, DecodeConfig(device="cpu", mode="ctc_prefix_beam", lm_dir=lm_dirs["paraformer"]))


def test_paraformer_without_a_ctc_layer(paraformer_folder):
    with pytest.raises(ConfigError, match="needs a Paraformer with a CTC layer"):
        Recognizer.from_model_dir(paraformer_folder("Paraformer"), DecodeConfig(device="cpu", ctc_weight=0.3))


def run(*arguments):
    logging.getLogger().handlers.clear()
    return CliRunner().invoke(main, [*map(str, arguments), "--device", "cpu"], catch_exceptions=False)


def test_the_command(ctc_dir, lm_dirs, tmp_path):
    soundfile.write(tmp_path / "a.wav", waveforms()[0][1].numpy(), 16000)
    extra = ("--lm_dir", lm_dirs["ctc"], "--lm_weight", 0.5, "--beam_size", 3, "--nbest", 2)
    result = run("--model_dir", ctc_dir, tmp_path / "a.wav", *extra, "--output_dir", tmp_path / "out")
    assert result.exit_code == 0, result.stderr
    values = json.loads((tmp_path / "out" / "results.jsonl").read_text(encoding="utf-8"))
    assert result.stdout == f"a\t{values['text']}\n"
    assert len(values["nbest"]) == 2
    assert len(values["token_seconds"]) == len(values["tokens"]) > 0


@pytest.mark.parametrize(
    ("family", "options", "message"),
    [
        ("ctc", ["--lm_dir", "LM", "--mode", "ctc_greedy"], "without --mode ctc_prefix_beam"),
        ("ctc", ["--beam_size", 1], "without --mode ctc_prefix_beam"),
        ("ctc", ["--mode", "ctc_prefix_beam", "--ctc_weight", 1], "--ctc_weight"),
        ("ctc", ["--mode", "ctc_prefix_beam", "--lm_weight", 1], "--lm_weight belongs to --lm_dir"),
        ("ctc", ["--mode", "ctc_prefix_beam", "--lm_dir", "nowhere"], "nowhere"),
        ("paraformer", ["--mode", "ctc_prefix_beam"], "--mode"),
        ("paraformer", ["--nbest", 11, "--output_dir", "OUT"], "--beam_size is 10"),
    ],
)
def test_options_that_mean_nothing(ctc_dir, paraformer_dir, lm_dirs, tmp_path, family, options, message):
    soundfile.write(tmp_path / "a.wav", waveforms()[0][1].numpy(), 16000)
    places = {"LM": lm_dirs[family], "OUT": tmp_path / "out"}
    folder = {"ctc": ctc_dir, "paraformer": paraformer_dir}[family]
    result = run("--model_dir", folder, tmp_path / "a.wav", *[places.get(item, item) for item in options])
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stdout == ""
    assert not (tmp_path / "out").exists()
