"""The Conformer with experts against the reference's tensors: routes, outputs, losses, gradients, how it starts, its names."""

import dataclasses
import json

import pytest
import torch
from safetensors.torch import load_file

from mooer.common.errors import WeightsError
from mooer.models.conformer_builder import (
    build_conformer,
    conformer_state,
    num_active_parameters,
    outline_conformer,
    start_from,
)
from mooer.models.conformer_reference import reference_config
from mooer.models.transformer_decoder import UNUSED_PART
from mooer.models.weights import load_state, own_tensors

FORWARD = {"atol": 2e-5, "rtol": 1e-4}
LOSS = {"atol": 0.0, "rtol": 2e-5}
VOCAB = 31


@pytest.fixture(scope="module")
def manifest(golden_conformer):
    return json.loads((golden_conformer / "manifest.json").read_text())


def without_dropout(model):
    for module in model.modules():
        for name in ("p", "rate", "dropout"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)
    return model


@pytest.fixture(scope="module")
def model_like(golden_conformer, manifest):
    """`model_like("moe_aed", capacity_factor=0.5)`: the reference's model with other settings of its experts."""

    def build(name, reference_padding=True, **moe):
        config = json.loads(json.dumps(manifest["models"][name]))
        encoder = config["model_conf"].get("encoder_conf", config["model_conf"])
        encoder["moe_conf"] |= moe
        model = outline_conformer(reference_config(config, "golden", reference_padding), VOCAB)
        load_state(model, conformer_state(load_file(golden_conformer / f"{name}.weights.safetensors")), "golden")
        return without_dropout(model)

    return build


@pytest.fixture(scope="module", params=["moe_aed", "moe_ctc"])
def known(request, golden_conformer, model_like):
    files = {kind: load_file(golden_conformer / f"{request.param}.{kind}.safetensors") for kind in ("eval", "train", "grads")}
    return model_like(request.param), files


def run(model, batch):
    encoded = model.encoder.encode(batch["feats"], batch["feat_lens"])
    terms, attention = model.terms(encoded, batch["target"], batch["target_lens"])
    return encoded, terms, model.total(terms, len(batch["target"]), attention.num_tokens) / len(batch["target"])


def assert_like(got, wanted, **tolerance):
    torch.testing.assert_close(got, wanted, **(tolerance or FORWARD))


def assert_run_like(model, found, wanted):
    encoded, terms, total = found
    assert_like(encoded.hidden, wanted["hidden"])
    assert_like(model.encoder.embed.ctc_log_probs(encoded.embedding), wanted["embed_ctc_log_probs"])
    assert_like(model.encoder.ctc_log_probs(encoded.hidden), wanted["ctc_log_probs"])
    for number, routing in enumerate(encoded.routings):
        probabilities = wanted[f"moe{number}_router_probs"].flatten(0, 1)
        assert_like(routing.probabilities, probabilities, atol=1e-5, rtol=0.0)
        assert torch.equal(routing.chosen, wanted[f"moe{number}_expert_idx"].flatten())
    assert_terms_like(terms, total, wanted)


def assert_terms_like(terms, total, wanted, batch_size=3):
    assert_like(terms.ctc / batch_size, wanted["loss_term.ctc"], **LOSS)
    assert_like(terms.embedding_ctc / batch_size, wanted["loss_term.embed_ctc"], **LOSS)
    assert_like(terms.sparsity, wanted["aux_per_layer.sparse_l1"], **LOSS)
    assert_like(terms.importance, wanted["aux_per_layer.importance"], **LOSS)
    if "loss_term.att" in wanted:
        assert_like(terms.attention / batch_size, wanted["loss_term.att"], **LOSS)
    assert_like(total, wanted["loss_total"], **LOSS)


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_outputs_routes_and_losses(known, mode):
    model, files = known
    with torch.no_grad():
        found = run(model.train(mode == "train"), files["eval"])
    assert_run_like(model, found, files[mode])


