"""Where the answer is found in a whole response, and what is said when there is none."""

import pytest

from onevision_jax.rewards import extract, grade

LONG = "Let us think about this step by step.\n" * 5

FOUND = [
    ("<think>x</think><answer>5</answer>", "5"),
    ("<think>x</think>\n<answer>\n 5 \n</answer>\n", "5"),
    ("<THINK>x</THINK><Answer>5</Answer>", "5"),
    ("reasoning</think><answer>5</answer>", "5"),
    ("<think>x <answer>5</answer>", "5"),
    ("<answer>4</answer> no, <answer>5</answer>", "5"),
    ("I put it in <answer> tags. <answer>5</answer>", "5"),
    ("<think>maybe <answer>4</answer></think><answer>5</answer>", "5"),
    (r"<think>\boxed{4}</think><answer>5</answer> \boxed{6}", "5"),
    (r"<answer>The area is \boxed{5}</answer>", "5"),
    (r"<answer>The answer is 5.</answer>", "5"),
    (LONG + r"So \boxed{4}, wait, \boxed{5}.", "5"),
    (LONG + r"$\boxed{\frac{1}{2}}$ is it", r"\frac{1}{2}"),
    (LONG + r"$\boxed {5}$", "5"),
    (LONG + r"\boxed{x=\{1,2\}}", r"x=\{1,2\}"),
    (LONG + r"\boxed{1} and \boxed{2}", "1 or 2"),
    (LONG + r"\boxed{1}, \boxed{2}, and \boxed{3}.", "1 or 2 or 3"),
    (LONG + r"\boxed{1} is too small, so \boxed{2}", "2"),
    (r"<think>\boxed{4}</think> so \boxed{5}", "5"),
    (LONG + r"\boxed{45}. The answer is: (E).", "(E)"),
    (LONG + r"\boxed{45}. I hope this answer is helpful.", "45"),
    (LONG + "The answer is 5.", "5"),
    (LONG + "The final answer is: $5$", "$5$"),
    (LONG + "the answer is 4. No: the answer is 5, because of that.", "5"),
    (LONG + "**Answer:** B", "B"),
    (LONG + "**Answer: B**", "B"),
    (LONG + "Answer:\n\nB", "B"),
    (LONG + "The correct option is **B**.", "**B**"),
    (LONG + "The answer should be 3.5 cm. Great.", "3.5 cm"),
    (LONG + "因此答案是5。", "5"),
    (LONG + "答案：B", "B"),
    (LONG + "故选B。", "B"),
    ("42", "42"),
    ("<think>hmm</think> 42", "42"),
]

NOT_FOUND = [
    ("", "empty"),
    ("   \n ", "empty"),
    ("<think>x</think>", "empty"),
    ("<think>The answer is 5</think>", "empty"),
    (r"<think>\boxed{5}</think>", "empty"),
    ("<answer></answer>", "<answer> is empty"),
    ("<answer>4</answer><answer> </answer>", "<answer> is empty"),
    (LONG + r"\boxed{}", "box is empty"),
    (LONG, "no <answer>"),
    (LONG + "I am not sure what it could be.", "no <answer>"),
]

CUT = [
    "<think>I was going to say \\boxed{5} and the answer is 5",
    "<think>a</think><think>b",
    "<think>a</think><answer>5",
    "<answer>4</answer> no: <answer>5",
    LONG + r"so \boxed{\frac{1}{2",
]


@pytest.mark.parametrize(("response", "span"), FOUND)
def test_found(response, span):
    assert extract(response).span == span


@pytest.mark.parametrize(("response", "reason"), NOT_FOUND)
def test_not_found_and_why(response, reason):
    found = extract(response)
    assert found.span is None
    assert not found.truncated
    assert reason in found.source
    assert grade(response, "5", answer_kind="number").verdict == "unparsed"


@pytest.mark.parametrize("response", CUT)
@pytest.mark.parametrize("finish_reason", [None, "stop", "length"])
def test_truncated_by_its_own_text(response, finish_reason):
    graded = grade(response, "5", answer_kind="number", finish_reason=finish_reason)
    assert graded.verdict == "truncated"
    assert graded.extracted is None


@pytest.mark.parametrize("response", [LONG, LONG + "The answer is 5", "5", "The answer is 5"])
def test_cut_at_the_length_limit(response):
    """A phrase in unfinished text is not final; a complete tag or box is."""
    assert grade(response, "5", answer_kind="number", finish_reason="length").verdict == "truncated"
    for whole in ("<answer>5</answer>", r"\boxed{5}"):
        graded = grade(LONG + whole, "5", answer_kind="number", finish_reason="length")
        assert graded.verdict == "correct"


def test_reasons_name_where_the_answer_stood():
    assert grade("<answer>5</answer>", "5", answer_kind="number").reason.endswith("(answer)")
    assert grade(LONG + r"\boxed{6}", "5", answer_kind="number").reason == "another value (box)"
    assert grade("the answer is 5", "5", answer_kind="number").reason.endswith("(phrase)")
