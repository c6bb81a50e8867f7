"""Speech as discrete tokens, for an LLM that is to learn to speak: each stretch of a recording is the nearest of K sounds.

A stretch is as long as what the vocoder makes of one latent (1,024 samples at 22,050 Hz, 46 ms), and is described by its log
mel spectrogram. The sounds are found by k-means (Lloyd 1982; begun as Arthur and Vassilvitskii 2007 say), the same on every run
of a machine for the same recordings and seed.

Shapes: S samples, T tokens, D values of a stretch, N stretches of all recordings, K sounds.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from mooer.common.errors import AudioError, ConfigError, WeightsError
from mooer.models.vocoder_losses import FFT_SIZE, SHIFT, LogMel
from mooer.models.weights import check_names, own_tensors, read_state, write_safetensors

# Stretches compared with all sounds at once.
_CHUNK = 4096
_LEAST_DEVIATION = 1e-3


@dataclass(frozen=True, kw_only=True)
class AudioTokenConfig:
    """How sounds are found and told apart."""

    num_tokens: int = 500
    """K, the sounds."""
    sampling_rate: int = 22_050
    """Of the recordings, in Hz."""
    num_mels: int = 80
    """Mel bins of a frame."""
    frames_a_token: int = 4
    """Frames of 256 samples that make a stretch."""
    starts: int = 4
    """First choices of sounds that are tried; the best end is taken."""
    rounds: int = 50
    """Most rounds of each; it ends earlier when no stretch changes its sound."""
    seed: int = 0
    """Of the first choice of sounds."""

    def __post_init__(self) -> None:
        for name in ("sampling_rate", "num_mels", "frames_a_token", "starts", "rounds"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, found {getattr(self, name)}")
        if self.num_tokens < 2:
            raise ConfigError(f"num_tokens must be at least 2, found {self.num_tokens}")

    @property
    def samples_of_a_token(self) -> int:
        """Samples of a stretch."""
        return self.frames_a_token * SHIFT


class AudioTokenizer(nn.Module):
    """Tells which sounds a recording is made of."""

    def __init__(self, config: AudioTokenConfig) -> None:
        super().__init__()
        self.config = config
        self.log_mel = LogMel(config.sampling_rate, config.num_mels)
        width = config.num_mels * config.frames_a_token
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("deviation", torch.ones(width))
        self.register_buffer("sounds", torch.zeros(config.num_tokens, width))

    @torch.no_grad()
    def stretches(self, waveform: Tensor) -> Tensor:
        """What describes each stretch of a waveform [S] of full scale 1: [T, D], T = S // samples_of_a_token.

        Raises:
            AudioError: too_short, for less than a stretch or half a window.
        """
        samples = self.config.samples_of_a_token
        num_tokens = len(waveform) // samples
        if num_tokens == 0 or num_tokens * samples <= FFT_SIZE // 2:
            raise AudioError(f"{len(waveform)} samples; a token needs {max(samples, FFT_SIZE // 2 + 1)}", "too_short")
        mels = self.log_mel(waveform[None, : num_tokens * samples])[0].T  # [frames, M]
        return mels.reshape(num_tokens, -1)

    @torch.no_grad()
    def encode(self, waveform: Tensor) -> Tensor:
        """The sound of each stretch of a waveform [S]: [T] int64, 0 to K - 1. Raises AudioError as `stretches`."""
        return nearest(self._normalised(self.stretches(waveform)), self.sounds)[0]

    def _normalised(self, stretches: Tensor) -> Tensor:
        return (stretches - self.mean) / self.deviation

    @torch.no_grad()
    def learn(self, waveforms: Iterable[Tensor]) -> float:
        """Find the sounds of recordings [S].

        Returns:
            The mean squared distance of a value from that of its sound, where the values' variance is 1.

        Raises:
            AudioError: too_short.
            ConfigError: fewer different stretches than sounds.
        """
        stretches = torch.cat([self.stretches(waveform) for waveform in waveforms])
        self.mean.copy_(stretches.mean(dim=0))
        self.deviation.copy_(stretches.std(dim=0, correction=0).clamp(min=_LEAST_DEVIATION))
        rows = self._normalised(stretches)
        config, generator = self.config, torch.Generator().manual_seed(self.config.seed)
        attempts = [k_means(rows, config.num_tokens, config.rounds, generator) for _ in range(config.starts)]
        sounds, distances = min(attempts, key=lambda attempt: float(attempt[1].sum()))
        self.sounds.copy_(sounds)
        return float(distances.mean()) / rows.shape[1]


def nearest(rows: Tensor, centres: Tensor) -> tuple[Tensor, Tensor]:
    """The nearest centre of each row, the first of equally near ones, and its squared distance: [N], [N]."""
    labels, distances = [], []
    for chunk in rows.split(_CHUNK):
        squares = torch.cdist(chunk, centres, compute_mode="donot_use_mm_for_euclid_dist").square()  # [chunk, K]
        found = squares.min(dim=1)
        labels.append(found.indices)
        distances.append(found.values)
    return torch.cat(labels), torch.cat(distances)


def k_means(rows: Tensor, num_centres: int, rounds: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Centres [K, D] of rows [N, D], and the squared distance [N] of each row from its own.

    Raises:
        ConfigError: fewer different rows than centres.
    """
    centres = _spread(rows, num_centres, generator)
    labels, distances = nearest(rows, centres)
    for _ in range(rounds):
        centres = _means(rows, labels, distances, num_centres)
        before = labels
        labels, distances = nearest(rows, centres)
        if torch.equal(labels, before):
            break
    return centres, distances


