"""Text on its way in and out of a model: tokenizers, prompts, normalisation."""
