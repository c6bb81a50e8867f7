"""The family of punctuation models, which are trained on text with marks."""

from pathlib import Path
from typing import Any

from mooer.common.errors import ConfigError
from mooer.common.marks import UNKNOWN
from mooer.data.dataset import Loader
from mooer.data.punctuation import PunctuationBatch, PunctuationSamples
from mooer.data.text_dataset import build_text_loader
from mooer.models.published_folder import (
    TOKENS_FILE,
    WEIGHTS_FILE,
    PublishedModel,
    read_published_tokens,
    write_published_folder,
)
from mooer.models.punctuation_training import (
    PunctuationTraining,
    build_punctuation_training,
    published_punctuation,
    unknown_word,
)
from mooer.train.config import RunConfig
from mooer.train.families.base import Family, Form, Split, refuse_form


class PunctuationFamily(Family):
    """A CT-Transformer over the words of data.tokenizer_path; it has one form, the published directory."""

    frame_seconds = 0.0

    def __init__(self, config: RunConfig) -> None:
        self._model, self._data = config.model, config.data
        self._words: tuple[str, ...] | None = None

    @property
    def words(self) -> tuple[str, ...]:
        """The list of words, read when it is asked for first. Raises PathError or ConfigError."""
        if self._words is None:
            words = read_published_tokens(Path(self._data.tokenizer_path) / TOKENS_FILE)
            unknown = unknown_word(self._model)
            if unknown not in words:
                raise ConfigError(f"{self._data.tokenizer_path}: {TOKENS_FILE} lacks {unknown}, for all other words")
            self._words = words
        return self._words

    def build_model(self, outline: bool = False) -> PunctuationTraining:
        """The model of the section `model`, as small as it is not outlined."""
        return build_punctuation_training(self._model, len(self.words))

    def loader(self, split: Split, rank: int = 0, world_size: int = 1) -> Loader:
        """The batches of a rank."""
        ids = {word: number for number, word in enumerate(self.words)}
        samples = PunctuationSamples(ids, ids[unknown_word(self._model)], self._model.lower_case)
        return build_text_loader(self._data, split, samples, rank, world_size)

    def count_targets(self, batch: PunctuationBatch) -> int:
        """Words of which it is known what follows them."""
        return int((batch.marks != UNKNOWN).sum())

    def count_frames(self, batch: PunctuationBatch) -> int:
        """Words."""
        return int(batch.lengths.sum())

    def data_files(self) -> list[str]:
        """The text files, and the list of words."""
        texts = (self._data.train_list, self._data.dev_list)
        return [*(path for path in texts if path is not None), str(Path(self._data.tokenizer_path) / TOKENS_FILE)]

    def weight_files(self) -> list[Path]:
        """The published weights that training goes on from."""
        return [] if self._model.path is None else [Path(self._model.path) / WEIGHTS_FILE]

    def export(self, model: PunctuationTraining, directory: Path, record: dict[str, Any], form: Form, task: str) -> None:
        """Write a published directory, which `mooer.pipeline.punctuation.Punctuator` opens."""
        refuse_form(form, ("safetensors", "released"), "punctuation")
        settings, weights = published_punctuation(model, self._model, len(self.words))
        write_published_folder(directory, PublishedModel(settings=settings, weights=weights, tokens=self.words, record=record))
