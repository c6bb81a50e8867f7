"""A Conformer's model directory, decoded in all its ways by the recognizer and the command."""

import json
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch
from click.testing import CliRunner

from mooer.cli.decode import main
from mooer.common.errors import ConfigError, WeightsError
from mooer.decode.conformer_decoder import ConformerDecoder
from mooer.decode.ctc_prefix_beam import CtcPrefixBeam
from mooer.decode.prefixes import PrefixTree
from mooer.decode.recognizer import DecodeConfig, Recognizer
from mooer.features.frontend import FrontendConfig
from mooer.models.conformer_aed import ConformerLosses
from mooer.models.conformer_builder import ConformerConfig, outline_conformer
from mooer.models.conformer_encoder import ConformerEncoderConfig
from mooer.models.model_export import ModelAssets, export_conformer_dir
from mooer.models.transformer_decoder import TransformerDecoderConfig
from mooer.text.characters import build_dictionary

ENCODER = ConformerEncoderConfig(output_size=16, attention_heads=2, linear_units=24, num_blocks=2, kernel_size=3)
DECODER = TransformerDecoderConfig(attention_heads=2, linear_units=24, num_blocks=1, r_num_blocks=1)
FRONTEND = FrontendConfig(window="povey", lfr_m=1, lfr_n=1, subsampling=4)
MODES = ["ctc_greedy", "ctc_prefix_beam", "attention", "attention_rescoring"]


@pytest.fixture(scope="module")
def dictionary():
    return build_dictionary(["今天天气好 hello"])


def write(folder, dictionary, decoder, **encoder):
    (folder / "tokenizer").mkdir(parents=True)
    dictionary.save(folder / "tokenizer")
    losses = ConformerLosses(reverse_weight=0.3 if decoder else 0.0)
    config = ConformerConfig(encoder=replace(ENCODER, **encoder), decoder=decoder, losses=losses)
    torch.manual_seed(6)
    model = outline_conformer(config, len(dictionary.tokens))
    model.encoder.out_linear.weight.data *= 4
    assets = ModelAssets(tokenizer_dir=folder / "tokenizer", frontend=FRONTEND)
    export_conformer_dir(model, config, folder / "model", assets)
    return folder / "model"


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory, dictionary):
    return write(tmp_path_factory.mktemp("conformer"), dictionary, DECODER)


@pytest.fixture(scope="module")
def ctc_dir(tmp_path_factory, dictionary):
    return write(tmp_path_factory.mktemp("conformer_ctc"), dictionary, None)


@pytest.fixture(scope="module")
def lm_dir(lm_folder, model_dir):
    return str(lm_folder(model_dir / "tokenizer"))


def waveforms():
    """Recordings of many lengths, not in their order; one of a single frame of the encoder, one of none."""
    generator = np.random.default_rng(0)
    seconds = (1.3, 0.2, 2.1, 0.03, 0.7, 0.1)
    return [
        (f"w{number}", torch.from_numpy(generator.normal(0, 0.1, int(16000 * s)).astype(np.float32)))
        for number, s in enumerate(seconds)
    ]


def recognizer(folder, **settings):
    return Recognizer.from_model_dir(folder, DecodeConfig(device="cpu", **settings))


@pytest.mark.parametrize(("mode", "with_lm"), [*((mode, False) for mode in MODES), *((mode, True) for mode in MODES[1:])])
def test_alone_and_together(model_dir, lm_dir, mode, with_lm):
    beams = {} if mode == "ctc_greedy" else {"beam_size": 4, "nbest": 3, "length_bonus": 0.1}
    used = recognizer(model_dir, mode=mode, **beams, **({"lm_dir": lm_dir, "lm_weight": 0.3} if with_lm else {}))
    together = list(used.recognize(waveforms()))
    assert [result.id for result in together] == [identity for identity, _ in waveforms()]
    for result, waveform in zip(together, waveforms(), strict=True):
        (alone,) = used.recognize([waveform])
        assert alone.answer.tokens == result.answer.tokens
        assert alone.answer.score == pytest.approx(result.answer.score, abs=1e-3)
        assert 0.0 <= result.answer.confidence <= 1.0
        if beams:
            scores = [item.score for item in result.answer.alternatives]
            assert scores == sorted(scores, reverse=True)
            assert result.answer.alternatives[0].tokens == result.answer.tokens
            assert result.answer.alternatives[0].score == result.answer.score
    assert together[3].answer.tokens == ()  # too short for a frame of the encoder
    assert sum(len(result.answer.tokens) for result in together) > 5


