"""What the model is asked, and what it should answer: the prompt and the SFT target of a record.

    user       <image> question                 <think>```csv          only if `formal`
               A. first choice                  label,value
               B. second choice                 ...
               instruction                      ```
                                                reasoning</think>
                                                <answer>answer</answer>

A record that shows no work (`TargetConfig.worked`) has nothing between the tags of `<think>`.

Only the response is trained on. Its four tags are what rewards and graders look for, so a record
whose own text holds one of them is refused: the answer would be cut in the wrong place.
"""

import dataclasses
import hashlib
import re
from typing import Any

from onevision_jax.data.record import Record
from onevision_jax.errors import InputError

TAGS = ("<think>", "</think>", "<answer>", "</answer>")
MAX_CHOICES = 26  # Letters A to Z.


@dataclasses.dataclass(frozen=True)
class TargetConfig:
    """The template of prompts and responses."""

    formal: bool = True
    """Describe the image in its formal language first, then reason; False: reasoning alone."""
    worked: float = 1.0
    """Share of the records, chosen by the hash of their id, whose response shows formal text and
    reasoning; the others give the answer alone, as most question sets about images do."""
    instruction: str = ""
    """Last line of every prompt, such as a request for the tags; "" = none."""
    system: str = ""
    """System prompt; "" leaves it to the chat template."""

    def __post_init__(self):
        if not 0 <= self.worked <= 1:
            raise InputError(f"worked is {self.worked}; give a share from 0 to 1")


def prompt_messages(record: Record, config: TargetConfig) -> list[dict[str, Any]]:
    """The conversation that ends with the user's turn, for `Processor`.

    An image stands before the question and carries its encoded bytes. Raises InputError when there
    are more choices than letters.
    """
    lines = [record.question, *lettered(record.choices), config.instruction]
    content: list[dict[str, Any]] = []
    if record.image is not None:
        content.append({"type": "image", "image": record.image})
    content.append({"type": "text", "text": "\n".join(line for line in lines if line)})
    messages: list[dict[str, Any]] = [{"role": "user", "content": content}]
    if config.system:
        messages.insert(0, {"role": "system", "content": config.system})
    return messages


def lettered(choices: tuple[str, ...]) -> list[str]:
    """One line a choice: `A. first`, `B. second`, ..."""
    if len(choices) > MAX_CHOICES:
        raise InputError(f"field 'choices' has {len(choices)} entries; give {MAX_CHOICES} at most")
    return [f"{chr(ord('A') + place)}. {choice}" for place, choice in enumerate(choices)]


def response_text(record: Record, config: TargetConfig) -> str:
    """The text the model should generate, without the end token.

    A record with neither formal text nor reasoning keeps its tags around nothing. Raises InputError
    when a part holds one of the `TAGS`.
    """
    parts = {"reasoning": record.reasoning, "answer": record.answer}
    if config.formal:
        parts["formal_text"] = record.formal_text
    for name, text in parts.items():
        found = next((tag for tag in TAGS if tag in text), None)
        if found is not None:
            raise InputError(f"field {name!r} holds {found}, which marks the parts of a response")
    shown = is_worked(record, config.worked)
    thoughts = [record.reasoning.strip("\n")] if shown else []
    if shown and config.formal and record.formal_text.strip():
        thoughts.insert(0, fenced(record.formal_text, record.formal_language))
    thought = "\n".join(part for part in thoughts if part)
    return f"<think>{thought}</think>\n<answer>{record.answer.strip()}</answer>"


def is_worked(record: Record, share: float) -> bool:
    """Whether a record is of the share that shows its work: the same in every run and split."""
    digest = hashlib.sha256(f"worked {record.id}".encode()).digest()
    return int.from_bytes(digest[:6], "big") < share * 2**48


def fenced(text: str, language: str) -> str:
    """A Markdown code block; its fence is longer than any run of backticks inside."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    body = text.strip("\n")
    return f"{fence}{language}\n{body}\n{fence}"
