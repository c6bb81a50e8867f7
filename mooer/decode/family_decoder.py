"""The decoder for a model's family, and answers as they grow."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

from torch import Tensor

from mooer.common.errors import ConfigError
from mooer.decode.conformer_decoder import ConformerDecoder
from mooer.decode.conformer_stream_decoder import ConformerStreamDecoder
from mooer.decode.ctc_decoder import CtcDecoder
from mooer.decode.fusion import Fusion
from mooer.decode.hypothesis import Answer, Refusal
from mooer.decode.paraformer_decoder import ParaformerDecoder
from mooer.features.frontend import FrontendConfig
from mooer.models.conformer_stream import Chunks
from mooer.models.model_dir import LoadedModel
from mooer.models.published_folder import TOKENS_FILE
from mooer.text.pieces import read_token_list
from mooer.text.tokenizer import load_tokenizer
from mooer.text.vocabulary import load_vocabulary

if TYPE_CHECKING:
    from mooer.decode.recognizer import DecodeConfig
    from mooer.decode.speech_llm_decoder import SpeechLlmSettings


class Decoder(Protocol):
    """What turns frames into answers: one for each family of models."""

    def decode(self, frames: Sequence[Tensor]) -> list[Answer | Refusal]:
        """The answer to each utterance's frames [T_i, features]."""


def growing_answers(decoder: Decoder, frames: Tensor) -> Iterator[Answer | Refusal]:
    """The answer to an utterance's frames [T, features] as a speech LLM writes it, or at once; the last one is complete."""
    from mooer.decode.speech_llm_decoder import SpeechLlmDecoder

    if isinstance(decoder, SpeechLlmDecoder):
        yield from decoder.stream(frames)
    else:
        yield from decoder.decode([frames])


def make_decoder(
    loaded: LoadedModel,
    config: "DecodeConfig",
    settings: "SpeechLlmSettings | None",
    frontend: FrontendConfig,
    fusion: Fusion | None,
) -> Decoder:
    """The decoder for the model's family. Raises ConfigError for a task that it does not know."""
    model = loaded.model
    if settings is not None:
        # It needs transformers, which is long to import and which other models do without.
        from mooer.decode.speech_llm_decoder import SpeechLlmDecoder

        return SpeechLlmDecoder(model, load_tokenizer(loaded.tokenizer_dir), settings)
    if config.task != "asr":
        raise ConfigError(f"a model of family {loaded.config.family} transcribes; it knows no task {config.task}")
    if loaded.config.family == "paraformer":
        tokens = read_token_list(loaded.tokenizer_dir / TOKENS_FILE)
        return ParaformerDecoder(model, tokens, frontend, config.estimate_times, fusion)
    if loaded.config.family == "conformer":
        return _conformer_decoder(loaded, config, frontend, fusion)
    return CtcDecoder(model, load_tokenizer(loaded.tokenizer_dir), frontend, fusion)


def _conformer_decoder(
    loaded: LoadedModel, config: "DecodeConfig", frontend: FrontendConfig, fusion: Fusion | None
) -> ConformerDecoder | ConformerStreamDecoder:
    """The decoder of whole recordings, or of chunks."""
    vocabulary = load_vocabulary(loaded.tokenizer_dir)
    whole = ConformerDecoder(loaded.model, vocabulary, frontend, fusion)
    if config.chunk_size is None:
        return whole
    chunks = Chunks(config.chunk_size, -1 if config.left_chunks is None else config.left_chunks)
    return ConformerStreamDecoder(whole, loaded.model, vocabulary, frontend.frame_seconds, fusion, chunks)
