"""mooer-decode with a checkpoint of 3M-ASR as it is published: settings, weights, dictionary and CMVN in files of their own."""

import json

import pytest
import torch
import yaml
from click.testing import CliRunner
from safetensors.torch import load_file

from mooer.audio.io import load_audio
from mooer.cli.decode import main
from mooer.features.cmvn import read_cmvn
from mooer.features.frontend import Frontend, FrontendConfig
from mooer.models.conformer_reference import load_reference


@pytest.fixture(scope="module")
def published(golden_conformer, tmp_path_factory):
    """Options that name the files of the golden model with experts, its vocabulary filled up, and a table of recordings."""
    folder = tmp_path_factory.mktemp("published")
    settings = json.loads((golden_conformer / "manifest.json").read_text())["models"]["moe_aed"]
    names = ("nnet_proto", "input_dim", "model_conf")
    (folder / "train.yaml").write_text(yaml.safe_dump({name: settings[name] for name in names}))
    torch.save(load_file(golden_conformer / "moe_aed.weights.safetensors"), folder / "final.pt")
    tokens = ["<blank>", "<unk>", "▁", *(chr(0x4E00 + index) for index in range(settings["output_dim"] - 4)), "<sos/eos>"]
    (folder / "units.txt").write_text("".join(f"{token} {index}\n" for index, token in enumerate(tokens)))
    (folder / "wav.scp").write_text(
        "".join(f"{path.stem} {path}\n" for path in sorted((golden_conformer / "wav").glob("*.wav")))
    )
    files = {"config": folder / "train.yaml", "checkpoint": folder / "final.pt", "dict": folder / "units.txt"}
    return files | {"cmvn_path": golden_conformer / "global_cmvn.json"}, tokens, folder / "wav.scp"


def decode(files, wav_scp, *options):
    arguments = [text for name, path in files.items() for text in (f"--{name}", str(path))]
    return CliRunner().invoke(main, [*arguments, "--wav_scp", str(wav_scp), "--device", "cpu", *options])


def test_the_best_token_of_each_frame(published):
    files, tokens, wav_scp = published
    _, model = load_reference(files["config"], files["checkpoint"])
    settings = FrontendConfig(window="povey", lfr_m=1, lfr_n=1, subsampling=4)
    frontend = Frontend(settings, read_cmvn(files["cmvn_path"]))
    expected = []
    for line in wav_scp.read_text().splitlines():
        name, path = line.split()
        frames = frontend(load_audio(path))
        log_probs, _ = model.log_probs(frames[None], torch.tensor([len(frames)]))
        ids = log_probs[0].argmax(dim=-1).unique_consecutive().tolist()
        text = "".join(tokens[index] for index in ids if 0 < index < len(tokens) - 1).replace("▁", " ").lstrip()
        expected.append(f"{name}\t{text}")
    done = decode(files, wav_scp, "--mode", "ctc_greedy")
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines() == expected
    assert any(line.split("\t")[1] for line in expected)


def test_rescoring_is_what_it_does_by_itself(published):
    files, _, wav_scp = published
    texts = {mode: decode(files, wav_scp, *(("--mode", mode) if mode else ())).stdout for mode in (None, "attention_rescoring")}
    assert texts[None] == texts["attention_rescoring"]
    assert len(texts[None].splitlines()) == 5


@pytest.mark.parametrize("missing", ["config", "checkpoint", "dict", "cmvn_path"])
def test_all_files_are_needed(published, missing):
    files, _, wav_scp = published
    done = decode({name: path for name, path in files.items() if name != missing}, wav_scp)
    assert done.exit_code == 2
    assert f"a 3M-ASR model also needs --{missing}" in done.stderr


def test_what_does_not_go_together(published, tmp_path):
    files, tokens, wav_scp = published
    other = decode(files, wav_scp, "--model_dir", "mini")
    assert other.exit_code == 2 and "--model_dir has nothing to do with it" in other.stderr
    (tmp_path / "units.txt").write_text("".join(f"{token} {index}\n" for index, token in enumerate([*tokens[:5], tokens[-1]])))
    short = decode(files | {"dict": tmp_path / "units.txt"}, wav_scp)
    assert short.exit_code == 2 and "puts out 31 tokens, but its vocabulary has 6" in short.stderr
    lost = decode(files | {"checkpoint": tmp_path / "none.pt"}, wav_scp)
    assert lost.exit_code == 2 and "none.pt does not exist" in lost.stderr
