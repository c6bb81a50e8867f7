"""The store against a plain one that keeps every row's keys and values in a list."""

import gc
import weakref

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import DynamicCache

from mooer.decode.key_value_pool import KeyValuePool

HEADS, WIDTH, LAYERS = 2, 3, 2


def prefilled(lengths, generator):
    cache = DynamicCache()
    shape = (len(lengths), HEADS, max(lengths), WIDTH)
    for layer in range(LAYERS):
        cache.update(torch.randn(shape, generator=generator), torch.randn(shape, generator=generator), layer)
    return cache


def check(pool, beams, new):
    """One step: what each beam sees, new token included, in order, of its utterance's keys and values.

    Args:
        beams: for each utterance and beam, the list of keys [H, D] of each layer.
        new: for each layer, [U, H, K, D].
    """
    mask, positions = pool.open_step()
    assert positions.tolist() == [[len(beam[0]) for beam in row] for row in beams]
    for layer in range(LAYERS):
        keys, values = pool.cache.update(new[layer], -new[layer], layer)
        assert keys.isfinite().all()
        for slot, row in enumerate(beams):
            for number, beam in enumerate(row):
                visible = mask[slot, 0, number] == 0
                beam[layer].append(new[layer][slot, :, number])
                expected = torch.stack(beam[layer], dim=1)
                # A step's columns are in the order of its beams, so what is seen is in the order of the steps.
                assert torch.equal(keys[slot][:, visible], expected)
                assert torch.equal(values[slot][:, visible], -expected)
    assert set(mask.unique().tolist()) <= {0.0, torch.finfo(torch.float32).min}


@settings(max_examples=40, deadline=None)
@given(st.data(), st.integers(1, 3), st.integers(0, 1000))
def test_against_lists(data, beam_size, seed):
    generator = torch.Generator().manual_seed(seed)
    most_steps, longest = 7, 6
    pool = KeyValuePool(max_utterances=4, beam_size=beam_size, max_columns=longest + most_steps * beam_size)
    utterances, ages = [], []
    for _ in range(data.draw(st.integers(1, 25))):
        if len(pool) < 4 and (not utterances or data.draw(st.booleans())):
            longest = data.draw(st.integers(1, longest))
            lengths = [longest, *([1] if len(pool) < 3 and data.draw(st.booleans()) else [])]
            cache = prefilled(lengths, generator)
            for layer in cache.layers:
                layer.values = -layer.keys
            pool.admit(cache, lengths)
            for index, length in enumerate(lengths):
                new = [list(layer.keys[index, :, :length].unbind(1)) for layer in cache.layers]
                utterances.append([[list(keys) for keys in new] for _ in range(beam_size)])
                ages.append(0)
            longest = lengths[-1]
        shape = (len(utterances), HEADS, beam_size, WIDTH)
        check(pool, utterances, [torch.randn(shape, generator=generator) for _ in range(LAYERS)])
        choice = st.lists(st.integers(0, beam_size - 1), min_size=beam_size, max_size=beam_size)
        parents = [data.draw(choice) for _ in ages]
        pool.close_step(parents)
        utterances = [
            [[list(keys) for keys in row[parent]] for parent in chosen] for row, chosen in zip(utterances, parents, strict=True)
        ]
        ages = [age + 1 for age in ages]
        for slot in reversed(range(len(ages))):
            if ages[slot] >= most_steps or data.draw(st.integers(0, 4)) == 0:
                pool.remove(slot)
                utterances[slot], ages[slot] = utterances[-1], ages[-1]
                del utterances[-1], ages[-1]
        assert len(pool) == len(ages)


@pytest.mark.parametrize("broken_first", [True, False])
def test_what_a_broken_utterance_left_is_covered(broken_first):
    """NaN behind the mask would still spread, so no column in use may keep any."""
    generator = torch.Generator().manual_seed(0)
    pool = KeyValuePool(max_utterances=2, beam_size=2, max_columns=20)
    caches = [prefilled([5], generator), prefilled([3], generator)]
    for layer in caches[0 if broken_first else 1].layers:
        layer.keys[:] = layer.values[:] = float("nan")
    for cache, length in zip(caches, (5, 3), strict=True):
        pool.admit(cache, [length])
    pool.remove(0 if broken_first else 1)
    pool.admit(prefilled([2], generator), [2])
    pool.open_step()
    for layer in range(LAYERS):
        new = torch.ones(2, HEADS, 2, WIDTH)
        keys, values = pool.cache.update(new, new, layer)
        assert keys.isfinite().all()
        assert values.isfinite().all()


def test_no_column_in_use_is_left_as_it_was_found(monkeypatch):
    """The store is not cleared when it is made, so that memory is taken for what is used alone."""
    monkeypatch.setattr(torch.Tensor, "new_empty", lambda self, *size: self.new_full(size, float("nan")))
    generator = torch.Generator().manual_seed(0)
    pool = KeyValuePool(max_utterances=3, beam_size=2, max_columns=12)
    pool.admit(prefilled([6, 2], generator), [6, 2])
    for step in range(5):  # the store slides in the fourth of them
        if step == 2:
            pool.admit(prefilled([1], generator), [1])
        pool.open_step()
        new = torch.randn(len(pool), HEADS, 2, WIDTH, generator=generator)
        assert all(item.isfinite().all() for layer in range(LAYERS) for item in pool.cache.update(new, new, layer))
        pool.close_step([[0, 0]] * len(pool))
        if step == 2:
            pool.remove(0)


def test_it_is_freed_as_soon_as_it_is_let_go():
    """Stores are large, and the collector of cycles comes late."""
    pool = KeyValuePool(max_utterances=1, beam_size=1, max_columns=8)
    pool.admit(prefilled([3], torch.Generator()), [3])
    keys = weakref.ref(pool.cache.layers[0].keys)
    gc.disable()
    try:
        del pool
        assert keys() is None
    finally:
        gc.enable()
