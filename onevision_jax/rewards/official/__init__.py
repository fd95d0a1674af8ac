"""Published scoring protocols of benchmarks, bug for bug where published numbers need it.

A protocol never executes text of a model, whatever its original does. It answers with the same
verdicts as the strict grader: `unparsed` where its extraction finds nothing.
"""

from onevision_jax.rewards.official import chartqa, mathvision, mathvista, r1v, wemath
from onevision_jax.rewards.official.protocol import Protocol

PROTOCOLS: dict[str, Protocol] = {
    "chartqa": chartqa.PROTOCOL,
    "mathvision": mathvision.PROTOCOL,
    "mathvista": mathvista.PROTOCOL,
    "r1v-counting": r1v.COUNTING,
    "r1v-geoqa": r1v.GEOQA,
    "wemath": wemath.PROTOCOL,
}
