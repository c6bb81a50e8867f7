import torch

from mooer.nn.masks import Chunks, chunk_mask, key_mask, padding_mask, with_a_key, zero_padding


def test_padding_mask_is_true_on_real_columns():
    mask = padding_mask(torch.tensor([3, 0, 1]), 3)
    assert mask.tolist() == [[True, True, True], [False, False, False], [True, False, False]]


def test_key_mask_leaves_every_row_a_key():
    keys = key_mask(padding_mask(torch.tensor([2, 0]), 3))
    assert keys.shape == (2, 1, 1, 3)
    assert keys[:, 0, 0].tolist() == [[True, True, False], [True, False, False]]


def test_zero_padding_removes_even_what_is_not_a_number():
    frames = torch.full((1, 3, 2), float("nan"))
    frames[0, 0] = 5.0
    assert zero_padding(frames, torch.tensor([[True, False, False]])).tolist() == [[[5.0, 5.0], [0.0, 0.0], [0.0, 0.0]]]


def test_chunk_mask_reaches_to_the_end_of_the_chunk():
    assert chunk_mask(5, Chunks(2)).int().tolist() == [
        [1, 1, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [1, 1, 1, 1, 0],
        [1, 1, 1, 1, 0],
        [1, 1, 1, 1, 1],
    ]


def test_chunk_mask_reaches_back_over_the_chunks_asked_for():
    assert chunk_mask(6, Chunks(2, 1))[5].tolist() == [False, False, True, True, True, True]
    assert chunk_mask(6, Chunks(2, 0))[4].tolist() == [False, False, False, False, True, True]


def test_a_row_without_keys_keeps_the_first():
    visible = torch.tensor([[False, True], [False, False]])
    assert with_a_key(visible).tolist() == [[False, True], [True, False]]
    assert visible.tolist() == [[False, True], [False, False]]
