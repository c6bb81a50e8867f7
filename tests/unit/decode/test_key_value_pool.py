"""The store against a plain one that keeps every row's keys and values in a list."""

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


def check(pool, rows, new):
    """One step: all rows' keys and values, new ones included, at unmasked columns, in order."""
    mask, positions = pool.open_column(torch.float32)
    assert positions[:, 0].tolist() == [len(row[0]) for row in rows]
    for layer in range(LAYERS):
        keys, values = pool.cache.update(new[layer], -new[layer], layer)
        assert keys.isfinite().all()
        for index, row in enumerate(rows):
            visible = mask[index, 0, 0] == 0
            row[layer].append(new[layer][index, :, 0])
            expected = torch.stack(row[layer], dim=1)
            assert torch.equal(keys[index][:, visible], expected)
            assert torch.equal(values[index][:, visible], -expected)


@settings(max_examples=40, deadline=None)
@given(st.data(), st.integers(1, 3), st.integers(0, 1000))
def test_against_lists(data, beam_size, seed):
    generator = torch.Generator().manual_seed(seed)
    pool = KeyValuePool(max_utterances=4, beam_size=beam_size, max_columns=14)
    rows, ages, longest = [], [], 6  # a row: the list of keys of each layer
    for _ in range(data.draw(st.integers(1, 25))):
        if len(pool) < 4 and (not rows or data.draw(st.booleans())):
            longest = data.draw(st.integers(1, longest))
            lengths = [longest, *([1] if len(pool) < 3 and data.draw(st.booleans()) else [])]
            cache = prefilled(lengths, generator)
            for layer in cache.layers:
                layer.values = -layer.keys
            pool.admit(cache, lengths)
            for index, length in enumerate(lengths):
                new = [list(layer.keys[index, :, :length].unbind(1)) for layer in cache.layers]
                rows += [[list(keys) for keys in new] for _ in range(beam_size)]
                ages.append(0)
            longest = lengths[-1]
        check(pool, rows, [torch.randn(len(rows), HEADS, 1, WIDTH, generator=generator) for _ in range(LAYERS)])
        choice = st.lists(st.integers(0, beam_size - 1), min_size=beam_size, max_size=beam_size)
        parents = [data.draw(choice) for _ in ages]
        pool.close_column(parents)
        rows = [
            [list(keys) for keys in rows[slot * beam_size + parent]] for slot, beams in enumerate(parents) for parent in beams
        ]
        ages = [age + 1 for age in ages]
        for slot in reversed(range(len(ages))):
            if ages[slot] >= 7 or data.draw(st.integers(0, 4)) == 0:
                pool.remove(slot)
                rows[slot * beam_size : (slot + 1) * beam_size] = rows[len(rows) - beam_size :]
                ages[slot] = ages[-1]
                del rows[len(rows) - beam_size :], ages[-1]
        assert len(pool) == len(ages)


@pytest.mark.parametrize("broken_first", [True, False])
def test_what_a_broken_utterance_left_is_covered(broken_first):
    """NaN behind the mask would still spread, so no column in use may keep any."""
    generator = torch.Generator().manual_seed(0)
    pool = KeyValuePool(max_utterances=2, beam_size=1, max_columns=20)
    caches = [prefilled([5], generator), prefilled([3], generator)]
    for layer in caches[0 if broken_first else 1].layers:
        layer.keys[:] = layer.values[:] = float("nan")
    for cache, length in zip(caches, (5, 3), strict=True):
        pool.admit(cache, [length])
    pool.remove(0 if broken_first else 1)
    pool.admit(prefilled([2], generator), [2])
    pool.open_column(torch.float32)
    for layer in range(LAYERS):
        keys, values = pool.cache.update(torch.ones(2, HEADS, 1, WIDTH), torch.ones(2, HEADS, 1, WIDTH), layer)
        assert keys.isfinite().all()
        assert values.isfinite().all()
