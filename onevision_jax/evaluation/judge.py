"""A judge model's verdicts: where a benchmark published nothing else, or as a second opinion.

Every text of the judge is kept, its answers are cached, and its agreement with the rules is
reported, because the choice of a judge moves scores by several points.
"""

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from onevision_jax.endpoint import Accounting, ChatRequest, EndpointConfig, ReplyCache, complete
from onevision_jax.evaluation.judge_prompts import PUBLISHED, R1_ONEVISION, JudgeProtocol
from onevision_jax.evaluation.questions import Question
from onevision_jax.evaluation.score import Responses, samples_of
from onevision_jax.evaluation.task import Task
from onevision_jax.rewards.grade import Verdict

CACHE = ".judge"  # below the output folder
EXTRACT_TOKENS = 256
SCORE_TOKENS = 32


@dataclasses.dataclass(frozen=True, kw_only=True)
class Judgement:
    """What the judge said about one response."""

    id: str
    extraction: str  # the judge's first text, as it came
    scoring: str | None  # its second; None where there was nothing to compare
    extracted: str | None
    verdict: Verdict
    reason: str


def judge_protocol(task: Task) -> JudgeProtocol:
    """The benchmark's own; R1-Onevision's for those that published none."""
    return PUBLISHED.get(task.name, R1_ONEVISION)


def decides(task: Task, mode: str) -> bool:
    """Whether the judge's verdict is the verdict: the published protocol is a judge, only."""
    return mode == "official" and not task.official and task.name in PUBLISHED


def judge_responses(
    questions: Sequence[Question],
    responses: Responses,
    protocol: JudgeProtocol,
    config: EndpointConfig,
    folder: Path,
    progress: Callable[[int], None] = lambda done: None,
) -> tuple[dict[str, Judgement], dict[str, Any]]:
    """The judgement of every first response, by id, and the counts of `Accounting.to_json`.

    The judge's answers are cached below `folder`. Raises InputError where it cannot be asked.
    """
    cache = ReplyCache(folder / CACHE)
    there = [question for question in questions if question.id in responses]
    said = {question.id: samples_of(responses[question.id])[0].text for question in there}
    texts, first = complete(
        (_request(q.id, protocol.extract(q, said[q.id]), EXTRACT_TOKENS) for q in there),
        config,
        cache,
        progress,
    )
    answers = {key: protocol.read_answer(reply.text) for key, reply in texts.items()}
    scores, second = complete(
        (
            _request(q.id, protocol.score(q, answer), SCORE_TOKENS)
            for q in there
            if (answer := answers[q.id]) is not None
        ),
        config,
        cache,
        lambda done: progress(len(there) + done),
    )
    judged = {}
    for question in there:
        name = question.id
        score = scores[name].text if name in scores else None
        judged[name] = _judgement(name, texts[name].text, answers[name], score, protocol)
    return judged, Accounting.sum(first, second).to_json()


def _request(name: str, prompt: str, max_tokens: int) -> ChatRequest:
    messages = [{"role": "user", "content": prompt}]
    return ChatRequest(id=name, messages=messages, max_tokens=max_tokens)


def _judgement(
    name: str, extraction: str, extracted: str | None, scoring: str | None, protocol: JudgeProtocol
) -> Judgement:
    verdict: Verdict
    if scoring is None:
        verdict, reason = "unparsed", "the judge found no final answer"
    else:
        matches = protocol.read_verdict(scoring)
        said = " ".join(scoring.split())[:80]
        if matches is None:
            verdict, reason = "grader_failed", f"the judge said neither yes nor no: {said!r}"
        else:
            verdict, reason = ("correct" if matches else "wrong"), f"the judge said {said!r}"
    return Judgement(
        id=name,
        extraction=extraction,
        scoring=scoring,
        extracted=extracted,
        verdict=verdict,
        reason=reason,
    )


def judged_rows(
    rows: Sequence[Mapping[str, Any]], judged: Mapping[str, Judgement]
) -> list[dict[str, Any]]:
    """Rows of items.jsonl with the judge's verdict in place of the rules'."""
    return [
        dict(row, extracted=one.extracted, verdict=one.verdict, reason=one.reason)
        if (one := judged.get(row["id"]))
        else dict(row)
        for row in rows
    ]


def agreement(rows: Sequence[Mapping[str, Any]], judged: Mapping[str, Judgement]) -> dict[str, Any]:
    """How far the judge and the rules agree on "correct" or not, over the responses it judged.

    kappa is Cohen's (1960): agreement beyond what the two shares of "correct" give by chance; null
    where chance alone gives all of it. A judge or a rule that failed says nothing: such rows are
    left out and counted as `failed`.
    """
    pairs = []
    for row in rows:
        one = judged.get(row["id"])
        if one is not None and "grader_failed" not in (one.verdict, row["verdict"]):
            pairs.append((row["id"], row["verdict"] == "correct", one.verdict == "correct"))
    n = len(pairs)
    agree = sum(rule == judge for _, rule, judge in pairs)
    return {
        "n": n,
        "failed": len(judged) - n,
        "agree": agree,
        "kappa": _kappa(n, agree, [rule for _, rule, _ in pairs], [one for *_, one in pairs]),
        "disagreeing": [name for name, rule, judge in pairs if rule != judge],
    }


def _kappa(n: int, agree: int, rules: Sequence[bool], judges: Sequence[bool]) -> float | None:
    chance = sum(rules) * sum(judges) + (n - sum(rules)) * (n - sum(judges))  # times n squared
    if n * n == chance:
        return None
    return (n * agree - chance) / (n * n - chance)


def describe_judge(protocol: JudgeProtocol, model: str) -> dict[str, Any]:
    """The entry `grader` of results.json where the judge decides."""
    return {
        "extractor": protocol.extractor,
        "equality": protocol.equality,
        "judge": model,
        "version": protocol.version,
    }


def write_judgements(
    folder: Path, protocol: JudgeProtocol, model: str, judged: Mapping[str, Judgement]
) -> None:
    """`folder/judge.json`: every text of the judge, and what was read from it."""
    rows = [dataclasses.asdict(one) for one in judged.values()]
    text = json.dumps(
        {"model": model, "protocol": protocol.version, "items": rows}, indent=2, ensure_ascii=False
    )
    scratch = folder / ".judge.json.incomplete"
    scratch.write_text(text + "\n", encoding="utf-8")
    scratch.replace(folder / "judge.json")
