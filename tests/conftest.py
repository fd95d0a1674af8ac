"""One environment for every test: eight simulated CPU devices, strict ranks, no network.

Runs before any test module imports jax, because XLA reads its flags once, when it starts.
"""

import os

DEVICE_FLAG = "--xla_force_host_platform_device_count"

if DEVICE_FLAG not in os.environ.get("XLA_FLAGS", ""):
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {DEVICE_FLAG}=8".strip()
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ["HF_HUB_OFFLINE"] = "1"  # A test that reaches for a hub fails here, not only in CI.
os.environ["TOKENIZERS_PARALLELISM"] = "false"  # Tokenizers warns when a test forks.

import jax  # noqa: E402

# A pytest plugin may have imported jax before the lines above set its platform.
jax.config.update("jax_platforms", os.environ["JAX_PLATFORMS"])
jax.config.update("jax_numpy_rank_promotion", "raise")
