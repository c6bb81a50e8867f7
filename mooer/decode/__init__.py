"""From a model directory and audio to hypotheses."""
