"""Loading for encoders whose frames are not those of the front end: embeddings and alignments count the encoder's."""

import dataclasses

import numpy as np
import pytest
import torch

from mooer.common.errors import ConfigError, DataError
from mooer.data.batch import AUDIO_COLUMN
from mooer.data.columns import ColumnCounts
from mooer.data.dataset import AugmentConfig, build_loader
from mooer.data.directory import read_data_dir
from mooer.data.packing import make_raw_list
from mooer.data.statistics import dump_feats
from mooer.data.survey import survey
from mooer.data.tasks import CtcSamples, Item, SpeechLlmSamples
from mooer.data.utterance import Utterance
from mooer.features.frontend import FrontendConfig
from mooer.text.vocabulary import BpeVocabulary

from .conftest import SECONDS, ctc_loader, write_data_dir

# Frames of 20 ms that each encoder makes of a number of samples.
ENCODER_FRAMES = {
    "whisper": lambda samples: min(1500, -(-(samples + 200) // 320)),
    "seamless": lambda samples: (1 + (samples - 400) // 160) // 2,
    "waveform": lambda samples: 1 + (samples - 400) // 320,
}


def expected_columns(kind):
    """Audio columns of each utterance at an adapter rate of 6."""
    return {f"utt{number:02d}": ENCODER_FRAMES[kind](int(length * 16000)) // 6 for number, length in enumerate(SECONDS)}


@pytest.mark.parametrize("kind", ENCODER_FRAMES)
def test_audio_columns(config, tokenizer, kind):
    config = dataclasses.replace(config, frontend=FrontendConfig(kind=kind))
    loader = build_loader(config, "train", SpeechLlmSamples.of(config, tokenizer, 6))
    counts = {
        identity: int((row == AUDIO_COLUMN).sum())
        for batch in loader.epoch(0)
        for identity, row in zip(batch.ids, batch.input_ids, strict=True)
    }
    assert counts == expected_columns(kind)


@pytest.mark.parametrize("kind", ENCODER_FRAMES)
def test_packed_rows(config, tokenizer, kind):
    config = dataclasses.replace(config, frontend=FrontendConfig(kind=kind), packing=True)
    for batch in build_loader(config, "train", SpeechLlmSamples.of(config, tokenizer, 6)).epoch(0):
        assert int((batch.input_ids == AUDIO_COLUMN).sum()) == sum(expected_columns(kind)[identity] for identity in batch.ids)


@pytest.mark.parametrize("kind", ["kaldi_fbank", *ENCODER_FRAMES])
def test_columns_told_before_loading(config, tokenizer, kind):
    config = dataclasses.replace(config, frontend=FrontendConfig(kind=kind))
    index = survey([config.train_list], config, limit_lengths=True).index
    counts = ColumnCounts(config.tasks, index, SpeechLlmSamples(tokenizer, 6), config.frontend)
    told = counts.of_epoch(np.arange(len(index)), config.seed, 0)
    columns = {index[position].id: told.prefixes[position] + told.answers[position] for position in range(len(index))}
    found = {
        identity: int(row.sum())
        for batch in build_loader(config, "train", SpeechLlmSamples.of(config, tokenizer, 6)).epoch(0)
        for identity, row in zip(batch.ids, batch.attention_mask, strict=True)
    }
    assert len(found) > 5 and found == {identity: columns[identity] for identity in found}


@pytest.mark.parametrize(("kind", "width"), [("whisper", 80), ("seamless", 160), ("waveform", 1)])
def test_ctc_batches(config, tokenizer, kind, width):
    loader = build_loader(
        dataclasses.replace(config, frontend=FrontendConfig(kind=kind)),
        "train",
        CtcSamples.of(dataclasses.replace(config, frontend=FrontendConfig(kind=kind)), tokenizer),
    )
    batches = list(loader.epoch(0))
    assert sum(len(batch.ids) for batch in batches) == len(SECONDS)
    assert {batch.frames.shape[2] for batch in batches} == {width}


def test_the_shortest_utterances_that_can_be_used(config, tokenizer):
    frontend = FrontendConfig(kind="waveform")
    utterance = Utterance("u", labels={"text": "word 1 2 3"})

    def made(samples, num_frames):
        return samples.make([Item(utterance, config.tasks[0], torch.zeros(num_frames, 1))])[0]

    vocabulary = BpeVocabulary(tokenizer)
    ctc = CtcSamples(vocabulary, frontend.encoder_frames)
    needed = len(made(CtcSamples(vocabulary), 1000).targets)
    assert made(ctc, 400 + 320 * (needed - 1)).targets
    assert made(ctc, 400 + 320 * (needed - 1) - 1) == "too_long_for_ctc"
    speech_llm = SpeechLlmSamples(tokenizer, 6, encoder_frames=frontend.encoder_frames)
    assert made(speech_llm, 2000).prompt_length
    assert made(speech_llm, 1999) == "too_short"


def test_recordings_that_the_encoder_cannot_read_are_counted(config, tokenizer, tmp_path):
    data = read_data_dir(write_data_dir(tmp_path / "data", seconds=[0.5, 31.0, 30.0]))
    make_raw_list(data.utterances, tmp_path / "raw")
    lists = {"train_list": str(tmp_path / "raw" / "data.list"), "max_frames": 4000}
    config = dataclasses.replace(config, frontend=FrontendConfig(kind="whisper"), **lists)
    loader = ctc_loader(config, tokenizer)
    assert loader.skipped == {"too_long": 1}, "the header tells"
    assert sorted(identity for batch in loader.epoch(0) if batch is not None for identity in batch.ids) == ["utt00", "utt02"]


def test_features_of_an_archive_are_refused(config, tokenizer, data_dir, tmp_path):
    dump_feats(read_data_dir(data_dir).utterances, tmp_path / "feats")
    config = dataclasses.replace(config, train_list=str(tmp_path / "feats" / "data.list"))
    with pytest.raises(DataError, match=r"unsupported 13.*kind seamless needs a recording"):
        build_loader(
            dataclasses.replace(config, frontend=FrontendConfig(kind="seamless")),
            "train",
            CtcSamples.of(dataclasses.replace(config, frontend=FrontendConfig(kind="seamless")), tokenizer),
        )


def test_masks_of_samples_are_refused(config):
    with pytest.raises(ConfigError, match="masks of mel bins or frames"):
        dataclasses.replace(config, frontend=FrontendConfig(kind="waveform"), augment=AugmentConfig(num_frequency_masks=1))
