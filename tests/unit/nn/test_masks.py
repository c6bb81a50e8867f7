import torch

from mooer.nn.masks import key_mask, padding_mask, zero_padding


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
