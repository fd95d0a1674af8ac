"""Conversations as they were published: what comes out, what is repaired, what is refused."""

import time

import pytest

from onevision_jax.data.cleaning import Dialogue, clean
from onevision_jax.data.cleaning.answer import choose, find_statements, kind_of, strip_style
from onevision_jax.data.cleaning.question import PREFIXES, SUFFIXES, clean_question, split_choices
from onevision_jax.data.cleaning.residue import cut_residue
from onevision_jax.data.cleaning.response import clean_response
from onevision_jax.data.source import Rejected
from onevision_jax.data.target import TargetConfig, response_text

CHOICES = ("12", "14", "16")
WHY = "The image shows a right triangle with legs 5 and 12. By Pythagoras the side is 13."


def refusal(function, *arguments) -> str:
    with pytest.raises(Rejected) as caught:
        function(*arguments)
    assert str(caught.value)
    return caught.value.reason


@pytest.mark.parametrize("wrapper", PREFIXES)
def test_prefixes_come_off(wrapper):
    found = clean_question(f"<image>\n{wrapper}\nQuestion: Find x.", True)
    assert found == ("Find x.", (), ("question prefix",))


@pytest.mark.parametrize("wrapper", SUFFIXES)
def test_suffixes_come_off(wrapper):
    found = clean_question(f"<image>\nFind x.\n{wrapper.replace(' ', '  ', 1)} ", True)
    assert found == ("Find x.", (), ("question suffix",))


def test_a_label_without_a_wrapper_and_a_wrapper_inside_stay():
    text = f"Question: what does '{SUFFIXES[0]}' mean?"
    assert clean_question(text, False) == (text, (), ())


@pytest.mark.parametrize(
    ("turn", "repair"),
    [
        ("<image>\nFind x.", ()),
        ("Find x.", ("<image> missing",)),
        ("<image><image>\nFind x.", ("<image> doubled",)),
        ("Find <image> x.", ()),
    ],
)
def test_placeholders(turn, repair):
    assert clean_question(turn, True) == ("Find x.", (), repair)


def test_questions_that_are_refused():
    assert refusal(clean_question, "<image>\nFind x.", False) == "images"
    assert refusal(clean_question, f"<image>\n{PREFIXES[0]}\n", True) == "no question"
    assert refusal(clean_question, "<image>\nA. 1\nB. 2", True) == "no question"


@pytest.mark.parametrize(
    ("text", "question", "choices"),
    [
        ("Find x.\nChoices:\n(A) 12\n(B) 14", "Find x.", ("12", "14")),
        ("Find x.\nA. 12\nB. 14\nC. 16", "Find x.", CHOICES),
        ("Find x.\nOptions:\nA: 12 cm\nB: a (B) c", "Find x.", ("12 cm", "a (B) c")),
        ("Find x. Choices: (A) 12 (B) 14 (C) 16", "Find x.", CHOICES),
        ("Which is (A)?\nA) red\nB) blue", "Which is (A)?", ("red", "blue")),
        # Not options: one letter, a gap, an order, text behind them, sentences with initials.
        ("Find x.\nA. 12", None, ()),
        ("Find x.\nA. 12\nC. 16", None, ()),
        ("Find x.\nB. 12\nA. 14", None, ()),
        ("Find x.\nA. 12\nB. 14\nSay why.", None, ()),
        ("Is (A) left of (C) here?", None, ()),
        ("Who met J. B. Smith?", None, ()),
    ],
)
def test_choices_at_the_end_of_a_question(text, question, choices):
    assert split_choices(text) == (text if question is None else question, choices)


@pytest.mark.parametrize(
    ("styled", "plain"),
    [
        ("Answer: A", "A"),
        ("**Answer:** 14", "14"),
        ("**Answer: B**", "B"),
        ("$\\boxed{\\frac{1}{2}}$", "\\frac{1}{2}"),
        ("\\boxed{14}.", "14"),
        ("The correct answer is: **(C) 16**.", "(C) 16"),
        ("3.5", "3.5"),
        ("the red one.", "the red one"),
        ("2**3", "2**3"),
        ("$5", "$5"),
    ],
)
def test_styles_of_answers(styled, plain):
    assert strip_style(styled) == plain


def test_statements_are_found_once_each():
    text = "So x is \\boxed{3}.\nThe answer is B. It fits.\n**Answer:** $\\boxed{4}$"
    assert [s.answer for s in find_statements(text, ("3", "4"))] == ["3", "B", "4"]


def test_answers_become_letters():
    assert choose("B", CHOICES) == ("B", [])
    assert choose("(B) 14", CHOICES) == ("B", ["answer to letter"])
    assert choose("14", CHOICES) == ("B", ["answer to letter"])
    assert refusal(choose, "D", CHOICES) == "not a choice"
    assert refusal(choose, "A. 14", CHOICES) == "not a choice"
    assert refusal(choose, "15", CHOICES) == "not a choice"
    assert refusal(choose, "A", ("B", "A")) == "unclear answer"


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ("14", "number"),
        ("-3.5", "number"),
        ("1,200", "number"),
        ("60°", "number"),
        ("12 cm", "number"),
        ("3/4", "expression"),
        ("\\sqrt{2}", "expression"),
        ("red", "text"),
        ("cm2", "text"),
        ("A", "text"),
    ],
)
def test_kinds_of_answers(answer, kind):
    assert kind_of(answer) == kind


