"""The attention calls that are timed, with their inputs and their exact answers.

Letters: T tokens, S keys, N query heads, K kv heads, H head width, R checked rows.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from onevision_jax.model import preset

TINY_PART = 32
CHECKED_ROWS = 16  # Compared with float64, spread over the tokens.
WINDOW = 64  # Patches of a vision window; so many indices apart at most, less one.


class Problem(NamedTuple):
    """One call on one row of tokens, all of it bf16 or f32 arrays [1, T, heads, H].

    segments: lengths of the parts that see only themselves, where they are all as long as each
    other; None for masks that are no such parts. ranges int32 [1, T, 4].
    """

    name: str
    num_heads: int
    num_kv_heads: int
    head_dim: int
    causal: bool
    ranges: np.ndarray
    segments: tuple[int, ...] | None
    max_span: int | None = None

    @property
    def num_tokens(self) -> int:
        """T."""
        return self.ranges.shape[1]

    def visible_pairs(self) -> int:
        """Pairs of a query and a key it sees."""
        a0, a1, b0, b1 = self.ranges[0].T.astype(np.int64)
        if self.causal:
            last = np.arange(1, self.num_tokens + 1)
            a1, b1 = np.minimum(a1, last), np.minimum(b1, last)
        return int(np.maximum(a1 - a0, 0).sum() + np.maximum(b1 - b0, 0).sum())

    def flops(self, *, backward: bool) -> int:
        """Useful operations: two products of the visible pairs forward, five more backward."""
        return (14 if backward else 4) * self.visible_pairs() * self.num_heads * self.head_dim

    def bytes(self, itemsize: int, *, backward: bool) -> int:
        """Each array moved once: q k v out forward; q k v out d_out dq dk dv more backward."""
        token = self.head_dim * itemsize * self.num_tokens
        query, key = self.num_heads * token, self.num_kv_heads * token
        return (6 * query + 6 * key) if backward else (2 * query + 2 * key)


class Inputs(NamedTuple):
    """q, d_out [1, T, N, H]; k, v [1, T, K, H]."""

    q: jax.Array
    k: jax.Array
    v: jax.Array
    d_out: jax.Array


class Exact(NamedTuple):
    """In float64. rows [R] are the queries checked; out, dq [R, N, H] are theirs. dk, dv [T, K, H]
    are those of a d_out that is zero in all other rows."""

    rows: np.ndarray
    out: np.ndarray
    dq: np.ndarray
    dk: np.ndarray
    dv: np.ndarray


def text_problems(model: str, *, tiny: bool) -> list[Problem]:
    """The decoder's masks with the heads of this model; a 32nd of the tokens when tiny."""
    text = preset(model).text
    part = TINY_PART if tiny else 1
    packed, length = 8192 // part, 1024 // part
    prompt, answer = 1500 // part, 512 // part
    heads = (text.num_heads, text.num_kv_heads, text.head_dim)
    dense = packed // 2
    return [
        Problem(f"{model} dense causal {dense}", *heads, True, _parts(dense, dense), (dense,)),
        Problem(
            f"{model} packed 8 x {length}", *heads, True, _parts(packed, length), (length,) * 8
        ),
        Problem(
            f"{model} GRPO {prompt} + 8 x {answer}",
            *heads,
            True,
            grpo_ranges(prompt, 8, answer),
            None,
        ),
    ]


def vision_problems(*, tiny: bool) -> list[Problem]:
    """The vision tower's masks; all model sizes share its heads."""
    vision = preset("7b").vision
    eyes = (vision.num_heads, vision.num_heads, vision.hidden_size // vision.num_heads)
    packed = 8192 // (TINY_PART if tiny else 1)
    full = packed // 2
    return [
        Problem(
            f"vision windows {packed // WINDOW} x {WINDOW}",
            *eyes,
            False,
            _parts(packed, WINDOW),
            (WINDOW,) * (packed // WINDOW),
            max_span=WINDOW - 1,
        ),
        Problem(f"vision full 2 x {full}", *eyes, False, _parts(packed, full), (full,) * 2),
    ]


def _parts(num_tokens: int, length: int) -> np.ndarray:
    """Equal parts, each seeing itself."""
    start_T = np.arange(num_tokens) // length * length
    zero_T = np.zeros(num_tokens)
    return np.stack([start_T, start_T + length, zero_T, zero_T], axis=-1)[None].astype(np.int32)


def grpo_ranges(prompt: int, answers: int, length: int) -> np.ndarray:
    """[prompt | answer 1 | ... ]: an answer sees the prompt and itself (causal is said apart)."""
    index_T = np.arange(prompt + answers * length)
    own_T = prompt + (index_T - prompt) // length * length
    in_answer_T = index_T >= prompt
    ranges = [
        np.zeros_like(index_T),
        np.full_like(index_T, prompt),
        np.where(in_answer_T, own_T, 0),
        np.where(in_answer_T, own_T + length, 0),
    ]
    return np.stack(ranges, axis=-1)[None].astype(np.int32)


def draw(problem: Problem, dtype: str, seed: int) -> Inputs:
    """Normal numbers, rounded to the dtype."""
    T, N, K, H = problem.num_tokens, problem.num_heads, problem.num_kv_heads, problem.head_dim
    keys = jax.random.split(jax.random.key(seed), 4)
    heads = (N, K, K, N)
    return Inputs(
        *(
            jax.random.normal(key, (1, T, n, H), jnp.dtype(dtype))
            for key, n in zip(keys, heads, strict=True)
        )
    )


def checked_rows(num_tokens: int) -> np.ndarray:
    """Queries from the first to the last."""
    return np.unique(np.linspace(0, num_tokens - 1, CHECKED_ROWS).astype(int))


def only_rows(d_out: jax.Array, rows: np.ndarray) -> jax.Array:
    """Zero but in these rows, so that the exact gradients need no other row."""
    keep_T = np.zeros(d_out.shape[1], bool)
    keep_T[rows] = True
    return jnp.where(jnp.asarray(keep_T)[None, :, None, None], d_out, 0)


def exact(problem: Problem, inputs: Inputs) -> Exact:
    """The answers for the checked rows, head by head, from the same rounded inputs."""
    rows = checked_rows(problem.num_tokens)
    q, k, v, d_out = (np.asarray(x[0], np.float64) for x in inputs)
    (T, N, H), K = q.shape, k.shape[1]
    out, dq = np.zeros((len(rows), N, H)), np.zeros((len(rows), N, H))
    dk, dv = np.zeros((T, K, H)), np.zeros((T, K, H))
    for place, row in enumerate(rows):
        a0, a1, b0, b1 = problem.ranges[0, row]
        seen = np.r_[a0:a1, b0:b1]
        seen = seen[seen <= row] if problem.causal else seen
        for n in range(N):
            kv = n // (N // K)
            keys, values = k[seen, kv], v[seen, kv]
            scores = keys @ q[row, n] / np.sqrt(H)
            weights = np.exp(scores - scores.max())
            weights /= weights.sum()
            out[place, n] = weights @ values
            d_weights = values @ d_out[row, n]
            d_scores = weights * (d_weights - weights @ d_weights) / np.sqrt(H)
            dq[place, n] = d_scores @ keys
            dk[seen, kv] += d_scores[:, None] * q[row, n]
            dv[seen, kv] += weights[:, None] * d_out[row, n]
    return Exact(rows, out, dq, dk, dv)
