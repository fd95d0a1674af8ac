"""M-RoPE positions: three coordinates (time, row, column) for every token of one sequence.

Letters: T tokens.

Text advances all three together. The tokens of an image share one time, and spread over rows and
columns of merged units, all counted from where the text stopped; the text after it goes on past the
largest of them. Example, one image of 2 x 3 units between two text tokens on each side:

    token  a b I I I I I I c d
    time   0 1 2 2 2 2 2 2 5 6
    row    0 1 2 2 2 3 3 3 5 6
    column 0 1 2 3 4 2 3 4 5 6      next position 7
"""

from collections.abc import Sequence

import numpy as np

from onevision_jax.errors import InputError


def mrope_positions(
    tokens: np.ndarray,
    unit_grids: Sequence[tuple[int, int]],
    *,
    image_token_id: int,
) -> tuple[np.ndarray, int]:
    """Positions of a token sequence, and the position of the token generated after it.

    Args:
        tokens: int [T], image placeholders already expanded to one per merged unit.
        unit_grids: (rows, columns) of merged units of each image, in order.

    Returns:
        positions int32 [3, T] and the next position; (next - T) is transformers' `rope_delta`.

    Raises:
        InputError: the placeholders in `tokens` are not those the grids ask for.
    """
    places = np.flatnonzero(np.asarray(tokens) == image_token_id)
    num_units = [rows * columns for rows, columns in unit_grids]
    if len(places) != sum(num_units):
        raise InputError(
            f"the text has {len(places)} image tokens but its {len(num_units)} images have "
            f"{sum(num_units)} vision rows; expand each image placeholder once per vision row"
        )
    positions = np.empty((3, len(tokens)), np.int32)
    start, position, seen = 0, 0, 0
    for (rows, columns), count in zip(unit_grids, num_units, strict=True):
        first, last = places[seen], places[seen + count - 1]
        if last - first != count - 1:
            raise InputError(
                f"text stands between the {count} tokens of one image at token {first}; "
                "keep the placeholders of an image together"
            )
        positions[:, start:first] = np.arange(position, position + first - start)
        position += first - start
        row, column = np.divmod(np.arange(count), columns)
        positions[:, first : last + 1] = position
        positions[1, first : last + 1] += row
        positions[2, first : last + 1] += column
        position += max(rows, columns)
        start, seen = last + 1, seen + count
    positions[:, start:] = np.arange(position, position + len(tokens) - start)
    return positions, int(position + len(tokens) - start)