@pytest.mark.parametrize("mode", MODES)
def test_texts_and_times(model_dir, dictionary, mode):
    for result in recognizer(model_dir, mode=mode).recognize(waveforms()):
        answer = result.answer
        assert answer.text == dictionary.decode(answer.tokens).lstrip()
        if answer.token_seconds is None:  # the frames have no room for what the attention decoder says
            assert mode == "attention"
            continue
        assert len(answer.token_seconds) == len(answer.tokens)
        flat = [time for span in answer.token_seconds for time in span]
        assert flat == sorted(flat)
        assert all(round(time / 0.04, 6).is_integer() for time in flat)
        assert all(time <= result.seconds for time in flat)
        assert "".join(word.text for word in answer.words) == answer.text.replace(" ", "")


def test_modes_differ(model_dir):
    found = {mode: [result.answer for result in recognizer(model_dir, mode=mode).recognize(waveforms())] for mode in MODES}
    assert [answer.tokens for answer in found["attention"]] != [answer.tokens for answer in found["ctc_prefix_beam"]]
    scores = {mode: [answer.score for answer in answers] for mode, answers in found.items()}
    assert len({tuple(values) for values in scores.values()}) == len(MODES)


def test_the_prefix_beam_prunes_as_the_reference_does(model_dir):
    used = recognizer(model_dir, mode="ctc_prefix_beam", beam_size=1)
    model, (identity, waveform) = used.loaded.model, waveforms()[2]
    frames = used.frontend(waveform)
    log_probs, lengths = model.log_probs(frames[None], torch.tensor([len(frames)]))
    strict, loose = (
        CtcPrefixBeam(used.fusion.config, 0, model.boundary_id, PrefixTree(), symbols=symbols).run(log_probs, lengths)[0]
        for symbols in (1, None)
    )
    (result,) = used.recognize([(identity, waveform)])
    assert result.answer.score == pytest.approx(strict[0].score, abs=1e-4)
    assert strict[0].score < loose[0].score - 1e-3


@pytest.mark.parametrize("mode", MODES)
def test_half_precision(model_dir, mode):
    """Scores move by what rounding explains."""
    exact, rounded = (
        [result.answer for result in recognizer(model_dir, mode=mode, dtype=dtype).recognize(waveforms())]
        for dtype in ("float32", "bfloat16")
    )
    for one, other in zip(exact, rounded, strict=True):
        assert other.score == pytest.approx(one.score, rel=0.05, abs=0.3)


def test_usual_settings(model_dir, ctc_dir, lm_dir):
    with_decoder, alone, with_lm = recognizer(model_dir), recognizer(ctc_dir), recognizer(ctc_dir, lm_dir=lm_dir)
    assert (with_decoder.fusion.mode, with_decoder.fusion.config.beam_size) == ("attention_rescoring", 10)
    assert (with_decoder.fusion.config.ctc_weight, with_decoder.fusion.config.reverse_weight) == (0.5, 0.3)
    assert alone.fusion is None
    assert with_lm.fusion.mode == "ctc_prefix_beam"
    record = recognizer(model_dir, reverse_weight=0.1).record()
    assert (record["decode"]["reverse_weight"], record["model"]["family"]) == (0.1, "conformer")


@pytest.mark.parametrize("weight", ["ctc_weight", "reverse_weight"])
def test_weights_are_heard(model_dir, weight):
    scores = []
    for value in (0.0, 0.9):
        used = recognizer(model_dir, mode="attention_rescoring", **{weight: value})
        scores.append([result.answer.score for result in used.recognize(waveforms()[:1])])
    assert scores[0] != pytest.approx(scores[1])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mode": "attention", "ctc_weight": 0.3}, "--ctc_weight means nothing with --mode attention"),
        ({"mode": "ctc_prefix_beam", "reverse_weight": 0.3}, "--reverse_weight means nothing with --mode ctc_prefix_beam"),
        ({"mode": "ctc_greedy", "beam_size": 4}, "--beam_size means nothing with --mode ctc_greedy"),
        ({"mode": "ctc_greedy", "nbest": 2}, "--nbest means nothing with --mode ctc_greedy"),
        ({"nbest": 11}, "--beam_size is 10"),
        ({"task": "mtl"}, "knows no task mtl"),
        ({"dtype": "int8"}, "use bfloat16"),
    ],
)
def test_settings_that_mean_nothing(model_dir, settings, message):
    with pytest.raises(ConfigError, match=message):
        recognizer(model_dir, **settings)


@pytest.mark.parametrize("mode", ["attention", "attention_rescoring"])
def test_without_a_decoder(ctc_dir, mode):
    with pytest.raises(ConfigError, match=f"--mode {mode} needs an attention decoder"):
        recognizer(ctc_dir, mode=mode)


def test_without_a_reverse_decoder(tmp_path, dictionary):
    one_way = TransformerDecoderConfig(attention_heads=2, linear_units=24, num_blocks=1)
    config = ConformerConfig(encoder=ENCODER, decoder=one_way)
    model = outline_conformer(config, len(dictionary.tokens))
    (tmp_path / "tokenizer").mkdir()
    dictionary.save(tmp_path / "tokenizer")
    assets = ModelAssets(tokenizer_dir=tmp_path / "tokenizer", frontend=FRONTEND)
    export_conformer_dir(model, config, tmp_path / "model", assets)
    with pytest.raises(ConfigError, match="--reverse_weight needs a decoder that reads from right to left"):
        recognizer(tmp_path / "model", reverse_weight=0.5)


