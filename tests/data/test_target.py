"""Prompts and targets: the template word by word, and texts that would break it."""

import dataclasses

import pytest

from onevision_jax.data.record import Record
from onevision_jax.data.target import TAGS, TargetConfig, prompt_messages, response_text
from onevision_jax.errors import InputError

CHART = Record(
    id="1",
    image=b"\x89PNG",
    question="Which is larger?",
    answer="B",
    answer_kind="choice",
    choices=("apples", "pears"),
    formal_text="label,value\napples,1\npears,2\n",
    formal_language="csv",
    reasoning="2 is more than 1.",
)


def test_formal_first():
    assert response_text(CHART, TargetConfig()) == (
        "<think>```csv\nlabel,value\napples,1\npears,2\n```\n2 is more than 1.</think>\n"
        "<answer>B</answer>"
    )


def test_reasoning_alone():
    expected = "<think>2 is more than 1.</think>\n<answer>B</answer>"
    assert response_text(CHART, TargetConfig(formal=False)) == expected
    without = dataclasses.replace(CHART, formal_text="")
    assert response_text(without, TargetConfig(formal=True)) == expected


def test_formal_alone_and_nothing_at_all():
    without = dataclasses.replace(CHART, reasoning="")
    assert response_text(without, TargetConfig()).startswith("<think>```csv\nlabel")
    assert response_text(without, TargetConfig()).endswith(
        "pears,2\n```</think>\n<answer>B</answer>"
    )
    assert (
        response_text(without, TargetConfig(formal=False)) == "<think></think>\n<answer>B</answer>"
    )


def test_fence_is_longer_than_any_inside():
    inside = dataclasses.replace(CHART, formal_text="```\ncode\n````", formal_language="html")
    text = response_text(inside, TargetConfig())
    assert text.startswith("<think>`````html\n```\ncode\n````\n`````\n2 is")


def test_prompt():
    config = TargetConfig(instruction="Answer in tags.", system="Be exact.")
    assert prompt_messages(CHART, config) == [
        {"role": "system", "content": "Be exact."},
        {
            "role": "user",
            "content": [
                {"type": "image", "image": CHART.image},
                {
                    "type": "text",
                    "text": "Which is larger?\nA. apples\nB. pears\nAnswer in tags.",
                },
            ],
        },
    ]


def test_prompt_without_image():
    (message,) = prompt_messages(dataclasses.replace(CHART, image=None, choices=()), TargetConfig())
    assert message["content"] == [{"type": "text", "text": "Which is larger?"}]


@pytest.mark.parametrize("tag", TAGS)
@pytest.mark.parametrize("field", ["reasoning", "answer", "formal_text"])
def test_tags_inside_are_refused(field, tag):
    hostile = dataclasses.replace(CHART, **{field: f"a {tag} b"})
    with pytest.raises(InputError, match=f"field '{field}' holds {tag}"):
        response_text(hostile, TargetConfig())


def test_tags_in_an_unused_part_do_no_harm():
    record = dataclasses.replace(CHART, formal_text="<think>")
    assert "<think>2 is" in response_text(record, TargetConfig(formal=False))


def test_too_many_choices():
    many = dataclasses.replace(CHART, choices=tuple(map(str, range(27))))
    with pytest.raises(InputError, match="27 entries; give 26 at most"):
        prompt_messages(many, TargetConfig())


def test_a_share_of_the_records_shows_its_work():
    records = [dataclasses.replace(CHART, id=str(i)) for i in range(2000)]
    bare = "<think></think>\n<answer>B</answer>"

    def worked(share):
        return {r.id for r in records if response_text(r, TargetConfig(worked=share)) != bare}

    assert worked(0.0) == set()
    assert len(worked(1.0)) == 2000
    assert 720 <= len(worked(0.4)) <= 880  # four standard deviations
    assert worked(0.2) < worked(0.4)  # a record keeps its place when the share grows
    with pytest.raises(InputError, match=r"worked is 1\.5"):
        TargetConfig(worked=1.5)
