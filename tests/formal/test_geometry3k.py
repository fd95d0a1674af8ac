"""Every logic form of Geometry3K's 3,002 problems: read, turned, written back; or why not."""

import collections
import json
import os
from pathlib import Path

import pytest

from onevision_jax.formal import LANGUAGES, FormalError

PLACE = Path(os.environ.get("ONEVISION_DATA", Path(__file__).parents[3] / "shared" / "data"))
FORMS = PLACE / "geometry3k" / "logic_forms"
FILES = {
    "diagram_logic_forms_annot.json": "diagram_logic_forms",
    "text_logic_forms_annot.json": "text_logic_forms",
    "text_logic_forms_annot_dissolved.json": "text_logic_forms",
}
# What the annotators' slips come to, by the start of the reason.
MALFORMED = {
    "there is no logic form": 169,  # empty strings
    "expected a predicate": 14,  # words after a form: `K))`, `and Circle(S)`, `at J. Find(x)`
    "'Major' is no predicate": 6,
    "'Cirle' is no predicate": 5,
    "'Minor' is no predicate": 5,
    "LengthOf takes 1 arguments": 3,
    "Octagon takes 1 or 8": 3,
    "'IsOrthocenterOf' is no predicate": 2,
    "Angle takes 1 or 3": 2,
    "Equals takes 2 arguments": 2,
    "MeasureOf takes 1 arguments": 2,
    "Pentagon takes 1 or 5": 2,
    "'Sectoe' is no predicate": 1,
    "Line takes 1 or 2": 1,
    "Triangle takes 1 or 3": 1,
}


@pytest.mark.skipif(not FORMS.exists(), reason="Geometry3K is not here (ONEVISION_DATA)")
def test_every_form_is_read_or_refused_for_a_named_reason():
    language = LANGUAGES["logic_form"]
    reasons, count, problems = collections.Counter(), 0, set()
    for name, field in FILES.items():
        for problem, entry in json.loads((FORMS / name).read_text()).items():
            problems.add(problem)
            for text in entry[field]:
                count += 1
                try:
                    canonical = language.canonical(text)
                except FormalError as error:
                    reasons[error.reason] += 1
                    continue
                assert language.canonical(canonical) == canonical
                assert language.score(text, canonical) == 1.0
    assert (len(problems), count) == (3002, 39_794)
    for start, number in MALFORMED.items():
        found = sum(n for reason, n in reasons.items() if reason.startswith(start))
        assert found == number, (start, found)
    assert reasons.total() == sum(MALFORMED.values()), reasons
