"""Geometry3K: multiple-choice geometry with annotated logic forms.

Layout: a folder of problem folders, as lupantech/InterGPS publishes them: `data.json`,
`img_diagram.png` and, where annotated, `logic_form.json`. The label of an option and its value
both count as answers.
"""

from collections.abc import Iterator
from pathlib import Path

from onevision_jax.errors import InputError
from onevision_jax.evaluation.files import Row, choices_of, dimensions_of, question_at, read_json
from onevision_jax.evaluation.options import LETTERS
from onevision_jax.evaluation.questions import Question, text_field
from onevision_jax.evaluation.task import Task

DIAGRAM, PROBLEM, LOGIC = "img_diagram.png", "data.json", "logic_form.json"


def read(path: Path) -> Iterator[Question]:
    """The problems of the folder, in the order of their numbers."""
    if not path.is_dir():
        raise InputError(f"{path} is no folder; give the one that holds Geometry3K's problems")
    problems = [folder for folder in path.iterdir() if (folder / PROBLEM).is_file()]
    for folder in sorted(problems, key=lambda folder: (len(folder.name), folder.name)):
        row = read_json(folder / PROBLEM)
        if not isinstance(row, dict):
            raise InputError(f"{folder / PROBLEM} holds no object")
        yield question_at(str(folder / PROBLEM), from_row, {**row, "folder": folder.name}, path)


def from_row(row: Row, folder: Path) -> Question:
    """One problem; raises InputError naming the field."""
    choices, answer = choices_of(row.get("choices")), text_field(row, "answer").strip()
    if len(answer) != 1 or answer not in LETTERS[: len(choices)]:
        raise InputError(f"field 'answer' is {answer[:40]!r}, no letter of {len(choices)} choices")
    formal = formal_text(folder / row["folder"] / LOGIC)
    named = {"shape": row.get("problem_type_graph"), "goal": row.get("problem_type_goal")}
    return Question(
        id=text_field(row, "id") if row.get("id") is not None else row["folder"],
        question=text_field(row, "problem_text"),
        answer=answer,
        answer_kind="choice",
        choices=choices,
        image=f"{row['folder']}/{DIAGRAM}",
        formal_text=formal,
        formal_language="logic_form" if formal else "",
        dimensions=dimensions_of(named, tuple(named)),
        folder=folder,
    )


def formal_text(file: Path) -> str:
    """The annotated facts of the diagram, one a line; "" where there are none."""
    if not file.is_file():
        return ""
    forms = read_json(file)
    facts = forms.get("diagram_logic_form", []) if isinstance(forms, dict) else None
    if not isinstance(facts, list) or not all(isinstance(fact, str) for fact in facts):
        raise InputError(f"{file}: field 'diagram_logic_form' must be a list of strings")
    return "\n".join(facts)


TASK = Task(name="geometry3k", data="the folder of Geometry3K's problem folders", read=read)
