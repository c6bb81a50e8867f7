"""The data side of 3M-ASR against its reference: CMVN, dictionary, shards, features, masks, schedule, averaging.

What is not comparable, because it is made in another way here on purpose:
- The order of an epoch: ours is drawn from (seed, epoch) as in `mooer.data.sampler`, the reference's from Python's generator.
- Frames after CMVN on padding and under masks: the reference normalises the padded and masked batch, so they are minus the mean
  over the deviation there; here they are 0, which is the mean.
- Stretches of recordings begin and end at the nearest sample; the reference cuts off fractions of one: a sample at most.
- Dither: the reference adds noise of one 16-bit step to training and validation recordings; here there is none, or `augment`.
"""

import json
import random

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file

from mooer.audio.io import load_audio
from mooer.cli import build_tokenizer as tokenizer_command
from mooer.cli import compute_cmvn as cmvn_command
from mooer.data.config import AugmentConfig
from mooer.features.cmvn import read_cmvn
from mooer.features.frontend import Frontend, FrontendConfig
from mooer.features.spec_augment import SpecAugmentConfig, apply_masks
from mooer.text.characters import read_dictionary, split_characters

FRONTEND = FrontendConfig(window="povey", lfr_m=1, lfr_n=1)
FEATURE_TOLERANCE = 2e-3
WAVES = tuple(f"w{number}" for number in range(5))


def read_json(path):
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def tensors(golden_conformer):
    return load_file(golden_conformer / "dataset.safetensors")


@pytest.fixture(scope="module")
def facts(golden_conformer):
    return read_json(golden_conformer / "dataset.json")