def test_each_feed_forward_part(known):
    model, files = known
    wanted, calls = files["eval"], []
    hooks = [
        block.feed_forward.register_forward_hook(lambda _part, inputs, output: calls.append((inputs[0], output[0])))
        for block in model.encoder.blocks
    ]
    with torch.no_grad():
        encoded = model.eval().encoder.encode(wanted["feats"], wanted["feat_lens"])
    for hook in hooks:
        hook.remove()
    assert_like(encoded.embedding, wanted["embed.hidden"])
    assert len(calls) == 3
    for number, (got_in, got_out) in enumerate(calls):
        assert_like(got_in, wanted[f"moe{number}_ffn_in"])
        assert_like(got_out, wanted[f"moe{number}_ffn_out"])


def test_gradients(known):
    model, files = known
    model.train().zero_grad()
    run(model, files["eval"])[2].backward()
    wanted = {name: tensor for name, tensor in conformer_state(files["grads"]).items() if UNUSED_PART not in name}
    assert {name for name, _ in model.named_parameters()} == wanted.keys()
    for name, parameter in model.named_parameters():
        highest = max(wanted[name].abs().max().item(), 0.1)  # a key's bias has a gradient of zero but for rounding
        torch.testing.assert_close(
            parameter.grad, wanted[name], rtol=1e-3, atol=1e-5 * highest, msg=lambda text, n=name: f"{n}: {text}"
        )


@pytest.fixture(scope="module")
def variants(golden_conformer, manifest):
    return load_file(golden_conformer / "moe_variants.safetensors"), manifest["files"]["moe_variants.safetensors"]["variants"]


NAMES = ["cap1.0_train", "cap0.5_train", "cap1.25_train", "cap0.5_eval", "keep_eval", "keep_train", "cap0.5_keep_train"]


@pytest.mark.parametrize("name", NAMES)
def test_capacity_and_unscaled_experts(name, variants, golden_conformer, model_like):
    tensors, settings = variants
    assert set(settings) == set(NAMES)
    own, wanted = (
        settings[name],
        {key.removeprefix(name + "."): value for key, value in tensors.items() if key.startswith(name)},
    )
    model = model_like("moe_aed", capacity_factor=own["capacity_factor"], keep_expert_output=own["keep_expert_output"])
    batch, outputs = load_file(golden_conformer / "moe_aed.eval.safetensors"), []
    for block in model.encoder.blocks:
        block.feed_forward.register_forward_hook(lambda _part, _inputs, output: outputs.append(output[0]))
    encoded, terms, total = run(model.train(own["mode"] == "train"), batch)
    assert_like(encoded.hidden, wanted["hidden"])
    assert_terms_like(terms, total, wanted)
    for number, (output, routing, layer) in enumerate(zip(outputs, encoded.routings, own["layers"], strict=True)):
        assert_like(output, wanted[f"moe{number}_ffn_out"])
        assert routing.chosen.bincount(minlength=4).tolist() == layer["tokens_per_expert"]
        dropped = (output.flatten(0, 1) == 0).all(dim=1).nonzero().flatten().tolist()
        assert dropped == layer["dropped_flat_frame_idx"]


def started(golden_conformer, manifest, **moe):
    """The model with experts that starts from the dense one and the embedding network."""
    config = json.loads(json.dumps(manifest["models"]["moe_aed"]))
    config["model_conf"]["encoder_conf"]["moe_conf"] |= moe
    paths = {
        "base_path": str(golden_conformer / "dense_aed.weights.safetensors"),
        "embedding_path": str(golden_conformer / "embed_ctc.weights.safetensors"),
    }
    return build_conformer(dataclasses.replace(reference_config(config, "golden", True), **paths), VOCAB)


def test_start_from_a_dense_model(golden_conformer, manifest):
    model = started(golden_conformer, manifest)
    known = load_file(golden_conformer / "moe_init.safetensors")
    routers = {name.removeprefix("own_init."): value for name, value in known.items() if name.startswith("own_init.")}
    own = own_tensors(model)
    assert routers.keys() == {name for name in own if "router" in name}
    load_state(model, own | routers, "golden routers")
    batch = load_file(golden_conformer / "dense_aed.eval.safetensors")
    with torch.no_grad():
        found = run(model.eval(), batch)
    assert_run_like(model, found, {name.removeprefix("eval."): value for name, value in known.items()})


