"""A count of right answers, and how sure it is."""

# (n, correct); correct is a fraction where every question has several samples.
Count = tuple[int, float]


def percent_interval(count: Count) -> tuple[float, float]:
    """The ends of the 95 % Wilson interval, in percent."""
    from onevision_jax.evaluation import wilson  # It brings jax, which curves do not need.

    n, correct = count
    low, high = wilson(correct, n)
    return 100 * low, 100 * high
