"""What a response is made of, for display.

    <think>```csv
    a,b
    1,2
    ```
    The first is smaller.</think>
    <answer>a</answer>

The tags are read as the grader reads them. Any text is accepted, and nothing of it gets lost but
tags, the fence with its language, and blank space at the ends of the parts. Time is linear.
"""

import re
from typing import NamedTuple

from onevision_jax.rewards.extract import find_tags

LANGUAGE = re.compile(r"[^`\s]{0,40}[ \t\r]{0,9}")  # after the opening fence, on its line


class Parts(NamedTuple):
    """Three texts, "" where there is none."""

    formal: str
    reasoning: str
    answer: str


def split_response(text: str) -> Parts:
    """The parts of a response; one without tags is reasoning as a whole."""
    tags = find_tags(text)
    before, answer, after = text, "", ""
    if tags.answer_start >= 0:
        end = tags.answer_end if tags.answer_end >= 0 else len(text)
        before = text[: tags.answer_start - len("<answer>")]
        answer, after = text[tags.answer_start : end], text[end + len("</answer>") :]
    between = ""
    if tags.think_end:
        between = before[tags.think_end :]
        before = before[: tags.think_end - len("</think>")]
    thought = before.lstrip()
    formal = ""
    if thought[: len("<think>")].lower() == "<think>":
        formal, before = split_fence(thought[len("<think>") :])
    elif tags.think_end:  # The opening tag may have been part of the prompt.
        formal, before = split_fence(before)
    pieces = (piece.strip() for piece in (before, between, after))
    return Parts(formal, "\n".join(piece for piece in pieces if piece), answer.strip())


def split_fence(text: str) -> tuple[str, str]:
    """(inside of the code block that a text begins with, what follows); ("", text) without one.

    A block that is never closed, such as that of a response cut off, extends to the end.
    """
    body = text.lstrip()
    bare = body.lstrip("`")
    length = len(body) - len(bare)
    header, newline, rest = bare.partition("\n")
    if length < 3 or not newline or not LANGUAGE.fullmatch(header):
        return "", text
    rest, fence = f"\n{rest}", f"\n{'`' * length}"
    place = 0
    while (start := rest.find(fence, place)) >= 0:
        after = start + len(fence)
        end = rest.find("\n", after)
        end = len(rest) if end < 0 else end
        if not rest[after:end].strip("` \t\r"):
            return rest[:start].strip("\n"), rest[end:]
        place = end
    return rest.strip("\n"), ""
