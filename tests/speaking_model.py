"""A tiny model that answers in speech, in the released layout, with random weights."""

import shutil

import torch

from mooer.common.torchaudio_compat import ensure_torchaudio
from mooer.models.llm import load_llm
from mooer.models.vocoder import Vocoder, VocoderConfig
from mooer.models.weights import own_tensors, write_safetensors
from mooer.text.speech_tokens import AUDIO_START
from mooer.text.tokenizer import load_tokenizer, save_tokenizer

WIDTH, VOICE = 64, 24
AUDIO_TOKENS = [f"<|audio_{index}|>" for index in range(30)]


def write_speaking_folder(golden, folder):
    """The golden model with audio tokens, `vocoder.pt` and `spk_encoder.pt`."""
    (folder / "paraformer_encoder").mkdir()
    shutil.copy(golden / "am.mvn", folder / "paraformer_encoder")
    shutil.copy(golden / "model/paraformer-encoder.pth", folder / "paraformer_encoder")
    for task in ("s2s_trans", "s2s_chat"):
        shutil.copytree(golden / "model/lora_bin", folder / task / "lora_weights")
        shutil.copy(golden / "model/adapter_project.pt", folder / task)
    _write_llm(golden / "model/llm", folder / "Qwen2-7B-Instruct")
    _write_vocoder(folder / "vocoder.pt")
    shutil.copy(golden / "s2st/speaker_encoder_reduced.pt", folder / "spk_encoder.pt")


def _write_llm(source, target):
    ensure_torchaudio()
    tokenizer, llm = load_tokenizer(source), load_llm(source)
    tokenizer.add_tokens([AUDIO_START, *AUDIO_TOKENS], special_tokens=True)
    torch.manual_seed(4)
    llm.resize_token_embeddings(len(tokenizer))
    llm.get_input_embeddings().weight.data.normal_(std=0.5)
    head = llm.get_output_embeddings().weight.data.normal_(std=0.12)
    head[tokenizer.convert_tokens_to_ids(AUDIO_START)] *= 6.0
    head[tokenizer.eos_token_id] *= 1.5
    save_tokenizer(tokenizer, target)
    llm.config.to_json_file(target / "config.json", use_diff=False)
    write_safetensors(target / "model.safetensors", own_tensors(llm))


def _write_vocoder(path):
    torch.manual_seed(5)
    dilations = ((1, 3, 5),)
    vocoder = Vocoder(
        VocoderConfig(
            upsample_rates=(4, 2),
            upsample_kernel_sizes=(8, 4),
            upsample_initial_channel=16,
            resblock_kernel_sizes=(3,),
            resblock_dilation_sizes=dilations,
            input_num_mels=WIDTH,
            cond_channels=VOICE,
        )
    )
    for parameter in vocoder.parameters():
        parameter.data.normal_(std=0.15)
    torch.save({"generator": vocoder.state_dict()}, path)
