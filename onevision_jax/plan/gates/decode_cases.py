"""Decoding: one new token a row, 64 groups of 8 answers to one prompt of 1500 tokens.

Letters: B rows, N query heads, K kv heads, H head width.
"""

from onevision_jax.plan.gates.case import Case

CASES: list[Case] = []
