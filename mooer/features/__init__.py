"""From a waveform to the frames that an encoder reads: fbank, LFR, CMVN, SpecAugment."""
