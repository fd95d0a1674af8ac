"""The reward for formal text: the block a response shows against the record's own."""

import pytest

from onevision_jax.data.synthetic import make_record
from onevision_jax.data.target import TargetConfig, response_text
from onevision_jax.errors import InputError
from onevision_jax.rewards import RewardConfig, reward
from onevision_jax.rewards.formal import formal_block, formal_reward

FAMILIES = ("charts", "circuits", "flowcharts", "scenes", "geometry", "pedigrees", "matrices")


@pytest.mark.parametrize("family", FAMILIES)
def test_the_target_itself_is_worth_one_and_a_neighbour_less(family):
    first, second = (make_record(family, 3, number, 2) for number in (0, 1))
    response = response_text(first, TargetConfig())
    assert formal_reward(response, first.formal_text, first.formal_language) == 1.0
    assert formal_reward(response, second.formal_text, second.formal_language) < 1.0


def test_what_is_missing_is_worth_nothing():
    record = make_record("charts", 3, 0)
    want = (record.formal_text, record.formal_language)
    block = f"```csv\n{record.formal_text}\n```"
    assert formal_reward(block, *want) == 1.0
    for response in ("", record.formal_text, block.replace("csv", "html", 1), block[:-3]):
        assert formal_reward(response, *want) == 0.0
    assert formal_reward(block, "", "csv") == 0.0
    assert formal_reward(block, record.formal_text, "klingon") == 0.0
    assert formal_reward(block, "no,table", "csv") == 0.0


def test_blocks_with_longer_fences_and_open_ones():
    assert formal_block("```csv\nopen") is None
    assert formal_block("a\n````md x\n```\ny\n```\n````\nb") == ("md", "```\ny\n```")
    assert formal_block("```\n\n```") == ("", "")


def test_the_part_is_weighed_and_may_be_left_out():
    record = make_record("charts", 3, 0)
    response = response_text(record, TargetConfig())
    known = {"answer_kind": record.answer_kind, "choices": record.choices}
    formal = (record.formal_text, record.formal_language)
    config = RewardConfig(accuracy_weight=0.5, format_weight=0.1, formal_weight=0.4)
    found = reward(response, record.answer, formal=formal, config=config, **known)
    assert (found.formal, found.total) == (1.0, pytest.approx(1.0))
    without = reward(response, record.answer, formal=formal, **known)
    assert without.formal == 0.0
    with pytest.raises(InputError, match="formal_weight"):
        RewardConfig(formal_weight=-1.0)


@pytest.mark.timeout(30)
def test_fences_without_end_take_no_time():
    assert formal_block("```x\n" * 20_000) is not None
    assert formal_block(("`" * 50 + "x\n") * 2_000 + "y") is not None
    assert formal_block("".join("`" * (3 + n % 200) + "x\n" for n in range(2000))) is not None
