"""`onevision eval`: score a checkpoint, a chat server or stored answers."""

import sys
import time
from argparse import Namespace
from pathlib import Path
from typing import Any

from onevision_jax.cli import (
    eval_compare,
    eval_contamination,
    eval_endpoint,
    eval_interop,
    eval_tiered,
)

EXAMPLE = """examples:
  onevision synth --out data --num 2000 --seed 0
  onevision eval run --task generic --data data/test.jsonl --checkpoint runs/sft --out scores
  onevision eval run --task generic --data data/test.jsonl --endpoint http://127.0.0.1:8000/v1 \\
      --model qwen2.5-vl --out scores
  onevision eval regrade --task generic --data test.jsonl --outputs answers.jsonl --out scores"""
# Spelt out, because --help must not wait for the library; a test compares them with TASKS.
TASKS = (
    "r1-onevision-bench",
    "mathvista",
    "mathvision",
    "mathverse",
    "wemath",
    "geometry3k",
    "geoqa",
    "clevr",
    "easy-vqa",
    "chartqa",
    "tiered",
    "generic",
)
MODES = ("strict", "official")


def register(subparsers: Any) -> None:
    """Add the verb's parser."""
    parser = subparsers.add_parser(
        "eval",
        description="Score answers with the grader that also rewards rollouts. Writes\n"
        "results.json (counts, Wilson intervals, by tier, subject, source, family) and\n"
        "items.jsonl (every answer, what was read from it, the verdict and why).",
        epilog=EXAMPLE,
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    run = actions.add_parser("run", help="ask a checkpoint or a server; resumable", epilog=EXAMPLE)
    regrade = actions.add_parser("regrade", help="grade stored answers", epilog=EXAMPLE)
    eval_compare.register(actions)
    eval_contamination.register(actions, TASKS)
    eval_interop.register(actions)
    eval_tiered.register(actions)
    for one in (run, regrade):
        add = one.add_argument
        add("--task", required=True, choices=TASKS, help="generic: any JSONL of id and answer")
        add("--data", required=True, type=Path, metavar="PATH", help="the benchmark's own file")
        add("--out", required=True, type=Path, metavar="DIR", help="folder for the results")
        add("--mode", choices=MODES, default="strict", help="official: as published")
        add("--limit", type=int, metavar="N", help="only the first N questions")
    eval_endpoint.register_backend(run)
    add = run.add_argument
    add(
        "--images",
        choices=("real", "blank", "none"),
        default="real",
        help="what the model is shown: the images, grey ones of the same size, or none",
    )
    add(
        "--formal-text",
        action="store_true",
        help="put the exact description of the image, where the data have one, before the question",
    )
    add("--max-new-tokens", type=int, default=512, metavar="N", help="default 512")
    add("--temperature", type=float, default=0.0, help="0 = greedy (default)")
    add("--num-samples", type=int, default=1, metavar="K", help="of every question (default 1)")
    add("--seed", type=int, default=0, help="of the draws (default 0)")
    add("--rows", type=int, default=16, metavar="N", help="answers made at a time (default 16)")
    add("--instruction", default="", metavar="TEXT", help="last line of every prompt")
    add("--dtype", choices=("auto", "float32", "bfloat16"), default="auto")
    regrade.add_argument(
        "--outputs",
        required=True,
        type=Path,
        metavar="FILE",
        help="JSONL of id, response and, where known, finish_reason and sample",
    )
    for one in (run, regrade):
        eval_endpoint.register_judge(one)


def run(args: Namespace) -> int:
    """Answer or read answers, grade them, write the files and the page, print the table."""
    if "perform" in args:  # An action in a module of its own.
        return args.perform(args)
    from onevision_jax import evaluation
    from onevision_jax.cli.report import write_whole
    from onevision_jax.errors import InputError
    from onevision_jax.evaluation import (
        first_samples,
        grade_responses,
        protocol_of,
        read_task,
        summarise,
        table,
        write_results,
    )
    from onevision_jax.report import evaluation_page

    eval_endpoint.check(args)
    if args.limit is not None and args.limit < 1:
        raise InputError(f"--limit is {args.limit}; give 1 or more")
    task = evaluation.TASKS[args.task]
    protocol = protocol_of(task, args.mode, judged=eval_endpoint.judge_decides(args, task))
    questions = read_task(task, args.data, args.limit)
    args.out.mkdir(parents=True, exist_ok=True)
    made, responses = _answers(args, task, questions)
    rows = grade_responses(questions, responses, protocol)
    rows, judged = eval_endpoint.judge(args, task, questions, responses, rows)
    results = summarise(
        questions, rows, protocol, task=args.task, mode=args.mode, data=str(args.data), **made
    )
    results |= judged | task.tables(questions, first_samples(rows))
    write_results(args.out, rows, results)
    write_whole(args.out / "report.html", evaluation_page(args.out))
    print("\n".join(table(results)))
    print(f"wrote {args.out / 'results.json'}, items.jsonl and report.html")
    return 0


def _answers(args: Namespace, task: Any, questions: Any) -> tuple[dict[str, Any], Any]:
    """How the answers were made, and the answers."""
    if args.action == "regrade":
        return _read(args, questions)
    from onevision_jax.evaluation import worded

    asked = [worded(task, question, formal_text=args.formal_text) for question in questions]
    if args.endpoint is not None:
        made, responses = eval_endpoint.ask(args, asked, _progress())
    else:
        made, responses = _ask(args, asked)
    return made | {"formal_text": args.formal_text}, responses


def _ask(args: Namespace, questions: Any) -> tuple[dict[str, Any], Any]:
    """How the answers were made, and the answers of the checkpoint."""
    import jax

    from onevision_jax.errors import InputError
    from onevision_jax.evaluation import AnswerConfig, answer
    from onevision_jax.rollout import Sampling

    if args.rows < 1 or args.max_new_tokens < 1:
        raise InputError("--rows and --max-new-tokens must be 1 or more")
    dtype = args.dtype
    if dtype == "auto":
        dtype = "float32" if jax.default_backend() == "cpu" else "bfloat16"
    config = AnswerConfig(
        checkpoint=args.checkpoint,
        images=args.images,
        sampling=Sampling(temperature=args.temperature),
        max_new_tokens=args.max_new_tokens,
        rows=args.rows,
        num_samples=args.num_samples,
        seed=args.seed,
        instruction=args.instruction,
        dtype=dtype,
    )
    made = {"checkpoint": args.checkpoint, "images": args.images, "temperature": args.temperature}
    if args.num_samples > 1:
        made["num_samples"] = args.num_samples
    return made, answer(questions, config, args.out, _progress())


def _progress() -> Any:
    """Lines on stderr: done, rate, time left (the first batch compiles)."""
    first: list[tuple[int, float]] = []

    def show(done: int, total: int) -> None:
        now = time.monotonic()
        first.append((done, now))
        begun, since = first[min(1, len(first) - 1)]
        left = ""
        if done > begun:
            rate = (done - begun) / (now - since)
            left = f", {rate:.1f} answers/s, {(total - done) / rate:.0f} s left"
        print(f"{done} of {total} answered{left}", file=sys.stderr, flush=True)

    return show


def _read(args: Namespace, questions: Any) -> tuple[dict[str, Any], Any]:
    """Where the answers came from, and the stored answers."""
    from onevision_jax.data.record import read_rows
    from onevision_jax.errors import InputError
    from onevision_jax.evaluation import Response

    if not args.outputs.is_file():
        raise InputError(f"{args.outputs} is no file; give a JSONL file of id and response")
    known = {question.id for question in questions}
    responses: dict[str, dict[int | str, Response]] = {}
    for number, row in read_rows(args.outputs):
        where = f"{args.outputs}, line {number}"
        name, text, finish = str(row.get("id")), row.get("response"), row.get("finish_reason")
        if not isinstance(text, str):
            raise InputError(f"{where}: field 'response' must be a string")
        if finish is not None and not isinstance(finish, str):
            raise InputError(f"{where}: field 'finish_reason' must be a string or null")
        if name not in known:
            if args.limit is not None:
                continue  # An answer to a question beyond the limit.
            raise InputError(
                f"{where}: id {name!r} is not in {args.data}; give the data it answers"
            )
        sample = 0 if row.get("sample") is None else row["sample"]
        if isinstance(sample, bool) or not isinstance(sample, int | str):
            raise InputError(f"{where}: field 'sample' must be a whole number or a string")
        said = responses.setdefault(name, {})
        if sample in said:
            raise InputError(
                f"{where}: id {name!r} repeats with sample {sample!r}; give one answer for each "
                "question, or tell its samples apart with a field 'sample'"
            )
        said[sample] = Response(text=text, finish_reason=finish, sample=sample)
    return {"outputs": str(args.outputs)}, {
        name: list(said.values()) for name, said in responses.items()
    }
