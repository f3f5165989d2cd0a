"""Floors, ceilings, events and overrides, told by the clock on the wall."""

from dataclasses import replace
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest

from scaler.model import Bounds, Decision, EndpointState, Override, Power, ReasonCode, Window, WindowKind
from scaler.policy.calendar import MARGIN_SECONDS
from scaler.schedules import Timetable, imposed
from scaler.settings import CalendarSettings, EventSettings, IdleSettings, WindowSettings
from tests.policy.story import STEP, Story
from tests.policy.telling import play

BERLIN = CalendarSettings(timezone="Europe/Berlin", holidays=(date(2026, 12, 25),))
OFFICE = WindowSettings(name="office", start="0 8 * * MON-FRI", end="0 18 * * *", floor=3)
COLD = 300.0
NINE = datetime.fromisoformat("2026-12-24T09:00")


def codes(decision: Decision) -> set[ReasonCode]:
    return {reason.code for reason in decision.reasons}


def at(story: Story, text: str) -> None:
    """The story begins here: a running endpoint whose traffic has been quiet for half an hour."""
    story.now = datetime.fromisoformat(text).replace(tzinfo=ZoneInfo("Europe/Berlin")).timestamp() - 1800
    story.minutes(30, 1.0)


def clock(story: Story, later: float = 0.0) -> str:
    return f"{datetime.fromtimestamp(story.now + later, UTC).astimezone(ZoneInfo('Europe/Berlin')):%H:%M}"


def plan(story: Story, *schedules: WindowSettings, events: tuple[EventSettings, ...] = ()) -> None:
    story.settings = story.settings.model_copy(update={"schedules": schedules, "events": events})
    story.windows = Timetable(story.settings, BERLIN).windows


def until(story: Story, text: str, concurrency: float | None = 1.0) -> list[Decision]:
    """Tick until the clock shows ``text``."""
    decisions = []
    while clock(story) != text:
        decisions.append(story.tick(concurrency))
    return decisions


def act(script: str, story: Story) -> None:
    """A script of requests in flight, played and told by the clock in Berlin."""
    play(script, story.tick, lambda: clock(story, STEP))


def test_office_hours(story: Story) -> None:
    plan(story, OFFICE)
    at(story, "2026-12-24T07:50")
    act(
        """
        clock | comes | decided | why          | in words
        07:50 | 1     | 1       | steady       | 1.0 requests in flight need 1 replica; there: 1.
        07:54 | 1     | 1 -> 3  | floor        | Schedule 'office' (begins in 6 min) asks for at least 3 replicas.
              |       |         | steady+floor | need 1 replica; there: 3. Schedule 'office' (begins in … asks for at least 3 replicas.
        08:00 | 1     | 3       | steady+floor | there: 3. Schedule 'office' (… more) asks for at least 3 replicas.
        11:00 | 30    | 3 => 6  | forecast     | In 5 min, when a start would serve, a peak of 5.5 replicas' worth is
              |       |         | steady+floor | there: 3. Schedule 'office'
              |       |         | steady       | there:
        11:05 | 1     | 6       | steady       | there: 6
              |       |         | stabilizing  | 6 replicas needed at some moment of the last 180 s.
              |       |         | stabilizing+floor | Schedule 'office' (6.9 h more) asks for at least 3 replicas.
        11:08 | 1     | 6 -> 3  | traffic_down+floor | 0.2 are there now: 3 replicas are enough. Schedule 'office' (6.9 h more)
              |       |         | stabilizing+floor |
              |       |         | steady+floor | To be expected: …; there: 3. Schedule 'office'
              |       |         | steady       |
        11:30 | 1     | 3       | steady+floor | Schedule 'office' (6.5 h more) asks for at least 3 replicas.
              |       |         | steady+floor | Schedule 'office' (… more) asks for at least 3 replicas.
        18:00 | 1     | 3 => 1  | traffic_down | 1 replica is enough
              |       |         | steady       |
        18:30
        """,
        story,
    )


def test_a_holiday_is_no_working_day(story: Story) -> None:
    plan(story, OFFICE)
    at(story, "2026-12-25T07:50")
    act(
        """
        clock | comes | decided | why    | in words
        07:50 | 1     | 1       | steady | 1.0 requests in flight need 1 replica; there: 1.
              |       |         | steady | To be expected: a peak of 0.1 replicas' worth in 5 min, …; there: 1.
        08:30
        """,
        story,
    )