def test_sources_of_a_start(golden_conformer, manifest):
    """Each tensor comes from where the reference takes it."""
    mapping = json.loads((golden_conformer / "moe_init_mapping.json").read_text())["mapping"]
    base, embedding = (load_file(golden_conformer / f"{name}.weights.safetensors") for name in ("dense_aed", "embed_ctc"))
    model = started(golden_conformer, manifest, rand_init_router=False)
    state = model.state_dict()
    checked = 0
    for name, kind, source in mapping:
        if UNUSED_PART in name:
            continue
        checked += 1
        if kind == "left_at_own_init":
            assert not state[name].any()
        elif kind == "base:copied_to_every_expert":
            assert all(torch.equal(own, base[source]) for own in state[name])
        else:
            assert torch.equal(state[name], (base if kind == "base:same_key" else embedding)[source])
    assert checked == len(state)


def test_started_experts_give_the_dense_model(golden_conformer, manifest):
    model = started(golden_conformer, manifest, keep_expert_output=True)
    wanted = load_file(golden_conformer / "dense_aed.eval.safetensors")
    with torch.no_grad():
        encoded = model.eval().encoder.encode(wanted["feats"], wanted["feat_lens"])
    assert_like(encoded.hidden, wanted["hidden"])


def test_own_start_of_routers_and_experts(manifest):
    config = json.loads(json.dumps(manifest["models"]["moe_aed"]))
    torch.manual_seed(0)
    part = outline_conformer(reference_config(config, "golden"), VOCAB).encoder.blocks[0].feed_forward
    bounds = {"router_weights": 0.158114, "experts.w_1.weight": 0.030024}
    for name, bound in bounds.items():
        assert 0.98 * bound < part.get_parameter(name).abs().max() <= bound + 1e-6
    assert not part.experts.w_1.bias.any()


FULL = {
    "encoder": {"attention_dim": 512, "attention_heads": 8, "cnn_module_norm": "layer_norm"},
    "decoder": {"attention_heads": 8, "linear_units": 2048},
}


def full_size(kind):
    """The settings of the published models."""
    dense = FULL["encoder"] | {"num_blocks": 6 if kind == "embedding" else 12, "linear_units": 2048}
    encoder = dense
    if kind == "moe":
        experts = {"num_experts": 32, "hidden_units": 2048}
        encoder = FULL["encoder"] | {"num_blocks": 12, "moe_conf": experts, "embed_conf": dense | {"num_blocks": 6}}
    return {
        "nnet_proto": "conformer_aed_moe_catEmbed" if kind == "moe" else "conformer_aed",
        "model_conf": {
            "encoder_conf": encoder,
            "decoder_conf": FULL["decoder"] | {"num_blocks": 4 if kind == "embedding" else 6},
        },
    }


@pytest.mark.parametrize(("kind", "millions"), [("base", 129.47), ("embedding", 77.92), ("moe", 962.19)])
def test_names_and_shapes_of_the_full_size(kind, millions, golden_conformer):
    known = json.loads((golden_conformer / "fullsize_keys.json").read_text())[kind]
    with torch.device("meta"):
        model = outline_conformer(reference_config(full_size(kind), "full size"), known["output_dim"])
    ours = {name: list(tensor.shape) for name, tensor in model.state_dict().items()}
    used = {name: shape for name, shape in known["keys"].items() if UNUSED_PART not in name}
    assert ours == used
    unused = known["unused_in_forward_parameters"]["count"]
    parameters = sum(parameter.numel() for parameter in model.parameters())
    assert parameters + unused == known["total_parameters"]
    assert round(known["total_parameters"] / 1e6, 2) == millions
    assert num_active_parameters(model) + unused == known["active_per_token_parameters"]["all_but_unselected_experts"]


def test_a_base_model_that_does_not_fit_is_refused(golden_conformer, manifest):
    base = conformer_state(load_file(golden_conformer / "dense_aed.weights.safetensors"))
    own = own_tensors(outline_conformer(reference_config(manifest["models"]["moe_aed"], "golden"), VOCAB))
    with pytest.raises(WeightsError, match=r"1 unexpected: decoder\.more"):
        start_from(own, base | {"decoder.more": torch.zeros(1)}, None, "base")
    del base["encoder.blocks.1.feed_forward.w_2.bias"]
    with pytest.raises(WeightsError, match=r"1 missing: encoder\.blocks\.1\.feed_forward\.experts\.w_2\.bias"):
        start_from(own, base, None, "base")
