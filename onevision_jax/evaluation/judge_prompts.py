"""What a judge model is told, and how its answers are read: one object for each published protocol.

A judge works in two steps. It reads the final answer out of a response without seeing the gold;
then it compares that answer with the gold. A response that talks to the judge reaches the first
step only, and what it can make the judge read out.
"""

import dataclasses
import re
from collections.abc import Callable

from onevision_jax.evaluation.questions import Question
from onevision_jax.evaluation.task import plain_prompt
from onevision_jax.rewards.grade import gold_letter

MAX_RESPONSE = 60_000  # last characters of a response that the judge is shown
MAX_EXTRACTED = 2_000


@dataclasses.dataclass(frozen=True, kw_only=True)
class JudgeProtocol:
    """The two prompts and the reading of their answers; the last three stand in results.json."""

    extract: Callable[[Question, str], str]  # of the response
    score: Callable[[Question, str], str]  # of the answer that was read out
    nothing: str  # what the judge says where there is no final answer
    yes: str
    no: str
    extractor: str
    equality: str
    version: str

    def read_answer(self, text: str) -> str | None:
        """The answer the judge read out, None where it found none."""
        answer = re.sub(r"^\s*extracted answer\s*:", "", text, flags=re.IGNORECASE).strip()
        if answer.strip(" .'\"`*").lower() in ("", self.nothing.lower()):
            return None
        return answer[:MAX_EXTRACTED]

    def read_verdict(self, text: str) -> bool | None:
        """Whether the judge says that they match; None where it says neither or both."""
        found = set(re.findall(rf"\b({self.yes}|{self.no})\b", text, flags=re.IGNORECASE))
        words = {word.lower() for word in found}
        return None if len(words) != 1 else words == {self.yes.lower()}


def clip(response: str) -> str:
    """The end of a response, where its answer is."""
    return response[-MAX_RESPONSE:]


# R1-Onevision-Bench (arXiv 2503.10615, appendix A.3). The paper prints the instructions; how text
# and instruction were joined it does not say.
R1_CHOICE = (
    "Below is a thought process and an answer that includes the final choices. Please extract only "
    "the final choices (A, B, C, D, etc.) from the text and do not return any other words. If the "
    "final choice is not explicitly stated in the text, output NONE. No reasoning is required; "
    "just extract the answer."
)
R1_FREE = (
    "The following is a thought process and a free-form answer. Please extract the numerical value "
    "or text of the final answer, excluding any explanation. If the final answer cannot be "
    "extracted from the given text, output NONE. No reasoning is required; just extract the answer."
)
R1_SCORE = (
    "Compare 'final answer' with 'groundtruth'. If final answer matches 'groundtruth', output YES; "
    "otherwise, output NO. Do not return any extra words. For numerical answers with units, if "
    "'final answer' contains the unit but its numeric value matches 'groundtruth', consider it a "
    "match."
)


def _r1_extract(question: Question, response: str) -> str:
    told = R1_CHOICE if question.choices else R1_FREE
    return f"{told}\n\n{clip(response)}"


def _r1_score(question: Question, extracted: str) -> str:
    gold = gold_letter(question.answer, question.choices) if question.choices else ""
    return f"{R1_SCORE}\n\nfinal answer: {extracted}\ngroundtruth: {gold or question.answer}"


R1_ONEVISION = JudgeProtocol(
    extract=_r1_extract,
    score=_r1_score,
    nothing="NONE",
    yes="YES",
    no="NO",
    extractor="judge model reads the final answer out (arXiv 2503.10615 A.3)",
    equality="judge model compares it with the gold",
    version="r1-onevision-judge-1",
)

# MathVerse (arXiv 2403.14624; ZrrSkywalker/MathVerse, evaluation/prompts.py): its instructions with
# fewer and shorter examples than upstream's six and five, hence "short".
MATHVERSE_EXTRACT = """\
I am providing you a response from a model to a math problem, termed 'Model Response'. You should \
extract the answer from the response as 'Extracted Answer'. Directly output the extracted answer \
with no explanation.

1.
Model response: 'Therefore, the correct option is D. They give the solutions of f(t)=g(t).'
Extracted Answer: D

2.
Model response: 'I cannot provide the correct option, because there is not enough information.'
Extracted Answer: null

3.
Model response: 'To one decimal place, the distance d is approximately 22.3 meters.'
Extracted Answer: 22.3

4.
Model response: '"""
MATHVERSE_SCORE = """\
Below are two answers to a math question. Question is [Question], [Standard Answer] is the \
standard answer to the question, and [Model_answer] is the answer extracted from a model's output \
to this question. Determine whether these two answers are consistent.
Please note that only when the [Model_answer] completely matches the [Standard Answer] means they \
are consistent. For non-multiple-choice questions, if the meaning is expressed in the same way, it \
is also considered consistent, for example, 0.5m and 50cm.
If they are consistent, Judgement is 1; if they are different, Judgement is 0.

[Question]: Write the set of numbers represented on the number line in interval notation.
[Standard Answer]: (-2,1]
[Model_answer]: (-2, 1)
Judgement: 0

[Question]: Find the length of the ladder.
[Standard Answer]: 0.5m
[Model_answer]: 50 cm
Judgement: 1

"""


def _mathverse_extract(question: Question, response: str) -> str:
    del question
    return f"{MATHVERSE_EXTRACT}{clip(response)}'\nExtracted Answer: "


def _mathverse_score(question: Question, extracted: str) -> str:
    # The Vision-Only version has an empty question; the judge must see the full one.
    asked = question.facts.get("question_for_eval") or plain_prompt(question)
    return (
        f"{MATHVERSE_SCORE}[Question]: {asked}\n[Standard Answer]: {question.answer}\n"
        f"[Model_answer]: {extracted}\nJudgement: "
    )


MATHVERSE = JudgeProtocol(
    extract=_mathverse_extract,
    score=_mathverse_score,
    nothing="null",
    yes="1",
    no="0",
    extractor="judge model reads the final answer out (MathVerse, short examples)",
    equality="judge model compares it with the gold, seeing the question",
    version="mathverse-judge-short-1",
)

# Benchmarks that published a judge and nothing else. Elsewhere a judge is a second opinion.
PUBLISHED: dict[str, JudgeProtocol] = {"r1-onevision-bench": R1_ONEVISION, "mathverse": MATHVERSE}