@pytest.mark.parametrize("day", ["2026-03-30", "2026-10-26"])
def test_on_the_monday_after_the_clocks_have_changed_it_is_eight_by_the_new_time(story: Story, day: str) -> None:
    plan(story, OFFICE)
    at(story, f"{day}T07:30")
    until(story, "08:00")
    assert story.tick(1.0).bounds == Bounds(3, 3)
    assert story.fleet.ready == 3


@pytest.mark.parametrize(("day", "ticks"), [("2026-03-29", 5 * 360), ("2026-10-25", 7 * 360)])
def test_a_floor_through_the_night_of_the_change_lasts_an_hour_less_or_more(story: Story, day: str, ticks: int) -> None:
    plan(story, WindowSettings(name="batch", start="0 0 * * *", end="0 6 * * *", floor=2))
    at(story, f"{day}T00:00")
    held = [decision for decision in until(story, "12:00") if ReasonCode.FLOOR in codes(decision)]
    assert len(held) == ticks - 1  # at six it is over


def test_traffic_above_the_floor_is_followed_and_the_floor_not_mentioned(story: Story) -> None:
    plan(story, OFFICE)
    at(story, "2026-12-24T09:00")
    decision = story.minutes(2, 30.0)[-1]
    assert decision.bounds == Bounds(6, 6)
    assert ReasonCode.FLOOR not in codes(decision)


def test_a_ceiling_is_named_where_it_bites_and_only_there(story: Story) -> None:
    plan(story, WindowSettings(name="night", start="0 0 * * *", end="0 6 * * *", ceiling=2))
    at(story, "2026-12-24T01:00")
    assert ReasonCode.CEILING not in codes(story.tick(1.0))
    story.minutes(5, 30.0)
    decision = story.decisions[-1]
    assert decision.bounds == Bounds(2, 2)
    assert ReasonCode.CEILING in codes(decision)
    assert ReasonCode.BOUNDED not in codes(decision)
    assert "Schedule 'night'" in decision.sentence
    assert (decision.bound_by, decision.alternatives[0].why_not) == ("schedule 'night'", "limited by schedule 'night'")


def test_of_several_floors_the_highest_wins_and_a_floor_wins_over_a_ceiling_aloud(story: Story) -> None:
    low = WindowSettings(name="low", start="0 0 * * *", end="0 23 * * *", floor=2)
    lid = WindowSettings(name="lid", start="0 0 * * *", end="0 23 * * *", ceiling=2)
    plan(story, low, OFFICE, lid)
    at(story, "2026-12-24T12:00")
    decision = story.tick(1.0)
    assert decision.bounds == Bounds(3, 3)
    assert "Schedule 'lid' allows 2, but the floor of 3 (schedule 'office') wins." in decision.sentence
    assert ReasonCode.CLAMPED in codes(decision)
    assert story.minutes(5, 40.0)[-1].bounds == Bounds(3, 3)


def test_a_launch_with_three_times_the_traffic_for_two_hours(story: Story) -> None:
    plan(story, events=(EventSettings(name="launch", at=NINE, hours=2, multiplier=3),))
    at(story, "2026-12-24T08:30")
    until(story, "08:53", 10.0)
    assert story.replicas == 2  # 10 / 5.6
    (*_, first) = until(story, "08:55", 10.0)
    assert first.bounds == Bounds(6, 6)  # 3 x 10 / 5.6
    assert ReasonCode.EVENT in codes(first)
    assert "3 times the load before it" in first.sentence
    until(story, "09:00", 10.0)
    story.tick(30.0)
    assert story.fleet.ready == 6
    launched = until(story, "10:59", 30.0)
    most = max(decision.bounds.min_replicas for decision in launched)
    assert 6 <= most <= 8, "the forecast may ask for more, but the event's own load is not multiplied again"
    until(story, "11:30", 10.0)
    assert story.replicas == 2


def test_a_launch_that_nobody_comes_to_is_kept_ready_until_it_is_over(story: Story) -> None:
    plan(story, events=(EventSettings(name="launch", at=NINE, hours=2, multiplier=3),))
    at(story, "2026-12-24T08:30")
    until(story, "08:59", 10.0)
    assert {decision.bounds for decision in until(story, "10:59", 2.0)} == {Bounds(6, 6)}
    until(story, "11:30", 2.0)
    assert story.replicas == 1


def test_a_restart_in_the_middle_of_an_event_keeps_what_runs(story: Story) -> None:
    plan(story, events=(EventSettings(name="launch", at=NINE, hours=2, multiplier=3),))
    story.endpoint = replace(story.endpoint, bounds=Bounds(6, 6))
    at(story, "2026-12-24T10:00")
    assert {decision.bounds for decision in until(story, "10:59", 2.0)} == {Bounds(6, 6)}


