"""What is refused for what it shares with other records, or with the problems of a benchmark."""

import hashlib
from collections.abc import Iterable

from onevision_jax.data import remote
from onevision_jax.data.building.examine import Kept, identity, likeness, normalise
from onevision_jax.data.picture_hash import Copies, HashList, view_picture
from onevision_jax.data.record import SPLITS, Split, image_hash, read_image, read_rows
from onevision_jax.data.source import Rejected
from onevision_jax.errors import InputError

ALIKE = 0.5  # share of words
RUN = 13  # words in a row that two questions share only by copying


class Duplicates:
    """The first of several records stays.

    Duplicate: same image file, question and choices. Near duplicate: question, choices and answer
    are the same but for case and punctuation, and the pictures' hashes are near (`picture_hash`).
    Pictures that look the same with another answer stay: charts of one make differ in a number or
    two.
    """

    def __init__(self) -> None:
        self._seen: set[bytes] = set()
        self._looks: dict[bytes, HashList] = {}

    def check(self, kept: Kept) -> None:
        """Raises `Rejected` when the record came before, else remembers it."""
        same = bytes.fromhex(identity(kept))
        if same in self._seen:
            raise Rejected("duplicate", "the same question about the same image came before")
        self._seen.add(same)
        if kept.look is None:
            return
        looks = self._looks.setdefault(bytes.fromhex(likeness(kept)), HashList())
        if looks.near(kept.look.bits):
            raise Rejected(
                "near duplicate", "the same question about a picture that looks the same"
            )
        looks.add(kept.look.bits)


class Splits:
    """The split of each record: that of its picture's hash, but copies of a picture keep together.

    A picture resized, recompressed or slightly retouched (`picture_hash`) goes where the first of
    its kind went, whatever is asked about it. One that is like pictures of two splits is refused.
    """

    def __init__(self) -> None:
        self._copies = Copies()
        self._splits: list[Split] = []  # of each of the copies
        self._files: dict[bytes, Split] = {}

    def place(self, kept: Kept) -> Split:
        """The split; raises `Rejected`."""
        if kept.look is None:
            return kept.split
        file = bytes.fromhex(kept.image)[:16]
        if file in self._files:
            return self._files[file]
        found = {self._splits[number] for number in self._copies.find(kept.look)}
        like: list[Split] = [split for split in SPLITS if split in found]
        if len(like) > 1:
            raise Rejected(
                "near duplicate", f"its picture looks like ones in {' and in '.join(like)}"
            )
        split: Split = like[0] if like else kept.split
        self._copies.add(kept.look)
        self._splits.append(split)
        self._files[file] = split
        return split

    def close(self) -> None:
        """Frees what is kept of the pictures."""
        self._copies.close()


class Benchmarks:
    """The problems of JSONL files, which must not be trained on.

    A record is refused when its image file is one of theirs; when its picture looks like one of
    theirs and half of the questions' words are the same; when its question shares RUN words in a
    row with one of theirs; and, where it has no picture, when its question is one of theirs. Short
    questions such as "Find x." about other pictures stay, and so do other pictures of one template.
    Rows need a `question`; `image` is a path below the file's folder.
    """

    def __init__(self, paths: Iterable[str] = ()):
        self._files: set[str] = set()
        self._looks = HashList()
        self._asked: list[frozenset[str]] = []  # the words asked about each look
        self._runs: set[bytes] = set()
        self._questions: set[str] = set()
        self.count = 0
        for path in paths:
            self._read(path)

    def check(self, kept: Kept) -> None:
        """Raises `Rejected` when the record is a benchmark's."""
        if kept.image and kept.image in self._files:
            raise Rejected("benchmark image", "its image is one of a benchmark's")
        question = normalise(kept.record.question)
        words = frozenset(question.split())
        near = [] if kept.look is None else self._looks.near(kept.look.bits)
        if any(overlap(words, self._asked[number]) >= ALIKE for number in near):
            raise Rejected(
                "benchmark image", "picture and question are like those of a benchmark's"
            )
        if not kept.image and question in self._questions:
            raise Rejected("benchmark text", "its question is one of a benchmark's")
        if self._runs and not self._runs.isdisjoint(runs(question)):
            raise Rejected("benchmark text", f"it shares {RUN} words in a row with a benchmark's")

    def _read(self, path: str) -> None:
        path = remote.plain(path)
        if not remote.is_file(path):
            raise InputError(f"benchmark file {path!r} does not exist; check the path")
        for number, row in read_rows(remote.local_copy(path)):
            try:
                self._add(row.get("question"), row.get("image"), remote.parent(path))
            except InputError as error:
                raise InputError(f"benchmark {path}, line {number}: {error}") from None

    def _add(self, question: object, image: object, folder: str) -> None:
        if not isinstance(question, str):
            raise InputError("field 'question' must be a string")
        text = normalise(question)
        self._questions.add(text)
        self._runs.update(runs(text))
        self.count += 1
        if image is not None:
            data = read_image(image, folder)
            self._files.add(image_hash(data))
            for look in view_picture(data):
                self._looks.add(look.bits)
                self._asked.append(frozenset(text.split()))


def overlap(one: frozenset[str], other: frozenset[str]) -> float:
    """Words in both ÷ words in either."""
    return len(one & other) / max(len(one | other), 1)


def runs(text: str) -> set[bytes]:
    """8-byte hashes of every RUN words in a row."""
    words = text.split()
    return {
        hashlib.blake2b(
            " ".join(words[i : i + RUN]).encode("utf-8", "replace"), digest_size=8
        ).digest()
        for i in range(len(words) - RUN + 1)
    }
