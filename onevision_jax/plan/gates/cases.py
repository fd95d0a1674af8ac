"""Every case of the gates, op by op."""

from onevision_jax.plan.gates import attention_cases, decode_cases, logprob_cases

CASES = [*attention_cases.CASES, *logprob_cases.CASES, *decode_cases.CASES]


def names_for(target: str) -> list[str]:
    """Cases compiled for this target ("h200", "v5e", ...), in order."""
    return [case.name for case in CASES if target in case.targets]
