"""The whole project on one page: render, SFT, GRPO, evaluate, export, report; on two CPU cores."""

from onevision_jax.quickstart.run import quickstart
from onevision_jax.quickstart.settings import QuickstartConfig

__all__ = ["QuickstartConfig", "quickstart"]