def test_more_than_max_replicas_is_not_had_and_that_is_said(story: Story) -> None:
    plan(story, events=(EventSettings(name="launch", at=NINE, hours=2, multiplier=10),))
    at(story, "2026-12-24T08:30")
    until(story, "08:58", 10.0)
    decision = story.decisions[-1]
    assert decision.bounds == Bounds(8, 8)
    assert "Event 'launch' asks for 18, max_replicas allows 8." in decision.sentence


def test_a_multiplier_of_traffic_that_nobody_knows_is_one_of_what_runs(story: Story) -> None:
    plan(story, events=(EventSettings(name="launch", at=NINE, hours=2, multiplier=2),))
    at(story, "2026-12-24T08:30")
    story.endpoint = replace(story.endpoint, bounds=Bounds(2, 2))
    assert {decision.hold for decision in until(story, "08:53", None)} == {True}
    assert [decision.bounds for decision in until(story, "08:55", None) if not decision.hold] == [Bounds(4, 4)]
    assert until(story, "09:10", None)[-1].bounds == Bounds(4, 4)


def test_an_override_ends_by_itself(story: Story) -> None:
    at(story, "2026-12-24T12:00")
    override = imposed(Override("chat", story.now, story.now + 7200, floor=4, ceiling=6))
    story.windows = lambda now: (override,) if now < override.ends else ()
    first = story.tick(1.0)
    assert first.bounds == Bounds(4, 4)
    assert "Override (120 min more) asks for at least 4 replicas." in first.sentence
    assert story.minutes(20, 60.0)[-1].bounds == Bounds(6, 6)
    until(story, "13:59")
    assert story.replicas == 4
    until(story, "14:30")
    assert story.replicas == 1


def asleep(story: Story, *, by_us: bool | None) -> None:
    story.endpoint = replace(story.endpoint, state=EndpointState.STOPPED)
    story.stopped_by_us = by_us


@pytest.mark.parametrize("by_us", [True, False, None])
def test_a_floor_starts_a_stopped_endpoint_one_cold_start_before(story: Story, by_us: bool | None) -> None:  # noqa: FBT001 (a row)
    plan(story, OFFICE)
    at(story, "2026-12-24T07:30")
    until(story, "07:32", 0.0)
    asleep(story, by_us=by_us)
    assert all(decision.hold for decision in until(story, "07:53", 0.0))
    decisions = until(story, "07:56", 0.0)
    started = next(decision for decision in decisions if decision.power is Power.RUN)
    assert started.bounds == Bounds(3, 3)
    assert ReasonCode.FLOOR in codes(started)
    assert started.at >= datetime(2026, 12, 24, 8, tzinfo=ZoneInfo("Europe/Berlin")).timestamp() - COLD - MARGIN_SECONDS - 10


def test_whoever_stops_it_within_the_window_is_not_fought(story: Story) -> None:
    plan(story, OFFICE)
    at(story, "2026-12-24T09:00")
    story.minutes(2, 0.0)
    asleep(story, by_us=False)
    assert all(decision.hold for decision in story.minutes(30, 0.0))
    assert story.tick(2.0).power is Power.RUN, "requests wake it all the same"


def test_in_a_window_with_a_floor_it_neither_stops_for_idleness_nor_lets_the_platform(story: Story) -> None:
    idle = IdleSettings(allow_stop=True, stop_after_minutes=10, inactive_timeout_minutes=60)
    story.settings = story.settings.model_copy(update={"idle": idle})
    plan(story, OFFICE)
    at(story, "2026-12-24T08:30")
    decisions = until(story, "17:59", 0.0)
    assert {decision.power for decision in decisions} == {Power.KEEP}
    assert {decision.inactive_timeout_minutes for decision in decisions} == {10 * 60 + 5}
    assert Power.STOP in {decision.power for decision in until(story, "18:30", 0.0)}


def test_without_windows_a_decision_is_the_same_as_ever(story: Story) -> None:
    over = Window(WindowKind.SCHEDULE, "over", 0, 10, floor=7)
    story.windows = lambda _now: (over,)
    story.minutes(10, 12.0)
    other = Story(story.settings, replace(story.endpoint, bounds=Bounds(1, 1)))
    other.minutes(10, 12.0)
    assert [d.bounds for d in story.decisions] == [d.bounds for d in other.decisions]
    assert [d.reasons for d in story.decisions] == [d.reasons for d in other.decisions]
