"""Group-relative advantages: how much better a completion is than its siblings.

Source: GRPO (Shao et al., arXiv 2402.03300), as TRL computes it: (r - mean) / (std + 1e-4) with
the unbiased standard deviation of the group; "batch" divides by that of all rewards (Lite-PPO,
arXiv 2508.08221), "none" by nothing (Dr. GRPO, arXiv 2503.20783).
"""

from typing import Literal

import numpy as np

EPS = 1e-4
Scale = Literal["group", "batch", "none"]


def group_advantages(
    rewards: np.ndarray, counted: np.ndarray, scale: Scale = "group"
) -> np.ndarray:
    """float32 [P, G]: the advantage of each of G completions of P prompts.

    rewards [P, G] float; counted [P, G] bool: the others take no part in mean and deviation, and
    their advantage is 0, as is that of a completion without counted siblings and, exactly, that of
    all whose counted siblings have the same reward.
    """
    if rewards.ndim != 2 or rewards.shape != counted.shape:
        raise ValueError(
            f"rewards have shape {rewards.shape} and counted {counted.shape}; both must be [P, G]"
        )
    rewards = rewards.astype(np.float64)
    number = counted.sum(axis=1, keepdims=True)
    mean = np.where(counted, rewards, 0.0).sum(axis=1, keepdims=True) / np.maximum(number, 1)
    # Compared, not subtracted: the mean of equal numbers need not be that number.
    lowest = np.where(counted, rewards, np.inf).min(axis=1, keepdims=True)
    highest = np.where(counted, rewards, -np.inf).max(axis=1, keepdims=True)
    centred = np.where(counted & (lowest < highest), rewards - mean, 0.0)
    if scale == "none":
        return centred.astype(np.float32)
    if scale == "batch":
        everyone = rewards[counted]
        deviation = everyone.std(ddof=1) if everyone.size > 1 else 0.0
    else:
        deviation = np.sqrt((centred**2).sum(axis=1, keepdims=True) / np.maximum(number - 1, 1))
    return (centred / (deviation + EPS)).astype(np.float32)
