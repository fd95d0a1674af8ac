"""The item browser: every answer with its question, image, verdict and why, as far as they fit.

items.jsonl has no questions and no images: they are read from the data that results.json names,
where that file is still there. A page stays below about 20 MB; what was left out is said.
"""

import dataclasses
import io
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onevision_jax.errors import InputError
from onevision_jax.report.cards import Sample, media_type, sample, samples
from onevision_jax.report.page import note, section
from onevision_jax.report.parts import split_response
from onevision_jax.report.reading import read_lines, read_object, text_of

if TYPE_CHECKING:  # It brings jax, which curves do not need.
    from onevision_jax.evaluation import Question

NUM_ITEMS = 200
MAX_FILTERS = 4  # dimensions that answers can be chosen by
IMAGE_BYTES = 12_000_000  # of all images on a page, as base64
TEXT_BYTES = 6_000_000  # of everything else on the cards
SMALL_IMAGE = 40_000  # bytes; a larger file is made smaller
SIDE = 560  # pixels of the longer side of such an image
FIRST = ("tier", "subject")

Row = dict[str, Any]


def item_sections(path: Path) -> list[str]:
    """HTML of items.jsonl: up to NUM_ITEMS answers, some of every verdict."""
    rows = read_lines(path)
    if not rows:
        return [section("Answers", note("There are none."))]
    chosen = choose(rows, NUM_ITEMS)
    results = path.with_name("results.json")
    found, said = find_questions(
        read_object(results) if results.is_file() else {}, {text_of(row, "id") for row in chosen}
    )
    cards, left_out = fit(make_cards(chosen, found))
    notes = [selection_note(len(cards), rows), said, changed_note(chosen, found), left_out]
    filters = filter_names(found.values())
    return [
        section("Answers", *map(note, filter(None, notes)), samples(cards, filters, search=True))
    ]


def choose(rows: Sequence[Row], limit: int) -> list[Row]:
    """The first of every verdict in equal shares, filled up with the first of all; in order."""
    if len(rows) <= limit:
        return list(rows)
    verdicts = Counter(text_of(row, "verdict") for row in rows)
    share, seen = max(1, limit // len(verdicts)), Counter()
    places = set()
    for place, row in enumerate(rows):
        verdict = text_of(row, "verdict")
        if seen[verdict] < share and len(places) < limit:
            seen[verdict] += 1
            places.add(place)
    rest = (place for place in range(len(rows)) if place not in places)
    places.update(place for place, _ in zip(rest, range(limit - len(places)), strict=False))
    return [rows[place] for place in sorted(places)]


def selection_note(num_shown: int, rows: Sequence[Row]) -> str:
    """How many there are of every verdict, and how many of them are shown."""
    counts = Counter(text_of(row, "verdict").replace("_", " ")[:40] or "none" for row in rows)
    several = ", ".join(f"{verdict} {count:,}" for verdict, count in counts.most_common(8))
    if num_shown == len(rows):
        return f"All {len(rows):,}: {several}."
    return (
        f"{num_shown} of {len(rows):,} ({several}): the first of every verdict, then the first of "
        "all. items.jsonl holds the rest."
    )


def find_questions(
    results: Mapping[str, Any], wanted: set[str]
) -> tuple[dict[str, "Question"], str]:
    """(the questions with these ids from the data that results.json names, what to say of it)."""
    from onevision_jax.evaluation import TASKS

    task, data = TASKS.get(text_of(dict(results), "task")), results.get("data")
    if task is None or not isinstance(data, str) or not data:
        return {}, "Questions and images are not shown: results.json names no task and data."
    found: dict[str, Question] = {}
    try:
        if not Path(data).exists():
            return {}, f"Questions and images are not shown: {data} is not there any more."
        # Not `read_task`: it keeps every row, with the images that TSV and parquet files hold.
        for question in task.read(Path(data)):
            if question.id in wanted:
                found.setdefault(question.id, question)
            if len(found) == len(wanted):
                break
    except (InputError, OSError, ValueError) as error:
        return found, f"Questions and images are not all shown: {error}"
    absent = len(wanted) - len(found)
    said = f"Questions and images are from {data}."
    return found, f"{said} It lacks {absent} of these answers' ids." if absent else said


def changed_note(rows: Iterable[Row], found: Mapping[str, "Question"]) -> str:
    """A warning where the data has other golds than those that were graded by."""
    pairs = [(found[i], row) for row in rows if (i := text_of(row, "id")) in found]
    changed = sum(question.answer != text_of(row, "gold") for question, row in pairs)
    if not changed:
        return ""
    return (
        f"{changed} of the golds differ from the data file's: it is not the file that was graded "
        "with, so questions and images may belong to other answers."
    )


def filter_names(questions: Iterable["Question"]) -> list[str]:
    """The dimensions that answers can be chosen by: tier and subject first."""
    names = list(dict.fromkeys(name for question in questions for name in question.dimensions))
    first = [name for name in FIRST if name in names]
    return [*first, *(name for name in names if name not in FIRST)][:MAX_FILTERS]


def make_cards(rows: Iterable[Row], found: Mapping[str, "Question"]) -> Iterable[Sample]:
    """A card for each answer; where the grader read something, that is the answer."""
    for row in rows:
        question = found.get(text_of(row, "id"))
        parts = split_response(text_of(row, "response"))
        card = Sample(
            id=text_of(row, "id"),
            gold=text_of(row, "gold"),
            formal=parts.formal,
            reasoning=parts.reasoning,
            answer=text_of(row, "extracted") or parts.answer,
            verdict=text_of(row, "verdict"),
            reason=text_of(row, "reason"),
            labels={"sample": row["sample"]} if row.get("sample") is not None else {},
        )
        yield card if question is None else with_question(card, question)


def with_question(card: Sample, question: "Question") -> Sample:
    """The card with what was asked."""
    image, said = picture(question)
    return dataclasses.replace(
        card,
        question=question.question,
        choices=question.choices,
        image=image,
        image_note=said,
        given=question.formal_text,
        labels={**question.dimensions, **card.labels},
    )


def picture(question: "Question") -> tuple[bytes | None, str]:
    """(the image, made smaller where it is large; why there is none)."""
    from onevision_jax.processor import load_image

    try:
        data = question.image_bytes()
        if data is None or (len(data) <= SMALL_IMAGE and media_type(data)):
            return data, ""
        image = load_image(data)
    except (InputError, OSError) as error:
        return None, f"no image: {error}"
    image.thumbnail((SIDE, SIDE))
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=80)
    return stream.getvalue(), ""


def fit(cards: Iterable[Sample]) -> tuple[list[Sample], str]:
    """The cards that a page has room for; later ones lose their images first, then their place."""
    kept: list[Sample] = []
    images = texts = num_images = num_cards = 0
    for card in cards:
        size = 4 * len(card.image or b"") // 3
        if images + size > IMAGE_BYTES:
            num_images += 1
            card = dataclasses.replace(card, image=None, image_note="no image: the page is full")
            size = 0
        words = len(sample(dataclasses.replace(card, image=None)).encode())
        if texts + words > TEXT_BYTES:
            num_cards += 1
            continue
        images, texts = images + size, texts + words
        kept.append(card)
    parts = [f"{num_images} images"] * bool(num_images) + [f"{num_cards} answers"] * bool(num_cards)
    return kept, f"Left out to keep the page small: {' and '.join(parts)}." if parts else ""
