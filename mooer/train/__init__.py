"""Training: one loop, the DeepSpeed engine behind it, checkpoints and what is logged."""
