"""Published scoring protocols of benchmarks, bug for bug where published numbers need it.

A protocol never executes text of a model, whatever its original does. It answers with the same
verdicts as the strict grader: `unparsed` where its extraction finds nothing.
"""

from onevision_jax.rewards.official import mathvision, r1v
from onevision_jax.rewards.official.protocol import Protocol

PROTOCOLS: dict[str, Protocol] = {
    "mathvision": mathvision.PROTOCOL,
    "r1v-geoqa": r1v.GEOQA,
    "r1v-counting": r1v.COUNTING,
}
