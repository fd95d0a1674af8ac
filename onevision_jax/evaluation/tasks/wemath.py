"""We-Math: 525 families of a composite problem and its two or three one-step problems (1,740 rows).

Layout: `data/testmini.json` of We-Math/We-Math, images below the same folder, or the rows of
Hugging Face We-Math/We-Math. All rows of a family carry the same `ID`; their `key` says which part
they are ("2steps_1", "2steps_2", "2steps_multi"), so a row's id here is ID@key.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from onevision_jax.errors import InputError
from onevision_jax.evaluation.files import Row, dimensions_of, image_of, read_questions
from onevision_jax.evaluation.options import is_label, parse_options
from onevision_jax.evaluation.questions import Question, text_field
from onevision_jax.evaluation.task import Rows, Task

KEY = re.compile(r"2steps_(?:[12]|multi)|3steps_(?:[123]|multi)")
STEPS = {"2": "two-step", "3": "three-step"}
# Repository, README: step 1 of its evaluation.
PROMPT = """\
Now, we require you to solve a multiple-choice math question. Please briefly describe your thought \
process and provide the final answer(option).
Question: {question}
Option: {option}
Regarding the format, please answer following the template below, and be sure to include two <> \
symbols:
<Thought process>: <<your thought process>> <Answer>: <<your option>>"""


def read(path: Path) -> Iterator[Question]:
    """The rows of the file."""
    return read_questions(path, from_row)


def from_row(row: Row, folder: Path) -> Question:
    """One row; raises InputError naming the field."""
    family, key = text_field(row, "ID"), text_field(row, "key")
    if not KEY.fullmatch(key):
        raise InputError(f"field 'key' is {key[:40]!r}; expected such as 2steps_1 or 3steps_multi")
    option, answer = text_field(row, "option"), text_field(row, "answer").strip()
    if not is_label(answer):
        raise InputError(f"field 'answer' is {answer[:40]!r}; give the letter of an option")
    choices = parse_options(option)
    image, encoded = image_of(row.get("image_path"), folder)
    concepts = text_field(row, "knowledge concept", required=False).split(";")
    named = {
        "steps": STEPS[key[0]] if key.endswith("multi") else "one-step",
        "knowledge_concept": [concept.strip() for concept in concepts if concept.strip()],
    }
    return Question(
        id=f"{family}@{key}",
        question=text_field(row, "question"),
        answer=answer,
        answer_kind="choice",
        choices=choices if is_label(answer, choices) else (),
        image=image,
        image_base64=encoded,
        dimensions=dimensions_of(named, tuple(named)),
        cluster=family,
        facts={"family": family, "key": key, "option": option},
        folder=folder,
    )


def prompt(question: Question) -> str:
    """The published one, with the options on one line as the data hold them."""
    return PROMPT.format(question=question.question, option=question.facts["option"])


def tables(questions: Sequence[Question], rows: Rows) -> dict[str, Any]:
    """The four-dimensional scores, strict and loose, and S1, S2, S3.

    Counts are over the families that are complete; the published shares divide by 525, which is
    all of them. `rote_memorization.rate` divides by the families solved, as published.
    """
    families: dict[str, dict[str, bool]] = {}
    for question, row in zip(questions, rows, strict=True):
        parts = families.setdefault(question.facts["family"], {})
        parts[question.facts["key"]] = row["verdict"] == "correct"
    whole = [found for found in map(whole_family, families.values()) if found is not None]
    return {
        "wemath": {
            "families": len(whole),
            "incomplete_families": len(families) - len(whole),
            "strict": scores(whole, all),
            "loose": scores(whole, any),
            **step_accuracies(families),
        }
    }


def whole_family(parts: Mapping[str, bool]) -> tuple[list[bool], bool] | None:
    """(one-step problems right, composite problem right); None where one of them is missing."""
    steps = next(iter(parts))[0]
    names = [f"{steps}steps_{i}" for i in range(1, int(steps) + 1)]
    if not {*names, f"{steps}steps_multi"} <= parts.keys():
        return None
    return [parts[name] for name in names], parts[f"{steps}steps_multi"]


def scores(
    whole: Sequence[tuple[list[bool], bool]], mastered: Callable[[Iterable[bool]], bool]
) -> dict[str, Any]:
    """One mode; mastered (all, any): how many one-step problems a solved composite one asks for.

    evaluation/four_dimensional_metrics.py: score = (n - IG / 2 - RM - IK) / n.
    """
    n = len(whole)
    names = ("insufficient_knowledge", "inadequate_generalization")
    counts = dict.fromkeys((*names, "complete_mastery", "rote_memorization"), 0)
    for steps, composite in whole:
        if composite:
            counts["complete_mastery" if mastered(steps) else "rote_memorization"] += 1
        else:
            counts[names[all(steps)]] += 1
    found: dict[str, Any] = {
        name: {"n": count, "share": count / n if n else 0.0} for name, count in counts.items()
    }
    rote, solved = counts["rote_memorization"], counts["complete_mastery"]
    found["rote_memorization"]["rate"] = rote / (rote + solved) if rote + solved else 0.0
    found["score"] = (solved + counts["inadequate_generalization"] / 2) / n if n else 0.0
    return found


def step_accuracies(families: Mapping[str, Mapping[str, bool]]) -> dict[str, Any]:
    """S1 over all one-step problems, S2 and S3 over composite ones of two and three steps."""
    right: dict[str, list[bool]] = {"S1": [], "S2": [], "S3": []}
    for parts in families.values():
        for key, correct in parts.items():
            right[f"S{key[0]}" if key.endswith("multi") else "S1"].append(correct)
    return {
        name: {"n": len(of), "correct": sum(of), "accuracy": sum(of) / len(of)}
        for name, of in right.items()
        if of
    }


TASK = Task(
    name="wemath",
    data="We-Math's testmini.json, or Hugging Face's rows as JSONL or Parquet",
    read=read,
    prompt=prompt,
    official="wemath",
    tables=tables,
)
