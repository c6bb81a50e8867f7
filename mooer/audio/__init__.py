"""Any recording to mono 16 kHz float32, cut by time and augmented."""
