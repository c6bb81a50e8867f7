"""The Paraformer system on one thread beside the package funasr: recognition, token times, voice activity, voices.

    python tools/bench/paraformer.py [--parts recognition times activity voices] [--rounds 5]

Models of full size with the same random weights do the same work in turn; printed are medians of processor time over the rounds
and the ratio to funasr's, and for recognition how many tokens are equal. Needs the package funasr (`pip install funasr` beside
mooer's requirements, in an environment of its own), some minutes and 4 GB.
"""

import argparse
import contextlib
import copy
import io
import logging
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from vad import make_audio, medians, ours, theirs

from mooer.common.config import from_dict
from mooer.common.log import setup_logging
from mooer.common.torchaudio_compat import ensure_torchaudio
from mooer.decode.int8_linear import quantize_linears
from mooer.decode.packed_linear import pack_linears
from mooer.decode.paraformer_decoder import ParaformerDecoder
from mooer.features.frontend import Frontend, FrontendConfig
from mooer.features.speaker_fbank import speaker_fbank
from mooer.models.paraformer import Paraformer
from mooer.models.paraformer_dir import ParaformerConfig, build_paraformer
from mooer.models.speaker import Campplus, CampplusConfig
from mooer.models.speaker_embedder import SpeakerEmbedder
from mooer.models.vad import FsmnConfig, FsmnVad
from mooer.pipeline.voice_activity import VoiceActivityDetector

VOCABULARY = 8404
ENCODER = {"output_size": 512, "attention_heads": 4, "linear_units": 2048, "num_blocks": 50}
DECODER = {"attention_heads": 4, "linear_units": 2048, "num_blocks": 16, "att_layer_num": 16}
PREDICTOR = {"idim": 512, "tail_threshold": 0.45, "l_order": 1, "r_order": 1}
TIMES = {"upsample_times": 3, "upsample_type": "cnn_blstm", "smooth_factor2": 0.25, "noise_threshold2": 0.01}
# What funasr's classes are asked for beyond the sizes.
KINDS = {"input_layer": "pe", "kernel_size": 11, "selfattention_layer_type": "sanm"}
BATCH_SECONDS = torch.linspace(2.0, 15.0, 16).tolist()


def settings_of(name: str, num_blocks: int) -> dict:
    """The sizes of a published model, its encoder of `num_blocks`."""
    has_times = name == "BiCifParaformer"
    return {
        "model": name,
        "encoder": "SANMEncoder",
        "encoder_conf": ENCODER | {"num_blocks": num_blocks},
        "decoder": "ParaformerSANMDecoder",
        "decoder_conf": DECODER,
        "predictor": "CifPredictorV3" if has_times else "CifPredictorV2",
        "predictor_conf": PREDICTOR | (TIMES if has_times else {}),
        "frontend": "WavFrontend",
        "frontend_conf": {},
    }


def random_state(model: nn.Module) -> dict[str, Tensor]:
    """Weights that keep the size of what flows through, as those of a trained model do, and give four tokens a second."""
    state = {}
    for name, tensor in model.state_dict().items():
        noise = torch.randn(tensor.shape)
        if tensor.dim() <= 1:
            state[name] = 1 + 0.05 * noise if name.endswith(".weight") else 0.05 * noise
        else:
            state[name] = noise / tensor[0].numel() ** 0.5
    if "predictor.cif_output.bias" in state:
        state["predictor.cif_output.bias"].fill_(-1.1)
    return state