def compute_sums(folder, wav_scp, *options):
    (folder / "wav.scp").write_text("".join(line + "\n" for line in wav_scp), encoding="utf-8")
    arguments = ["--data_dir", folder, "--output_file", folder / "out.json", "--format", "json", "--window", "povey", *options]
    done = CliRunner().invoke(cmvn_command.main, list(map(str, arguments)), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return read_json(folder / "out.json")


def assert_same_sums(actual, expected):
    assert actual["frame_num"] == expected["frame_num"]
    for name in ("mean_stat", "var_stat"):
        np.testing.assert_allclose(actual[name], expected[name], rtol=1e-4)


def test_cmvn_of_recordings(golden_conformer, tmp_path):
    lines = [f"{name} {golden_conformer / 'wav' / name}.wav" for name in WAVES]
    assert_same_sums(compute_sums(tmp_path, lines), read_json(golden_conformer / "global_cmvn.json"))


@pytest.mark.parametrize("form", ["{path},{start},{end}", "{path}#t={start},{end}"])
def test_cmvn_of_segments(golden_conformer, tmp_path, form):
    segments = read_json(golden_conformer / "manifest.json")["files"]["global_cmvn_segments.json"]["segments"]
    wav = golden_conformer / "wav"
    lines = [f"{name} {form.format(path=wav / file, start=start, end=end)}" for name, file, start, end in segments]
    assert_same_sums(compute_sums(tmp_path, lines), read_json(golden_conformer / "global_cmvn_segments.json"))


def test_cmvn_of_a_segments_table(golden_conformer, tmp_path):
    segments = read_json(golden_conformer / "manifest.json")["files"]["global_cmvn_segments.json"]["segments"]
    table = [f"{name} {file} {start} {end}\n" for name, file, start, end in segments]
    (tmp_path / "segments").write_text("".join(table), encoding="utf-8")
    recordings = [f"{file} {golden_conformer / 'wav' / file}" for _, file, _, _ in segments]
    assert_same_sums(compute_sums(tmp_path, recordings), read_json(golden_conformer / "global_cmvn_segments.json"))


def test_features_before_and_after_cmvn(golden_conformer, tensors, facts):
    plain = Frontend(FRONTEND)
    normalising = Frontend(FRONTEND, read_cmvn(golden_conformer / "global_cmvn.json"))
    compared = 0
    for number, batch in enumerate(facts["raw"]):
        for row, (name, length) in enumerate(zip(batch["keys"], batch["feats_lengths"], strict=True)):
            waveform = load_audio(golden_conformer / "wav" / f"{name}.wav")
            expected = tensors[f"raw.batch{number}.feats"][row]
            torch.testing.assert_close(plain(waveform), expected[:length], atol=FEATURE_TOLERANCE, rtol=0)
            assert not expected[length:].any()
            if number == 0:
                expected = tensors["shard.batch0.feats_after_cmvn"][row, :length]
                torch.testing.assert_close(normalising(waveform), expected, atol=FEATURE_TOLERANCE, rtol=0)
                compared += 1
    assert compared == 2


MASKS = {
    "conf": SpecAugmentConfig(max_time_width=50, max_time_share=1.0, max_frequency_width=30, placing="anywhere"),
    "default": SpecAugmentConfig(max_time_width=50, max_time_share=1.0, max_frequency_width=10, placing="anywhere"),
}


@pytest.mark.parametrize("name", [f"{conf}.seed{seed}" for conf in MASKS for seed in (3136, 3137, 3138)])
def test_masks_are_the_reference_s_for_its_draws(tensors, name):
    """The reference draws whole numbers, start then width; the middle of each one's share of [0, 1) must lead back to it."""
    conf, seed = name.split(".seed")
    config, expected = MASKS[conf], tensors[f"specaug.{name}"]
    generator, draws = random.Random(int(seed)), []
    for places, widest in zip(expected.shape, (config.max_time_width, config.max_frequency_width), strict=True):
        for _ in range(2):
            start, width = generator.randint(0, places - 1), generator.randint(1, widest)
            draws.append(((width - 0.5) / widest, (start + 0.5) / places))
    ones = torch.ones(expected.shape)
    assert torch.equal(apply_masks(ones, draws, config, expected.shape[1]), expected.float())


def test_the_masks_of_the_recipe_are_a_setting_of_training():
    augment = AugmentConfig(
        speeds=(0.9, 1.0, 1.1),
        num_time_masks=2,
        max_time_width=50,
        max_time_share=1.0,
        num_frequency_masks=2,
        max_frequency_width=30,
        mask_placing="anywhere",
    )
    assert augment.spec_augment == MASKS["conf"]


@pytest.fixture(scope="module")
def text2token(golden_conformer):
    return read_json(golden_conformer / "text2token.json")


def transcripts(text2token):
    """The transcripts by their ids, which may be empty."""
    return {line.split()[0]: line[len(line.split()[0]) :] for line in text2token["lines"]}


def characters_of(line):
    return line.split(" ")[1:] if line.split(" ")[1] else []


def test_texts_are_cut_into_the_reference_s_characters(text2token):
    runs = {name: run["output"] for name, run in text2token["runs"].items()}
    for place, text in enumerate(transcripts(text2token).values()):
        expected = {name: characters_of(output[place]) for name, output in runs.items() if name != "s0"}
        found = split_characters(text)
        assert found == expected["main"]
        assert split_characters(text, text2token["runs"]["non_lang_syms"]["symbols"]) == expected["non_lang_syms"]
        # The other runs cut alike: a space has another name, two characters make a token, none do.
        assert found == [token.replace("<space>", "▁") for token in expected["default_space"]]
        assert ["".join(found[first : first + 2]) for first in range(0, len(found), 2)] == expected["n2"]
        assert "".join(found) == "▁".join(expected["phn"])
    for line, expected in zip(text2token["lines"], runs["s0"], strict=True):
        assert " ".join(["", *split_characters(line)]) == expected


def test_the_dictionary_is_the_reference_s_to_the_byte(golden_conformer, text2token, tmp_path):
    texts = [f"{name}{text}\n" for name, text in transcripts(text2token).items() if text.strip()]
    (tmp_path / "text").write_text("".join(texts), encoding="utf-8")
    arguments = ["--layout", "characters", "--text", f"{tmp_path}/text", "--output_dir", f"{tmp_path}"]
    done = CliRunner().invoke(tokenizer_command.main, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    expected = (golden_conformer / "lang_char.txt").read_bytes()
    assert (tmp_path / "lang_char.txt").read_bytes() == expected
    assert expected.decode("utf-8").splitlines() == text2token["dictionary"]["lines"]


def test_labels(golden_conformer, facts):
    """Of characters, as the recipe has it (with a list of symbols the reference's training data are put in upper case).

    The reference keeps each of several spaces, and the ideographic one as a character, although its dictionary was made without
    them; here texts are cut in one way everywhere."""
    dictionary = read_dictionary(golden_conformer / "lang_char.txt")
    cases = [case for case in facts["tokenize"] if not case["split_with_space"] and case["non_lang_syms"] is None]
    otherwise = {"多个   空格  abc ", "全角　空格"}
    assert otherwise <= {case["txt"] for case in cases}
    for case in cases:
        if case["txt"] not in otherwise:
            assert split_characters(case["txt"]) == case["tokens"]
            assert dictionary.encode([case["txt"]]) == [case["label"]]
            assert dictionary.decode(case["label"]) == case["txt"].replace("▁", " ")
    assert dictionary.encode(["全角　空格"]) == dictionary.encode(["全角 空格"])
