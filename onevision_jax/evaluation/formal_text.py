"""How well the formal text inside the answers says what is on the image, language by language."""

from collections.abc import Mapping, Sequence
from typing import Any

from onevision_jax.errors import InputError
from onevision_jax.evaluation.questions import Question
from onevision_jax.formal import LANGUAGES, FormalError, Language
from onevision_jax.rewards.formal import formal_block


def describe_formal(
    questions: Sequence[Question], rows: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """{"formal": {language: counts}} over the questions that carry a formal text, else {}.

    Of each language: n (answers; rows without a response included), shown (a code block of that
    language), read (it parses), exact (it says the same), mean (of `Language.score` over all n), or
    why nothing was scored. rows: of items.jsonl, any number a question.
    """
    truths = {q.id: q for q in questions if q.formal_text and q.formal_language in LANGUAGES}
    found: dict[str, Any] = {}
    for row in rows:
        if truth := truths.get(row["id"]):
            _count(found, truth, row["response"] or "")
    for cell in found.values():
        if "mean" in cell:
            cell["mean"] /= cell["n"]
    return {"formal": dict(sorted(found.items()))} if found else {}


def formal_lines(results: Mapping[str, Any]) -> list[str]:
    """Lines for the console."""
    lines = []
    for name, cell in results.get("formal", {}).items():
        if "not_scored" in cell:
            lines.append(f"formal text, {name}: not scored, {cell['not_scored']}")
            continue
        shares = ", ".join(f"{key} {100 * cell[key] / cell['n']:.1f} %" for key in _SHARES)
        lines.append(f"formal text, {name}: mean score {cell['mean']:.3f} of {cell['n']}, {shares}")
    return lines


_SHARES = ("shown", "read", "exact")


def _count(found: dict[str, Any], truth: Question, response: str) -> None:
    language = LANGUAGES[truth.formal_language]
    cell = found.setdefault(language.name, {"n": 0, "shown": 0, "read": 0, "exact": 0, "mean": 0.0})
    if "not_scored" in cell:
        return
    try:
        want = language.read(truth.formal_text)
        value = _read(language, response)
        score = 0.0 if value is None else language.compare(value, want)
    except (InputError, FormalError) as error:
        # A parser that is not installed, or a data file whose own text does not parse.
        found[language.name] = {"not_scored": f"{truth.id}: {error}"}
        return
    block = formal_block(response)
    cell["n"] += 1
    cell["shown"] += block is not None and block[0] == language.name
    cell["read"] += value is not None
    cell["exact"] += score == 1.0
    cell["mean"] += score


def _read(language: Language, response: str) -> Any:
    """The answer's own formal text as a value, None where it is missing or does not parse."""
    block = formal_block(response)
    if block is None or block[0] != language.name:
        return None
    try:
        return language.read(block[1])
    except FormalError:
        return None
