import pytest
import torch


def test_embed_places_audio_on_its_columns_and_text_elsewhere(tiny, batch):
    model = tiny().eval()
    ids = batch["input_ids"].clone()
    embeds = model.embed(batch["frames"], batch["frame_lengths"], batch["input_ids"])
    audio, lengths = model.encode(batch["frames"], batch["frame_lengths"])
    assert lengths.tolist() == [4, 3, 0]
    text = model.llm.get_input_embeddings().weight
    for row in range(3):
        audio_columns = (ids[row] == -1).nonzero().flatten()
        torch.testing.assert_close(embeds[row, audio_columns], audio[row, : len(audio_columns)], rtol=0, atol=0)
        text_columns = (ids[row] >= 0).nonzero().flatten()
        torch.testing.assert_close(embeds[row, text_columns], text[ids[row, text_columns]], rtol=0, atol=0)
    assert torch.equal(batch["input_ids"], ids), "the caller's ids must not change"


def test_embed_drops_surplus_audio_and_refuses_missing_audio(tiny, batch):
    model = tiny().eval()
    fewer = batch["input_ids"].clone()
    fewer[0, 0] = 0
    model.embed(batch["frames"], batch["frame_lengths"], fewer)
    with pytest.raises(ValueError, match="audio embeddings"):
        model.embed(batch["frames"], torch.tensor([9, 5, 1]), batch["input_ids"])


def test_embed_of_text_alone_needs_no_audio_frame(tiny):
    model = tiny().eval()
    embeds = model.embed(torch.randn(1, 1, 12), torch.tensor([1]), torch.tensor([[4, 5]]))
    torch.testing.assert_close(embeds[0], model.llm.get_input_embeddings().weight[[4, 5]])


def gradients_of(model, loss):
    model.zero_grad()
    loss.backward()
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.grad is not None}


def gemma2(**changes):
    from transformers import AutoModelForCausalLM, Gemma2Config

    sizes = {"vocab_size": 50, "hidden_size": 32, "num_hidden_layers": 2, "intermediate_size": 40}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8}
    return AutoModelForCausalLM.from_config(Gemma2Config(**sizes, **heads, **changes))


@pytest.mark.parametrize("kind", ["qwen2", "gemma2"])
def test_loss_and_gradients_are_the_llms_own(tiny, batch, kind):
    """Against the plain way: logits of every column, then transformers' shift and mean."""
    model = tiny()
    if kind == "gemma2":  # normalises what the feed-forward part gives, zeros too
        torch.manual_seed(0)
        model.llm = gemma2()
    model.eval()
    output = model(**batch)
    gradients = gradients_of(model, output.loss_sum / 9)
    embeds = model.embed(batch["frames"], batch["frame_lengths"], batch["input_ids"])
    plain = model.llm(inputs_embeds=embeds, attention_mask=batch["attention_mask"], labels=batch["labels"])
    wanted = batch["labels"][:, 1:]
    correct = (plain.logits[:, :-1].argmax(-1) == wanted) & (wanted != -100)
    assert output.num_tokens == 9
    torch.testing.assert_close(output.loss_sum / 9, plain.loss)
    assert output.num_correct == correct.sum()
    torch.testing.assert_close(gradients, gradients_of(model, plain.loss), atol=1e-5, rtol=1e-4)


def test_the_end_of_the_llm_computes_labelled_columns_only(tiny, batch):
    model = tiny().eval()
    sizes = []
    layers = model.llm.model.layers
    for module in (layers[0].mlp.down_proj, layers[-1].mlp.down_proj, model.llm.lm_head):
        module.register_forward_hook(lambda _module, _inputs, output: sizes.append(output.shape[:-1].numel()))
    model(**batch)
    assert sizes == [(batch["labels"].shape[1] - 1) * 3, 9, 9]


def test_loss_is_the_sum_over_rows_alone_without_their_padding(tiny, batch):
    model = tiny().eval()
    total = 0.0
    for row in range(3):
        keep = batch["attention_mask"][row]
        columns = {name: batch[name][row : row + 1, keep] for name in ("input_ids", "labels", "attention_mask")}
        length = batch["frame_lengths"][row : row + 1]
        total += model(frames=batch["frames"][row : row + 1, : length[0]], frame_lengths=length, **columns).loss_sum
    torch.testing.assert_close(model(**batch).loss_sum, total, atol=1e-4, rtol=1e-5)


def test_a_packed_row_has_the_loss_and_gradients_of_its_utterances(tiny, batch):
    model = tiny().eval()
    real = batch["attention_mask"]
    starts = real.cumsum(1)[real] == 1
    columns = torch.arange(int(real.sum()))
    packed = {
        "frames": batch["frames"],
        "frame_lengths": batch["frame_lengths"],
        "input_ids": batch["input_ids"][real][None],
        "labels": batch["labels"][real][None],
        "attention_mask": None,
        "position_ids": (columns - torch.where(starts, columns, 0).cummax(0).values)[None],
    }
    results = []
    for inputs in (batch, packed):
        model.zero_grad()
        output = model(**inputs)
        output.loss_sum.backward()
        results.append((output, {name: parameter.grad.clone() for name, parameter in model.named_parameters()}))
    (padded, gradients), (row, of_row) = results
    torch.testing.assert_close(row.loss_sum, padded.loss_sum, atol=1e-5, rtol=1e-6)
    assert (row.num_tokens, row.num_correct) == (padded.num_tokens, padded.num_correct)
    for name, gradient in gradients.items():
        torch.testing.assert_close(of_row[name], gradient, atol=1e-5, rtol=1e-4, msg=name)


def test_no_label_gives_zero_loss_and_zero_gradients(tiny, batch):
    model = tiny(freeze=["encoder"])
    output = model(**(batch | {"labels": torch.full_like(batch["labels"], -100)}))
    output.loss_sum.backward()
    assert output.loss_sum == 0 and output.num_tokens == 0
    assert not model.adapter.linear1.weight.grad.any()


def test_gradients_are_finite_with_rows_of_padding(tiny, batch):
    model = tiny()
    batch["attention_mask"][1] = False
    model(**batch).loss_sum.backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


def test_a_frozen_encoder_stays_in_eval_mode_and_without_gradients(tiny, batch):
    model = tiny(freeze=["encoder"]).train()
    assert model.training and model.llm.training and not any(module.training for module in model.encoder.modules())
    losses = {model(**batch).loss_sum.item() for _ in range(3)}
    assert len(losses) == 1, "dropout of a frozen encoder"
    model(**batch).loss_sum.backward()
    assert all(parameter.grad is None for parameter in model.encoder.parameters())
    assert model.adapter.linear1.weight.grad.any()


def test_a_trained_encoder_drops_and_learns(tiny, batch):
    model = tiny().train()
    assert model.encoder.training
    assert len({model(**batch).loss_sum.item() for _ in range(3)}) == 3
    model(**batch).loss_sum.backward()
    assert model.encoder.encoders0[0].self_attn.linear_q_k_v.weight.grad.any()


def test_a_llm_that_caps_its_logits_keeps_doing_so(tiny, batch):
    model = tiny().eval()
    model.llm = gemma2(final_logit_softcapping=0.01).eval()
    output = model(**batch)
    # Logits between -0.01 and 0.01 leave next to nothing but the uniform distribution.
    assert output.loss_sum.item() / 9 == pytest.approx(torch.tensor(50.0).log().item(), abs=0.02)
