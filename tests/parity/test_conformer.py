"""The dense Conformer against the reference's tensors: encoder, losses and gradients, in padded batches as it handles them."""

import json

import pytest
import torch
import yaml
from safetensors.torch import load_file

from mooer.common.errors import WeightsError
from mooer.models.conformer_aed import ConformerAed
from mooer.models.conformer_builder import conformer_state, outline_conformer
from mooer.models.conformer_reference import load_reference, reference_config
from mooer.models.transformer_decoder import UNUSED_PART
from mooer.models.weights import load_state
from mooer.nn.masks import Chunks

FORWARD = {"atol": 2e-5, "rtol": 1e-4}
LOSS = {"atol": 0.0, "rtol": 2e-5}
VOCAB = 31


@pytest.fixture(scope="module")
def manifest(golden_conformer):
    return json.loads((golden_conformer / "manifest.json").read_text())


@pytest.fixture(scope="module")
def inputs(golden_conformer):
    return load_file(golden_conformer / "dense_aed.eval.safetensors")


def model_of(config, state, reference_padding=True):
    """The reference's model, without dropout; as it treats padding, unless told otherwise."""
    settings = reference_config(config, "golden", reference_padding)
    model = outline_conformer(settings, VOCAB)
    load_state(model, conformer_state(state), "golden")
    for module in model.modules():
        for name in ("p", "rate", "dropout"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)
    return model


@pytest.fixture(scope="module", params=["dense_aed", "embed_ctc"])
def known(request, golden_conformer, manifest):
    files = {kind: load_file(golden_conformer / f"{request.param}.{kind}.safetensors") for kind in ("eval", "train", "grads")}
    state = load_file(golden_conformer / f"{request.param}.weights.safetensors")
    return model_of(manifest["models"][request.param], state), files


def run(model: ConformerAed, batch):
    encoded = model.encoder.encode(batch["feats"], batch["feat_lens"])
    terms, attention = model.terms(encoded, batch["target"], batch["target_lens"])
    return encoded, terms, model.total(terms, len(batch["target"]), attention.num_tokens) / len(batch["target"])


def assert_like(got, wanted, **tolerance):
    torch.testing.assert_close(got, wanted, **(tolerance or FORWARD))


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_output_and_losses(known, mode):
    model, files = known
    batch, wanted = files["eval"], files[mode]
    with torch.no_grad():
        encoded, terms, total = run(model.train(mode == "train"), batch)
    assert_like(encoded.hidden, wanted["hidden"])
    assert torch.equal(encoded.lengths.long(), wanted["out_lens"])
    assert_like(model.encoder.out_linear(encoded.hidden), wanted["out_nosm"])
    assert_like(model.encoder.ctc_log_probs(encoded.hidden), wanted["ctc_log_probs"])
    assert_like(terms.ctc / len(batch["feats"]), wanted["loss_term.ctc"], **LOSS)
    assert_like(total, wanted["loss_total"], **LOSS)
    if "loss_term.att" in wanted:
        assert_like(terms.attention / len(batch["feats"]), wanted["loss_term.att"], **LOSS)


def test_each_stage(known):
    model, files = known
    wanted, outputs = files["eval"], []
    for block in model.encoder.blocks:
        block.register_forward_hook(lambda _block, _inputs, output: outputs.append(output[0]))
    with torch.no_grad():
        run(model.eval(), wanted)
        subsampled = model.encoder.subsampling(wanted["feats"])
    assert_like(subsampled, wanted["subsampling_out"])
    scaled, table = model.encoder.positions(subsampled)
    assert_like(scaled, wanted["pos_enc_out"])
    assert_like(table, wanted["pos_emb"][0])
    assert len(outputs) == len(model.encoder.blocks)
    for number, output in enumerate(outputs):
        assert_like(output, wanted[f"block{number}_out"])


def test_gradients(known):
    model, files = known
    model.train().zero_grad()
    run(model, files["eval"])[2].backward()
    assert_gradients(model, files["grads"])


