"""Which rows of a benchmark a training set holds: their question, their picture, or both.

The benchmark is held in memory, the training files are streamed. A question alone proves little
where a picture goes with it ("How many bars are there?"), and a picture alone was seen without
what is asked: `accuracy_relevant` are the rows that one training row has whole.

Measured on synthetic pictures, 200 rows of a benchmark against 2,030 training rows, 30 of them
copies (10 resized, 10 JPEG at quality 20 to 80, 10 cropped by up to 4 %). At 84 pixels 28 are found
(crops 8 of 10), at 280 pixels 27 (crops 7). Of the 170 other rows 13 and 44 look like a picture
that is not theirs, one each with its question, too: read the pairs before believing `image_near`
of drawn figures. Questions from templates are the same in 120 and 100 of the 170.
"""

import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from onevision_jax.data.record import read_image, read_rows
from onevision_jax.errors import InputError
from onevision_jax.evaluation.picture_hash import PictureIndex, PictureMatch, check_thresholds
from onevision_jax.evaluation.questions import Question
from onevision_jax.evaluation.text_overlap import QuestionIndex

MAX_PAIRS = 1_000
MAX_CACHED = 65_536  # pictures whose matches are remembered, for rows that share one
CAUSES = ("question", "image_file", "image_near", "question_and_image")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ContaminationConfig:
    """What counts as the same."""

    words: int = 8  # of an n-gram
    share: float = 0.7  # of a question's n-grams, in one training row
    distance: int = 10  # bits of 64 between perceptual hashes
    correlation: float = 0.98  # of thumbnails; 0.0001 leaves the hash alone to decide

    def __post_init__(self):
        if self.words < 1:
            raise InputError(f"words is {self.words}, expected 1 or more")
        if not 0 < self.share <= 1:
            raise InputError(f"share is {self.share}, expected more than 0 and at most 1")
        check_thresholds(self.distance, self.correlation)


Progress = Callable[[int, int], None]


def find_contamination(
    questions: Sequence[Question],
    training: Sequence[Path],
    config: ContaminationConfig,
    progress: Progress = lambda done, total: None,
) -> dict[str, Any]:
    """contamination.json: counts by cause, ids by cause, the first pairs, what was not readable.

    training: JSONL files whose rows have `question`, `image` (a path below the file's folder) or
    both. progress(done, total) counts training rows. Raises InputError naming file and line for
    rows that are no JSON objects; pictures that cannot be read are counted, not fatal.
    """
    for path in training:
        if not path.is_file():
            raise InputError(f"{path} is no file; give JSONL files that the model was trained on")
    search = _Search(questions, config)
    total = sum(count_lines(path) for path in training)
    done = 0
    for path in training:
        for number, row in read_rows(path):
            search.add(path, number, row)
            done += 1
            progress(done, total)
    return search.report(done)


def count_lines(path: Path) -> int:
    """Lines of a file, the last one's end not needed."""
    count, last = 0, b"\n"
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            count += block.count(b"\n")
            last = block[-1:]
    return count + (last != b"\n")


