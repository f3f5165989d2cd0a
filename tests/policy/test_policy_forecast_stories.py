"""The policy with its forecast, told in minutes: a past on record, then the decisive hour."""

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from scaler.model import Bounds, Decision, ReasonCode
from scaler.policy import Memory
from scaler.policy.forecast import Record
from scaler.policy.forecast.record import DAY, STEP_SECONDS
from scaler.policy.forecast.windows import Floats
from scaler.policy.outlook import Outlook
from tests.policy.forecast.weeks import office
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


@dataclass(frozen=True)
class Minute:
    """What one tick of a played past-and-future came to."""

    hour: float
    demand: float
    ready: int
    decision: Decision


def live(story: Story, past: Floats, future: Floats, replicas: int) -> list[Minute]:
    """Play ``future`` (30 s each, in replicas) after ``past``; up to sixteen replicas of a known capacity."""
    policy = story.settings.policy.model_copy(update={"target_concurrency": PER_REPLICA})
    story.settings = story.settings.model_copy(update={"max_replicas": 16, "policy": policy})
    with_past(story, past, replicas)
    told = []
    for demand in future.tolist():
        for _ in range(3):
            decision = story.tick(demand * PER_REPLICA)
            told.append(Minute(story.now % 86400 / 3600, demand, story.fleet.ready, decision))
    return told


def served(told: list[Minute]) -> float:
    """Share of ticks in which what arrived fitted what was ready."""
    return float(np.mean([minute.ready >= minute.demand for minute in told]))


def changes(told: list[Minute]) -> int:
    counts = [minute.decision.bounds.min_replicas for minute in told]
    return sum(one != other for one, other in pairwise(counts))


HOUR = DAY // 24
EIGHT = 8 * DAY + 8 * HOUR
"""Eight in the morning of a working day, with a week and a day before it."""


def test_a_slow_ramp_is_climbed_replica_by_replica(story: Story) -> None:
    noise = np.exp(0.03 * np.random.default_rng(3).standard_normal(2 * HOUR))
    told = live(story, steady(1.0), np.linspace(1, 5, 2 * HOUR) * noise, 2)
    assert served(told) > 0.97
    assert changes(told) <= 6
    steps = [(a.decision.bounds.min_replicas, b.decision.bounds.min_replicas) for a, b in pairwise(told)]
    assert {after - before for before, after in steps} <= {0, 1}
    reasons = {minute.decision.reasons[0].code for minute in told}
    assert ReasonCode.FORECAST in reasons
    assert ReasonCode.TRAFFIC_DOWN not in reasons


def test_the_morning_rush_finds_replicas_ready(story: Story) -> None:
    week = office(9, seed=4)
    told = live(story, week[:EIGHT], week[EIGHT : EIGHT + 2 * HOUR], 1)
    first = next(minute for minute in told if minute.decision.reasons[0].code is ReasonCode.FORECAST)
    rush = next(minute for minute in told if minute.demand > 1)
    assert first.hour <= rush.hour - 300 / 3600, "a start takes five minutes, so it begins before the rush does"
    assert "In 5 min, when a start would serve" in first.decision.sentence
    assert served(told) == 1.0


def test_on_a_holiday_what_was_made_ready_is_given_back(story: Story) -> None:
    told = live(story, office(9, seed=4)[:EIGHT], np.full(3 * HOUR, 0.5), 1)
    most = max(minute.decision.bounds.min_replicas for minute in told)
    assert 2 <= most <= 3, "two replicas in all for a rush that does not come"
    assert told[-1].decision.bounds.min_replicas < most
    assert ReasonCode.TRAFFIC_DOWN in {minute.decision.reasons[0].code for minute in told}


def test_traffic_that_grows_a_tenth_a_day_is_served_beyond_every_earlier_day(story: Story) -> None:
    week = office(9, seed=4)
    grown = 0.45 * week * 1.1 ** (np.arange(week.size) // DAY)
    today = grown[EIGHT : EIGHT + 2 * HOUR]
    told = live(story, grown[:EIGHT], today, 1)
    assert today.max() > grown[: 8 * DAY].max()
    assert served(told) > 0.97
    assert max(minute.decision.bounds.min_replicas for minute in told) <= 1.5 * today.max()
