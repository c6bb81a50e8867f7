"""The family of language models, which are trained on text alone."""

import math
from pathlib import Path
from typing import Any

from torch import nn

from mooer.common.log import get_logger
from mooer.data.dataset import Loader
from mooer.data.language_model import TokenBatch, TokenSamples
from mooer.data.text_dataset import build_text_loader
from mooer.models.language_model_dir import write_language_model
from mooer.models.transformer_lm import SpecialTokens, TransformerLm
from mooer.text.vocabulary import Vocabulary, load_vocabulary
from mooer.train.config import RunConfig
from mooer.train.families.base import Family, Form, Split, refuse_form
from mooer.train.step import Sums

log = get_logger(__name__)


class TransformerLmFamily(Family):
    """A language model of transformer blocks."""

    frame_seconds = 0.0

    def __init__(self, config: RunConfig) -> None:
        self._config = config
        self._vocabulary: Vocabulary | None = None

    @property
    def vocabulary(self) -> Vocabulary:
        """Read when it is asked for first. Raises PathError, ConfigError or DataError."""
        if self._vocabulary is None:
            self._vocabulary = load_vocabulary(self._config.data.tokenizer_path)
        return self._vocabulary

    def build_model(self, outline: bool = False) -> TransformerLm:
        """The model of the section `model`."""
        known = self.vocabulary
        special = SpecialTokens(blank=known.blank_id, start=known.start_id, end=known.end_id)
        return TransformerLm(self._config.model, len(known.tokens), special)

    def loader(self, split: Split, rank: int = 0, world_size: int = 1) -> Loader:
        """The batches of a rank."""
        samples = TokenSamples(self.vocabulary)
        loader = build_text_loader(self._config.data, split, samples, rank, world_size)
        if samples.num_unknown:
            log.warning("%s: %d tokens stand for words that have none", split, samples.num_unknown)
        return loader

    def count_targets(self, batch: TokenBatch) -> int:
        """Tokens, and an end for each sentence."""
        return self.count_frames(batch) + len(batch.ids)

    def count_frames(self, batch: TokenBatch) -> int:
        """Tokens of text."""
        return int(batch.lengths.sum())

    def measures(self, sums: Sums) -> dict[str, float]:
        """The perplexity: the number of equally likely tokens that would be as hard to guess, ends of sentences included."""
        return {"perplexity": math.exp(min(sums.mean_loss, 100.0))}

    def data_files(self) -> list[str]:
        """The text files."""
        return [path for path in (self._config.data.train_list, self._config.data.dev_list) if path is not None]

    def export(self, model: nn.Module, directory: Path, record: dict[str, Any], form: Form, task: str) -> None:
        """Write a folder that `mooer-decode --lm_dir` opens."""
        refuse_form(form, ("safetensors", "int8"), "transformer_lm")
        write_language_model(model, self._config.model, directory, self.vocabulary.save, record, int8=form == "int8")