def assert_gradients(model, grads):
    wanted = {name: tensor for name, tensor in conformer_state(grads).items() if UNUSED_PART not in name}
    assert {name for name, _ in model.named_parameters()} == wanted.keys()
    for name, parameter in model.named_parameters():
        highest = max(wanted[name].abs().max().item(), 0.1)  # a key's bias has a gradient of zero but for rounding
        torch.testing.assert_close(
            parameter.grad, wanted[name], rtol=1e-3, atol=1e-5 * highest, msg=lambda text, n=name: n + text
        )


VARIANTS = ["bn", "causal_chunk", "chunk_full", "static_chunk", "nopos", "abspos"]


@pytest.mark.parametrize("variant", VARIANTS)
def test_variants(variant, golden_conformer, manifest, inputs):
    file = f"variant_{variant}.safetensors"
    known, config = load_file(golden_conformer / file), manifest["files"][file]["config"]
    state = {name.removeprefix("w."): tensor for name, tensor in known.items() if name.startswith("w.")}
    model = model_of(config | {"nnet_proto": "conformer"}, state).eval()
    size = config["decoding_chunk_size"]
    chunks = Chunks(size, config["num_decoding_left_chunks"]) if size > 0 else None
    with torch.no_grad():
        encoded = model.encoder.encode(inputs["feats"], inputs["feat_lens"], chunks)
    assert torch.equal(encoded.lengths.long(), known["out_lens"])
    assert_like(encoded.hidden, known["hidden"])
    assert_like(model.encoder.out_linear(encoded.hidden), known["out_nosm"])


def test_bidirectional_decoder(golden_conformer, manifest, inputs):
    file = "bidecoder_aed.safetensors"
    known, config = load_file(golden_conformer / file), manifest["files"][file]["config"]
    state = {name.removeprefix("w."): tensor for name, tensor in known.items() if name.startswith("w.")}
    model = model_of(config | {"nnet_proto": "conformer_aed"}, state).eval()
    with torch.no_grad():
        encoded, terms, total = run(model, inputs)
    assert_like(encoded.hidden, known["hidden"])
    both = 0.7 * known["loss_left"] + 0.3 * known["loss_right"]
    assert_like(terms.attention / len(inputs["feats"]), both, **LOSS)
    assert_like(total, known["loss_total"], **LOSS)


def test_without_the_switch_a_batch_gives_what_the_reference_gives_for_each_alone(golden_conformer, manifest, inputs):
    config, state = manifest["models"]["dense_aed"], load_file(golden_conformer / "dense_aed.weights.safetensors")
    theirs, ours = model_of(config, state).eval(), model_of(config, state, reference_padding=False).eval()
    with torch.no_grad():
        batched, lengths = ours.encoder(inputs["feats"], inputs["feat_lens"])
        for row, effect in enumerate(manifest["padding_effect"]):
            alone, _ = theirs.encoder(inputs["feats"][row : row + 1, : effect["in_len"]], torch.tensor([effect["in_len"]]))
            assert lengths[row] == alone.shape[1] == effect["out_len_alone"]
            assert_like(batched[row, : lengths[row]], alone[0])
            assert not batched[row, lengths[row] :].any()


@pytest.mark.parametrize("name", ["dense_aed", "embed_ctc", "moe_aed", "moe_ctc"])
def test_the_two_files_of_a_model(name, golden_conformer, manifest, tmp_path):
    """A recording alone, without the switch, has the reference's numbers."""
    weights = load_file(golden_conformer / f"{name}.weights.safetensors")
    (tmp_path / "train.yaml").write_text(yaml.safe_dump(manifest["models"][name] | {"accum_grad": 4}))
    torch.save(weights, tmp_path / "model.pt")
    config, model = load_reference(tmp_path / "train.yaml", tmp_path / "model.pt")
    known = load_file(golden_conformer / f"{name}.eval.safetensors")
    log_probs, lengths = model.log_probs(known["feats"][:1], known["feat_lens"][:1])
    assert not config.encoder.reference_padding
    assert lengths[0] == known["out_lens"][0] == log_probs.shape[1]
    assert_like(log_probs[0], known["ctc_log_probs"][0])
    assert not log_probs.requires_grad
    del weights[next(iter(weights))]
    torch.save(weights, tmp_path / "model.pt")
    with pytest.raises(WeightsError, match=r"model\.pt does not fit the model; 1 missing"):
        load_reference(tmp_path / "train.yaml", tmp_path / "model.pt")
