"""What a rank of test_expert_parallel.py does."""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from mooer.common import dist
from mooer.models.conformer_builder import conformer_state, outline_conformer
from mooer.models.conformer_reference import reference_config
from mooer.models.shared_experts import share_experts
from mooer.models.weights import load_state
from mooer.train.config import TrainingConfig
from mooer.train.engine import Engine, processes
from mooer.train.optim import build_optimizer

CPU = torch.device("cpu")
SHARING = 2
RUNS = {"w2.nocap": 2, "w2.cap0.75": 2, "w2.eval": 2, "w4e2.nocap": 4}
"""The runs and their ranks, as the golden file names them."""


def build(golden, capacity_factor):
    """The reference's model without dropout."""
    config = json.loads((golden / "manifest.json").read_text())["models"]["moe_aed"]
    config["model_conf"]["encoder_conf"]["moe_conf"]["capacity_factor"] = capacity_factor
    model = outline_conformer(reference_config(config, "golden", reference_padding=True), 31)
    load_state(model, conformer_state(load_file(golden / "moe_aed.weights.safetensors")), "golden")
    for module in model.modules():
        for name in ("p", "rate", "dropout"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)
    share_experts(model, SHARING)
    config = TrainingConfig(max_steps=1, expert_parallel=SHARING)
    return Engine(model, build_optimizer(model, config.optimizer), config, CPU)


def outputs_of(model, batch):
    with torch.no_grad():
        encoded = model.encoder.encode(batch["frames"], batch["frame_lengths"])
        terms, attention = model.terms(encoded, batch["targets"], batch["target_lengths"])
        size = len(batch["targets"])
        return {
            "logits": model.encoder.out_linear(encoded.hidden),
            "chosen": torch.stack([routing.chosen for routing in encoded.routings]),
            "sparsity": terms.sparsity,
            "importance": terms.importance,
            "sums": torch.stack([terms.ctc, terms.attention, terms.embedding_ctc]),
            "loss": model.total(terms, size, attention.num_tokens) / size,
        }


def gradients_of(model, prefix):
    return {f"{prefix}.{name}": own.grad.clone() for name, own in model.named_parameters() if own.grad is not None}


def run(engine, batch, with_gradients):
    """Outputs, gradients of this rank alone, and gradients when all ranks were averaged."""
    if not with_gradients:
        with engine.evaluation() as model:
            return outputs_of(model, batch)
    results = outputs_of(engine.model.train(), batch)
    size = len(batch["targets"])
    engine.backward(engine.forward(batch).loss_sum / size, last=False)
    results |= gradients_of(engine.model, "before")
    engine.backward(engine.forward(batch).loss_sum * 0.0, last=True)
    return results | gradients_of(engine.model, "after")


def main(golden, output):
    """Write the results of the runs with as many ranks as there are to the folder."""
    golden = Path(golden)
    known, rank = load_file(golden / "expert_parallel.safetensors"), dist.rank()
    fields = {"frames": "feats", "frame_lengths": "feat_lens", "targets": "target", "target_lengths": "target_lens"}
    batch = {field: known[f"rank{rank}.{name}"] for field, name in fields.items()}
    with processes(CPU):
        for name in (name for name, count in RUNS.items() if count == dist.world_size()):
            engine = build(golden, float(name.partition(".cap")[2] or -1.0))
            results = run(engine, batch, with_gradients=not name.endswith("eval"))
            save_file(results, Path(output) / f"{name}.rank{rank}.safetensors")
