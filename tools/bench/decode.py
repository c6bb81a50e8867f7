"""How fast speech becomes text: mooer's way against the plain way, in one run and on the same random model.

    python tools/bench/decode.py                  # full sizes: about 6 GB and some minutes
    python tools/bench/decode.py --small          # a few seconds, to see that it works

The plain way is what the usual inference script does: batches of 10 in the order given, padded to the longest, `generate` of
transformers with the prompt repeated for every beam, float32. mooer's way is the Recognizer with its defaults. Both get the
same waveforms and the same bound on new tokens, and must give the same tokens.
"""

import argparse
import json
import logging
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch

from mooer.common.log import setup_logging
from mooer.common.torchaudio_compat import ensure_torchaudio
from mooer.data.batch import SpeechLlmSample, collate_prompts
from mooer.decode.packed_linear import pack_linears
from mooer.decode.recognizer import DecodeConfig, Recognizer
from mooer.features.frontend import Frontend
from mooer.models.adapter import AdapterConfig
from mooer.models.builders import ModelConfig, build_model
from mooer.models.llm import LlmConfig
from mooer.models.model_dir import LoadedModel
from mooer.models.sanm_encoder import SanmEncoderConfig
from mooer.models.speech_llm import SpeechLlm
from mooer.text.prompts import chat_prompt, instruction
from mooer.text.tokenizer import build_bpe_tokenizer, encode_prompt, load_tokenizer, save_tokenizer

