"""Audio tokens: k-means against groups that are known, tones that have their own tokens, reading and writing."""

import pytest
import torch

from mooer.common.errors import AudioError, ConfigError, PathError, WeightsError
from mooer.models.audio_tokens import (
    AudioTokenConfig,
    AudioTokenizer,
    k_means,
    load_audio_tokenizer,
    nearest,
    write_audio_tokenizer,
)
from mooer.models.vocoder import VocoderConfig
from mooer.models.weights import write_safetensors

RATE = 22_050
SMALL = AudioTokenConfig(num_tokens=12, num_mels=20)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def tone(pitch, seconds=0.6, seed=0):
    time = torch.arange(int(seconds * RATE)) / RATE
    noise = 0.002 * torch.randn(len(time), generator=generator(seed))
    return 0.3 * torch.sin(2 * torch.pi * pitch * time) + noise


@pytest.fixture(scope="module")
def tokenizer():
    tokenizer = AudioTokenizer(SMALL)
    tokenizer.learn([tone(pitch) for pitch in (200, 700, 2000, 5000)])
    return tokenizer


def test_k_means_finds_groups_that_lie_apart():
    centres = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    rows = torch.cat([centre + 0.1 * torch.randn(50, 2, generator=generator(1)) for centre in centres])
    found, distances = k_means(rows, 3, 50, generator())
    order = nearest(centres, found)[0]
    assert sorted(order.tolist()) == [0, 1, 2]
    torch.testing.assert_close(found[order], torch.stack([part.mean(dim=0) for part in rows.split(50)]))
    assert distances.mean() < 0.1
    again, _ = k_means(rows, 3, 50, generator())
    assert torch.equal(found, again)


def test_a_round_never_makes_it_worse():
    rows = torch.randn(300, 5, generator=generator(2))
    distances = [float(k_means(rows, 12, rounds, generator())[1].sum()) for rounds in range(1, 12)]
    assert distances == sorted(distances, reverse=True)
    assert distances[-1] < distances[0]


def test_as_many_centres_as_different_rows():
    rows = torch.tensor([[0.0], [1.0], [1.0], [5.0]])
    centres, distances = k_means(rows, 3, 10, generator())
    assert sorted(centres[:, 0].tolist()) == [0.0, 1.0, 5.0]
    assert not distances.any()
    with pytest.raises(ConfigError, match="3 different stretches, too few for 4"):
        k_means(rows, 4, 10, generator())


def test_each_tone_has_tokens_of_its_own(tokenizer):
    found = [tokenizer.encode(tone(pitch, seed=3)) for pitch in (200, 700, 2000, 5000)]
    assert all(len(tokens) == int(0.6 * RATE) // 1024 for tokens in found)
    inner = [set(tokens[1:-1].tolist()) for tokens in found]  # the ends hear themselves mirrored
    assert sum(map(len, inner)) == len(set.union(*inner)) <= 12


def test_more_sounds_are_nearer():
    waves = [torch.cat([tone(100 + 60 * step, 0.1) for step in range(start, start + 20)]) for start in (0, 20)]
    errors = [AudioTokenizer(AudioTokenConfig(num_tokens=count, num_mels=20)).learn(waves) for count in (2, 8, 32)]
    assert errors[0] > errors[1] > errors[2] > 0
    assert errors[0] < 1.0  # a single sound, the mean, would be off by the variance


def test_a_token_is_as_long_as_a_latent():
    assert AudioTokenConfig().samples_of_a_token == VocoderConfig().samples_of_a_latent
    assert AudioTokenConfig().sampling_rate == VocoderConfig().sampling_rate


def test_written_and_read_again(tokenizer, tmp_path):
    path = tmp_path / "tokens.safetensors"
    write_audio_tokenizer(path, tokenizer)
    again = load_audio_tokenizer(path, AudioTokenConfig(num_mels=20))
    assert again.config == SMALL
    wave = tone(900, seed=5)
    assert torch.equal(again.encode(wave), tokenizer.encode(wave))
    with pytest.raises(WeightsError, match="another shape"):
        load_audio_tokenizer(path)
    with pytest.raises(PathError):
        load_audio_tokenizer(tmp_path / "gone.safetensors")
    write_safetensors(tmp_path / "other.safetensors", {"weight": torch.zeros(2)})
    with pytest.raises(WeightsError, match="no sounds"):
        load_audio_tokenizer(tmp_path / "other.safetensors")


@pytest.mark.parametrize("length", [0, 1023])
def test_recordings_that_are_too_short(tokenizer, length):
    with pytest.raises(AudioError) as caught:
        tokenizer.encode(torch.zeros(length))
    assert caught.value.reason == "too_short"


@pytest.mark.parametrize(("name", "value"), [("num_tokens", 1), ("frames_a_token", 0), ("rounds", 0)])
def test_impossible_settings(name, value):
    with pytest.raises(ConfigError, match=name):
        AudioTokenConfig(**{name: value})
