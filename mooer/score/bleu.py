"""BLEU by sacrebleu, with its signature."""

from collections.abc import Mapping
from dataclasses import dataclass

from mooer.common.errors import DataError
from mooer.text.cjk import is_mostly_cjk
from mooer.text.normalize import get_normalizer


@dataclass(frozen=True, kw_only=True)
class BleuReport:
    """Corpus BLEU and what it depends on."""

    score: float
    """0 to 100."""
    precisions: tuple[float, ...]
    """Of 1- to 4-grams, in percent."""
    brevity_penalty: float
    hypothesis_length: int
    reference_length: int
    """Both in the tokens of sacrebleu's tokenizer."""
    normalizer: str
    signature: str
    """sacrebleu's own, then the normaliser and what becomes of missing hypotheses."""
    utterances: int
    missing: tuple[str, ...]
    """References without a hypothesis: scored as empty."""
    extra: tuple[str, ...]
    """Hypotheses without a reference: not scored."""


def bleu_tokenizer(references: list[str], target_language: str | None) -> str:
    """sacrebleu's `zh` for Chinese, `13a` for everything else; where no language is named, the references decide."""
    if target_language is None:
        return "zh" if is_mostly_cjk(references) else "13a"
    return "zh" if target_language.lower().startswith(("zh", "cmn", "chinese")) else "13a"


def score_bleu(
    references: Mapping[str, str],
    hypotheses: Mapping[str, str],
    target_language: str | None = None,
    normalizer: str = "none",
) -> BleuReport:
    """Corpus BLEU with one reference each, by sacrebleu's defaults (4-grams, exponential smoothing, case as it is).

    Args:
        references: text by utterance id; those without a hypothesis are scored with an empty one.
        hypotheses: text by utterance id; those without a reference are named in the report and not scored.
        target_language: such as `en` or `zh`; None lets the references decide.
        normalizer: `none`, unless both sides are to be cleaned before sacrebleu sees them.

    Raises:
        ConfigError: an unknown normaliser.
        DataError: no references at all.
    """
    from sacrebleu.metrics import BLEU

    if not references:
        raise DataError("there are no references to score against")
    rule = get_normalizer(normalizer)
    reference_texts = [rule.text(text) for text in references.values()]
    hypothesis_texts = [rule.text(hypotheses.get(name, "")) for name in references]
    bleu = BLEU(tokenize=bleu_tokenizer(reference_texts, target_language))
    result = bleu.corpus_score(hypothesis_texts, [reference_texts])
    return BleuReport(
        score=result.score,
        precisions=tuple(result.precisions),
        brevity_penalty=result.bp,
        hypothesis_length=result.sys_len,
        reference_length=result.ref_len,
        normalizer=rule.name,
        signature=f"{bleu.get_signature()}|normalizer:{rule.name}.{rule.version}|missing:empty",
        utterances=len(references),
        missing=tuple(name for name in references if name not in hypotheses),
        extra=tuple(name for name in hypotheses if name not in references),
    )
