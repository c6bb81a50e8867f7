"""When each word of a given text is said, by a model that did not write the text: a CTC model, or a Paraformer.

L tokens, T frames, V vocabulary.
"""

import math
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from mooer.common.errors import AudioError, ConfigError
from mooer.decode.ctc_alignment import align_tokens
from mooer.decode.firing import milliseconds, token_spans
from mooer.decode.hypothesis import Word
from mooer.decode.recognizer import DecodeConfig, Recognizer
from mooer.decode.timed_words import text_words, token_log_probs, words_of_tokens
from mooer.models.cif import integrate
from mooer.models.published_folder import TOKENS_FILE
from mooer.text.cjk import join_texts
from mooer.text.pieces import CONTINUED, read_token_list
from mooer.text.tokenizer import decode_text, encode_ctc_targets, load_tokenizer

SEG_DICT_FILE = "seg_dict"
_UNSPOKEN = re.compile(r"[^\w']|_")


class Aligner(Protocol):
    """Tells when words are said."""

    recognizer: Recognizer

    def __call__(self, waveform: Tensor, text: str) -> tuple[Word, ...] | None:
        """The words of a text with their times in a waveform [S] (16 kHz, full scale 1); None if it cannot be that text."""


def open_aligner(folder: str | Path, config: DecodeConfig) -> Aligner:
    """The aligner that a model makes. Raises PathError, WeightsError, or ConfigError for a model of another family."""
    recognizer = Recognizer.from_model_dir(folder, config)
    family = recognizer.loaded.config.family
    if family == "ctc":
        return CtcAligner(recognizer)
    if family == "paraformer":
        return ParaformerAligner(recognizer)
    raise ConfigError(f"{folder} is of family {family}; alignment needs a model of family ctc or a Paraformer")


def spoken_words(text: str) -> list[tuple[str, str]]:
    """Each word of a text as it is written and as it is said, without signs; one that is only signs goes with its neighbour."""
    pairs: list[tuple[str, str]] = []
    for start, end in text_words(text):
        written = text[start:end]
        spoken = _UNSPOKEN.sub("", written).strip("'")
        if spoken:
            pairs.append((written, spoken))
        elif pairs:
            pairs[-1] = (pairs[-1][0] + written, pairs[-1][1])
    return pairs


class CtcAligner:
    """Alignment by a model of family ctc: the most probable path of the text's tokens."""

    def __init__(self, recognizer: Recognizer) -> None:
        self.recognizer = recognizer
        self._tokenizer = load_tokenizer(recognizer.loaded.tokenizer_dir)

    @torch.inference_mode()
    def __call__(self, waveform: Tensor, text: str) -> tuple[Word, ...] | None:
        """The words of a text with their times in a waveform [S] (16 kHz, full scale 1); None if it cannot be that text."""
        pairs = spoken_words(text)
        frames = _frames(self.recognizer, waveform)
        if not pairs or frames is None:
            return None if pairs else ()
        model = self.recognizer.loaded.model
        log_probs, _ = model.log_probs(frames[None], torch.tensor([len(frames)], device=frames.device))
        (tokens,) = encode_ctc_targets(self._tokenizer, [join_texts([spoken for _, spoken in pairs])])
        path = align_tokens(log_probs[0], tokens, model.blank_id)
        if path is None:
            return None
        step = self.recognizer.frontend.config.encoder_frame_seconds
        seconds = [(start * step, end * step) for start, end in path.spans]
        read = partial(decode_text, self._tokenizer)
        words = words_of_tokens(read, path.tokens, seconds, token_log_probs(log_probs[0], path))
        return _written(pairs, words)


