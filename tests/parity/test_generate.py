"""Token ids of greedy and beam search from the golden embeddings, in a batch, alone, and with little room."""

import json

import pytest
import torch
from safetensors.torch import load_file

from mooer.decode.generate import GenerateConfig, Generator, Prompt
from mooer.decode.sampling import SamplingConfig
from mooer.models.model_dir import PartPaths
from mooer.models.released import load_released

MODES = {
    "greedy": {"beam_size": 1},
    "beam4": {"beam_size": 4},
    "beam4_length_penalty_1.5": {"beam_size": 4, "length_penalty": 1.5},
    "beam4_without_sequence_bias": {"beam_size": 4, "eos_bias": 0.0},
}


@pytest.fixture(scope="module")
def facts(golden):
    return json.loads((golden / "model_facts.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module", params=["lora_bin", "lora_safetensors"])
def llm(golden, facts, request):
    model = golden / "model"
    paths = PartPaths(
        encoder=model / "paraformer-encoder.pth",
        adapter=model / "adapter_project.pt",
        llm=model / "llm",
        lora=model / request.param,
        cmvn=golden / "am.mvn",
    )
    return load_released(paths, facts["adapter_downsample_rate"]).model.llm


@pytest.mark.parametrize("task", ["asr", "ast"])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("max_cost", [1, 2, 24])
def test_ids(golden, facts, llm, task, mode, max_cost):
    tensors = load_file(golden / f"model_infer_{task}.safetensors")
    prompts = [
        Prompt(embeddings=row[mask], max_new_tokens=20)
        for row, mask in zip(tensors["inputs_embeds"], tensors["attention_mask"], strict=True)
    ]
    eos = facts["eos_token_id"]
    answers = dict(Generator(llm, eos, GenerateConfig(**MODES[mode], max_cost=max_cost)).run(prompts))
    ids = [[*answers[index][0].tokens, *([eos] if answers[index][0].ended else [])] for index in range(len(prompts))]
    assert ids == facts["tasks"][task]["decode"][mode]["ids"]
    if f"out_{mode}_single0" in tensors:
        pad = facts["pad_token_id"]
        singles = [tensors[f"out_{mode}_single{index}"][0].tolist() for index in range(len(prompts))]
        assert ids == [[token for token in single if token != pad] for single in singles]


def test_ids_are_whole(facts):
    """The reference's ids end with the end of sequence or at the bound, so that nothing is compared that is cut."""
    for task in ("asr", "ast"):
        for mode in MODES:
            for ids in facts["tasks"][task]["decode"][mode]["ids"]:
                assert ids[-1] == facts["eos_token_id"] or len(ids) == 20


@pytest.fixture(scope="module")
def prompts(golden):
    tensors = load_file(golden / "model_infer_asr.safetensors")
    return [row[mask] for row, mask in zip(tensors["inputs_embeds"], tensors["attention_mask"], strict=True)]


def test_draws_from_the_best_token_alone_are_greedy(prompts, facts, llm):
    config = GenerateConfig(beam_size=1, sampling=SamplingConfig(top_p=1e-9))
    for seed in (0, 1):
        some = [Prompt(embeddings=item, max_new_tokens=20, seed=seed) for item in prompts]
        answers = dict(Generator(llm, facts["eos_token_id"], config).run(some))
        greedy = facts["tasks"]["asr"]["decode"]["greedy"]["ids"]
        ids = [[*answers[index][0].tokens, *[facts["eos_token_id"]] * answers[index][0].ended] for index in range(len(some))]
        assert ids == greedy


@pytest.mark.parametrize("beam_size", [1, 4])
def test_drawn_answers_do_not_depend_on_the_company(prompts, facts, llm, beam_size):
    def answers(order, max_cost):
        config = GenerateConfig(beam_size=beam_size, max_cost=max_cost, sampling=SamplingConfig(top_p=1.0, temperature=3.0))
        some = [Prompt(embeddings=prompts[index % 3], max_new_tokens=20, seed=index) for index in order]
        found = dict(Generator(llm, facts["eos_token_id"], config).run(some))
        return {index: found[place][0].tokens for place, index in enumerate(order)}

    alone = {index: answers([index], 1)[index] for index in range(6)}
    assert len(set(alone.values())) > 3  # the same prompt has other answers with other seeds
    for order, max_cost in ((range(6), 1), (range(6), 2), (range(6), 24), ([4, 1, 5, 0, 2, 3], 3)):
        assert answers(list(order), max_cost) == alone


def test_nothing_to_do(llm, facts):
    assert list(Generator(llm, facts["eos_token_id"], GenerateConfig()).run([])) == []


def test_broken_output_harms_nobody(golden, facts, llm):
    tensors = load_file(golden / "model_infer_asr.safetensors")
    rows = [row[mask] for row, mask in zip(tensors["inputs_embeds"], tensors["attention_mask"], strict=True)]
    broken = torch.full_like(rows[1], float("nan"))
    prompts = [Prompt(embeddings=item, max_new_tokens=20) for item in (rows[0], broken, rows[2], rows[1])]
    for max_cost in (1, 2, 4):
        answers = dict(Generator(llm, facts["eos_token_id"], GenerateConfig(max_cost=max_cost)).run(prompts))
        assert answers[1] == []
        expected = facts["tasks"]["asr"]["decode"]["beam4"]["ids"]
        for index, row in ((0, 0), (2, 2), (3, 1)):
            assert list(answers[index][0].tokens) == [token for token in expected[row] if token != facts["eos_token_id"]]
