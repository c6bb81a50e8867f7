"""How many frames and embeddings come out of how many samples: the one place for that arithmetic, in plain integers."""

SAMPLE_RATE = 16000
WINDOW_SAMPLES = 400
SHIFT_SAMPLES = 160

# What the published Whisper encoders read: 30 seconds, no more and no less.
WHISPER_SAMPLES = 30 * SAMPLE_RATE
WHISPER_MEL_FRAMES = WHISPER_SAMPLES // SHIFT_SAMPLES
# Samples between two frames of w2v-BERT 2.0 and HuBERT, and of the Whisper encoder's output.
TWENTY_MS_SAMPLES = 2 * SHIFT_SAMPLES
# Fbank frames that one frame of the Conformer's subsampling sees, and from one to the next.
CONV2D_WINDOW, CONV2D_SHIFT = 7, 4
# What an embedding of the LLM may stand for.
EMBEDDING_MILLISECONDS = (120, 180, 240)


def fbank_frames(num_samples: int) -> int:
    """Frames of 25 ms every 10 ms that lie wholly inside `num_samples` at 16 kHz (Kaldi's snip_edges)."""
    return 0 if num_samples < WINDOW_SAMPLES else 1 + (num_samples - WINDOW_SAMPLES) // SHIFT_SAMPLES


def lfr_frames(num_frames: int, lfr_n: int = 6) -> int:
    """Low-frame-rate frames of `num_frames` fbank frames: the ceiling of num_frames / n."""
    return -(-num_frames // lfr_n)


def whisper_mel_frames(num_samples: int) -> int:
    """Whisper's frames, centred every 10 ms, whose 25 ms hold any of `num_samples`; all later ones are equal silence."""
    touched = -(-(num_samples + WINDOW_SAMPLES // 2) // SHIFT_SAMPLES) if num_samples else 0
    return min(touched, WHISPER_MEL_FRAMES)


def whisper_frames(num_mel_frames: int) -> int:
    """Encoder frames of 20 ms that see any of `num_mel_frames`: the ceiling of the half."""
    return -(-num_mel_frames // 2)


def seamless_frames(num_samples: int) -> int:
    """Pairs of fbank frames, as w2v-BERT 2.0 reads them; a last frame without a partner is dropped."""
    return fbank_frames(num_samples) // 2


def waveform_frames(num_samples: int) -> int:
    """Encoder frames of HuBERT's convolutions: 25 ms every 20 ms, wholly inside `num_samples`."""
    return 0 if num_samples < WINDOW_SAMPLES else 1 + (num_samples - WINDOW_SAMPLES) // TWENTY_MS_SAMPLES


def conv2d_frames(num_frames: int) -> int:
    """Frames of the Conformer's subsampling: two convolutions of 3 at every second place, wholly inside `num_frames`."""
    return 0 if num_frames < CONV2D_WINDOW else 1 + (num_frames - CONV2D_WINDOW) // CONV2D_SHIFT


def adapter_frames(num_frames: int, downsample_rate: int) -> int:
    """Embeddings that the adapter makes of `num_frames` encoder frames; the incomplete last group is dropped."""
    return num_frames // downsample_rate


def adapter_rates(frame_milliseconds: int) -> tuple[int, ...]:
    """How many encoder frames the adapter may join: those that make an embedding of 120, 180 or 240 ms."""
    return tuple(length // frame_milliseconds for length in EMBEDDING_MILLISECONDS if length % frame_milliseconds == 0)


def audio_embeddings(num_samples: int, downsample_rate: int = 2, lfr_n: int = 6) -> int:
    """Embeddings that the LLM sees for a recording of `num_samples` at 16 kHz, with the SANM encoder."""
    return adapter_frames(lfr_frames(fbank_frames(num_samples), lfr_n), downsample_rate)
