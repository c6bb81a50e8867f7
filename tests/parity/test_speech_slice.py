"""Which hidden states the vocoder gets: the reference's worked example, by the published rule and through the decoder."""

import json

import pytest
import torch
from safetensors.torch import load_file

from mooer.decode.spoken_answer import speech_latents, spoken_text
from mooer.models.model_dir import PartPaths
from mooer.models.released import load_released
from mooer.text.prompts import SPEECH_INSTRUCTIONS
from mooer.text.speech_tokens import AUDIO_START

ATOL = 1e-3


@pytest.fixture(scope="module")
def example(golden):
    return json.loads((golden / "s2st_slice.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def tensors(golden):
    return load_file(golden / "s2st_slice.safetensors")


@pytest.fixture(scope="module")
def llm(golden):
    model = golden / "model"
    parts = {"encoder": "paraformer-encoder.pth", "adapter": "adapter_project.pt", "llm": "llm", "lora": "lora_bin"}
    paths = PartPaths(cmvn=golden / "am.mvn", **{name: model / file for name, file in parts.items()})
    return load_released(paths, 2).model.llm


@torch.inference_mode()
def test_latents_of_the_worked_example(example, tensors, llm):
    prompt, ids = tensors["prompt_inputs_embeds"][0], tensors["generated_ids"][0]
    assert ids.tolist() == example["generated_ids"]
    place = example["generated_ids"].index(example["audio_start_id"])
    assert place == example["audio_start_index_in_generated"]
    latents = speech_latents(llm, prompt, llm.get_input_embeddings()(ids), place)
    assert latents.shape == (example["num_latents"], prompt.shape[1])
    torch.testing.assert_close(latents, tensors["latents"][0], rtol=0, atol=ATOL)
    hidden = tensors["hidden_last"][0, example["start"] : example["end_exclusive"]]
    torch.testing.assert_close(latents, hidden, rtol=0, atol=ATOL)


@torch.inference_mode()
def test_an_answer_that_ends_at_once_has_no_latents(tensors, llm):
    prompt, answer = tensors["prompt_inputs_embeds"][0], llm.get_input_embeddings()(tensors["generated_ids"][0])
    for place in range(len(answer)):
        expected = max(0, len(answer) - place - 6)
        assert len(speech_latents(llm, prompt, answer, place)) == expected
    assert len(speech_latents(llm, prompt[:1], answer[:1], 0)) == 0


def test_words_of_the_released_models(example):
    assert example["prompts"] == SPEECH_INSTRUCTIONS
    assert AUDIO_START in example["text"]
    assert spoken_text("你好\\nHello") == "你好\nHello"
