"""One environment for every test: eight simulated CPU devices, strict ranks, no network.

Runs before any test module imports jax, because XLA reads its flags once, when it starts.
"""

import json
import os
from pathlib import Path

import pytest

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


@pytest.fixture(scope="session")
def geometry3k():
    """The ten Geometry3K problems beside the repository (or in ONEVISION_TEST_DATA), as records."""
    from onevision_jax.data.record import Record

    beside = Path(__file__).parents[2] / "shared" / "data"
    data = Path(os.environ.get("ONEVISION_TEST_DATA", beside))
    records = []
    for folder in sorted((data / "geometry3k" / "examples").iterdir()):
        problem = json.loads((folder / "data.json").read_text())
        logic = json.loads((folder / "logic_form.json").read_text())
        records.append(
            Record(
                id=f"geometry-{folder.name}",
                image=(folder / "img_diagram.png").read_bytes(),
                question=problem["problem_text"],
                choices=tuple(problem["choices"]),
                answer=problem["answer"],
                answer_kind="choice",
                formal_text="\n".join(logic["diagram_logic_form"]),
                formal_language="logic_form",
                source="geometry3k",
            )
        )
    return records
