"""The policy with its forecast, told in minutes: a past on record, then the decisive hour."""

from dataclasses import replace
from itertools import pairwise

import numpy as np

from scaler.model import Bounds, ReasonCode
from scaler.policy import Memory
from scaler.policy.forecast import Record
from scaler.policy.forecast.record import DAY, STEP_SECONDS
from scaler.policy.forecast.windows import Floats
from scaler.policy.outlook import Outlook
from tests.policy.story import Story

PER_REPLICA = 8.0


def with_past(story: Story, values: Floats, replicas: int) -> None:
    """The story begins after ``values`` (30 s each, in replicas), with so many replicas running."""
    story.now = values.size * STEP_SECONDS
    story.memory = Memory(outlook=Outlook(Record(values, values.size), values.size))
    story.endpoint = replace(story.endpoint, bounds=Bounds(replicas, replicas))


def steady(level: float, days: int = 2) -> Floats:
    return level * np.exp(0.03 * np.random.default_rng(1).standard_normal(days * DAY))


def test_a_flash_crowd_that_nobody_foresaw_is_followed_by_its_load(story: Story) -> None:
    with_past(story, steady(1.4), 2)
    story.minutes(6, 1.4 * PER_REPLICA)
    assert story.replicas == 2
    crowd = story.minutes(5, 5 * PER_REPLICA)
    assert story.replicas >= 5
    up = next(decision for decision in crowd if decision.bounds.min_replicas > 2)
    assert up.reasons[0].code in {ReasonCode.TRAFFIC_UP, ReasonCode.FORECAST}


def test_a_gap_takes_nothing_away_and_is_no_zero_on_record(story: Story) -> None:
    with_past(story, steady(3.0), 4)
    story.minutes(6, 3.0 * PER_REPLICA)
    before = story.endpoint.bounds
    for decision in story.minutes(10, None):
        assert decision.hold
        assert [reason.code for reason in decision.reasons] == [ReasonCode.NO_DATA]
    assert story.endpoint.bounds == before
    assert np.isnan(story.memory.outlook.record.values[-18:]).all()
    back = story.minutes(4.5, 0.2 * PER_REPLICA)
    assert all(decision.bounds.min_replicas >= before.min_replicas for decision in back)


def test_a_fresh_memory_takes_nothing_away_at_first_and_says_so(story: Story) -> None:
    story.endpoint = replace(story.endpoint, bounds=Bounds(5, 5))
    for decision in story.minutes(4.5, 1.0):
        assert decision.bounds == Bounds(5, 5)
        assert decision.reasons[0].code is ReasonCode.WARMING_UP
        assert "taking away needs 300" in decision.sentence


def test_what_has_no_hardware_is_asked_for_once_and_said(story: Story) -> None:
    with_past(story, steady(1.4), 2)
    story.minutes(6, 1.4 * PER_REPLICA)
    story.minutes(2, 4 * PER_REPLICA)
    asked = story.replicas
    assert asked > 2
    story.endpoint = replace(story.endpoint, ready_replicas=2, missing_replicas=asked - 2)
    for decision in story.minutes(10, 6 * PER_REPLICA):
        assert decision.bounds.min_replicas == asked
        assert ReasonCode.SHORTAGE in {reason.code for reason in decision.reasons}
        assert "no hardware yet" in decision.sentence


def test_the_past_gives_these_stories_a_forecast(story: Story) -> None:
    with_past(story, steady(1.4), 2)
    decisions = story.minutes(10, 1.4 * PER_REPLICA)
    assert story.memory.outlook.forecast is not None
    assert not story.memory.outlook.young
    assert {decision.bounds for decision in decisions} == {Bounds(2, 2)}
    assert "To be expected" in decisions[-1].sentence


def test_noise_around_a_target_brings_at_most_two_actions_an_hour(story: Story) -> None:
    dice = np.random.default_rng(7)
    past = 1.4 * (1 + dice.uniform(-0.2, 0.2, 2 * DAY))
    with_past(story, past, 2)
    for _ in range(360):
        story.tick(1.4 * PER_REPLICA * (1 + dice.uniform(-0.2, 0.2)))
    counts = [2, *(decision.bounds.min_replicas for decision in story.decisions)]
    assert sum(one != other for one, other in pairwise(counts)) <= 2
