"""The options of `onevision eval` that reach a chat server: the model that answers, and a judge."""

import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Options that mean nothing without a server, and the one each belongs to.
OF_SERVERS = ("concurrency", "requests_per_minute", "retries", "timeout")
OF_ENDPOINT = ("model", "price_in", "price_out", "cache", "refused")
OF_JUDGE = ("judge_model", "judge_price_in", "judge_price_out")


def register_backend(parser: ArgumentParser) -> None:
    """Who answers: a checkpoint, or a model behind a server."""
    who = parser.add_mutually_exclusive_group(required=True)
    add = who.add_argument
    add("--checkpoint", metavar="D", help="Hugging Face folder, checkpoint, workdir")
    add(
        "--endpoint",
        metavar="URL",
        help="OpenAI-compatible server, up to /v1; the key comes from "
        "OPENAI_API_KEY and a server on this machine needs none",
    )
    add = parser.add_argument
    add("--model", metavar="NAME", help="with --endpoint: the name the server knows")
    add("--price-in", type=float, metavar="P", help="per million prompt tokens, for the cost")
    add("--price-out", type=float, metavar="P", help="per million generated tokens")
    add("--cache", type=Path, metavar="DIR", help="folder of answers (default: in --out)")
    add(
        "--refused",
        choices=("stop", "skip"),
        help="where the server rejects a question: stop (default), or score it as missing",
    )


def register_judge(parser: ArgumentParser) -> None:
    """A judge, and how hard any server may be asked."""
    add = parser.add_argument
    add(
        "--judge-endpoint",
        metavar="URL",
        help="a judge model's verdicts beside the rules'; in "
        "official mode they decide where a benchmark published nothing else",
    )
    add("--judge-model", metavar="NAME", help="with --judge-endpoint: its name there")
    add("--judge-price-in", type=float, metavar="P", help="per million prompt tokens")
    add("--judge-price-out", type=float, metavar="P", help="per million generated tokens")
    add("--concurrency", type=int, metavar="N", help="requests under way at a time (default 8)")
    add("--requests-per-minute", type=float, metavar="N", help="sends, repeats included")
    add("--retries", type=int, metavar="N", help="repeats of a request that failed (default 5)")
    add("--timeout", type=float, metavar="S", help="seconds for one answer (default 300)")
    parser.set_defaults(usage_error=parser.error)


def check(args: Namespace) -> None:
    """Leaves with a usage error where options do not go together."""
    endpoint = getattr(args, "endpoint", None)
    if endpoint is not None and args.model is None:
        args.usage_error("--endpoint needs --model NAME")
    if (args.judge_endpoint is None) != (args.judge_model is None):
        args.usage_error("--judge-endpoint and --judge-model go together")
    stray = {name: "--endpoint" for name in OF_ENDPOINT if endpoint is None}
    if args.judge_endpoint is None:
        stray |= dict.fromkeys(OF_JUDGE, "--judge-endpoint")
        stray |= dict.fromkeys(OF_SERVERS, "--endpoint") if endpoint is None else {}
    for name, owner in stray.items():
        if getattr(args, name, None) is not None:
            args.usage_error(f"--{name.replace('_', '-')} goes with {owner}")


def _server(args: Namespace, url: str, model: str, prices: tuple[Any, Any]) -> Any:
    from onevision_jax.endpoint import EndpointConfig

    given = {name: value for name in OF_SERVERS if (value := getattr(args, name)) is not None}
    return EndpointConfig(url=url, model=model, price_in=prices[0], price_out=prices[1], **given)


def ask(
    args: Namespace, questions: Any, progress: Callable[[int, int], None]
) -> tuple[dict[str, Any], Any]:
    """How the answers were made, and the answers of the server."""
    from onevision_jax.errors import InputError
    from onevision_jax.evaluation import EndpointAnswerConfig, answer_through_endpoint

    if args.max_new_tokens < 1:
        raise InputError(f"--max-new-tokens is {args.max_new_tokens}; give 1 or more")
    config = EndpointAnswerConfig(
        endpoint=_server(args, args.endpoint, args.model, (args.price_in, args.price_out)),
        images=args.images,
        temperature=args.temperature,
        max_new_tokens=args.max_new_tokens,
        num_samples=args.num_samples,
        seed=args.seed,
        instruction=args.instruction,
        cache=args.cache,
        refused=args.refused or "stop",
    )
    responses, accounting = answer_through_endpoint(questions, config, args.out, spaced(progress))
    made = {
        "endpoint": args.endpoint,
        "model": args.model,
        "images": args.images,
        "temperature": args.temperature,
        "accounting": accounting,
    }
    return made, responses


def spaced(
    progress: Callable[[int, int], None], seconds: float = 1.0
) -> Callable[[int, int], None]:
    """The same progress, not more often than that; the last line always."""
    last = [0.0]

    def show(done: int, total: int) -> None:
        now = time.monotonic()
        if done == total or now - last[0] >= seconds:
            last[0] = now
            progress(done, total)

    return show


def judge_decides(args: Namespace, task: Any) -> bool:
    """Whether the judge's verdict is the verdict; raises InputError where one is missing."""
    from onevision_jax.errors import InputError
    from onevision_jax.evaluation.judge import decides

    decided = decides(task, args.mode)
    if decided and args.judge_endpoint is None:
        raise InputError(
            f"the published protocol of {task.name} is a judge model; give --judge-endpoint and "
            "--judge-model, or use --mode strict"
        )
    return decided


def judge(
    args: Namespace, task: Any, questions: Any, responses: Any, rows: list[dict[str, Any]]
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The rows, with the judge's verdicts where they decide, and its entries of results.json."""
    from onevision_jax.errors import InputError
    from onevision_jax.evaluation import judge as judges
    from onevision_jax.evaluation.score import describe_grader, protocol_of

    if args.judge_endpoint is None:
        return rows, {}
    several = next((name for name, said in responses.items() if len(said) > 1), None)
    if several is not None:
        raise InputError(
            f"id {several!r} has {len(responses[several])} samples; a judge reads one response a "
            "question: leave --judge-endpoint out, or give one sample"
        )
    protocol = judges.judge_protocol(task)
    prices = (args.judge_price_in, args.judge_price_out)
    server = _server(args, args.judge_endpoint, args.judge_model, prices)
    judged, accounting = judges.judge_responses(questions, responses, protocol, server, args.out)
    judges.write_judgements(args.out, protocol, args.judge_model, judged)
    decided = judge_decides(args, task)
    grader = describe_grader(protocol_of(task, args.mode, judged=decided))
    if decided:
        grader = judges.describe_judge(protocol, args.judge_model)
    entry = {
        "endpoint": args.judge_endpoint,
        "model": args.judge_model,
        "protocol": protocol.version,
        "decides": decided,
        **judges.agreement(rows, judged),
        "accounting": accounting,
    }
    return judges.judged_rows(rows, judged) if decided else rows, {
        "grader": {**grader, "judge": args.judge_model},
        "judge": entry,
    }
