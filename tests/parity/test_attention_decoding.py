"""The decoder over an encoder's frames, and what is decoded with it: equal to the reference's numbers."""

import itertools
import json

import pytest
import torch
from safetensors.torch import load_file

from mooer.decode.attention_beam import AttentionBeam
from mooer.decode.attention_rescoring import AttentionRescoring
from mooer.decode.conformer_decoder import ConformerDecoder
from mooer.decode.ctc_prefix_beam import CtcPrefixBeam
from mooer.decode.ctc_search import greedy_path
from mooer.decode.fusion import Fusion, FusionConfig
from mooer.decode.prefixes import PrefixTree
from mooer.features.frontend import FrontendConfig
from mooer.models.attention_loss import AttentionLoss
from mooer.models.conformer_builder import conformer_state, outline_conformer
from mooer.models.conformer_reference import reference_config
from mooer.models.transformer_decoder import UNUSED_PART, TransformerDecoderConfig, build_decoder
from mooer.models.weights import load_state
from mooer.nn.masks import padding_mask
from mooer.text.characters import CharacterDictionary

VOCABULARY, WIDTH, BLANK, BOUNDARY = 31, 32, 0, 30
FORWARD = {"atol": 2e-5, "rtol": 1e-4}
SCORE = 1e-3
BEAMS = 10


def decoder_of(state, prefix, **sizes):
    """The decoder whose tensors have a prefix in a golden state."""
    model = build_decoder(TransformerDecoderConfig(attention_heads=4, linear_units=56, **sizes), VOCABULARY, WIDTH)
    own = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    load_state(model, {name: value for name, value in own.items() if UNUSED_PART not in name}, prefix)
    return model.eval()


@pytest.fixture(scope="module")
def batch(golden_conformer):
    return load_file(golden_conformer / "dense_aed.eval.safetensors")


@pytest.fixture(scope="module")
def decoder(golden_conformer):
    return decoder_of(load_file(golden_conformer / "dense_aed.weights.safetensors"), "decoder.", num_blocks=2)


@pytest.fixture(scope="module")
def both_ways(golden_conformer):
    tensors = load_file(golden_conformer / "bidecoder_aed.safetensors")
    return tensors, decoder_of(tensors, "w.decoder.", num_blocks=1, r_num_blocks=1)


def real_places(batch):
    return padding_mask(batch["target_lens"] + 1, batch["ys_in_pad"].shape[1])


def labels(batch):
    return batch["hidden"], batch["out_lens"], batch["target"].clamp_min(0), batch["target_lens"].long()


def test_logits(batch, decoder):
    logits = decoder(batch["ys_in_pad"], decoder.remember(batch["hidden"], batch["out_lens"]))
    real = real_places(batch)
    torch.testing.assert_close(logits[real], batch["decoder_out"][real], **FORWARD)


def test_logits_of_both_ways(batch, both_ways):
    golden, model = both_ways
    real = real_places(batch)
    reverse_inputs = torch.cat([torch.full((3, 1), BOUNDARY), golden["r_ys_out_pad"][:, :-1].clamp_min(0)], dim=1)
    inputs = {"decoder_out": batch["ys_in_pad"], "r_decoder_out": reverse_inputs}
    for name, one in (("decoder_out", model.left_decoder), ("r_decoder_out", model.right_decoder)):
        logits = one(inputs[name], one.remember(golden["hidden"], batch["out_lens"]))
        torch.testing.assert_close(logits[real], golden[name][real], **FORWARD)


def test_step_by_step(golden_conformer, decoder):
    golden = load_file(golden_conformer / "decoder_one_step.safetensors")
    memory = decoder.remember(golden["encoder_out"], torch.tensor([golden["encoder_out"].shape[1]]))
    cache = decoder.start(memory)
    for token, expected in zip(golden["ys_in"], golden["log_probs"], strict=True):
        log_probs, cache = decoder.step(token[None], memory, cache)
        torch.testing.assert_close(log_probs[0], expected, **FORWARD)


def test_loss(batch, decoder):
    loss = AttentionLoss(boundary_id=BOUNDARY, smoothing=0.1)(decoder, *labels(batch))
    torch.testing.assert_close(loss.loss_sum, batch["metric_sum.aed_loss"], rtol=2e-5, atol=0)
    assert loss.num_tokens == batch["metric_count.aed_loss"]
    torch.testing.assert_close(loss.loss_sum / 3, batch["loss_term.att"], rtol=2e-5, atol=0)


