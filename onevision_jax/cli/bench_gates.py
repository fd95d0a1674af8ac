"""`onevision bench gates`: what compilers say of the kernels, against what was accepted."""

import argparse
import fnmatch
from argparse import Namespace
from pathlib import Path
from typing import Any

KINDS = ("h200", "v5e", "v5p", "v6e")


def register(subjects: Any, example: str) -> None:
    """Add the subject's parser."""
    parser = subjects.add_parser(
        "gates",
        help="compile the kernels for H200 and TPU without either, compare with the record",
        description="Compile every kernel ahead of time and compare what the compiler says of it\n"
        "(registers, spills, bundles, temporary bytes) with kernels/gates/*.json. Needs the aot\n"
        "extra, no accelerator. A rise of more than 5 % or a new spill fails.",
        epilog=example,
    )
    add = parser.add_argument
    add("--target", type=kinds, default=KINDS, metavar="A,B", help=f"of {','.join(KINDS)}")
    add("--case", metavar="NAME", help="this case only; * and ? stand for other characters")
    add("--accept", action="store_true", help="write the new numbers into the record")
    add("--records", type=Path, metavar="DIR", help="default: kernels/gates of the repository")


def kinds(text: str) -> tuple[str, ...]:
    """Targets between commas."""
    names = tuple(text.split(","))
    if unknown := [name for name in names if name not in KINDS]:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {', '.join(KINDS)}")
    return names


def run(args: Namespace) -> int:
    """Measure target after target, print the table, accept or say what got worse."""
    from onevision_jax.errors import InputError
    from onevision_jax.plan.gates import FOLDER, names_for

    pattern = args.case or "*"
    chosen = {kind: fnmatch.filter(names_for(kind), pattern) for kind in args.target}
    if not any(chosen.values()):
        raise InputError(
            f"--case {pattern!r} is no case of {', '.join(args.target)}; there are for example "
            f"{', '.join(names_for(args.target[0])[:3])}"
        )
    print(HEADER)
    sentences = []
    for kind in args.target:
        if chosen[kind]:
            sentences += run_target(kind, chosen[kind], args.records or FOLDER, args.accept)
    print("\n".join(["", *sentences] if sentences else ["", "nothing got worse"]))
    return 1 if any(sentence.startswith("FAILED") for sentence in sentences) else 0


def run_target(kind: str, names: list[str], folder: Path, accept: bool) -> list[str]:
    """Prints a row for each kernel as it is compiled; the sentences to print at the end."""
    from onevision_jax.plan.gates import (
        Records,
        installed_packages,
        judge,
        measure_target,
        names_for,
        rewrite,
    )

    records, packages = Records(kind, folder), installed_packages(kind)
    sentences, accepted = {}, 0
    for found in measure_target(kind, names):
        verdict = judge(records, packages, found)
        if accept and found["outcome"] == "measured":
            records.accept(packages, {found["case"]: found["numbers"]}, names_for(kind))
            accepted += 1
            verdict = verdict._replace(word="accepted", why="")
        elif accept and found["outcome"] == "failed":
            verdict = verdict._replace(word="FAILED", why=f"{found['case']}: {found['reason']}")
        for row in table_rows(kind, found, verdict.word):
            print(row, flush=True)
        if verdict.why and verdict.word != "not registered":
            sentences[f"{verdict.word}: {verdict.why}"] = None  # The same one once.
    if accepted:
        rewrite(folder)
        sentences[f"accepted: {accepted} cases in {records.path}"] = None
    return list(sentences)


HEADER = (
    f"{'target':6} {'case and kernel':52} {'regs':>5} {'spills B':>10} {'smem':>7} {'wgmma':>5} "
    f"{'bundles':>7} {'block':>6} {'MXU %':>5} {'VALU %':>6} {'temp MB':>8} {'copies':>6} "
    f"{'CPU s':>6}"
)


def table_rows(kind: str, found: dict[str, Any], word: str) -> list[str]:
    """The program's own numbers, then one row for each of its kernels."""
    if found["outcome"] != "measured":
        return [f"{kind:6} {found['case']:52} {word}"]
    numbers = found["numbers"]
    left = f"{kind:6} {found['case']:52} {'':57} {numbers['temp_bytes'] / 1e6:8.1f}"
    rows = [f"{left} {numbers['copies']:6} {numbers['cpu_seconds']:6.1f}  {word}"]
    for kernel, of_kernel in numbers["kernels"].items():
        spills = of_kernel.get("vector_spills", "")
        if "spill_stores" in of_kernel:
            spills = f"{of_kernel['spill_stores']}/{of_kernel['spill_loads']}"
        cells = [
            (of_kernel.get(name, ""), width)
            for name, width in (
                ("shared_bytes", 7),
                ("wgmma", 5),
                ("bundles", 7),
                ("block_bundles", 6),
                ("mxu_percent", 5),
                ("valu_percent", 6),
            )
        ]
        right = " ".join(f"{value:>{width}}" for value, width in cells)
        rows.append(
            f"{'':6}   {kernel[:50]:50} {of_kernel.get('registers', ''):>5} {spills:>10} {right}"
        )
    return [row.rstrip() for row in rows]
