"""What needs no image: the most frequent answer of the training set, and whether a model beats it.

A share of right answers says little by itself: "yes" is right half of the time. The control here
knows the training rows' questions and answers and the question that is asked, with its options, and
never an image. `families_above` holds a model against it, family by family, on the same items.
"""

import dataclasses
import itertools
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from onevision_jax.data.record import read_rows
from onevision_jax.data.synthetic import charts, scenes, tables
from onevision_jax.errors import InputError
from onevision_jax.evaluation.paired import PairedDifference, paired_interval
from onevision_jax.evaluation.questions import Question
from onevision_jax.evaluation.score import Response, grade_responses
from onevision_jax.evaluation.statistics import Z95

# Small words that the families use as names. Shapes stay: `circle O` and `triangle ABC` differ.
LABELS = (*itertools.chain(*charts.NAMES.values()), *tables.SUBJECTS, *scenes.COLOURS)
NAME = re.compile(
    r"\b[A-Z][A-Z0-9]*\b"  # K, ABC, R12
    r"|(?<!^)(?<![.?!]\s)\b[A-Z]\w*"  # Ann, Jan: capitalised within a sentence
    r"|\b[b-z]\b"  # x
    rf"|\b(?:{'|'.join(LABELS)})\b"  # kiwi, art, red
)
NUMBER = re.compile(r"\d+")
FIELDS = ("question", "answer", "answer_kind", "provenance")  # of a training row


def template(question: str) -> str:
    """The question with `_` for every name and `#` for every number.

    A name is a word of capitals and digits (`K`, `ABC`, `R12`), any other capitalised word that
    does not open the text or a sentence (`Ann`, `Jan`), a small letter alone other than `a` (`x`),
    or a word that a synthetic family uses as one (`LABELS`: `kiwi`, `art`, `red`). A number is a
    run of digits outside names.

    `What is K plus M?` and `What is R plus kiwi?` -> `What is _ plus _?`;
    `Start with x = 12. What is x at the end?` -> `Start with _ = #. What is _ at the end?`
    """
    return NUMBER.sub("#", NAME.sub("_", question))


def training_rows(path: str | Path) -> Iterator[dict[str, Any]]:
    """question, answer, answer_kind and provenance of a JSONL file's rows; no image is opened.

    Raises InputError naming file, line and field.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path} is no file; give the JSONL file that the model was trained on")
    for number, row in read_rows(path):
        for name in ("question", "answer"):
            if not isinstance(row.get(name), str) or not row[name].strip():
                raise InputError(
                    f"{path}, line {number}: field {name!r} must be a non-empty string"
                )
        yield {name: row.get(name) for name in FIELDS}


def majority_answers(
    training: Iterable[Mapping[str, Any]], questions: Sequence[Question]
) -> dict[str, str]:
    """For every question, by id, the best answer of someone who sees no image.

    It is the most frequent answer among the training rows with exactly the same question text;
    where there are none, among those of the same family with the same `template`; then among those
    of the family, if possible with the question's answer kind (no "yes" to "how many"); then among
    all. A question with options is shown with them, so answers that are neither an option nor its
    letter do not count, and where none is left its smallest option is taken. Of equally frequent
    answers the smallest string is taken: the result depends on nothing but the rows, and not on
    their order.

    training: rows as `training_rows` yields them; question and answer are needed. The family is
        `provenance["family"]`; rows and questions without one form a family.

    Raises ValueError when there are no training rows.
    """
    counts: dict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
    for row in training:
        family = str((row.get("provenance") or {}).get("family") or "")
        for key in _keys(row["question"], family, str(row.get("answer_kind") or "")):
            counts[key][row["answer"]] += 1
    if not counts:
        raise ValueError("there are 0 training rows; give one or more")
    return {question.id: _most_frequent(question, counts) for question in questions}


def _keys(question: str, family: str, kind: str) -> list[tuple[str, ...]]:
    """What rows are counted by, the narrowest first."""
    return [
        ("text", question),
        ("template", family, template(question)),
        ("kind", family, kind),
        ("family", family),
        ("all",),
    ]


def _most_frequent(question: Question, counts: Mapping[tuple[str, ...], Counter[str]]) -> str:
    letters = (chr(ord("A") + place) for place in range(len(question.choices)))
    options = {*question.choices, *letters}
    for key in _keys(question.question, _family(question), question.answer_kind):
        found = counts.get(key, Counter())
        allowed = [answer for answer in found if not options or answer in options]
        if allowed:
            return min(allowed, key=lambda answer: (-found[answer], answer))
    return min(question.choices)


def _family(question: Question) -> str:
    family = question.dimensions.get("family", "")
    return family if isinstance(family, str) else ""


def majority_items(
    training: Iterable[Mapping[str, Any]], questions: Sequence[Question]
) -> list[dict[str, Any]]:
    """Rows of items.jsonl for the `majority_answers`, from the grader that grades the models.

    Raises ValueError when there are no training rows.
    """
    answers = majority_answers(training, questions)
    said = {key: Response(text=f"<answer>{answer}</answer>") for key, answer in answers.items()}
    return grade_responses(questions, said)


@dataclasses.dataclass(frozen=True, kw_only=True)
class FamilyComparison:
    """A model and the better control on the questions of one family."""

    family: str  # "" = the questions without one
    accuracy: float  # of the model, 0 to 1
    control: str  # name of the control that is right more often
    control_accuracy: float
    change: PairedDifference  # model minus control
    above: bool  # the whole interval of the change is above 0


def families_above(
    questions: Sequence[Question],
    model: Iterable[Mapping[str, Any]],
    controls: Mapping[str, Iterable[Mapping[str, Any]]],
    z: float = Z95,
) -> list[FamilyComparison]:
    """The model against the better of the controls, by family, in the order of their names.

    Every interval stands alone: for k families at a joint 95 %, give the z of 1 - 0.05 / k. That
    the better control is chosen on these very items makes the comparison harder for the model.

    model, controls: rows of items.jsonl, which need `id` and `verdict`; every verdict other than
        "correct" counts as wrong, as in results.json. Of equal controls the first is taken.

    Raises ValueError when there is no control, or when rows and questions differ in their ids.
    """
    if not controls:
        raise ValueError("there are 0 controls; give one or more")
    right = _right(questions, model, "the model")
    others = {name: _right(questions, rows, name) for name, rows in controls.items()}
    ids: dict[str, list[str]] = defaultdict(list)
    for question in questions:
        ids[_family(question)].append(question.id)
    return [_compare(family, ids[family], right, others, z) for family in sorted(ids)]


def _right(
    questions: Sequence[Question], rows: Iterable[Mapping[str, Any]], name: str
) -> dict[str, bool]:
    right = {row["id"]: row["verdict"] == "correct" for row in rows}
    if right.keys() != {question.id for question in questions}:
        raise ValueError(
            f"{name} has {len(right)} items for {len(questions)} questions; give one for every id"
        )
    return right


def _compare(
    family: str,
    ids: Sequence[str],
    model: Mapping[str, bool],
    controls: Mapping[str, Mapping[str, bool]],
    z: float,
) -> FamilyComparison:
    correct = {name: sum(right[id] for id in ids) for name, right in controls.items()}
    best = max(correct, key=lambda name: correct[name])
    change = paired_interval([model[id] for id in ids], [controls[best][id] for id in ids], z)
    return FamilyComparison(
        family=family,
        accuracy=sum(model[id] for id in ids) / len(ids),
        control=best,
        control_accuracy=correct[best] / len(ids),
        change=change,
        above=change.low > 0,
    )