@pytest.mark.parametrize("reverse_weight", [0.0, 0.3, 0.5])
def test_loss_of_both_ways(batch, both_ways, reverse_weight):
    golden, model = both_ways
    _, *rest = labels(batch)
    loss = AttentionLoss(boundary_id=BOUNDARY, reverse_weight=reverse_weight)(model, golden["hidden"], *rest)
    expected = (1 - reverse_weight) * golden["loss_left"] + reverse_weight * golden["loss_right"]
    torch.testing.assert_close(loss.loss_sum / 3, expected, rtol=2e-5, atol=0)


def test_gradients(golden_conformer, batch, decoder):
    """Of the total loss, of which the decoder's share is 1 - 0.3."""
    golden = load_file(golden_conformer / "dense_aed.grads.safetensors")
    decoder.zero_grad()
    (0.7 / 3 * AttentionLoss(boundary_id=BOUNDARY)(decoder, *labels(batch)).loss_sum).backward()
    for name, parameter in decoder.named_parameters():
        expected = golden[f"decoder.{name}"]
        # A bias of all keys alike changes nothing: its gradient is rounding.
        torch.testing.assert_close(parameter.grad, expected, rtol=1e-3, atol=max(1e-6, 1e-5 * float(expected.abs().max())))


def model_of(config, state):
    model = outline_conformer(reference_config(config, "golden"), VOCABULARY)
    load_state(model, conformer_state(state), "golden")
    return model.eval().requires_grad_(False)


def encoded_of(model, utterances):
    """What a model makes of all utterances together: encodings, log probabilities of CTC, and lengths."""
    frames = [utterances[name][0] for name in sorted(utterances)]
    padded = torch.nn.utils.rnn.pad_sequence(frames, batch_first=True)
    encoded = model.encoder.encode(padded, torch.tensor([len(item) for item in frames]))
    return encoded.hidden, model.encoder.ctc_log_probs(encoded.hidden), encoded.lengths


def heard_by(name, golden):
    manifest = json.loads((golden / "manifest.json").read_text())
    model = model_of(manifest["models"][name], load_file(golden / f"{name}.weights.safetensors"))
    expected = json.loads((golden / "decode.json").read_text())[name]
    return (
        model,
        *encoded_of(model, load_file(golden / "decode_inputs.safetensors")),
        [expected[key] for key in sorted(expected)],
    )


@pytest.fixture(scope="module", params=["dense_aed", "moe_aed", "embed_ctc", "moe_ctc"])
def heard(request, golden_conformer):
    return heard_by(request.param, golden_conformer)


@pytest.fixture(scope="module", params=["dense_aed", "moe_aed"])
def attended(request, golden_conformer):
    return heard_by(request.param, golden_conformer)


def prefix_beam(log_probs, lengths):
    search = CtcPrefixBeam(FusionConfig(beam_size=BEAMS), BLANK, BOUNDARY, PrefixTree(), symbols=BEAMS)
    return search.run(log_probs, lengths)


def assert_equal_answers(found, expected):
    """The same answers with the same scores; in the same order, but for neighbours whose scores are as good as equal."""
    scores = {tuple(item["tokens"]): item["score"] for item in expected}
    assert {answer.tokens for answer in found} == scores.keys()
    for answer in found:
        assert answer.score == pytest.approx(scores[answer.tokens], abs=SCORE)
    for better, worse in itertools.pairwise(found):
        assert scores[better.tokens] > scores[worse.tokens] - SCORE


def test_greedy(heard):
    _, _, log_probs, lengths, expected = heard
    for row, length, item in zip(log_probs, lengths.tolist(), expected, strict=True):
        assert length == item["encoder_frames"]
        assert list(greedy_path(row[:length], BLANK).tokens) == item["ctc_greedy"]


def test_prefix_beam(heard):
    _, _, log_probs, lengths, expected = heard
    for found, item in zip(prefix_beam(log_probs, lengths), expected, strict=True):
        assert_equal_answers(found, item["ctc_prefix_beam"])