def make_pair(name: str, num_blocks: int = 50) -> tuple[Paraformer, nn.Module]:
    """Our model and funasr's with the same weights, in eval mode."""
    from funasr.models.bicif_paraformer.model import BiCifParaformer
    from funasr.models.paraformer.model import Paraformer as FunasrParaformer

    settings = settings_of(name, num_blocks)
    model = build_paraformer(from_dict(ParaformerConfig, settings), VOCABULARY).eval().requires_grad_(False)
    model.load_state_dict(random_state(model))
    second = {"threshold": 1.0} | ({"use_cif1_cnn": False} if name == "BiCifParaformer" else {})
    sizes = settings | {
        "encoder_conf": settings["encoder_conf"] | KINDS,
        "decoder_conf": DECODER | {"kernel_size": 11},
        "predictor_conf": settings["predictor_conf"] | second,
    }
    kind = BiCifParaformer if name == "BiCifParaformer" else FunasrParaformer
    other = kind(**sizes, ctc_weight=0.0, input_size=560, vocab_size=VOCABULARY).eval().requires_grad_(False)
    state = {key.replace("token_times.", "predictor."): tensor for key, tensor in model.state_dict().items()}
    other.load_state_dict(state)
    return model, other


def report(name: str, functions: dict[str, Callable[[], object]], rounds: int, warm_up: int = 2) -> None:
    """Run the ways to do one thing in turn; the first one is funasr's."""
    found = medians(functions, rounds, warm_up)
    base = next(iter(found.values()))
    for way, seconds in found.items():
        print(f"{name:28s} {way:16s} {1e3 * seconds:9.1f} ms, funasr's time / this time = {base / seconds:5.2f}", flush=True)


def recognition(rounds: int) -> None:
    """Waveforms to token ids."""
    from funasr.frontends.wav_frontend import WavFrontend

    model, other = make_pair("Paraformer")
    frontend = Frontend(FrontendConfig())
    front_end = WavFrontend(fs=16000, window="hamming", n_mels=80, lfr_m=7, lfr_n=6, dither=0.0)
    models = in_all_formats(model)

    def funasr_ids(waveforms: Sequence[Tensor]) -> list[list[int]]:
        names = [str(index) for index in range(len(waveforms))]
        with torch.no_grad(), contextlib.redirect_stdout(io.StringIO()):
            results, _ = other.inference(list(waveforms), key=names, frontend=front_end, device="cpu")
        return [result["token_int"] for result in results]

    def our_ids(decoder: ParaformerDecoder, waveforms: Sequence[Tensor]) -> list[list[int]]:
        answers = decoder.decode([frontend(waveform) for waveform in waveforms])
        return [list(answer.tokens) for answer in answers]

    tokens = [str(index) for index in range(VOCABULARY)]
    decoders = {name: ParaformerDecoder(item, tokens, frontend.config) for name, item in models.items()}
    for name, lengths in (("one utterance of 10 s", [10.0]), ("16 utterances of 2 to 15 s", BATCH_SECONDS)):
        waveforms, found = [make_audio(seconds) for seconds in lengths], {}
        ways = {"funasr": partial(funasr_ids, waveforms)}
        ways |= {f"mooer {key}": partial(our_ids, decoder, waveforms) for key, decoder in decoders.items()}
        keeping = {way: lambda way=way, run=run, found=found: found.update({way: run()}) for way, run in ways.items()}
        report(name, keeping, rounds, warm_up=1)
        alone = [ids for waveform in waveforms for ids in funasr_ids([waveform])]
        for way, ids in found.items():
            print(f"{name:28s} {way:16s} {equal_share(alone, ids):8.2%} of the tokens are funasr's for each utterance alone")
    report_change(models, frontend(make_audio(10.0)))


def in_all_formats(model: Paraformer) -> dict[str, Paraformer]:
    """The model as mooer-decode has it after loading with each --dtype."""
    models = {"float32": model, "bfloat16": copy.deepcopy(model).bfloat16(), "int8": copy.deepcopy(model)}
    quantize_linears(models["int8"])
    for name in ("float32", "bfloat16"):
        pack_linears(models[name])
    return models


@torch.inference_mode()
def report_change(models: dict[str, Paraformer], frames: Tensor) -> None:
    """How far the logits of one utterance move with the number format."""
    lengths = torch.tensor([len(frames)])
    exact = models["float32"](frames[None], lengths)
    for name, model in models.items():
        output = model(frames[None], lengths)
        change = "not comparable: another number of tokens"
        if output.counts.equal(exact.counts):
            change = (
                f"{(output.logits.float() - exact.logits).square().mean().sqrt() / exact.logits.std():.4f} of their deviation"
            )
        print(f"{'change of logits':28s} mooer {name:10s} {change}")


