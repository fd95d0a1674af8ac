"""What a response's form is worth, whatever it says: tags, length, repetition.

Sources: the format reward of DeepSeek-R1 (arXiv 2501.12948, 2.2.2); soft overlong punishment of
DAPO (arXiv 2503.14476, equation 13; TRL's get_soft_overlong_punishment); the n-gram repetition
penalty of "Demystifying Long Chain-of-Thought" (arXiv 2502.03373; open-r1's form of it).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from onevision_jax.errors import InputError


def format_reward(response: str) -> float:
    """1.0 for exactly `<think>...</think>` then `<answer>...</answer>`, neither blank; else 0.0.

    White space may stand between and around them, nothing else, and no tag occurs twice.
    """
    tags = ("<think>", "</think>", "<answer>", "</answer>")
    text = response.strip()
    if any(text.count(tag) != 1 for tag in tags):
        return 0.0
    a, b, c, d = (text.index(tag) for tag in tags)
    think = text[a + len(tags[0]) : b]
    between = text[b + len(tags[1]) : c]
    answer = text[c + len(tags[2]) : d]
    shape = a == 0 and a < b < c < d and d + len(tags[3]) == len(text)
    return float(shape and bool(think.strip()) and not between.strip() and bool(answer.strip()))


def soft_overlong_punishment(num_tokens: int, max_tokens: int, cache_tokens: int) -> float:
    """0 up to max - cache tokens, falling linearly to -1 at max tokens, -1 beyond.

    Raises:
        InputError: unless 0 < cache_tokens <= max_tokens.
    """
    if not 0 < cache_tokens <= max_tokens:
        raise InputError(
            f"overlong punishment needs 0 < cache_tokens <= max_tokens, not {cache_tokens} and "
            f"{max_tokens}: choose a cache within the length limit."
        )
    free = max_tokens - cache_tokens
    if num_tokens <= free:
        return 0.0
    if num_tokens <= max_tokens:
        return (free - num_tokens) / cache_tokens
    return -1.0


def repetition_penalty(
    tokens: Sequence[Hashable], ngram_size: int = 3, max_penalty: float = -1.0
) -> float:
    """max_penalty times the share of n-grams that repeat an earlier one; 0.0 below one n-gram.

    `tokens` are words or token ids; ids also serve scripts that put no spaces between words.

    Raises:
        InputError: for ngram_size < 1 or a positive max_penalty.
    """
    if ngram_size < 1 or max_penalty > 0:
        raise InputError(
            f"repetition penalty needs ngram_size >= 1 and max_penalty <= 0, not {ngram_size} and "
            f"{max_penalty}: a penalty never adds reward."
        )
    total = len(tokens) - ngram_size + 1
    if total < 1:
        return 0.0
    unique = len(set(zip(*(tokens[i : i + total] for i in range(ngram_size)), strict=True)))
    return max_penalty * (1 - unique / total) + 0.0