def test_another_dictionary(model_dir):
    model = recognizer(model_dir).loaded.model
    with pytest.raises(WeightsError, match="its vocabulary has"):
        ConformerDecoder(model, build_dictionary(["ab"]), FRONTEND)


def test_what_is_no_number(model_dir):
    broken, expected = recognizer(model_dir), list(recognizer(model_dir).recognize(waveforms()[:1]))
    frames = [broken.frontend(waveform) for _, waveform in waveforms()[:3]]
    frames[2][5] = np.nan
    for mode in MODES:
        used = recognizer(model_dir, mode=mode)
        answers = used._decoder.decode(frames)
        assert answers[2].reason == "not_finite"
        assert answers[0].text or answers[0].score < 0
    assert expected[0].answer.tokens == broken._decoder.decode(frames)[0].tokens


@pytest.mark.parametrize("mode", MODES)
def test_command(model_dir, tmp_path, mode):
    lines = []
    for identity, waveform in waveforms()[:2]:
        soundfile.write(tmp_path / f"{identity}.wav", waveform.numpy(), 16000, subtype="FLOAT")
        lines.append(f"{identity} {tmp_path}/{identity}.wav\n")
    (tmp_path / "wav.scp").write_text("".join(lines))
    arguments = ["--model_dir", str(model_dir), "--wav_scp", str(tmp_path / "wav.scp"), "--mode", mode, "--device", "cpu"]
    arguments += ["--output_dir", str(tmp_path / "out")] + ([] if mode == "ctc_greedy" else ["--nbest", "2"])
    result = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    records = [json.loads(line) for line in (tmp_path / "out" / "results.jsonl").read_text().splitlines()]
    expected = {item.id: item.answer.text for item in recognizer(model_dir, mode=mode).recognize(waveforms()[:2])}
    assert {record["id"]: record["text"] for record in records} == expected
    assert [len(record.get("nbest", ())) for record in records] == ([0, 0] if mode == "ctc_greedy" else [2, 2])


def test_command_refuses_what_means_nothing(model_dir, tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(16000), 16000)
    result = CliRunner().invoke(main, ["--model_dir", str(model_dir), "--max_new_tokens", "4", str(tmp_path / "a.wav")])
    assert result.exit_code == 2
    assert "--max_new_tokens means nothing for a model of family conformer" in result.output


@pytest.fixture(scope="module")
def causal_dir(tmp_path_factory, dictionary):
    """A model that sees chunks of 4 frames and one chunk back, whether it hears all at once or not."""
    folder = tmp_path_factory.mktemp("causal")
    return write(folder, dictionary, DECODER, causal=True, chunk_size=4, left_chunks=1)


@pytest.mark.parametrize("mode", MODES)
def test_chunk_by_chunk_is_the_whole(causal_dir, mode):
    whole = list(recognizer(causal_dir, mode=mode).recognize(waveforms()))
    chunked = list(recognizer(causal_dir, mode=mode, chunk_size=4, left_chunks=1).recognize(waveforms()))
    assert any(item.answer.text for item in whole)
    for one, other in zip(whole, chunked, strict=True):
        assert (one.answer.text, one.answer.tokens) == (other.answer.text, other.answer.tokens)
        assert other.answer.score == pytest.approx(one.answer.score, abs=1e-4)
        assert not one.answer.partials


@pytest.mark.parametrize("mode", MODES[:2])
def test_what_is_known_after_each_chunk(causal_dir, mode):
    """As much as a recording that ends there would tell."""
    (long,) = [item for item in waveforms() if item[0] == "w2"]
    (result,) = recognizer(causal_dir, mode=mode, chunk_size=4, left_chunks=1).recognize([long])
    partials = result.answer.partials
    seconds = [partial.seconds for partial in partials]
    assert len(partials) >= 10 and seconds == sorted(set(seconds)) and seconds[-1] <= result.seconds
    assert len({partial.text for partial in partials}) > 3
    # 3 frames of 10 ms beyond the last of 4 encoder frames are seen, and 15 ms of window.
    for number in (2, 5):
        cut = long[1][: int(16000 * (0.16 * (number + 1) + 0.045))]
        (alone,) = recognizer(causal_dir, mode=mode, chunk_size=4, left_chunks=1).recognize([("cut", cut)])
        assert alone.answer.text == partials[number].text


def test_chunks_need_a_causal_model(model_dir):
    with pytest.raises(ConfigError, match="needs one trained with causal: true"):
        recognizer(model_dir, chunk_size=4)
    with pytest.raises(ConfigError, match="--left_chunks belongs to --chunk_size"):
        recognizer(model_dir, left_chunks=4)