@pytest.mark.parametrize("beam_size", [1, 10])
def test_attention_beam(attended, beam_size):
    model, encoded, _, lengths, expected = attended
    search = AttentionBeam(model.decoder, FusionConfig(beam_size=beam_size), BOUNDARY, PrefixTree(), num_answers=beam_size)
    for found, item in zip(search.run(encoded, lengths), expected, strict=True):
        known = item[f"attention_beam{beam_size}"]["nbest"]
        assert_equal_answers(found[: len(known)], known)
        ended = {tuple(answer["tokens"]): answer["finished"] for answer in known}
        assert all(answer.ended == ended[answer.tokens] for answer in found[: len(known)])


@pytest.mark.parametrize("ctc_weight", ["0.5", "0.0", "0.3"])
def test_rescoring(attended, ctc_weight):
    model, encoded, log_probs, lengths, expected = attended
    rescoring = AttentionRescoring(model.decoder, FusionConfig(ctc_weight=float(ctc_weight)), BOUNDARY)
    rescored = rescoring.run(encoded, lengths, prefix_beam(log_probs, lengths))
    for found, item in zip(rescored, expected, strict=True):
        answers = [tuple(answer["tokens"]) for answer in item["ctc_prefix_beam"]]
        known = item["attention_rescoring"]
        combined = dict(zip(answers, known["by_ctc_weight"][ctc_weight]["combined_scores"], strict=True))
        assert_equal_answers(found, [{"tokens": tokens, "score": score} for tokens, score in combined.items()])
        assert list(found[0].tokens) == known["by_ctc_weight"][ctc_weight]["tokens"]
        attention = dict(zip(answers, known["att_scores"], strict=True))
        for answer in found:
            assert answer.attention_score == pytest.approx(attention[answer.tokens], abs=SCORE)


@pytest.mark.parametrize("mode", ["ctc_greedy", "ctc_prefix_beam", "attention", "attention_rescoring"])
def test_from_frames_to_answers(golden_conformer, attended, mode):
    """All utterances in one call, as the recognizer makes it."""
    model, *_, expected = attended
    dictionary = CharacterDictionary(["<blank>", "<unk>", *map(chr, range(0x4E00, 0x4E00 + VOCABULARY - 3)), "<sos/eos>"])
    weights = FusionConfig(beam_size=BEAMS, ctc_weight=0.5 if mode == "attention_rescoring" else 0.0)
    fusion = None if mode == "ctc_greedy" else Fusion(config=weights, mode=mode, num_alternatives=BEAMS)
    decoder = ConformerDecoder(model, dictionary, FrontendConfig(lfr_m=1, lfr_n=1), fusion)
    utterances = load_file(golden_conformer / "decode_inputs.safetensors")
    answers = decoder.decode([utterances[name][0] for name in sorted(utterances)])
    for answer, item in zip(answers, expected, strict=True):
        known = {
            "ctc_greedy": item["ctc_greedy"],
            "ctc_prefix_beam": item["ctc_prefix_beam"][0]["tokens"],
            "attention": item["attention_beam10"]["nbest"][0]["tokens"],
            "attention_rescoring": item["attention_rescoring"]["by_ctc_weight"]["0.5"]["tokens"],
        }
        assert list(answer.tokens) == [token for token in known[mode] if token != BLANK]
        assert answer.text == dictionary.decode(answer.tokens)


def test_rescoring_both_ways(golden_conformer):
    """With the weights that the model was made with: 0.3 of the reverse decoder, 0.5 of CTC."""
    tensors = load_file(golden_conformer / "bidecoder_aed.safetensors")
    entry = json.loads((golden_conformer / "manifest.json").read_text())["files"]["bidecoder_aed.safetensors"]
    config = entry["config"] | {"nnet_proto": "conformer_aed"}
    state = {name.removeprefix("w."): value for name, value in tensors.items() if name.startswith("w.")}
    model = model_of(config, state)
    encoded, log_probs, lengths = encoded_of(model, load_file(golden_conformer / "decode_inputs.safetensors"))
    rescoring = AttentionRescoring(model.decoder, FusionConfig(ctc_weight=0.5, reverse_weight=0.3), BOUNDARY)
    rescored = rescoring.run(encoded, lengths, prefix_beam(log_probs, lengths))
    expected = entry["attention_rescoring_tokens"]
    assert [list(found[0].tokens) for found in rescored] == [expected[name] for name in sorted(expected)]
