"""The assistant turn: reasoning and final answer of every layout that was published.

1  <think>reasoning, answer</think>      the answer is stated in the last line
2  <think>reasoning</think> answer
3  <think>reasoning</think>              no answer: refused, for none is ever guessed
4  <think>reasoning</think> more reasoning, answer
0  other sources: <think>...</think> <answer>...</answer>, or without any tags
"""

import re
from typing import NamedTuple

from onevision_jax.data.cleaning.answer import Statement, find_statements, strip_style
from onevision_jax.data.cleaning.residue import cut_residue
from onevision_jax.data.source import Rejected

MAX_ANSWER = 200  # characters of an answer that nothing marks as one
END = 4000  # characters at the end of a thought in which its answer is looked for
MAX_TAIL = 20_000  # characters behind a thought
_THINK = re.compile(r"<\s*(/?)\s*think\s*>", re.IGNORECASE)
_ANSWER = re.compile(r"<\s*(/?)\s*answer\s*>", re.IGNORECASE)
# A last line that can only be the answer. "3." may be the number of a step that was cut off.
_BARE = re.compile(r"\(?([A-Z])\)?\.?|\$?-?\d[\d,]*(?:\.\d+)?\s?%?\$?|yes\.?|no\.?", re.IGNORECASE)
_LEAD = re.compile(r"(?:\A|\s)[*_]*(?:so|thus|therefore|hence|and)\Z", re.IGNORECASE)


class Response(NamedTuple):
    """Both parts of a response."""

    reasoning: str
    answer: str
    layout: int
    repairs: tuple[str, ...]


def clean_response(turn: str, choices: tuple[str, ...]) -> Response:
    """Reasoning and answer of a turn; raises `Rejected` when they cannot be told for certain."""
    thought, tail, repairs = split_thought(turn)
    thought, cut = cut_residue(thought)
    tail, cut_too = cut_residue(tail)
    repairs += ["revision residue"] * bool(cut + cut_too)
    marked = split_answer(tail)
    if marked is not None:
        outside, answer = marked
        thought = f"{thought}\n{outside}".strip()
        return Response(thought, strip_style(answer), 0, tuple(repairs))
    if not tail:
        thought, answer = end_of_thought(thought, choices)
        return Response(thought, answer, 1, (*repairs, "answer out of the thought"))
    more, answer = end_of_tail(tail, choices)
    if not more:
        return Response(thought, answer, 2 if thought else 0, tuple(repairs))
    repairs.append("reasoning out of the answer" if thought else "thought without tags")
    layout = 4 if thought else 0
    return Response(f"{thought}\n\n{more}".strip(), answer, layout, tuple(repairs))


def split_thought(turn: str) -> tuple[str, str, list[str]]:
    """What stands in the one pair of <think> tags, what stands behind it, and the repairs.

    No pair: everything is behind. A missing first tag is put back, as chat templates that write it
    themselves leave it out of responses.
    """
    tags = list(_THINK.finditer(turn))
    signs = ["close" if tag[1] else "open" for tag in tags]
    if not tags:
        return "", turn.strip(), []
    if signs == ["close"]:
        return turn[: tags[0].start()].strip(), turn[tags[0].end() :].strip(), ["<think> missing"]
    if signs != ["open", "close"]:
        raise Rejected("tags", f"the think tags are {', '.join(signs[:6])}; expected open, close")
    if turn[: tags[0].start()].strip():
        raise Rejected("tags", "text stands before <think>")
    thought = turn[tags[0].end() : tags[1].start()].strip()
    return thought, turn[tags[1].end() :].strip(), []


def split_answer(tail: str) -> tuple[str, str] | None:
    """What stands outside and inside of one pair of <answer> tags; None without any."""
    tags = list(_ANSWER.finditer(tail))
    if not tags:
        return None
    if [tag[1] for tag in tags] != ["", "/"]:
        raise Rejected("tags", "the answer tags are no pair")
    inside = tail[tags[0].end() : tags[1].start()].strip()
    if not inside:
        raise Rejected("no answer", "nothing stands between the answer tags")
    outside = f"{tail[: tags[0].start()].strip()}\n{tail[tags[1].end() :].strip()}".strip()
    return outside, inside


def end_of_thought(thought: str, choices: tuple[str, ...]) -> tuple[str, str]:
    """The thought without the answer it ends with, and that answer (layout 1, else 3)."""
    start = max(0, len(thought) - END)
    statements = find_statements(thought[start:], choices)
    if statements and not thought[start + statements[-1].end :].strip(" \n\t.*_$"):
        return thought[:start] + _before(thought[start:], statements[-1]), statements[-1].answer
    head, _, last = thought.rpartition("\n")
    bare = strip_style(last)
    found = _BARE.fullmatch(bare)
    known = bare.casefold() in {choice.casefold() for choice in choices}
    if found and not re.fullmatch(r"\d+\.", last.strip()) and (choices or not found[1]):
        known = True
    if not known or not head.strip():
        raise Rejected("no answer", "the thought does not end with an answer, and none follows it")
    return head.rstrip(), bare


def end_of_tail(tail: str, choices: tuple[str, ...]) -> tuple[str, str]:
    """The reasoning in what follows the thought ("" = none), and the one answer stated there."""
    if len(tail) > MAX_TAIL:
        raise Rejected("unclear answer", f"{len(tail):,} characters follow the thought")
    statements = find_statements(tail, choices)
    if not statements:
        if "\n" in tail or len(tail) > MAX_ANSWER:
            raise Rejected("unclear answer", "reasoning follows the thought, but no stated answer")
        return "", strip_style(tail)
    if len({_key(statement.answer) for statement in statements}) > 1:
        said = ", ".join(repr(statement.answer[:30]) for statement in statements[:3])
        raise Rejected("unclear answer", f"several answers are stated: {said}")
    last = statements[-1]
    before = _before(tail, statements[0])
    return f"{before}\n{tail[last.end :].strip(' .*_')}".strip(), last.answer


def _before(text: str, statement: Statement) -> str:
    """What stands before a statement, without the sentence that only leads to it."""
    before = text[: statement.start].rstrip(" \t\n,*_#>$")
    if lead := _LEAD.search(before, max(0, len(before) - 20)):
        before = before[: lead.start()]
    return before.rstrip(" \t\n,*_#>")


def _key(answer: str) -> str:
    """Two answers are the same when these are: `B` and `(B) 14`, `14` and `$14$`."""
    plain = re.sub(r"[\s$*()\\{}]+", "", answer).casefold()
    letter = re.match(r"\(?([A-Z])\)?(?:[.:)]\s*\S.*|\s*\Z)", answer)
    return letter[1].casefold() if letter else plain