QWEN2_VOCABULARY = 151_936


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--utterances", type=int, default=24)
    parser.add_argument("--min_seconds", type=float, default=2.0)
    parser.add_argument("--max_seconds", type=float, default=15.0)
    parser.add_argument("--encoder_blocks", type=int, default=50)
    parser.add_argument("--llm_layers", type=int, default=24)
    parser.add_argument("--vocabulary", type=int, default=QWEN2_VOCABULARY)
    parser.add_argument("--max_new_tokens", type=int, default=40)
    parser.add_argument("--beam_sizes", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--plain_batch_size", type=int, default=10)
    parser.add_argument("--bf16", action="store_true", help="mooer's way in bfloat16 too, with its share of equal tokens")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--small", action="store_true", help="small sizes")
    options = parser.parse_args()
    if options.small:
        options.encoder_blocks, options.llm_layers, options.vocabulary, options.utterances = 4, 2, 5000, 8
    return options


def make_model(options: argparse.Namespace, folder: Path, dtype: torch.dtype = torch.float32) -> LoadedModel:
    """A random model, the same for the same seed: SANM encoder of Paraformer's widths, linear adapter, Qwen2-0.5B's widths."""
    torch.manual_seed(options.seed)
    tokenizer = build_bpe_tokenizer(["hello world"], 300, [])
    save_tokenizer(tokenizer, folder)
    config = ModelConfig(
        encoder=SanmEncoderConfig(num_blocks=options.encoder_blocks),
        adapter=AdapterConfig(),
        llm=LlmConfig(hidden_size=896, num_layers=options.llm_layers, num_heads=14, num_kv_heads=2, intermediate_size=4864),
    )
    model = build_model(config, options.vocabulary).eval().requires_grad_(False)
    spread_logits(model)
    return LoadedModel(
        model=model.to(dtype), config=config, tokenizer_dir=folder, cmvn_path=None, frontend_path=None, weight_files=()
    )


def spread_logits(model: SpeechLlm) -> None:
    """Random weights give logits so close together that rounding decides; spread them as a trained model's are."""
    model.llm.model.norm.weight *= 8


def make_waveforms(options: argparse.Namespace) -> list[torch.Tensor]:
    """Noise of evenly spread lengths, in a mixed order."""
    generator = torch.Generator().manual_seed(options.seed)
    seconds = torch.linspace(options.min_seconds, options.max_seconds, options.utterances)
    seconds = seconds[torch.randperm(options.utterances, generator=generator)]
    return [torch.randn(int(16000 * length), generator=generator) * 0.1 for length in seconds.tolist()]


@torch.inference_mode()
def plain_way(
    loaded: LoadedModel, waveforms: list[torch.Tensor], beam_size: int, options: argparse.Namespace
) -> list[list[int]]:
    """Token ids of each utterance."""
    model, tokenizer, frontend = loaded.model, load_tokenizer(loaded.tokenizer_dir), Frontend()
    prompt = encode_prompt(tokenizer, chat_prompt(tokenizer, instruction("asr")))
    eos, rows = tokenizer.eos_token_id, []
    for start in range(0, len(waveforms), options.plain_batch_size):
        some = waveforms[start : start + options.plain_batch_size]
        samples = [SpeechLlmSample("", frontend(waveform), prompt, len(prompt)) for waveform in some]
        batch = collate_prompts(samples, tokenizer.pad_token_id, loaded.config.adapter.downsample_rate)
        output = model.llm.generate(
            inputs_embeds=model.embed(batch.frames, batch.frame_lengths, batch.input_ids),
            attention_mask=batch.attention_mask.long(),
            max_new_tokens=options.max_new_tokens,
            num_beams=beam_size,
            do_sample=False,
            length_penalty=DecodeConfig.length_penalty,
            sequence_bias=[[[eos], -0.2]],
            eos_token_id=eos,
            pad_token_id=tokenizer.pad_token_id,
        ).tolist()
        rows += [row[: row.index(eos)] if eos in row else row for row in output]
    return rows


def mooers_way(recognizer: Recognizer, waveforms: list[torch.Tensor]) -> list[list[int]]:
    """Token ids of each utterance."""
    named = ((str(index), waveform) for index, waveform in enumerate(waveforms))
    return [list(result.answer.tokens) for result in recognizer.recognize(named)]


def make_recognizer(loaded: LoadedModel, beam_size: int, options: argparse.Namespace) -> Recognizer:
    pack_linears(loaded.model)  # as Recognizer.from_model_dir does
    return Recognizer(loaded, DecodeConfig(beam_size=beam_size, max_new_tokens=options.max_new_tokens, device="cpu"))


def equal_share(left: list[list[int]], right: list[list[int]]) -> float:
    """Share of the tokens that are the same up to the first difference in their utterance."""
    same = sum(_common_prefix(one, other) for one, other in zip(left, right, strict=True))
    return same / max(1, sum(max(len(one), len(other)) for one, other in zip(left, right, strict=True)))


def _common_prefix(left: list[int], right: list[int]) -> int:
    length = 0
    for one, other in zip(left, right, strict=False):
        if one != other:
            break
        length += 1
    return length


def cpu_features() -> dict[str, bool]:
    """What decides about bfloat16 and int8."""
    capability = torch.backends.cpu.get_cpu_capability()
    names = {"amx_bf16": "_is_amx_tile_supported", "avx512_bf16": "_is_avx512_bf16_supported"}
    found = {name: bool(getattr(torch.cpu, function, lambda: False)()) for name, function in names.items()}
    return {"capability": capability, **found}


def main() -> None:
    options = parse_options()
    setup_logging(logging.INFO)
    ensure_torchaudio()
    torch.set_num_threads(options.threads)
    print(json.dumps({"options": vars(options), "torch": torch.__version__, "cpu": cpu_features()}))
    waveforms = make_waveforms(options)
    with tempfile.TemporaryDirectory() as folder:
        loaded = make_model(options, Path(folder))
        plain = run("plain, float32", waveforms, options, {}, lambda beam_size: plain_runner(loaded, beam_size, options))
        # Last, as this repacks the model's weights.
        run("mooer, float32", waveforms, options, plain, lambda beam_size: mooers_runner(loaded, beam_size, options))
        if options.bf16:
            loaded = make_model(options, Path(folder), torch.bfloat16)
            run("mooer, bfloat16", waveforms, options, plain, lambda beam_size: mooers_runner(loaded, beam_size, options))


class Timing(NamedTuple):
    """What one way gave for a beam size, and how long it took."""

    rows: list[list[int]]
    seconds: float
    cpu_seconds: float


Runner = Callable[[list[torch.Tensor]], list[list[int]]]


def plain_runner(loaded: LoadedModel, beam_size: int, options: argparse.Namespace) -> Runner:
    return lambda waveforms: plain_way(loaded, waveforms, beam_size, options)


def mooers_runner(loaded: LoadedModel, beam_size: int, options: argparse.Namespace) -> Runner:
    recognizer = make_recognizer(loaded, beam_size, options)
    return lambda waveforms: mooers_way(recognizer, waveforms)


def run(
    name: str,
    waveforms: list[torch.Tensor],
    options: argparse.Namespace,
    plain: dict[int, Timing],
    make_runner: Callable[[int], Runner],
) -> dict[int, Timing]:
    """Time one way with each beam size, after a short warm-up; print it beside the plain way's times.

    CPU time is beside the wall clock as other programs on the machine disturb it less.
    """
    audio = sum(map(len, waveforms)) / 16000
    found = {}
    for beam_size in options.beam_sizes:
        runner = make_runner(beam_size)
        runner([waveforms[0][:8000]])
        started, cpu_started = time.perf_counter(), time.process_time()
        rows = runner(waveforms)
        seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_started
        found[beam_size] = Timing(rows, seconds, cpu_seconds)
        base = plain.get(beam_size, found[beam_size])
        print(
            f"{name:<16} beam {beam_size}: {seconds:7.1f} s for {audio:.0f} s of audio, plain time / this time = "
            f"{base.seconds / seconds:.2f} (CPU time: {base.cpu_seconds / cpu_seconds:.2f}), "
            f"{100 * equal_share(base.rows, rows):.2f} % of the tokens equal",
            flush=True,
        )
    return found


if __name__ == "__main__":
    main()
