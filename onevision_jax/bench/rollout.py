"""Tokens per second of generation, ours and transformers' on the same folder, prompt and device.

Rounds of both are interleaved, so a busy machine slows both. Every row generates exactly the same
number of tokens (no stop tokens); prefill is counted, compilation is not.
"""

import dataclasses
import importlib.util
import platform
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from onevision_jax.checkpoint.folders import HuggingFaceFolder, identify
from onevision_jax.convert import load_model, read_assets_folder
from onevision_jax.model import ModelOptions
from onevision_jax.processor import Example, Processor
from onevision_jax.rollout import Generator, Sampling


@dataclasses.dataclass(frozen=True, kw_only=True)
class RolloutBench:
    """What is measured."""

    checkpoint: str
    prompt: str = "Describe what you see, step by step."
    images: tuple[str, ...] = ()
    rows: int = 8  # the same prompt in every row
    new_tokens: int = 64
    rounds: int = 5
    dtype: str = "float32"


def run(bench: RolloutBench) -> dict[str, Any]:
    """Seconds of every round and tokens per second, by implementation; device and versions."""
    folder = identify(bench.checkpoint)
    processor = Processor.from_folder(read_assets_folder(bench.checkpoint))
    content: Any = bench.prompt
    if bench.images:
        content = [{"type": "image"} for _ in bench.images] + [{"type": "text", "text": content}]
    example = processor([{"role": "user", "content": content}], list(bench.images))
    runs = {"onevision": _ours(bench, example)}
    skipped = _why_no_peer(folder, bench)
    if skipped is None:
        runs["transformers"] = _theirs(bench, folder.path, example)
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for generate in runs.values():  # Compiles and warms up.
        generate()
    for _ in range(bench.rounds):
        for name, generate in runs.items():
            began = time.perf_counter()
            generate()
            seconds[name].append(time.perf_counter() - began)
    tokens = bench.rows * bench.new_tokens
    return {
        "bench": "rollout",
        "settings": dataclasses.asdict(bench),
        "prompt_tokens": len(example.tokens),
        "device": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
        "host": platform.machine(),
        "versions": _versions(["jax", "flax", "torch", "transformers"]),
        "seconds": seconds,
        "tokens_per_second": {n: tokens / statistics.median(s) for n, s in seconds.items()},
        "peer": skipped or "transformers",
    }


def _ours(bench: RolloutBench, example: Example) -> Callable[[], Any]:
    dtype = jnp.dtype(bench.dtype)
    options = ModelOptions(dtype=dtype, param_dtype=dtype)
    generator = Generator(load_model(bench.checkpoint, options=options, dtype=dtype), stop_ids=())
    return lambda: generator.generate(
        [example] * bench.rows, sampling=Sampling(), max_new_tokens=bench.new_tokens
    )


def _why_no_peer(folder: Any, bench: RolloutBench) -> str | None:
    """None when transformers can do the same work here."""
    if not isinstance(folder, HuggingFaceFolder):
        return "transformers skipped: it reads Hugging Face folders only"
    missing = [name for name in ("torch", "transformers") if not importlib.util.find_spec(name)]
    if missing:
        return f"transformers skipped: install the parity extra ({', '.join(missing)} missing)"
    if bench.images:
        return "transformers skipped: its image processor needs torchvision; measure text alone"
    return None


def _theirs(bench: RolloutBench, folder: Path, example: Example) -> Callable[[], Any]:
    import torch
    import transformers

    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = getattr(torch, bench.dtype)
    family: Any = transformers.Qwen2_5_VLForConditionalGeneration
    model = family.from_pretrained(folder, dtype=dtype)
    model = model.eval().to(device)
    rows = np.tile(example.tokens.astype(np.int64), (bench.rows, 1))
    ids = torch.tensor(rows, device=device)

    def generate() -> Any:
        with torch.inference_mode():
            return model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                do_sample=False,
                temperature=None,
                top_k=None,
                top_p=None,
                repetition_penalty=1.0,
                max_new_tokens=bench.new_tokens,
                min_new_tokens=bench.new_tokens,
                pad_token_id=0,
            ).cpu()

    return generate


def _versions(names: list[str]) -> dict[str, str]:
    return {name: version(name) for name in names if importlib.util.find_spec(name)}