def equal_share(wanted: list[list[int]], found: list[list[int]]) -> float:
    """Share of the places with the same token."""
    same = sum(one == other for left, right in zip(wanted, found, strict=True) for one, other in zip(left, right, strict=False))
    return same / max(1, sum(max(len(left), len(right)) for left, right in zip(wanted, found, strict=True)))


def times(rounds: int) -> None:
    """Encodings to the number of tokens and the weights that tell their times."""
    model, other = make_pair("BiCifParaformer", num_blocks=1)
    for name, lengths in (("times, 10 s", [167]), ("times, 4 of 8 to 10 s", [167, 155, 145, 134])):
        lengths = torch.tensor(lengths)
        encoded = torch.randn(len(lengths), 167, 512)
        for row, length in enumerate(lengths):
            encoded[row, length:] = 0.0

        def funasr_times(encoded: Tensor = encoded, lengths: Tensor = lengths) -> Tensor:
            with torch.no_grad():
                counts = other.calc_predictor(encoded, lengths)[1].round().long()
                return other.calc_predictor_timestamp(encoded, lengths, counts)[2]

        def our_times(encoded: Tensor = encoded, lengths: Tensor = lengths) -> Tensor:
            with torch.inference_mode():
                return model.token_times(encoded, lengths, model.predictor(encoded, lengths)[1])

        report(name, {"funasr": funasr_times, "mooer": our_times}, rounds)
        print(f"{name:28s} greatest difference, first row: {(funasr_times()[0] - our_times()[0]).abs().max():.1e}")


def activity(rounds: int) -> None:
    """A minute to its stretches of speech."""
    model = FsmnVad(FsmnConfig()).eval().requires_grad_(False)
    detector = VoiceActivityDetector(Frontend(FrontendConfig(lfr_m=5, lfr_n=1)), model)
    audio = make_audio(60.0)
    functions = {
        "funasr": theirs(detector, audio)["funasr, whole recording"],
        "mooer": ours(detector, audio)["whole recording"],
    }
    report("voice activity, 60 s", functions, rounds)


def voices(rounds: int) -> None:
    """Windows of 1.5 s to embeddings."""
    from funasr.models.campplus.model import CAMPPlus

    other = CAMPPlus().eval().requires_grad_(False)
    model = Campplus(CampplusConfig())
    model.load_state_dict(other.state_dict())
    dtypes = {"float32": torch.float32, "bfloat16": torch.bfloat16}
    models = {name: SpeakerEmbedder(model, dtype) for name, dtype in dtypes.items()}
    for count in (1, 16):
        frames = torch.stack(speaker_fbank([make_audio(1.5) for _ in range(count)]))
        ways = {"funasr": partial(torch.no_grad()(other), frames)}
        ways |= {f"mooer {key}": partial(our_embeddings, models[key], frames.to(dtype)) for key, dtype in dtypes.items()}
        report(f"voices, {count} of 1.5 s", ways, rounds)
        found = {way: run().float() for way, run in ways.items()}
        for way, embeddings in found.items():
            cosine = torch.cosine_similarity(embeddings, found["funasr"]).min()
            print(f"voices, {count:2d} of 1.5 s          {way:16s} least cosine with funasr's embedding {cosine:.6f}")


@torch.inference_mode()
def our_embeddings(model: SpeakerEmbedder, frames: Tensor) -> Tensor:
    return model(frames, torch.full((len(frames),), frames.shape[1]))


PARTS = {"recognition": recognition, "times": times, "activity": activity, "voices": voices}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    setup_logging(logging.INFO)
    ensure_torchaudio()
    torch.set_num_threads(1)
    for part in options.parts:
        torch.manual_seed(options.seed)
        PARTS[part](options.rounds)


if __name__ == "__main__":
    main()
