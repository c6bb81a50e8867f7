"""Answers of a causal language model to embedded prompts: greedy and beam search over many utterances at once, or sampling.

B prompts of a prefill, R rows (utterances times beams), L columns of a prompt, D width, V vocabulary.

The results are those of transformers' `generate` for each prompt alone. The work is less: a prompt is computed once and not
once a beam, prompts of similar length are computed together, the output layer sees one column only, and a finished utterance
makes room for the next one at once.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from mooer.common.errors import ConfigError
from mooer.decode.batching import group_by_length
from mooer.decode.grouped_attention import grouped_heads
from mooer.decode.key_value_pool import KeyValuePool
from mooer.decode.sampling import Draw, SamplingConfig, sampled_candidates
from mooer.decode.search import Candidate, Generated, Search, is_finite, make_search
from mooer.decode.top_tokens import log_normaliser, top_of_rows
from mooer.models.llm import computing_only

_SPARE_COLUMNS = 64
# Of prompts computed in one go, the share that may be padding; a call of an LLM costs more than one of an encoder's.
_MAX_PADDING = 0.2


@dataclass(frozen=True, kw_only=True)
class GenerateConfig:
    """How answers are searched; the values of the released MooER models are the defaults."""

    beam_size: int = 4
    """Answers kept side by side; 1 is greedy search."""
    length_penalty: float = 0.8
    """Scores are divided by the number of tokens to this power, so larger values favour longer answers."""
    eos_bias: float = -0.2
    """Added to the log probability of ending, at every step."""
    max_cost: float = 24
    """Most that the utterances worked on at the same time may cost together."""
    prefill_columns: int = 1024
    """Most columns, padding included, of the prompts computed in one go."""
    sampling: SamplingConfig | None = None
    """How continuations are drawn at random; None for the best ones."""

    def __post_init__(self) -> None:
        if not 1 <= self.beam_size <= 64:
            raise ConfigError(f"beam_size must lie between 1 and 64, found {self.beam_size}")
        for name in ("max_cost", "prefill_columns"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} must be positive, found {getattr(self, name)}")
        for name in ("length_penalty", "eos_bias"):
            if not -100 <= getattr(self, name) <= 100:
                raise ConfigError(f"{name} must lie between -100 and 100, found {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """What the LLM is to answer."""

    embeddings: Tensor
    """[L, D], L at least 1."""
    max_new_tokens: int
    """Bound on the answer, the end-of-sequence token included; at least 1."""
    cost: float = 1.0
    """Its share of `max_cost`."""
    seed: int = 0
    """What is drawn for it follows from this alone, where answers are sampled."""


@dataclass
class _Active:
    """An utterance that is being worked on."""

    index: int
    search: Search
    cost: float
    draws: torch.Generator
    is_broken: bool = False

    def take(self, candidates: Sequence[Candidate]) -> None:
        """One step of the search, unless its scores are no numbers."""
        if is_finite(candidates):
            self.search.advance(candidates)
        else:
            self.is_broken = True

    @property
    def is_done(self) -> bool:
        """Whether there is nothing more to do."""
        return self.search.done or self.is_broken


class Generator:
    """Generates answers with one LLM.

    Args:
        llm: a causal LM of transformers with full attention in all layers, in eval mode.
        eos_id: the token that ends an answer.

    Raises:
        ConfigError: the LLM has sliding-window or other partial attention, or too small a vocabulary for the beams.
    """

    def __init__(self, llm: nn.Module, eos_id: int, config: GenerateConfig) -> None:
        kinds = {*(getattr(llm.config, "layer_types", None) or ()), "full_attention"}
        if len(kinds) > 1:
            raise ConfigError(f"only LLMs with full attention in all layers can be decoded; this one has {sorted(kinds)}")
        vocab_size = llm.get_output_embeddings().out_features
        if vocab_size < 2 * config.beam_size:
            raise ConfigError(f"beam_size {config.beam_size} is too large for this LLM's vocabulary")
        if config.sampling is not None and vocab_size < config.sampling.top_k:
            raise ConfigError(f"top_k {config.sampling.top_k} is too large for this LLM's vocabulary of {vocab_size}")
        self._llm, self._eos_id, self._config = llm, eos_id, config

    def run(self, prompts: Sequence[Prompt]) -> Iterator[tuple[int, list[Generated]]]:
        """The answers to each prompt, best first, with the prompt's index, as they are finished.

        No answers at all mean that the LLM's output for this prompt was not finite.
        """
        for _, finished in self._rounds(prompts):
            yield from finished

    def grow(self, prompt: Prompt) -> Iterator[list[Generated]]:
        """A greedy answer as it grows, token by token, in the form of `run`: its only answer, the last time finished.

        Raises:
            ConfigError: several beams, of which none is the answer before the end.
        """
        if self._config.beam_size != 1:
            raise ConfigError(f"an answer grows by greedy search, beam_size 1; found {self._config.beam_size}")
        tokens: list[int] = []
        for active, finished in self._rounds([prompt]):
            for item in active:
                tokens += item.search.next_tokens
                yield [Generated(tuple(tokens), item.search.scores[0], ended=False)]
            for _, answers in finished:
                yield answers

    def _rounds(self, prompts: Sequence[Prompt]) -> Iterator[tuple[list[_Active], list[tuple[int, list[Generated]]]]]:
        """Who is still worked on and who has finished, after each round of prefills or one more token for all."""
        if not prompts:
            return
        # The longest first: whoever comes later then fits to the left of where the store is.
        waiting = deque(sorted(range(len(prompts)), key=lambda index: (-len(prompts[index].embeddings), index)))
        active: list[_Active] = []
        pool = self._make_pool(prompts)
        while waiting or active:
            admitted = self._next_to_admit(waiting, prompts, active)
            if admitted:
                self._admit(admitted, prompts, active, pool)
            else:
                self._step(active, pool)
            finished = self._retire(active, pool)
            yield active, finished

    def _make_pool(self, prompts: Sequence[Prompt]) -> KeyValuePool:
        longest_prompt = max(len(prompt.embeddings) for prompt in prompts)
        longest_answer = max(prompt.max_new_tokens for prompt in prompts)
        most, room = 0, self._config.max_cost
        for cost in sorted(prompt.cost for prompt in prompts):
            most, room = most + 1, room - cost
            if room < 0:
                break
        columns = longest_prompt + longest_answer * self._config.beam_size + _SPARE_COLUMNS
        return KeyValuePool(most, self._config.beam_size, columns)

    def _next_to_admit(self, waiting: deque[int], prompts: Sequence[Prompt], active: list[_Active]) -> list[int]:
        """Those that fit beside the active ones; none yet if only little room is free, as prefills are cheaper together."""
        free = self._config.max_cost - sum(item.cost for item in active)
        if active and free < self._config.max_cost / 4:
            return []
        admitted: list[int] = []
        while waiting and (prompts[waiting[0]].cost <= free or not (active or admitted)):
            free -= prompts[waiting[0]].cost
            admitted.append(waiting.popleft())
        return admitted

    @torch.inference_mode()
    def _admit(self, admitted: list[int], prompts: Sequence[Prompt], active: list[_Active], pool: KeyValuePool) -> None:
        """Compute prompts and take the first step of each."""
        lengths = [len(prompts[index].embeddings) for index in admitted]
        for places in group_by_length(lengths, self._config.prefill_columns, _MAX_PADDING):
            group = [admitted[place] for place in places]
            logits, prefilled = self._prefill([prompts[index].embeddings for index in group])
            pool.admit(prefilled, [len(prompts[index].embeddings) for index in group])
            new = [self._begin(index, prompts[index]) for index in group]
            self._advance(new, logits)
            active += new

    def _begin(self, index: int, prompt: Prompt) -> _Active:
        config = self._config
        search = make_search(config.beam_size, prompt.max_new_tokens, self._eos_id, config.length_penalty)
        return _Active(index, search, prompt.cost, torch.Generator().manual_seed(prompt.seed))

    def _prefill(self, embeddings: list[Tensor]) -> tuple[Tensor, DynamicCache]:
        """Logits [B, V] after each prompt [L_i, D], and the keys and values, padded on the right."""
        lengths = torch.tensor([len(item) for item in embeddings], device=embeddings[0].device)
        padded = torch.nn.utils.rnn.pad_sequence(embeddings, batch_first=True)
        is_last = torch.arange(padded.shape[1], device=padded.device) == lengths[:, None] - 1
        cache = DynamicCache()
        # Padding on the right needs no mask: what comes before never looks at it.
        with computing_only(self._llm, is_last):
            return self._llm(inputs_embeds=padded, past_key_values=cache, use_cache=True).logits, cache

    @torch.inference_mode()
    def _step(self, active: list[_Active], pool: KeyValuePool) -> None:
        """One more token for all."""
        mask, positions = pool.open_step()
        tokens = torch.tensor([item.search.next_tokens for item in active], device=mask.device)  # [utterances, beams]
        with grouped_heads(self._llm):
            logits = self._llm(
                input_ids=tokens,
                attention_mask=mask,
                position_ids=positions,
                past_key_values=pool.cache,
                use_cache=True,
            ).logits
        self._advance(active, logits.flatten(0, 1))
        pool.close_step([item.search.parents for item in active])

    def _advance(self, active: list[_Active], logits: Tensor) -> None:
        """Show each search the best, or the drawn, candidates of its rows of the logits [R, V]."""
        config, count = self._config, active[0].search.candidates_needed
        scores = torch.tensor([item.search.scores for item in active], device=logits.device)
        logits = logits.float()
        temperature = 1.0 if config.sampling is None else config.sampling.temperature
        scores -= log_normaliser(logits).view_as(scores) / temperature
        logits[:, self._eos_id] += config.eos_bias
        if config.sampling is None:
            candidates = best_candidates(logits, scores, count)
        else:
            draws = [item.draws for item in active]
            candidates = sampled_candidates(logits, scores, Draw(config.beam_size, count), draws, config.sampling)
        for item, best in zip(active, candidates, strict=True):
            item.take(best)

    @torch.inference_mode()
    def _retire(self, active: list[_Active], pool: KeyValuePool) -> list[tuple[int, list[Generated]]]:
        """Take out who is done; in the list as in the pool, the last one moves to the free place."""
        finished = []
        for slot in reversed(range(len(active))):
            item = active[slot]
            if item.is_done:
                pool.remove(slot)
                active[slot] = active[-1]
                active.pop()
                finished.append((item.index, [] if item.is_broken else item.search.answers()))
        return finished


def mean_log_prob(answer: Generated, config: GenerateConfig) -> float:
    """Mean log probability of an answer's tokens, the end-of-sequence token included, as the LLM gives them.

    Neither the length penalty nor the bias on ending is in it.
    """
    count = len(answer.tokens) + answer.ended
    return (answer.score * count**config.length_penalty - answer.ended * config.eos_bias) / count


def best_candidates(logits: Tensor, scores: Tensor, count: int) -> list[list[Candidate]]:
    """The best ways to go on for each utterance, best first.

    Args:
        logits: [R, V]; the beams of an utterance stand together.
        scores: [utterances, beams], to be added to the logits of each beam.
        count: candidates wanted for each utterance.
    """
    values, tokens = top_of_rows(logits, count)  # [R, count]
    values = (values.view(*scores.shape, count) + scores[:, :, None]).flatten(1)  # [utterances, beams * count]
    best, places = (item[:, :count] for item in values.sort(dim=1, descending=True, stable=True))
    beams, tokens = places // count, tokens.view_as(values).gather(1, places)
    rows = zip(best.tolist(), beams.tolist(), tokens.tolist(), strict=True)
    return [[Candidate(*item) for item in zip(*row, strict=True)] for row in rows]
