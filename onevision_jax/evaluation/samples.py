"""Several samples a question: how often one, most, or all of k are right.

Letters as in the papers: n samples of a question, c of them right, k drawn from the n.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from onevision_jax.evaluation.questions import Question
from onevision_jax.rewards.choices import pick
from onevision_jax.rewards.spelling import fold, tidy

TAUS = (0.25, 0.5, 0.75, 1.0)  # exact in binary, so that ceil(k tau) is
Row = Mapping[str, Any]  # of items.jsonl


def pass_at_k(n: int, c: int, k: int) -> float:
    """Chance that one or more of k samples, drawn from n without replacement, are right.

    Source: M. Chen et al., Evaluating Large Language Models Trained on Code, arXiv 2107.03374
    (2021), equation 1: the unbiased estimator 1 - C(n - c, k) / C(n, k).
    """
    check(n, c, k)
    return 1 - math.comb(n - c, k) / math.comb(n, k)


def g_pass_at_k(n: int, c: int, k: int, tau: float) -> float:
    """Chance that ceil(k tau) or more of k samples, drawn from n without replacement, are right.

    Source: J. Liu et al., Are Your LLMs Capable of Stable Reasoning?, arXiv 2412.13147 (2024):
    G-Pass@k_tau, the upper tail of the hypergeometric distribution; at least one must be right.
    """
    check(n, c, k)
    return at_least(n, c, k, max(1, math.ceil(k * tau)))


def mean_g_pass_at_k(n: int, c: int, k: int) -> float:
    """mG-Pass@k of the same paper: (2 / k) times the sum over i from ceil(k / 2) + 1 to k.

    As printed there, so that it is 0 for k = 1, and below 1 for an odd k even where all are right.
    """
    check(n, c, k)
    return 2 / k * sum(at_least(n, c, k, i) for i in range(math.ceil(k / 2) + 1, k + 1))


def at_least(n: int, c: int, k: int, m: int) -> float:
    """P(X >= m) where X of k drawn from n are among the c right ones."""
    ways = sum(math.comb(c, j) * math.comb(n - c, k - j) for j in range(m, min(c, k) + 1))
    return ways / math.comb(n, k)


def check(n: int, c: int, k: int) -> None:
    """Raises ValueError for counts that do not fit."""
    if not (0 <= c <= n and 1 <= k <= n):
        raise ValueError(f"n = {n}, c = {c}, k = {k}: expected 0 <= c <= n and 1 <= k <= n")


def majority(rows: Sequence[Row], question: Question) -> bool:
    """Whether the answer that most samples of one question gave is right.

    Votes are the extracted answers; unparsed and truncated samples do not vote, and without votes
    nothing is right. Two answers are the same where they name the same option, or where the strict
    grader's spelling makes one text of them; `0.5` and `1/2` are two, because the gold must not
    help. Of equally frequent answers the one that came first wins, and its first verdict counts.
    """
    votes: dict[str, list[str]] = {}
    for row in rows:
        if row["extracted"] is not None and row["verdict"] in ("correct", "wrong"):
            key = canonical(row["extracted"], question.choices)
            votes.setdefault(key, []).append(row["verdict"])
    if not votes:
        return False
    return max(votes.values(), key=len)[0] == "correct"  # max takes the first of equals


def canonical(extracted: str, choices: tuple[str, ...]) -> str:
    """One text for answers that are spelt differently."""
    if choices:
        letter = pick(extracted, choices).letter
        if letter:
            return f"option {letter}"
    return fold(extracted) or tidy(extracted)


def ladder(k: int) -> list[int]:
    """1, 2, 4, ... below k, and k."""
    return [*(2**i for i in range(k.bit_length()) if 2**i < k), k]


def describe_samples(
    questions: Sequence[Question], groups: Sequence[Sequence[Row]]
) -> dict[str, Any]:
    """The entry `samples` of results.json, means over the questions.

    `g_pass@k` (tau: value) and `mg_pass@k` draw all k samples; `g_pass_by_k` draws fewer, too,
    which is steadier: the paper asks for three samples or more per one drawn.

    groups: the k rows of every question; a missing sample is a wrong one.
    """
    k = len(groups[0])
    right = [sum(row["verdict"] == "correct" for row in rows) for rows in groups]

    def mean(value: Callable[[int], float]) -> float:
        return sum(map(value, right)) / len(right)

    def g_pass(few: int) -> dict[str, float]:
        return {str(t): mean(lambda c, t=t: g_pass_at_k(k, c, few, t)) for t in TAUS}

    def mg_pass(few: int) -> float:
        return mean(lambda c: mean_g_pass_at_k(k, c, few))

    votes = [majority(rows, question) for question, rows in zip(questions, groups, strict=True)]
    return {
        "k": k,
        "pass@k": {str(few): mean(lambda c, few=few: pass_at_k(k, c, few)) for few in ladder(k)},
        "maj@k": sum(votes) / len(votes),
        "g_pass@k": g_pass(k),
        "mg_pass@k": mg_pass(k),
        "g_pass_by_k": {str(few): {**g_pass(few), "mean": mg_pass(few)} for few in ladder(k)[1:]},
    }