class ParaformerAligner:
    """Alignment by a Paraformer: its predictors are told how many tokens there are, its decoder how probable each is."""

    def __init__(self, recognizer: Recognizer) -> None:
        self.recognizer = recognizer
        folder = recognizer.loaded.tokenizer_dir
        self._ids = {token: index for index, token in enumerate(read_token_list(folder / TOKENS_FILE))}
        self._pieces = read_seg_dict(folder / SEG_DICT_FILE)

    @torch.inference_mode()
    def __call__(self, waveform: Tensor, text: str) -> tuple[Word, ...] | None:
        """The words of a text with their times in a waveform [S] (16 kHz, full scale 1); None if it cannot be that text."""
        pairs = spoken_words(text)
        frames = _frames(self.recognizer, waveform)
        if not pairs or frames is None:
            return None if pairs else ()
        pieces = [self._ids_of(spoken) for _, spoken in pairs]
        ids = [index for own in pieces for index in own]
        spans, log_probs = self._align(frames, ids)
        words, first = [], 0
        for (_, spoken), own in zip(pairs, pieces, strict=True):
            last = first + len(own) - 1
            start, end = milliseconds((spans[first][0], spans[last][1]))
            confidence = math.exp(sum(log_probs[first : last + 1]) / len(own))
            words.append(Word(spoken, start, end, round(confidence, 6)))
            first = last + 1
        return _written(pairs, words)

    def _align(self, frames: Tensor, ids: Sequence[int]) -> tuple[list[tuple[float, float]], list[float]]:
        """Begin and end in seconds, and log probability, of each token over frames [T, features]."""
        model, number = self.recognizer.loaded.model, len(ids)
        counts = torch.tensor([number], device=frames.device)
        encoded, lengths = model.encoder(frames[None], torch.tensor([len(frames)], device=frames.device))
        _, _, weights = model.predictor(encoded, lengths)
        times, upsampling = weights[:, :-1], 1
        if model.token_times is not None:
            times, upsampling = model.token_times(encoded, lengths, counts), model.token_times.upsampling
        step = self.recognizer.frontend.config.encoder_frame_seconds / upsampling
        spans = token_spans(times[0].float().cpu().numpy(), number, step)
        scaled = weights.double() * (number / weights.double().sum())
        embeddings, _ = integrate(F.pad(encoded, (0, 0, 0, 1)), scaled)
        embeddings = F.pad(embeddings, (0, 0, 0, max(0, number - embeddings.shape[1])))[:, :number]
        logits = model.decoder(embeddings.to(encoded.dtype), counts, encoded, lengths)[0].float()
        return spans, logits.log_softmax(dim=-1)[torch.arange(number), torch.tensor(ids)].tolist()

    def _ids_of(self, word: str) -> list[int]:
        """A word as tokens: itself, its parts by seg_dict, or one unknown token."""
        unknown = self._ids.get("<unk>", len(self._ids) - 1)
        lower = word.lower()
        for pieces in ([word], [lower], self._pieces.get(lower, [])):
            if pieces and all(piece in self._ids for piece in pieces):
                return [self._ids[piece] for piece in pieces]
        letters = [*(f"{letter}{CONTINUED}" for letter in lower[:-1]), lower[-1]]
        if all(letter in self._ids for letter in letters):
            return [self._ids[letter] for letter in letters]
        return [unknown]


def read_seg_dict(path: Path) -> dict[str, list[str]]:
    """The parts of words, `WORD PART...` a line; nothing if there is no such file."""
    if not path.is_file():
        return {}
    lines = (line.split() for line in path.read_text(encoding="utf-8").splitlines())
    return {word: parts for word, *parts in filter(None, lines) if parts}


def _frames(recognizer: Recognizer, waveform: Tensor) -> Tensor | None:
    """Frames [T, features] on the model's device; None for a waveform that is too short or too long for the model."""
    try:
        return recognizer.frontend(waveform).to(recognizer.device)
    except AudioError:
        return None


def _written(pairs: Sequence[tuple[str, str]], words: Sequence[Word]) -> tuple[Word, ...] | None:
    """The words as they are written; None if the tokenizer has made others of them."""
    if len(pairs) != len(words):
        return None
    return tuple(
        Word("".join(written.split()), word.start, word.end, word.confidence)
        for (written, _), word in zip(pairs, words, strict=True)
    )
