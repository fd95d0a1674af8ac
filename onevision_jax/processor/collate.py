"""Pads examples into the arrays of one batch, and bounds how many shapes there are.

Letters: B rows, T tokens, P patches. The keys, shapes and dtypes are those of
`onevision_jax.types.Batch`, which is made from this dict where the device is:

    tokens [B,T] i32 | positions [3,B,T] i32 | segment_ids [B,T] i32 | vision_index [B,T] i32
    patches [B,P,588] u8 | patch_positions [B,P,2] i32 | image_ids [B,P] i32 | window_ids [B,P] i32
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from onevision_jax.errors import InputError
from onevision_jax.processor.qwen import Example


def collate(
    examples: Sequence[Example],
    *,
    pad_to_tokens: int,
    pad_to_patches: int,
    side: Literal["left", "right"] = "right",
    pad_id: int = 0,
) -> dict[str, np.ndarray]:
    """One example a row. Tokens are padded on `side`, patches always behind.

    Padding has segment_ids, image_ids and window_ids 0, vision_index -1. Padding tokens on the left
    leaves vision_index as it is: it counts vision rows, not tokens.

    Raises:
        InputError: an example has more tokens or patches than the row, naming both counts.
    """
    if not examples:
        raise InputError("there are no examples to collate; give at least one")
    if side not in ("left", "right"):
        raise InputError(f'padding side is {side!r}; give "left" or "right"')
    rows, patch_bytes = len(examples), examples[0].patches.shape[1]
    batch = {
        "tokens": np.full((rows, pad_to_tokens), pad_id, np.int32),
        "positions": np.zeros((3, rows, pad_to_tokens), np.int32),
        "segment_ids": np.zeros((rows, pad_to_tokens), np.int32),
        "vision_index": np.full((rows, pad_to_tokens), -1, np.int32),
        "patches": np.zeros((rows, pad_to_patches, patch_bytes), np.uint8),
        "patch_positions": np.zeros((rows, pad_to_patches, 2), np.int32),
        "image_ids": np.zeros((rows, pad_to_patches), np.int32),
        "window_ids": np.zeros((rows, pad_to_patches), np.int32),
    }
    for row, example in enumerate(examples):
        num_tokens, num_patches = len(example.tokens), len(example.patches)
        _check_fits("tokens", num_tokens, pad_to_tokens, row)
        _check_fits("patches", num_patches, pad_to_patches, row)
        start = pad_to_tokens - num_tokens if side == "left" else 0
        here = slice(start, start + num_tokens)
        batch["tokens"][row, here] = example.tokens
        batch["positions"][:, row, here] = example.positions
        batch["segment_ids"][row, here] = 1
        batch["vision_index"][row, here] = example.vision_index
        for name in ("patches", "patch_positions", "image_ids", "window_ids"):
            batch[name][row, :num_patches] = getattr(example, name)
    return batch


def bucket(count: int, sizes: int | Sequence[int]) -> int:
    """The smallest allowed size that holds `count`: few sizes mean few compilations.

    Args:
        count: tokens or patches, 0 or more.
        sizes: a step (sizes are its multiples, 0 included), or the ascending list of sizes.

    Raises:
        InputError: `count` is more than the largest size.
    """
    if isinstance(sizes, int):
        if sizes < 1:
            raise InputError(f"the bucket step is {sizes}; give at least 1")
        return -(-count // sizes) * sizes
    for size in sorted(sizes):
        if count <= size:
            return size
    raise InputError(
        f"{count} tokens or patches do not fit the largest bucket, {max(sizes, default=0)}; "
        "add a larger one or lower max_pixels"
    )


def _check_fits(what: str, count: int, limit: int, row: int) -> None:
    if count > limit:
        raise InputError(
            f"example {row} has {count} {what} but the row holds {limit}; "
            f"raise the number of {what} per row or lower max_pixels"
        )