class _Search:
    """The benchmark's indices, and what was found so far."""

    def __init__(self, questions: Sequence[Question], config: ContaminationConfig):
        self.questions, self.config = questions, config
        self.texts = QuestionIndex([q.question for q in questions], config.words, config.share)
        self.pictures = PictureIndex(config.distance, config.correlation)
        self.rows_of: dict[int, list[int]] = {}  # by the number of their picture
        self.with_image = [q.image is not None or bool(q.image_base64) for q in questions]
        self.unreadable = {"data": 0, "training": 0}
        self.examples: list[str] = []  # of what could not be read
        self.found: dict[str, set[int]] = {cause: set() for cause in CAUSES}
        self.pairs: list[dict[str, Any]] = []
        self.num_pairs = self.no_question = 0
        self.cache: dict[tuple[Path, str], dict[int, PictureMatch]] = {}
        for place, question in enumerate(questions):
            self._add_picture(place, question)

    def _add_picture(self, place: int, question: Question) -> None:
        try:
            encoded = question.image_bytes()
            if encoded is not None:
                self.rows_of.setdefault(self.pictures.add(encoded), []).append(place)
        except InputError as error:
            self._not_read("data", f"{question.id}: {error}")

    def _not_read(self, where: str, message: str) -> None:
        self.unreadable[where] += 1
        if len(self.examples) < 10:
            self.examples.append(message)

    def add(self, path: Path, number: int, row: Mapping[str, Any]) -> None:
        """Holds one training row against the benchmark."""
        text = row.get("question")
        shares = self.texts.find(text) if isinstance(text, str) else {}
        self.no_question += not isinstance(text, str)
        alike = self._picture_matches(path, number, row.get("image"))
        self.found["question"] |= shares.keys()
        for place, match in alike.items():
            self.found["image_file" if match.same_file else "image_near"].add(place)
        self.found["question_and_image"] |= shares.keys() & alike.keys()
        matched = sorted(shares.keys() | alike.keys())
        self.num_pairs += len(matched)
        for place in matched[: MAX_PAIRS - len(self.pairs)]:
            self.pairs.append(
                {
                    "id": self.questions[place].id,
                    "file": str(path),
                    "line": number,
                    "training_id": str(row.get("id", ""))[:200],
                    "question": round(shares[place], 4) if place in shares else None,
                    **_describe(alike.get(place)),
                }
            )

    def _picture_matches(self, path: Path, number: int, name: Any) -> dict[int, PictureMatch]:
        """Rows of the benchmark by the likeness of their picture."""
        if name is None:
            return {}
        key = (path.parent, name if isinstance(name, str) else "")
        if key not in self.cache:
            if len(self.cache) >= MAX_CACHED:
                self.cache.clear()
            try:
                self.cache[key] = self.pictures.find(read_image(name, path.parent))
            except InputError as error:
                self._not_read("training", f"{path}, line {number}: {error}")
                return {}
        found = self.cache[key]
        return {place: match for owner, match in found.items() for place in self.rows_of[owner]}

    def report(self, num_training: int) -> dict[str, Any]:
        """The whole of contamination.json but for the settings of the command."""
        whole = self.found["question_and_image"] | {
            place for place in self.found["question"] if not self.with_image[place]
        }
        places = {**self.found, "any": set().union(*self.found.values())}
        places["accuracy_relevant"] = whole
        return {
            "n": len(self.questions),
            "training_rows": num_training,
            **dataclasses.asdict(self.config),
            "counts": {cause: len(found) for cause, found in places.items()},
            "ids": {
                cause: [self.questions[place].id for place in sorted(found)]
                for cause, found in places.items()
            },
            "num_pairs": self.num_pairs,
            "pairs": self.pairs,
            "training_rows_without_question": self.no_question,
            "unreadable_images": {**self.unreadable, "first": self.examples},
        }


def _describe(match: PictureMatch | None) -> dict[str, Any]:
    if match is None:
        return {"image": None}
    if match.same_file:
        return {"image": "same file"}
    near = {"distance": match.distance, "correlation": round(match.correlation, 4)}
    return {"image": "near", **near}


def contamination_table(found: Mapping[str, Any]) -> Iterator[str]:
    """Lines for the console."""
    yield f"{found['n']:,} rows against {found['training_rows']:,} training rows"
    for cause, count in found["counts"].items():
        yield f"{cause.replace('_', ' '):20} {count:>7,}  {100 * count / found['n']:5.1f} %"
    yield f"{found['num_pairs']:,} pairs, {len(found['pairs']):,} of them written"
    unreadable = found["unreadable_images"]
    if unreadable["data"] or unreadable["training"]:
        yield (
            f"images not readable: {unreadable['data']} of the data, {unreadable['training']} of "
            f"the training rows; first: {unreadable['first'][0]}"
        )


def write_contamination(folder: Path, found: Mapping[str, Any]) -> None:
    """`folder/contamination.json`, whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    scratch = folder / ".contamination.json.incomplete"
    text = json.dumps(found, indent=2, ensure_ascii=False)
    scratch.write_text(text + "\n", encoding="utf-8")
    scratch.replace(folder / "contamination.json")
