"""`onevision eval export` and `import`: answers in the layouts of other harnesses."""

from argparse import Namespace
from pathlib import Path
from typing import Any

EXAMPLE = """examples:
  onevision eval export runs/scores --format lmms-eval --to samples_mathvision.jsonl
  onevision eval import predictions.tsv --format vlmevalkit --to outputs.jsonl"""
# Spelt out, because --help must not wait for the library; a test compares them.
EXPORTS = ("lmms-eval", "vlmevalkit")
IMPORTS = ("lmms-eval", "vlmevalkit", "r1v", "mathvision")


def register(actions: Any) -> None:
    """Add both actions to the parser of `eval`."""
    export = actions.add_parser(
        "export",
        help="stored answers in another harness's layout",
        description="Write the answers of an evaluation as lmms-eval's sample JSONL, or as the\n"
        "prediction table of VLMEvalKit (TSV or CSV by the ending of FILE).",
        epilog=EXAMPLE,
    )
    export.add_argument("folder", type=Path, metavar="DIR", help="folder of an evaluation")
    export.add_argument("--format", required=True, choices=EXPORTS, help="layout to write")
    brought = actions.add_parser(
        "import",
        help="another harness's answers, for eval regrade",
        description="Read the answers that another harness stored, as rows for eval regrade.\n"
        "lmms-eval: *_samples_*.jsonl; vlmevalkit: TSV, CSV or JSON; r1v: its log; mathvision:\n"
        "MATH-V's output JSONL. Ids are the file's own; where it has none, rows count from 0.",
        epilog=EXAMPLE,
    )
    brought.add_argument("file", type=Path, metavar="FILE", help="what the other harness wrote")
    brought.add_argument("--format", required=True, choices=IMPORTS, help="layout of FILE")
    for one in (export, brought):
        one.add_argument("--to", required=True, type=Path, metavar="FILE", help="file to write")

    for one in (export, brought):
        one.set_defaults(perform=run)


def run(args: Namespace) -> int:
    """Convert, and say how many answers there were and what was left out."""
    from onevision_jax.errors import InputError
    from onevision_jax.evaluation.interop import EXPORTS, IMPORTS, read_evaluation, write_answers

    if args.to.is_dir():
        raise InputError(f"--to {args.to} is a folder; name a file")
    if args.action == "export":
        evaluation = read_evaluation(args.folder)
        left_out = EXPORTS[args.format](evaluation, args.to)
        print(f"wrote {args.to}")
        if not evaluation.questions:
            print("the data of the evaluation is gone: without questions and choices")
        if left_out:
            print(f"left out {left_out} questions without a response")
        return 0
    if not args.file.is_file():
        raise InputError(f"{args.file} is no file; give what the other harness wrote")
    imported = IMPORTS[args.format](args.file)
    write_answers(imported.answers, args.to)
    print(f"wrote {len(imported.answers):,} answers to {args.to}")
    print("".join(f"{note}\n" for note in imported.notes), end="")
    return 0
