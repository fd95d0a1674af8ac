"""A packed row as a picture: what the model gets, drawn from the arrays alone.

From the top: figures; the strip of tokens, each segment in its colour, with vision spans, loss and
padding; M-RoPE positions below it; then every segment with its image (put together again from its
patches) beside its text, the part that is trained on in the segment's colour.
"""

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from onevision_jax.data.encode import TrainingExample
from onevision_jax.data.filling import Filling
from onevision_jax.data.packing import unpack
from onevision_jax.processor import Processor

WIDTH = 1400
MARGIN = 30
COLOURS = ("#2563b8", "#c2570c", "#1a7f5a", "#9333a8", "#8a6d00", "#b3285a", "#0e7490", "#4d7c0f")
INK, MUTED, PADDING, PAPER, LOSS = "#1d2126", "#5d6670", "#d5d8dc", "#ffffff", "#111418"
STRIP, CURVES, PICTURE = 44, 110, 220  # heights in pixels
TEXT_LINES = 11  # of a segment's text
LINE = 18
COLUMN = (WIDTH - 2 * MARGIN - PICTURE - 60) // 2  # width of prompt and of response


def draw_row(batch: Mapping[str, np.ndarray], row: int, processor: Processor) -> Image.Image:
    """The picture of one row of a batch."""
    one = {
        name: array[:, row : row + 1] if name == "positions" else array[row : row + 1]
        for name, array in batch.items()
    }
    examples = unpack(one)
    filling = Filling()
    filling.add_batch(one)
    blocks = [_Block(place, example, processor) for place, example in enumerate(examples)]
    height = 92 + STRIP + 62 + CURVES + 44 + sum(block.height for block in blocks) + MARGIN
    image = Image.new("RGB", (WIDTH, height), PAPER)
    draw = ImageDraw.Draw(image)
    _figures(draw, filling, one)
    y = _strip(draw, one, 92)
    y = _curves(draw, one, y + 62) + 44
    for block in blocks:
        block.draw(image, draw, y)
        y += block.height
    return image


