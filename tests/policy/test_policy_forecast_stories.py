"""The policy with its forecast, told minute by minute: a past on record, then the hours that decide. `tests.policy.telling` reads it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from scaler.model import Bounds, ReasonCode
from scaler.policy import Memory
from scaler.policy.forecast import Record
from scaler.policy.forecast.record import DAY, STEP_SECONDS
from scaler.policy.forecast.windows import Floats
from scaler.policy.outlook import Outlook
from tests.policy.forecast.weeks import office
from tests.policy.story import STEP, Story
from tests.policy.telling import Told, hours, play, tell

PER_REPLICA = 8.0


def with_past(story: Story, values: Floats, replicas: int) -> None:
    """The story begins after ``values`` (30 s each, in replicas), with so many replicas running."""
    story.now = values.size * STEP_SECONDS
    story.memory = Memory(outlook=Outlook(Record(values, values.size), values.size))
    story.endpoint = replace(story.endpoint, bounds=Bounds(replicas, replicas))


def steady(level: float, days: int = 2) -> Floats:
    return level * np.exp(0.03 * np.random.default_rng(1).standard_normal(days * DAY))


def act(script: str, story: Story, **events: Callable[[], object]) -> None:
    """A script of requests in flight (eight are a replica's worth), played and told by the day's clock."""
    play(script, story.tick, lambda: hours(story.now + STEP), events)


def test_a_flash_crowd_that_nobody_foresaw_is_followed_within_a_minute(story: Story) -> None:
    with_past(story, steady(1.4), 2)
    act(
        """
        clock | comes | decided | why          | in words
        00:00 | 11.2  | 2       | steady       | there: 2
        00:06 | 40    | 2 => 8  | forecast     | In 5 min, when a start would serve, a peak of … is to be expected; serving: 2
              |       |         | steady       | To be expected
        00:07 | 40    | 8       | steady       | To be expected: a peak of 7.… replicas' worth in 5 min, … there: 8
        00:11 | 11.2  | 8 => 3  | traffic_down | No more than … is to be expected within 10 min (two starts), … are there now
              |       |         | steady       | To be expected
        00:16 | 11.2  | 3       | steady       | there: 3
        00:20 | 11.2  | 3 -> 2  | traffic_down | 1.4 are there now: 2 replicas are enough.
              |       |         | steady       | To be expected
        00:35 | 11.2  | 2       | steady       | To be expected: …; there: 2.
        00:40
        """,
        story,
    )


def test_a_gap_takes_nothing_away_and_is_no_zero_on_record(story: Story) -> None:
    with_past(story, steady(3.0), 4)
    act(
        """
        clock | comes | decided | why          | in words
        00:00 | 24    | 4       | steady       | there: 4
        00:06 | ?     | held    | no_data      | The traffic is not known; no data is not zero, so whatever runs, keeps running.
        00:16 -- back
        00:16 | 1.6   | 4       | warming_up   | Traffic is known without a gap for … s; taking away needs 300.
        00:20 | 1.6   | 4 => 1  | traffic_down | No more than … is to be expected within 10 min (two starts), 0.2 are there now
              |       |         | warming_up   | taking away needs 300.
              |       |         | steady       | To be expected
              |       |         | steady       | To be expected
        00:36
        """,
        story,
        back=lambda: np.testing.assert_equal(story.memory.outlook.record.values[-18:], np.nan),
    )


def test_a_fresh_memory_takes_nothing_away_at_first_and_says_so(story: Story) -> None:
    story.endpoint = replace(story.endpoint, bounds=Bounds(5, 5))
    for decision in story.minutes(4.5, 1.0):
        assert decision.bounds == Bounds(5, 5)
        assert decision.reasons[0].code is ReasonCode.WARMING_UP
        assert "taking away needs 300" in decision.sentence


def test_what_has_no_hardware_is_asked_for_once_and_said(story: Story) -> None:
    with_past(story, steady(1.4), 2)

    def short() -> None:
        story.endpoint = replace(story.endpoint, ready_replicas=2, missing_replicas=story.replicas - 2)

    def complete() -> None:
        story.endpoint = replace(story.endpoint, ready_replicas=story.replicas, missing_replicas=0)

    act(
        """
        clock | comes | decided | why        | in words
        00:00 | 11.2  | 2       | steady     | there: 2
        00:06 | 32    | 2 => 6  | forecast   | In 5 min, when a start would serve, a peak of … is to be expected; serving: 2
              |       |         | steady     |
        00:08 -- short
        00:08 | 48    | 6       | shortage   | 4 of 6 replicas asked for have no hardware yet; nothing more is asked for until they come.
        00:18 -- complete
        00:18 | 48    | 6 => 8  | forecast   | In 5 min, when a start would serve, a peak of …; serving: 6
              |       |         | steady     |
        00:20 | 48    | 8       | steady     | there: 8
        00:23
        """,
        story,
        short=short,
        complete=complete,
    )


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
class Minute(Told):
    """What one tick of a played past-and-future came to: demand and what is ready in replicas."""

    ready: int


def live(story: Story, past: Floats, future: Floats, replicas: int) -> list[Minute]:
    """Play ``future`` (30 s each, in replicas) after ``past``; up to sixteen replicas of a known capacity."""
    policy = story.settings.policy.model_copy(update={"target_concurrency": PER_REPLICA})
    story.settings = story.settings.model_copy(update={"max_replicas": 16, "policy": policy})
    with_past(story, past, replicas)
    told = []
    for demand in future.tolist():
        for _ in range(3):
            decision = story.tick(demand * PER_REPLICA)
            told.append(Minute(hours(story.now), demand, decision, story.fleet.ready))
    return told


def served(told: list[Minute]) -> float:
    """Share of ticks in which what arrived fitted what was ready."""
    return float(np.mean([minute.comes is not None and minute.ready >= minute.comes for minute in told]))


HOUR = DAY // 24
EIGHT = 8 * DAY + 8 * HOUR
"""Eight in the morning of a working day, with a week and a day before it."""


def test_a_slow_ramp_is_climbed_replica_by_replica(story: Story) -> None:
    noise = np.exp(0.03 * np.random.default_rng(3).standard_normal(2 * HOUR))
    told = live(story, steady(1.0), np.linspace(1, 5, 2 * HOUR) * noise, 2)
    tell(
        """
        clock | comes      | decided | why      | in words
        00:00 | 0.9 .. 1.9 | 2       | steady   | there: 2
        00:23 | 1.5 .. 2.4 | 2 -> 3  | forecast | In 5 min, when a start would serve, a peak of 2.… is to be expected; serving: 2
              |            |         | steady   | To be expected: a peak of …
        00:35 | 2.0 .. 2.8 | 3       | steady   | there: 3
        00:49 | 2.4 .. 3.2 | 3 -> 4  | forecast | a peak of 3.… replicas' worth is to be expected; serving: 3, starting: 0.
              |            |         | steady   | To be expected: a peak of …
        01:00 | 2.8 .. 3.8 | 4       | steady   | there: 4
        01:20 | 3.3 .. 4.0 | 4 -> 5  | forecast | a peak of 4.… replicas' worth is to be expected; serving: 4, starting: 0.
              |            |         | steady   | To be expected: a peak of …
        01:25 | 3.5 .. 4.9 | 5       | steady   | there: 5
        01:52 | 4.4 .. 5.4 | 5 -> 6  | forecast | a peak of 5.… replicas' worth is to be expected; serving: 5, starting: 0.
              |            |         | steady   | To be expected: a peak of …
        02:01
        """,
        told,
    )
    assert served(told) > 0.97


def test_the_morning_rush_finds_replicas_ready(story: Story) -> None:
    week = office(9, seed=4)
    told = live(story, week[:EIGHT], week[EIGHT : EIGHT + 3 * HOUR // 2], 1)
    tell(
        """
        clock | comes      | decided | why          | in words
        08:00 | 0.4 .. 0.6 | 1       | steady       | there: 1
        08:35 | 0.4 .. 0.6 | 1 -> 2  | forecast     | In 5 min, when a start would serve, a peak of 1.… is to be expected; serving: 1
              |            |         | steady       | To be expected: a peak of …
        08:41 | 0.4 .. 1.5 | 2 => 4  | forecast     | In 5 min, …; serving: 2, starting: 0.
              |            |         | steady       | To be expected: a peak of …
              |            |         | forecast     | In 5 min, …; serving: 2, starting: 1.
        08:45 | 1.2 .. 3.8 | 4 => 6  | forecast     | In 5 min, when a start would serve, a peak of …
              |            |         | steady       | To be expected: a peak of …
        08:57 | 3.5 .. 8.8 | 6 => 10 | forecast     | In 5 min, when a start would serve, a peak of …
              |            |         | steady       | To be expected: a peak of …
        09:28 | 7.3 .. 8.8 | 10 -> 9 | traffic_down | No more than 9.0 replicas' worth of traffic is to be expected within 10 min
              |            |         | steady       | To be expected: a peak of …
        09:31
        """,
        told,
    )
    assert served(told) == 1.0, "a start takes five minutes, so each begins before its traffic does"


def test_on_a_holiday_what_was_made_ready_is_given_back(story: Story) -> None:
    tell(
        """
        clock | comes | decided | why          | in words
        08:00 | 0.5   | 1       | steady       | there: 1
        08:35 | 0.5   | 1 => 3  | forecast     | In 5 min, when a start would serve, a peak of 1.… is to be expected; serving: 1
              |       |         | forecast     | a peak of 2.… replicas' worth is to be expected; serving: 2, starting: 0.
              |       |         | steady       | To be expected: a peak of …
        08:44 | 0.5   | 3       | steady       | To be expected: a peak of … in 5 min, up to … within 10 min (two starts); there: 3.
        09:05 | 0.5   | 3 -> 2  | traffic_down | No more than … is to be expected …, 0.5 are there now: 2 replicas are enough.
              |       |         | steady       | To be expected
        09:20 | 0.5   | 2       | steady       | there: 2
        09:47 | 0.5   | 2 -> 1  | traffic_down | No more than … is to be expected …, 0.5 are there now: 1 replica is enough.
              |       |         | steady       | To be expected
        10:01
        """,
        live(story, office(9, seed=4)[:EIGHT], np.full(2 * HOUR, 0.5), 1),
    )


def test_traffic_that_grows_a_tenth_a_day_is_served_beyond_every_earlier_day(story: Story) -> None:
    week = office(9, seed=4)
    grown = 0.45 * week * 1.1 ** (np.arange(week.size) // DAY)
    today = grown[EIGHT : EIGHT + 2 * HOUR]
    assert today.max() > grown[: 8 * DAY].max() > 7.8
    told = live(story, grown[:EIGHT], today, 1)
    tell(
        """
        clock | comes      | decided | why          | in words
        08:00 | 0.4 .. 0.6 | 1       | steady       | there: 1
        08:35 | 0.4 .. 0.9 | 1 -> 2  | forecast     | In 5 min, when a start would serve, a peak of 1.… is to be expected; serving: 1
              |            |         | steady       | To be expected: a peak of …
        08:42 | 0.6 .. 3.5 | 2 => 5  | forecast     | In 5 min, when a start would serve, a peak of …
              |            |         | steady       | To be expected: a peak of …
        08:56 | 3.2 .. 8.7 | 5 => 9  | forecast     | In 5 min, when a start would serve, a peak of …
              |            |         | steady       | To be expected: a peak of …
        10:01
        """,
        told,
    )
    assert served(told) > 0.97
