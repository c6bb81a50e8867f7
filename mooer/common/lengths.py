"""How many frames and embeddings come out of how many samples: the one place for that arithmetic, in plain integers."""

SAMPLE_RATE = 16000
WINDOW_SAMPLES = 400
SHIFT_SAMPLES = 160


def fbank_frames(num_samples: int) -> int:
    """Frames of 25 ms every 10 ms that lie wholly inside `num_samples` at 16 kHz (Kaldi's snip_edges)."""
    return 0 if num_samples < WINDOW_SAMPLES else 1 + (num_samples - WINDOW_SAMPLES) // SHIFT_SAMPLES


def lfr_frames(num_frames: int, lfr_n: int = 6) -> int:
    """Low-frame-rate frames of `num_frames` fbank frames: the ceiling of num_frames / n."""
    return -(-num_frames // lfr_n)


def adapter_frames(num_frames: int, downsample_rate: int) -> int:
    """Embeddings that the adapter makes of `num_frames` encoder frames; the incomplete last group is dropped."""
    return num_frames // downsample_rate


def audio_embeddings(num_samples: int, downsample_rate: int = 2, lfr_n: int = 6) -> int:
    """Embeddings that the LLM sees for a recording of `num_samples` at 16 kHz."""
    return adapter_frames(lfr_frames(fbank_frames(num_samples), lfr_n), downsample_rate)
