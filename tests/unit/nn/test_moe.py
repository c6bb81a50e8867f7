import pytest
import torch
import torch.nn.functional as F

from mooer.nn.moe import Experts, MoeFeedForward, importance_loss, sparsity_loss

WIDTH, HIDDEN, EMBEDDING, EXPERTS = 6, 10, 4, 5


def layer_of(capacity_factor=-1.0, keep_expert_output=False, has_bias=True, num_experts=EXPERTS):
    torch.manual_seed(0)
    experts = Experts(num_experts, WIDTH, HIDDEN, 0.0, capacity_factor)
    for layer in (experts.w_1, experts.w_2):
        torch.nn.init.normal_(layer.weight)
        torch.nn.init.normal_(layer.bias)
    layer = MoeFeedForward(experts, EMBEDDING, has_bias, keep_expert_output, random_router=True)
    torch.nn.init.normal_(layer.router_weights)
    if has_bias:
        torch.nn.init.normal_(layer.router_bias, std=0.1)
    return layer


def frame_by_frame(layer, frames, embedding):
    """What the layer is, one frame at a time."""
    rows = []
    for frame, own in zip(frames.flatten(0, 1), embedding.flatten(0, 1), strict=True):
        probabilities = (torch.cat([own, frame]) @ layer.router_weights + layer.router_bias).softmax(dim=0)
        gate, number = probabilities.max(dim=0)
        first, second = layer.experts.w_1, layer.experts.w_2
        hidden = F.silu(first.weight[number] @ frame + first.bias[number])
        output = second.weight[number] @ hidden + second.bias[number]
        rows.append(output if layer.keep_expert_output else output * gate)
    return torch.stack(rows).view_as(frames)


@pytest.mark.parametrize("keep_expert_output", [False, True])
def test_outputs_and_gradients_are_those_of_one_frame_at_a_time(keep_expert_output):
    layer = layer_of(keep_expert_output=keep_expert_output).double()
    results = []
    for way in (lambda *inputs: layer(*inputs)[0], lambda *inputs: frame_by_frame(layer, *inputs)):
        torch.manual_seed(1)
        frames = torch.randn(3, 7, WIDTH, dtype=torch.float64, requires_grad=True)
        embedding = torch.randn(3, 7, EMBEDDING, dtype=torch.float64, requires_grad=True)
        layer.zero_grad()
        output = way(frames, embedding)
        output.square().sum().backward()
        gradients = {name: parameter.grad for name, parameter in layer.named_parameters() if parameter.grad is not None}
        if keep_expert_output:  # routers then learn by their own losses alone
            assert all(not gradient.any() for name, gradient in gradients.items() if "router" in name)
            gradients = {name: gradient for name, gradient in gradients.items() if "router" not in name}
        results.append((output, frames.grad, gradients))
    torch.testing.assert_close(results[0], results[1], atol=1e-4, rtol=1e-4)  # routers compute in float32


def test_masked_frames_are_not_routed():
    layer = layer_of()
    frames, embedding = torch.randn(2, 6, WIDTH), torch.randn(2, 6, EMBEDDING)
    mask = torch.tensor([[True] * 6, [True, True, False, False, True, False]])
    output, routing = layer(frames, embedding, mask)
    whole, _ = layer(frames, embedding)
    torch.testing.assert_close(output[mask], whole[mask])
    assert not output[~mask].any()
    assert routing.probabilities.shape == (9, EXPERTS)


def test_frames_over_the_capacity_get_zeros_in_training_only():
    layer = layer_of(capacity_factor=0.5).train()
    frames, embedding = torch.randn(1, 20, WIDTH), torch.randn(1, 20, EMBEDDING)
    output, routing = layer(frames, embedding)
    full, _ = layer.eval()(frames, embedding)
    seen = [0] * EXPERTS
    for place, expert in enumerate(routing.chosen.tolist()):
        seen[expert] += 1
        wanted = full[0, place] if seen[expert] <= 2 else torch.zeros(WIDTH)  # int(0.5 * 20 / 5)
        torch.testing.assert_close(output[0, place], wanted)
    assert max(seen) > 2
    assert full.any(dim=2).all()


def test_dropped_frames_pass_no_gradient():
    layer = layer_of(capacity_factor=0.5, has_bias=False).train()
    frames = torch.randn(1, 20, WIDTH, requires_grad=True)
    output, _ = layer(frames, torch.randn(1, 20, EMBEDDING))
    output.sum().backward()
    dropped = ~output.any(dim=2)
    assert dropped.any()
    assert not frames.grad[dropped].any()
    assert frames.grad[~dropped].any(dim=1).all()


@pytest.mark.parametrize("factor", [0.0, -1.0, 0.1])
def test_a_capacity_below_one_frame_is_no_limit(factor):
    layer = layer_of(capacity_factor=factor).train()
    output, _ = layer(torch.randn(1, 8, WIDTH), torch.randn(1, 8, EMBEDDING))
    assert output.any(dim=2).all()


def test_no_frame_at_all():
    layer = layer_of()
    frames = torch.randn(2, 3, WIDTH, requires_grad=True)
    output, routing = layer(frames, torch.randn(2, 3, EMBEDDING), torch.zeros(2, 3, dtype=torch.bool))
    loss = output.sum() + sparsity_loss(routing.probabilities) + importance_loss(routing.probabilities)
    loss.backward()
    assert loss == 0.0
    assert not layer.experts.w_1.weight.grad.any()


def test_autocast_routes_in_float32_and_computes_in_bfloat16():
    layer = layer_of()
    frames, embedding = torch.randn(1, 9, WIDTH), torch.randn(1, 9, EMBEDDING)
    exact, exact_routing = layer(frames, embedding)
    with torch.autocast("cpu", torch.bfloat16):
        rounded, routing = layer(frames, embedding)
        rounded.sum().backward()
    assert rounded.dtype == torch.bfloat16
    assert torch.equal(routing.probabilities, exact_routing.probabilities)
    torch.testing.assert_close(rounded.float(), exact, atol=0.3, rtol=0.05)
    assert layer.experts.w_2.weight.grad.dtype == torch.float32


def test_router_losses_at_their_ends():
    sure, torn = torch.eye(4), torch.full((8, 4), 0.25)
    assert sparsity_loss(sure).item() == pytest.approx(1.0)
    assert sparsity_loss(torn).item() == pytest.approx(2.0)
    assert importance_loss(sure).item() == pytest.approx(1.0)
    assert importance_loss(sure[:1].expand(5, 4)).item() == pytest.approx(4.0)
