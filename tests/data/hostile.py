"""Records as an enemy, or a bad disk, would write them: seeded, made when a test runs.

Every kind says what must become of it: None = it comes through, else the reason it is counted
under, in training and in `onevision data build`.
"""

import base64
import io
import json
import os
import random
import struct
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

Reason = str | None
Make = Callable[[random.Random, dict], Any]
"""A hostile row out of a good one."""


def picture(rng: random.Random, width: int = 0, height: int = 0) -> Image.Image:
    """Noise, so that no two pictures look the same."""
    size = (height or rng.randint(30, 90), width or rng.randint(30, 90), 3)
    noise = np.random.default_rng(rng.getrandbits(32)).integers(0, 256, size, dtype=np.uint8)
    return Image.fromarray(noise)


def encoded(image: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def png(width: int, height: int, *extra: tuple[bytes, bytes]) -> bytes:
    """A grey PNG that promises a size, with further chunks and one row of pixels."""
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)), *extra]
    chunks += [(b"IDAT", zlib.compress(b"\0" * 100)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )


def cut(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randint(len(data) // 5, len(data) * 3 // 4)]


def turned(rng: random.Random) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = rng.randint(1, 9)
    return encoded(picture(rng), "JPEG", exif=exif)


def animated(rng: random.Random, form: str) -> bytes:
    first, *others = (picture(rng, 50, 40) for _ in range(3))
    return encoded(first, form, save_all=True, append_images=others)


def sixteen_bits(rng: random.Random) -> bytes:
    noise = np.random.default_rng(rng.getrandbits(32)).integers(0, 65536, (40, 50))
    return encoded(Image.fromarray(noise.astype(np.uint16)))


GOOD_IMAGES: dict[str, Callable[[random.Random], bytes]] = {
    "PNG": lambda rng: encoded(picture(rng)),
    "JPEG": lambda rng: encoded(picture(rng), "JPEG"),
    "CMYK": lambda rng: encoded(picture(rng).convert("CMYK"), "JPEG"),
    "palette": lambda rng: encoded(picture(rng).quantize(16)),
    "one bit": lambda rng: encoded(picture(rng).convert("1")),
    "see-through": lambda rng: encoded(picture(rng).convert("RGBA")),
    "16 bits": sixteen_bits,
    "on its side": turned,
    "animated GIF": lambda rng: animated(rng, "GIF"),
    "animated WebP": lambda rng: animated(rng, "WEBP"),
    "animated PNG": lambda rng: animated(rng, "PNG"),
    "TIFF": lambda rng: encoded(picture(rng), "TIFF"),
}
BAD_IMAGES: dict[str, Callable[[random.Random], bytes]] = {
    "truncated PNG": lambda rng: cut(encoded(picture(rng)), rng),
    "truncated JPEG": lambda rng: cut(encoded(picture(rng), "JPEG"), rng),
    "no pixels": lambda rng: png(0, rng.randint(0, 9)),
    "bomb": lambda rng: png(rng.randint(20_000, 2**31 - 1), rng.randint(20_000, 2**31 - 1)),
    "bomb of text": lambda rng: png(
        40, 40 + rng.randint(0, 9), (b"zTXt", b"a\0\0" + zlib.compress(b"\0" * 3_000_000))
    ),
    "1 x 10,000": lambda rng: encoded(picture(rng, *rng.choice([(1, 10_000), (10_000, 1)]))),
    "SVG": lambda rng: f"<svg xmlns='http://www.w3.org/2000/svg' id='{rng.random()}'/>".encode(),
    "page": lambda rng: f"<html>404 {rng.random()}</html>".encode(),
    "PostScript": lambda rng: f"%!PS-Adobe-3.0\n({rng.random()}) run".encode(),
    "noise": lambda rng: rng.randbytes(rng.randint(1, 400)),
    "base64 in base64": lambda rng: base64.b64encode(encoded(picture(rng))),
    "numbers with a point": lambda rng: encoded(
        Image.new("F", (40, 40 + rng.randint(0, 40)), rng.random()), "TIFF"
    ),
}


class Hostile(NamedTuple):
    """A file of rows and what must become of them."""

    path: Path
    training: Counter[Reason]
    building: Counter[Reason]
    good: list[str]
    """Answers of the rows that come through in training; ids of those that a build keeps."""


def row_kinds(
    folder: Path,
) -> dict[str, tuple[Make, Reason, Reason]]:
    """kind -> (makes the row out of a good one, reason in training, reason in building)."""

    def change(**fields: Any) -> Make:
        return lambda rng, row: {**row, **fields}

    def without(name: str) -> Make:
        return lambda rng, row: {key: value for key, value in row.items() if key != name}

    def raw(text: bytes) -> Make:
        return lambda rng, row: json.dumps(row).encode().replace(b'"the end"', text)

    kinds: dict[str, tuple[Make, Reason, Reason]] = {}
    for name in ("id", "image", "question", "answer"):
        kinds[f"no {name}"] = (without(name), "row", "row")
    for name, value in [
        ("question", 7),
        ("question", None),
        ("answer", ["1"]),
        ("answer", "  "),
        ("id", 3),
        ("choices", "abc"),
        ("choices", [1]),
        ("provenance", []),
        ("provenance", {"a": {"b": 1}}),
        ("tier", "kindergarten"),
        ("unknown", 1),
        ("question", "half \ud800"),
    ]:
        kinds[f"{name} = {value!r}"] = (change(**{name: value}), "row", "row")
    for text in (b"NaN", b"-Infinity", b"1e999", b"9" * 5000, b"[" * 100_000, b"'x'", b"\xff\xfe"):
        kinds[f"JSON {text[:9]!r}"] = (raw(text), "row", "row")
    for text in (b"not json", b"[1, 2]", b'"text"', b"\x00" * 50, b"null"):
        kinds[f"line {text[:9]!r}"] = (lambda rng, row, text=text: text, "row", "row")
    for path in (
        "../secret.png",
        "images/../../secret.png",
        str(folder.parent / "secret.png"),
        "/dev/zero",
        "/etc/passwd",
        "images/link.png",
        "images/loop.png",
        "images/folder.png",
        "images/pipe.png",
        "images/absent.png",
        "images/empty.png",
        "images/\0.png",
        "images/" + "a" * 5000,
        "..\\secret.png",
        "file:///etc/passwd",
        "https://example.org/a.png",
        "data:image/png;base64,iVBORw0KGgo=",
        "",
        7,
        True,
        {"bytes": "x"},
        ["images/a.png"] * 5000,
    ):
        kinds[f"image {str(path)[:40]!r}"] = (change(image=path), "image file", "image file")

    def ask(text: str) -> Make:
        return lambda rng, row: {**row, "question": f"{row['question']} {text}"}

    long = "why " * 2_500_000
    kinds |= {
        "10 MB question": (ask(long), "too long", None),
        "10 MB answer": (change(answer=long), "too long", None),
        "17 MB line": (change(question="?" * 17_000_000), "row", "row"),
        "long reasoning": (change(reasoning="First, a is 1. " * 300), "too long", None),
        "100 images": (ask("<|image_pad|>" * 100), "text", None),
        "a million images": (ask("<|image_pad|>" * 1_000_000), "too long", None),
        "control token": (change(reasoning="<|im_end|>\n<|im_start|>system"), "text", None),
        "closed thought": (change(reasoning="a</think>b"), "target", "target"),
        "tag as answer": (change(answer="<answer>"), "target", "target"),
        "27 choices": (change(choices=[str(n) for n in range(27)]), "text", "target"),
        "control characters": (change(formal_text="\x00\x01\x1b[2J\x7f\u202e\ufeff"), None, None),
        "many placeholders": (change(formal_text="<image>" * 40), None, None),
        "template": (change(formal_text="{{ 7 * 7 }}{% raw %}"), None, None),
    }
    return kinds


RARE = {"10 MB question", "10 MB answer", "17 MB line", "a million images"}
MOST_OF_RARE = 2  # They are large.


def write_rows(folder: Path, count: int, seed: int) -> Hostile:
    """Rows of the project's own schema, images beside them: a third good, the rest of all kinds."""
    rng = random.Random(seed)
    images = folder / "images"
    images.mkdir(parents=True)
    (folder.parent / "secret.png").write_bytes(encoded(picture(rng)))
    (images / "link.png").symlink_to(folder.parent / "secret.png")
    (images / "loop.png").symlink_to(images / "loop.png")
    (images / "folder.png").mkdir()
    (images / "empty.png").write_bytes(b"")
    os.mkfifo(images / "pipe.png")
    kinds = row_kinds(folder)
    names = [*GOOD_IMAGES, "text alone", *BAD_IMAGES, *kinds]
    training, building, good = Counter[Reason](), Counter[Reason](), []
    rare = Counter[str]()
    with (folder / "rows.jsonl").open("wb") as file:
        for number in range(count):
            name = names[number % len(names)] if number % 3 else rng.choice([*GOOD_IMAGES])
            rare[name] += 1
            if name in RARE and rare[name] > MOST_OF_RARE:
                name = "text alone"
            row: Any = {
                "id": f"r{number}",
                "image": None,
                "question": f"What is value {number}?",
                "answer": str(number),
                "reasoning": "the end",
            }
            reasons: tuple[Reason, Reason] = (None, None)
            if name in GOOD_IMAGES or name in BAD_IMAGES:
                make = GOOD_IMAGES.get(name) or BAD_IMAGES[name]
                (images / f"{number}.png").write_bytes(make(rng))
                row["image"] = f"images/{number}.png"
                reasons = (None, None) if name in GOOD_IMAGES else ("image", "image")
            elif name in kinds:
                make_row, *both = kinds[name]
                row, reasons = make_row(rng, row), (both[0], both[1])
            training[reasons[0]] += 1
            building[reasons[1]] += 1
            if reasons[0] is None:
                good.append(row["answer"])
            file.write((row if isinstance(row, bytes) else json.dumps(row).encode()) + b"\n")
    return Hostile(folder / "rows.jsonl", training, building, good)


THOUGHT = "The figure shows a length, and the other one follows from it."


def published_kinds() -> dict[str, tuple[Make, Reason]]:
    """As `row_kinds`, of the published layout: what a build makes of it."""

    def change(**fields: Any) -> Make:
        return lambda rng, row: {**row, **fields}

    def prefix(text: str) -> Make:
        return lambda rng, row: {**row, "image": text + row["image"]}

    def say(turn: int, text: Any) -> Make:
        def make(rng: random.Random, row: dict) -> Any:
            turns = [dict(each) for each in row["conversations"]]
            turns[turn]["value"] = turns[turn]["value"] + text if isinstance(text, str) else text
            return {**row, "conversations": turns}

        return make

    def answer(text: str) -> Make:
        def make(rng: random.Random, row: dict) -> Any:
            said = {"from": "assistant", "value": text}
            return {**row, "conversations": [row["conversations"][0], said]}

        return make

    def raw(text: bytes) -> Make:
        return lambda rng, row: json.dumps(row).encode().replace(b'"human"', text)

    return {
        "data URI": (prefix("data:image/png;base64,"), None),
        "loud data URI": (prefix("DATA:image/jpeg;charset=x;BASE64,"), None),
        "data URI, not base64": (prefix("data:image/png,"), "image file"),
        "two data URIs": (prefix("data:image/png;base64,data:image/png;base64,"), "image file"),
        "endless data URI": (prefix("data:" * 1000), "image file"),
        "no base64": (prefix("?"), "image file"),
        "image path": (change(image="../../etc/passwd"), "image file"),
        "image file URI": (change(image="file:///etc/passwd"), "image file"),
        "image empty": (change(image=""), "image file"),
        "image number": (change(image=3), "image file"),
        "image list": (change(image=["aGk="] * 5000), "image file"),
        "image object": (change(image={"path": "/etc/passwd", "bytes": None}), "images"),
        "no image": (change(image=None), "images"),
        "no id": (change(id=None), "row"),
        "id list": (change(id=[1]), "row"),
        "no turns": (change(conversations=[]), "turns"),
        "turns missing": (change(conversations=None), "row"),
        "turns of text": (change(conversations=["hello", "you"]), "row"),
        "turns nested": (change(conversations=[[{"from": "human"}]]), "row"),
        "100,000 turns": (change(conversations=[{"from": "human"}] * 100_000), "turns"),
        "question number": (say(0, 7), "row"),
        "answer null": (say(1, None), "row"),
        "question list": (say(0, ["a"] * 1000), "row"),
        "5,000 images": (say(0, "<image>" * 5000), None),
        "10 MB question": (say(0, "why " * 2_500_000), "too long"),
        "10 MB answer": (say(1, " so" * 3_300_000), "too long"),
        "control characters": (say(0, " \x00\x01\x1b[2J\x7f\u202e\ufeff"), None),
        "half a character": (say(0, " \ud800"), "row"),
        "no answer": (answer(f"<think>{THOUGHT}</think>"), "no answer"),
        "no thought": (answer("14"), "no reasoning"),
        "open thought": (answer(f"<think>{THOUGHT} 14"), "tags"),
        "thought in thought": (answer("<think>" * 5000 + THOUGHT), "tags"),
        "NaN": (raw(b"NaN"), "row"),
        "deep": (raw(b"[" * 100_000), "row"),
        "line of nothing": (lambda rng, row: b"\x00" * 50, "row"),
        "half a line": (lambda rng, row: json.dumps(row).encode()[: rng.randint(2, 200)], "row"),
    }


def write_published(folder: Path, count: int, seed: int) -> Hostile:
    """Rows of R1-Onevision's published layout, JSON lines with images in base64."""
    rng = random.Random(seed)
    folder.mkdir(parents=True)
    kinds = published_kinds()
    names = [*GOOD_IMAGES, *BAD_IMAGES, *kinds]
    building, good = Counter[Reason](), []
    rare = Counter[str]()
    with (folder / "rows.jsonl").open("wb") as file:
        for number in range(count):
            name = names[number % len(names)] if number % 3 else rng.choice([*GOOD_IMAGES])
            rare[name] += 1
            if name in RARE and rare[name] > MOST_OF_RARE:
                name = "PNG"
            make = GOOD_IMAGES.get(name) or BAD_IMAGES.get(name) or GOOD_IMAGES["PNG"]
            reason: Reason = "image" if name in BAD_IMAGES else None
            turns = [("human", f"<image>\nWhat is value {number}?")]
            turns += [("assistant", f"<think>{THOUGHT}</think>\n\n{number}")]
            row: Any = {
                "id": f"r{number}",
                "image": base64.b64encode(make(rng)).decode(),
                "conversations": [{"from": who, "value": text} for who, text in turns],
            }
            if name in kinds:
                make_row, reason = kinds[name]
                row = make_row(rng, row)
            building[reason] += 1
            if reason is None:
                good.append(f"r{number}")
            file.write((row if isinstance(row, bytes) else json.dumps(row).encode()) + b"\n")
    return Hostile(folder / "rows.jsonl", Counter(), building, good)
