"""A conversation as it was published becomes a `Record`, or is refused for a stated reason."""

from onevision_jax.data.cleaning.dialogue import Cleaned, Dialogue, clean

__all__ = ["Cleaned", "Dialogue", "clean"]
