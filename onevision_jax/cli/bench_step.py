"""`onevision bench step`: a training step compiled for devices that are not here."""

import json
from argparse import Namespace
from pathlib import Path
from typing import Any


def register(subjects: Any, example: str) -> None:
    """Add the subject's parser."""
    parser = subjects.add_parser(
        "step",
        help="a training step compiled for absent devices",
        description="Compile one step of SFT for a topology, once for each attention\n"
        "implementation: bytes of a device, and on TPU operations and traffic.",
        epilog=example,
    )
    add = parser.add_argument
    add("--preset", default="7b", metavar="P", help="3b, 7b or debug (default 7b)")
    add(
        "--topology",
        default="v6e:4x4",
        metavar="T",
        help="such as v6e:4x4, h200:8 (default v6e:4x4)",
    )
    add("--attention", action="append", metavar="A", help="repeat (default: xla, then the default)")
    add(
        "--tensor", type=int, default=1, metavar="N", help="devices that split matrices (default 1)"
    )
    add("--rows", type=int, metavar="N", help="of a batch (default: one for each part of the mesh)")
    add("--tokens", type=int, default=8192, metavar="N", help="of a row (default 8192)")
    add("--patches", type=int, default=8192, metavar="N", help="of a row (default 8192)")
    add("--remat", choices=("none", "dots", "full"), default="full")
    add("--param-dtype", choices=("float32", "bfloat16"), default="float32")
    add("--json", type=Path, metavar="FILE", help="write every measurement to this file")


def run(args: Namespace) -> int:
    """Compile, print a table, write the JSON."""
    import jax.numpy as jnp

    from onevision_jax.bench.step import StepBench
    from onevision_jax.bench.step import run as measure

    result = measure(
        StepBench(
            preset=args.preset,
            topology=args.topology,
            attention=tuple(args.attention or ("xla", "default")),
            tensor=args.tensor,
            rows=args.rows,
            tokens=args.tokens,
            patches=args.patches,
            remat=args.remat,
            param_dtype=jnp.dtype(args.param_dtype),
        ),
        print,
    )
    print(
        f"{args.preset}, a step of SFT on {args.topology}: {result['rows']} rows of {args.tokens} "
        f"tokens and {args.patches} patches, bytes and operations of one device"
    )
    print(", ".join(f"{name} {number}" for name, number in result["versions"].items()))
    print(
        f"{'attention':12} {'state GB':>9} {'scratch GB':>11} {'peak GB':>8} {'fits':>5} "
        f"{'traffic GB':>11} {'TFLOP':>7} {'compiled s':>11}"
    )
    for name, found in result["implementations"].items():
        print(f"{name:12} {_line(found)}")
    print("traffic and TFLOP count the body of a loop (the layers) once; XLA counts none on CUDA")
    if args.json:
        args.json.write_text(json.dumps(result, indent=2) + "\n")
    return 0 if all("error" not in found for found in result["implementations"].values()) else 1


def _line(found: dict[str, Any]) -> str:
    if "error" in found:
        return found["error"]
    counted = "-" if found["bytes_accessed"] is None else f"{found['bytes_accessed'] / 1e9:.2f}"
    flops = "-" if found["flops"] is None else f"{found['flops'] / 1e12:.2f}"
    return (
        f"{found['argument_bytes'] / 1e9:9.2f} {found['temp_bytes'] / 1e9:11.2f} "
        f"{found['peak_bytes'] / 1e9:8.2f} {'yes' if found['fits'] else 'no':>5} "
        f"{counted:>11} {flops:>7} {found['compile_seconds']:11.0f}"
    )
