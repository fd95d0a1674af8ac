"""`onevision VERB ...`: finds the verb, runs it, turns every outcome into an exit code.

0 success, 1 failure, 2 bad usage, 130 interrupted, 141 the reader of a pipe left. A verb is a
module of this package with `register(subparsers)` and `run(args) -> int`. Only the module of the
verb that was asked for is imported, and none of them imports jax before `run`: `--help` is quick.
"""

import contextlib
import importlib
import logging
import os
import sys
import warnings
from argparse import Namespace
from collections.abc import Iterator, Sequence

from onevision_jax import __version__
from onevision_jax.cli.failure import report_failure
from onevision_jax.cli.parser import Parser

# Every verb and its line in `onevision --help`; the module has the verb's name.
VERBS = (
    ("bench", "time generation and the input pipeline, ours beside others"),
    ("convert", "weights between Hugging Face folders and checkpoints, both ways"),
    ("data", "import, clean and look at data sets"),
    ("doctor", "devices, versions, kernel implementations and missing extras"),
    ("eval", "score a checkpoint or stored answers, with error bars"),
    ("generate", "one answer to a prompt with images, streamed"),
    ("grpo", "reinforcement learning on graded groups of its own answers"),
    ("quickstart", "render, train, evaluate, export a small model, in minutes"),
    ("report", "one HTML page of a run or evaluation: curves, samples, scores"),
    ("sft", "supervised fine-tuning on packed records, sharded, resumable"),
    ("synth", "rendered examples with exact formal text, reasoning and answers"),
)


def build_parser(verb: str | None) -> Parser:
    """The whole parser, with the options of `verb` only."""
    parser = Parser(
        prog="onevision",
        description="Turn images into formal text; teach a Qwen2.5-VL to reason over both.",
        epilog="example:\n  onevision doctor",
    )
    parser.add_argument("--version", action="version", version=f"onevision-jax {__version__}")
    parser.set_defaults(debug=False)
    subparsers = parser.add_subparsers(dest="verb", metavar="VERB", title="verbs")
    for name, summary in VERBS:
        if name == verb:
            importlib.import_module(f"onevision_jax.cli.{name}").register(subparsers)
        else:
            subparsers.add_parser(name, help=summary, add_help=False)
    return parser


def dispatch(words: Sequence[str]) -> int:
    """Parse the words after `onevision` and run the verb."""
    verb = next((word for word in words if not word.startswith("-")), None)
    parser = build_parser(verb)
    args: Namespace = parser.parse_args(words)
    if args.verb is None:
        parser.print_help(sys.stderr)
        return 2
    return importlib.import_module(f"onevision_jax.cli.{args.verb}").run(args)


@contextlib.contextmanager
def quiet_libraries() -> Iterator[None]:
    """Keep the libraries' warnings and logs off the screen; their errors arrive as exceptions."""
    # Read by the C++ side of jax, libtpu and grpc when they start, hence set before any import.
    for name, level in (("TF_CPP_MIN_LOG_LEVEL", "3"), ("GRPC_VERBOSITY", "NONE")):
        os.environ.setdefault(name, level)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.ERROR)
        try:
            yield
        finally:
            logging.disable(logging.NOTSET)


def drop_stdout() -> None:
    """Send what is still buffered for a broken stdout to nowhere, or Python complains at exit."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line (default: this process's) and return its exit code."""
    words = sys.argv[1:] if argv is None else list(argv)
    debug = "--debug" in words
    if argv is None and not debug:
        warnings.simplefilter("ignore")  # This process is ours: also for what is said at its exit.
    try:
        with contextlib.nullcontext() if debug else quiet_libraries():
            code = dispatch(words)
        sys.stdout.flush()  # A full disk or a closed pipe shows here at the latest.
    except SystemExit as leaving:  # argparse: 0 after --help, 2 after a usage error.
        return leaving.code if isinstance(leaving.code, int) else 1
    except BaseException as error:
        code = report_failure(error, debug)
        try:
            sys.stdout.flush()
        except OSError:
            drop_stdout()
    return code