def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own font; characters that it lacks are drawn as boxes."""
    return ImageFont.load_default(size)


def _figures(draw: ImageDraw.ImageDraw, filling: Filling, row: Mapping[str, np.ndarray]) -> None:
    loss = int((row["loss_weights"] > 0).sum())
    draw.text((MARGIN, 16), f"One packed row: {filling.examples} examples", INK, font(26))
    said = (
        f"tokens {filling.tokens_used:,} of {filling.tokens_available:,} "
        f"({filling.tokens:.1%})     "
        f"patches {filling.patches_used:,} of {filling.patches_available:,} "
        f"({filling.patches:.1%})     trained on {loss:,} tokens"
    )
    draw.text((MARGIN, 54), said, MUTED, font(17))


def _x(place: float, num_tokens: int) -> float:
    return MARGIN + (WIDTH - 2 * MARGIN) * place / num_tokens


def _strip(draw: ImageDraw.ImageDraw, row: Mapping[str, np.ndarray], top: int) -> int:
    """Tokens from left to right; returns where the strip ends."""
    segments, vision = row["segment_ids"][0], row["vision_index"][0] >= 0
    loss, total, bottom = row["loss_weights"][0] > 0, len(row["segment_ids"][0]), top + STRIP
    draw.rectangle((MARGIN, top, WIDTH - MARGIN, bottom), PADDING)
    for start, end, segment in runs(segments):
        if segment:
            box = (_x(start, total), top, _x(end, total) - 1, bottom)
            draw.rectangle(box, pale(colour(segment - 1), 0.45))
    for start, end, seen in runs(vision):
        if seen:
            left, right = _x(start, total), _x(end, total)
            draw.rectangle((left, top, right, bottom), colour(int(segments[start]) - 1))
            for x in np.arange(left + 4, right, 7):
                draw.line((x, top, x, bottom), PAPER, 1)
    for start, end, trained in runs(loss):
        if trained:
            draw.rectangle((_x(start, total), bottom + 4, _x(end, total) - 1, bottom + 9), LOSS)
    for start, end, segment in runs(segments):
        if segment and _x(end, total) - _x(start, total) > 16:
            middle = (_x(start, total) + _x(end, total)) / 2
            draw.text((middle, bottom + 14), str(segment), INK, font(14), anchor="ma")
    _legend(draw, bottom + 36)
    return bottom


def _legend(draw: ImageDraw.ImageDraw, y: int) -> None:
    x = float(MARGIN)
    for name in ("text", "vision", "trained on", "padding"):
        box = (x, y, x + 22, y + 12)
        if name == "trained on":
            draw.rectangle((x, y + 4, x + 22, y + 9), LOSS)
        elif name == "padding":
            draw.rectangle(box, PADDING)
        else:
            draw.rectangle(box, COLOURS[0] if name == "vision" else pale(COLOURS[0], 0.45))
            for line in np.arange(x + 4, x + 22, 7) if name == "vision" else ():
                draw.line((line, y, line, y + 12), PAPER, 1)
        draw.text((x + 30, y - 2), name, MUTED, font(14))
        x += 60 + 8 * len(name)


def _curves(draw: ImageDraw.ImageDraw, row: Mapping[str, np.ndarray], top: int) -> int:
    """Positions (time, row, column) of every token, from 0 at the bottom; returns the bottom."""
    positions, segments = row["positions"][:, 0], row["segment_ids"][0]
    total, largest, bottom = len(segments), max(1, int(positions.max())), top + CURVES
    draw.text((MARGIN, top), f"M-RoPE positions, 0 to {largest:,}", MUTED, font(14))
    draw.text((MARGIN + 230, top), "time", COLOURS[0], font(14))
    draw.text((MARGIN + 280, top), "row", COLOURS[1], font(14))
    draw.text((MARGIN + 325, top), "column", COLOURS[2], font(14))
    plot = top + 24
    draw.line((MARGIN, bottom, WIDTH - MARGIN, bottom), PADDING, 1)
    for start, end, segment in runs(segments):
        if not segment:
            continue
        for axis in (2, 1, 0):
            points = [
                (_x(i, total), bottom - (bottom - plot) * int(positions[axis, i]) / largest)
                for i in range(start, end)
            ]
            draw.line(points if len(points) > 1 else points * 2, COLOURS[axis], 1)
    return bottom


class _Block:
    """One segment: its image, if it has one, and its text."""

    def __init__(self, place: int, example: TrainingExample, processor: Processor):
        self.place = place
        self.example = example
        self.picture = _sized(picture_of(example, processor))
        text = example.vision_index < 0
        trained = np.append(False, example.loss_weights[:-1] > 0)
        decode = processor.tokenizer.decode
        self.texts = [
            (decode(example.tokens[text & ~trained]), INK),
            (decode(example.tokens[trained]), colour(place)),
        ]
        self.lines = [wrap(text, COLUMN // 7) for text, _ in self.texts]
        tall = 60 if self.picture is None else self.picture.height
        self.height = 56 + max(tall, LINE * max(map(len, self.lines)))

    def draw(self, image: Image.Image, draw: ImageDraw.ImageDraw, top: int) -> None:
        """Paints the block."""
        example, left = self.example, MARGIN + PICTURE + 40
        draw.line((MARGIN, top, WIDTH - MARGIN, top), PADDING, 1)
        draw.rectangle((MARGIN, top + 10, MARGIN + 12, top + 22), colour(self.place))
        vision = int((example.vision_index >= 0).sum())
        said = (
            f"segment {self.place + 1}     {len(example.tokens):,} tokens     {vision:,} vision "
            f"({len(example.patches):,} patches)     {int(example.loss_weights.sum()):,} trained on"
        )
        draw.text((MARGIN + 20, top + 7), said, MUTED, font(15))
        if self.picture is None:
            box = (MARGIN, top + 36, MARGIN + PICTURE, top + 36 + 60)
            draw.rectangle(box, "#f1f2f4")
            draw.text((MARGIN + PICTURE / 2, top + 66), "no image", MUTED, font(15), anchor="mm")
        else:
            picture = self.picture
            image.paste(picture, (MARGIN, top + 36))
            edge = (MARGIN - 1, top + 35, MARGIN + picture.width, top + 36 + picture.height)
            draw.rectangle(edge, outline=PADDING)
        for place, (lines, (_, ink)) in enumerate(zip(self.lines, self.texts, strict=True)):
            x = left + place * (COLUMN + 20)
            for number, line in enumerate(lines):
                draw.text((x, top + 36 + LINE * number), line, ink, font(14))


def _sized(picture: Image.Image | None) -> Image.Image | None:
    """Small ones enlarged by a whole number, large ones reduced."""
    if picture is None:
        return None
    times = PICTURE // max(picture.size)
    if times >= 1:
        size = (picture.width * times, picture.height * times)
        return picture.resize(size, Image.Resampling.NEAREST)
    picture.thumbnail((PICTURE, PICTURE))
    return picture


def picture_of(example: TrainingExample, processor: Processor) -> Image.Image | None:
    """The image that the patches were cut from; None without patches."""
    if len(example.patches) == 0:
        return None
    side = processor.config.patch_size
    h, w = (int(last) + 1 for last in example.patch_positions.max(axis=0))
    grid = np.zeros((h, w, side, side, 3), np.uint8)
    rows, columns = example.patch_positions.T
    grid[rows, columns] = example.patches.reshape(-1, side, side, 3)
    return Image.fromarray(grid.transpose(0, 2, 1, 3, 4).reshape(h * side, w * side, 3))


def runs(values: np.ndarray) -> list[tuple[int, int, int]]:
    """(start, end, value) of each stretch of equal values."""
    edges = np.flatnonzero(np.diff(values.astype(np.int64))) + 1
    starts = [0, *edges.tolist()]
    ends = [*edges.tolist(), len(values)]
    return [(s, e, int(values[s])) for s, e in zip(starts, ends, strict=True)]


def wrap(text: str, width: int) -> Sequence[str]:
    """At most TEXT_LINES lines: the beginning, and the end where that is too few."""
    lines = [
        piece
        for line in text.replace("\t", "    ").splitlines()
        if line.strip()
        for piece in textwrap.wrap(line, width) or [""]
    ]
    if len(lines) <= TEXT_LINES:
        return lines
    tail = 3
    left_out = len(lines) - (TEXT_LINES - 1)
    return [*lines[: TEXT_LINES - 1 - tail], f"[{left_out:,} lines]", *lines[-tail:]]


def colour(segment: int) -> str:
    """The colour of a segment, counted from 0."""
    return COLOURS[segment % len(COLOURS)]


def pale(name: str, strength: float) -> tuple[int, int, int]:
    """A colour on white paper."""
    channels = (int(name[i : i + 2], 16) for i in (1, 3, 5))
    red, green, blue = (round(255 - (255 - value) * strength) for value in channels)
    return red, green, blue