def _spread(rows: Tensor, num_centres: int, generator: torch.Generator) -> Tensor:
    """Rows to begin with: each drawn by its squared distance from the nearest one so far."""
    chosen = [int(torch.randint(len(rows), (1,), generator=generator))]
    distances = nearest(rows, rows[chosen])[1].double()
    while len(chosen) < num_centres:
        if not distances.any():
            raise ConfigError(f"there are {len(chosen)} different stretches, too few for {num_centres} tokens")
        chosen.append(int(torch.multinomial(distances, 1, generator=generator)))
        distances = distances.minimum(nearest(rows, rows[chosen[-1:]])[1].double())
    return rows[chosen].clone()


def _means(rows: Tensor, labels: Tensor, distances: Tensor, num_centres: int) -> Tensor:
    """The mean of each centre's rows; a centre without any goes to the row that is farthest from its own."""
    counts = torch.bincount(labels, minlength=num_centres)
    sums = rows.new_zeros(num_centres, rows.shape[1], dtype=torch.float64).index_add_(0, labels, rows.double())
    centres = (sums / counts.clamp(min=1)[:, None]).to(rows.dtype)
    empty = (counts == 0).nonzero()[:, 0]
    centres[empty] = rows[distances.topk(len(empty)).indices]
    return centres


def write_audio_tokenizer(path: str | Path, tokenizer: AudioTokenizer) -> None:
    """Write the sounds as a .safetensors file."""
    write_safetensors(path, own_tensors(tokenizer))


def load_audio_tokenizer(path: str | Path, config: AudioTokenConfig | None = None) -> AudioTokenizer:
    """Read what `write_audio_tokenizer` wrote; the number of sounds is the file's.

    Args:
        config: of its rate and frames; None for the usual ones.

    Raises:
        PathError, WeightsError: no such file, or one that does not fit.
    """
    config, state = config or AudioTokenConfig(), read_state(path, "audio tokenizer")
    sounds = state.get("sounds")
    if sounds is None or sounds.dim() != 2 or len(sounds) < 2:
        raise WeightsError(f"{path} holds no sounds; mooer.models.audio_tokens writes such a file")
    tokenizer = AudioTokenizer(AudioTokenConfig(**{**vars(config), "num_tokens": len(sounds)}))
    check_names({name: tuple(tensor.shape) for name, tensor in own_tensors(tokenizer).items()}, state, str(path))
    tokenizer.load_state_dict(state)
    return tokenizer
