"""M-RoPE positions: the worked examples of the specification."""

import numpy as np
import pytest

from onevision_jax.errors import InputError
from onevision_jax.processor import mrope_positions

IMAGE = 99


def sequence(*parts: int) -> np.ndarray:
    """Positive numbers are text tokens, -n stands for n image tokens."""
    return np.concatenate([[p] if p > 0 else [IMAGE] * -p for p in parts])


def test_two_images_between_text():
    tokens = sequence(1, 2, 50, -6, 51, 3, 50, -4, 51, 4, 5)
    positions, following = mrope_positions(tokens, [(2, 3), (2, 2)], image_token_id=IMAGE)
    assert positions.tolist() == [
        [0, 1, 2, 3, 3, 3, 3, 3, 3, 6, 7, 8, 9, 9, 9, 9, 11, 12, 13],
        [0, 1, 2, 3, 3, 3, 4, 4, 4, 6, 7, 8, 9, 9, 10, 10, 11, 12, 13],
        [0, 1, 2, 3, 4, 5, 3, 4, 5, 6, 7, 8, 9, 10, 9, 10, 11, 12, 13],
    ]
    assert following == 14
    assert following - len(tokens) == -5
    assert positions.dtype == np.int32


def test_text_only_and_one_image():
    positions, following = mrope_positions(np.arange(1, 9), [], image_token_id=IMAGE)
    assert positions.tolist() == [list(range(8))] * 3
    assert following == 8

    tokens = sequence(1, 50, -6, 51, 2, 3, 4)
    positions, following = mrope_positions(tokens, [(2, 3)], image_token_id=IMAGE)
    assert positions.tolist() == [
        [0, 1, 2, 2, 2, 2, 2, 2, 5, 6, 7, 8],
        [0, 1, 2, 2, 2, 3, 3, 3, 5, 6, 7, 8],
        [0, 1, 2, 3, 4, 2, 3, 4, 5, 6, 7, 8],
    ]
    assert following - len(tokens) == -3


def test_image_at_the_end_and_two_images_in_a_row():
    positions, following = mrope_positions(sequence(-2, -3), [(1, 2), (3, 1)], image_token_id=IMAGE)
    assert positions.tolist() == [[0, 0, 2, 2, 2], [0, 0, 2, 3, 4], [0, 1, 2, 2, 2]]
    assert following == 5


def test_counts_that_do_not_match():
    with pytest.raises(InputError, match=r"5 image tokens but its 1 images have 6 vision rows"):
        mrope_positions(sequence(1, -5), [(2, 3)], image_token_id=IMAGE)
    with pytest.raises(InputError, match="text stands between"):
        mrope_positions(sequence(1, -5, 2, -1), [(2, 3)], image_token_id=IMAGE)