@pytest.mark.parametrize(
    ("turn", "layout", "answer", "reasoning"),
    [
        (f"<think>{WHY}\n\n**Answer:** 13</think>", 1, "13", WHY),
        (f"<think>{WHY} So the answer is 13.</think>", 1, "13", WHY),
        (f"<think>{WHY}\n\n13</think>", 1, "13", WHY),
        (f"<think>\n{WHY}\n</think>\n\n13", 2, "13", WHY),
        (f"<think>{WHY}</think> **Answer:** 13", 2, "13", WHY),
        (f"<think>{WHY}</think>It is 5+8.\nThe final answer is $\\boxed{{13}}$.", 4, "13", None),
        (f"<think>{WHY}</think>Answer: 13\nFor 25+144=169.", 4, "13", f"{WHY}\n\nFor 25+144=169"),
        (f"{WHY}</think>\n<answer> 13 </answer>", 0, "13", WHY),
        (f"<think>{WHY}</think><answer>13</answer>", 0, "13", WHY),
        (f"{WHY}\nAnswer: 13", 0, "13", WHY),
        ("13", 0, "13", ""),
    ],
)
def test_layouts(turn, layout, answer, reasoning):
    found = clean_response(turn, ())
    assert (found.layout, found.answer) == (layout, answer)
    if reasoning is None:
        assert found.reasoning.startswith(WHY)
        assert "boxed" not in found.reasoning
    else:
        assert found.reasoning == reasoning


def test_option_by_option():
    tail = "Option A: 12 is too short.\nOption B: 14 fits.\nThe correct answer is B. It fits."
    found = clean_response(f"<think>{WHY}</think>\n{tail}", CHOICES)
    assert (found.answer, found.layout) == ("B", 4)
    assert "Option A: 12 is too short." in found.reasoning


@pytest.mark.parametrize(
    ("turn", "reason"),
    [
        (f"<think>{WHY}</think>", "no answer"),
        ("<think>1. Look.\n2. Count.\n3.</think>", "no answer"),
        ("<think></think>", "no answer"),
        (f"<think>{WHY}</think><answer> </answer>", "no answer"),
        (f"<think>{WHY}", "tags"),
        (f"<think><think>{WHY}</think></think>13", "tags"),
        (f"Sure. <think>{WHY}</think>13", "tags"),
        (f"<think>{WHY}</think><answer>1</answer><answer>2</answer>", "tags"),
        (f"<think>{WHY}</think>Answer: 12\nAnswer: 13", "unclear answer"),
        (f"<think>{WHY}</think>Option A is wrong.\nOption B is right.", "unclear answer"),
        (f"<think>{WHY}</think>{'It is so. ' * 40}", "unclear answer"),
    ],
)
def test_responses_that_are_refused(turn, reason):
    assert refusal(clean_response, turn, ()) == reason


def test_residue_is_cut_and_nothing_else():
    text = (
        "Sure! Here is the revised Chain of Thought:\n\n"
        "The image shows 3 dots. The image directly shows them, so no additional visualization is "
        "needed. A revised estimate of the data visualization gives 3.\n\n### Revised CoT\n"
        "So there are 3."
    )
    left, cut = cut_residue(text)
    assert left == (
        "The image shows 3 dots. A revised estimate of the data visualization gives 3.\n\n"
        "So there are 3."
    )
    assert cut == 3
    assert cut_residue(WHY) == (WHY, 0)
    assert refusal(cut_residue, "This revised version removes the visualization step. Fine.") == (
        "residue"
    )


def test_a_whole_row():
    question = f"{PREFIXES[0]}\nQuestion: Find x.\nChoices:\n(A) 12\n(B) 13\n(C) 14"
    row = Dialogue("r1", b"\x89PNG", question, f"<think>{WHY}</think>\n\nAnswer: B", "here")
    record, repairs = clean(row, needs_reasoning=True)
    assert response_text(record, TargetConfig()) == f"<think>{WHY}</think>\n<answer>B</answer>"
    assert (record.question, record.choices) == ("Find x.", ("12", "13", "14"))
    assert (record.answer_kind, record.provenance["layout"]) == ("choice", 2)
    assert repairs == ("<image> missing", "question prefix", "choices parsed")


def test_rows_without_reasoning_are_asked_for():
    row = Dialogue("r1", None, "How many?", "3")
    assert clean(row, needs_reasoning=False).record.answer == "3"
    assert refusal(clean, row, True) == "no reasoning"
    tagged = Dialogue("r1", None, "How many?", "<think>a <answer>b</think>3")
    assert refusal(clean, tagged, True) == "target"


def outcome(question: str, response: str) -> str:
    """The reason of a refusal, or "" when the row is good."""
    try:
        clean(Dialogue("r", None, question, response), needs_reasoning=False)
    except Rejected as rejected:
        return rejected.reason
    return ""


@pytest.mark.parametrize(
    "piece", ["a ", "\\boxed{", "(A) x ", "the answer is ", "CoT. ", "**", "\n"]
)
def test_megabytes_are_refused_or_cleaned_quickly(piece):
    start = time.monotonic()
    assert outcome("x" * 10_000_000, "3") == "too long"
    assert outcome(piece * (40_000 // len(piece)), "3") in ("", "no question", "not a choice")
    long = piece * (200_000 // len(piece))
    responses = (f"<think>{long}</think>3", f"<think>{long}</think>", f"<think>a</think>{long}")
    allowed = {"", "residue", "no answer", "unclear answer"}
    assert {outcome("How many?", response) for response in responses} <= allowed
    assert time.monotonic() - start < 30
