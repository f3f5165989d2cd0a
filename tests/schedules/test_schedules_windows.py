"""Cron expressions, time zones, holidays and days of 23 and 25 hours become spans in Unix seconds."""

import time
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaler.model import Override, Window, WindowKind
from scaler.schedules import AHEAD_SECONDS, Timetable, day_of, imposed, month_of, once, recurring, upcoming
from scaler.settings import CalendarSettings, EndpointSettings, EventSettings, Settings, WindowSettings
from scaler.show import plans

BERLIN = CalendarSettings(timezone="Europe/Berlin", holidays=(date(2026, 12, 25),))
OFFICE = WindowSettings(name="office", start="0 8 * * MON-FRI", end="0 18 * * *", floor=3)


def unix(text: str, zone: str = "Europe/Berlin") -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


def found(schedule: WindowSettings, since: str, until: str, calendar: CalendarSettings = BERLIN) -> list[tuple[str, str]]:
    """Begin and end of each window, oldest first, as a clock in UTC shows them."""
    zone = schedule.timezone or calendar.timezone
    windows = recurring(schedule, calendar, unix(since, zone), unix(until, zone))
    return [tuple(f"{datetime.fromtimestamp(at, UTC):%d %H:%M}" for at in (w.begins, w.ends)) for w in reversed(list(windows))]  # type: ignore[misc]


def test_office_hours_are_by_the_local_clock_in_summer_and_winter() -> None:
    assert found(OFFICE, "2026-07-06T00:00", "2026-07-08T00:00") == [("06 06:00", "06 16:00"), ("07 06:00", "07 16:00")]
    assert found(OFFICE, "2026-12-03T00:00", "2026-12-08T00:00") == [
        ("03 07:00", "03 17:00"),
        ("04 07:00", "04 17:00"),
        ("07 07:00", "07 17:00"),
    ]


def test_one_that_has_begun_is_seen_from_within_and_not_after_its_end() -> None:
    assert found(OFFICE, "2026-07-06T17:59", "2026-07-06T18:00") == [("06 06:00", "06 16:00")]
    assert found(OFFICE, "2026-07-06T18:00", "2026-07-06T19:00") == []
    weekend = WindowSettings(name="quiet", start="0 20 * * FRI", end="0 6 * * MON", ceiling=1)
    assert found(weekend, "2026-07-05T12:00", "2026-07-05T12:01") == [("03 18:00", "06 04:00")]


def test_a_holiday_has_no_office_hours_unless_they_say_so() -> None:
    assert found(OFFICE, "2026-12-24T09:00", "2026-12-26T09:00") == [("24 07:00", "24 17:00")]
    stubborn = OFFICE.model_copy(update={"on_holidays": True})
    assert found(stubborn, "2026-12-25T09:00", "2026-12-25T10:00") == [("25 07:00", "25 17:00")]


def test_a_night_that_began_before_the_holiday_goes_on_into_it() -> None:
    night = WindowSettings(name="night", start="0 22 * * *", end="0 6 * * *", floor=2)
    assert found(night, "2026-12-25T02:00", "2026-12-25T23:00") == [("24 21:00", "25 05:00")]


@pytest.mark.parametrize(
    ("day", "start", "end", "hours", "begins"),
    [
        ("2026-03-29", "0 0 * * *", "0 6 * * *", 5, "2026-03-28T23:00"),  # the night in which an hour is left out
        ("2026-10-25", "0 0 * * *", "0 6 * * *", 7, "2026-10-24T22:00"),  # the night in which one comes twice
        ("2026-03-29", "30 2 * * *", "0 4 * * *", 0.5, "2026-03-29T01:30"),  # begins at a time that there is not
        ("2026-10-25", "30 2 * * *", "0 4 * * *", 2.5, "2026-10-25T00:30"),  # ... that there is twice: the first time
        ("2026-03-29", "0 8 * * *", "0 18 * * *", 10, "2026-03-29T06:00"),
        ("2026-10-25", "0 8 * * *", "0 18 * * *", 10, "2026-10-25T07:00"),
    ],
)
def test_days_of_23_and_25_hours(day: str, start: str, end: str, hours: float, begins: str) -> None:
    schedule = WindowSettings(name="w", start=start, end=end, floor=2)
    (window,) = (
        recurring(schedule, BERLIN, unix(f"{day}T03:59"), unix(f"{day}T03:59") + 1)
        if hours < 8
        else recurring(schedule, BERLIN, unix(f"{day}T12:00"), unix(f"{day}T12:00") + 1)
    )
    assert window.begins == datetime.fromisoformat(begins).replace(tzinfo=UTC).timestamp()
    assert window.ends - window.begins == hours * 3600


def test_a_window_that_lies_in_the_hour_that_is_left_out_does_not_last_until_the_next_day() -> None:
    schedule = WindowSettings(name="w", start="0 2 * * *", end="0 3 * * *", floor=2)
    assert found(schedule, "2026-03-29T00:00", "2026-03-29T12:00") == []


def test_the_second_time_an_hour_comes_is_still_within() -> None:
    schedule = WindowSettings(name="w", start="0 2 * * *", end="0 3 * * *", floor=2)
    second = datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Berlin")).timestamp()
    (window,) = recurring(schedule, BERLIN, second, second)
    assert window.ends - window.begins == 7200
    assert window.begins <= second < window.ends


def test_zones_that_are_not_whole_hours_away() -> None:
    office = OFFICE.model_copy(update={"timezone": "Asia/Kathmandu"})
    assert found(office, "2026-07-06T09:00", "2026-07-06T10:00") == [("06 02:15", "06 12:15")]


ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "America/Sao_Paulo", "Africa/Cairo"]


@settings(max_examples=200, deadline=None)
@given(
    at=st.integers(1_600_000_000, 1_900_000_000),
    zone=st.sampled_from(ZONES),
    start=st.sampled_from(["0 8 * * *", "30 1 * * *", "0 2 * * SUN", "15 0 1 * *", "*/20 * * * *"]),
    end=st.sampled_from(["0 18 * * *", "0 3 * * *", "45 * * * *"]),
)
def test_what_is_found_now_was_foreseen_an_hour_ago(at: int, zone: str, start: str, end: str) -> None:
    schedule = WindowSettings(name="w", start=start, end=end, floor=2, timezone=zone)
    calendar = CalendarSettings()
    now = {(w.begins, w.ends) for w in recurring(schedule, calendar, at, at)}
    before = {(w.begins, w.ends) for w in recurring(schedule, calendar, at - 3600, at) if w.ends > at}
    assert now <= before
    assert all(begins <= at < ends for begins, ends in now)


def test_an_event_is_in_wall_time_or_with_its_own_offset() -> None:
    event = EventSettings(name="launch", at=datetime.fromisoformat("2026-11-03T09:00"), hours=2, multiplier=3)
    assert once(event, BERLIN) == Window(WindowKind.EVENT, "launch", unix("2026-11-03T09:00"), unix("2026-11-03T11:00"), multiplier=3)
    other = EventSettings.model_validate({"name": "launch", "at": "2026-11-03T09:00:00-05:00", "hours": 0.5, "floor": 2})
    assert once(other, BERLIN).begins == unix("2026-11-03T15:00")


def test_an_override_is_a_window() -> None:
    assert imposed(Override("chat", 10, 20, floor=3)) == Window(WindowKind.OVERRIDE, "", 10, 20, floor=3)


@pytest.mark.parametrize(("day", "hours"), [("2026-03-29", 23), ("2026-10-25", 25), ("2026-10-26", 24)])
def test_days_and_months_of_a_budget(day: str, hours: int) -> None:
    for hour in (0, 3, 12, 23):
        begins, ends = day_of(unix(f"{day}T{hour:02}:10"), "Europe/Berlin")
        assert (begins, ends - begins) == (unix(f"{day}T00:00"), hours * 3600)
    assert month_of(unix(f"{day}T12:00"), "Europe/Berlin")[0] == unix(f"{day[:7]}-01T00:00")
    assert month_of(unix("2026-12-31T23:59"), "Europe/Berlin") == (unix("2026-12-01T00:00"), unix("2027-01-01T00:00"))


@settings(max_examples=200, deadline=None)
@given(at=st.integers(1_600_000_000, 1_900_000_000), zone=st.sampled_from(ZONES))
def test_every_moment_is_in_one_day_which_begins_on_a_quarter_of_an_hour(at: int, zone: str) -> None:
    begins, ends = day_of(at, zone)
    assert begins <= at < ends
    assert begins % 900 == ends % 900 == 0
    assert day_of(ends, zone)[0] == ends
    first, after = month_of(at, zone)
    assert first <= begins < ends <= after
    assert month_of(after, zone)[0] == after


def test_a_timetable_that_is_asked_each_tick_is_cheap_and_always_says_the_same_as_one_asked_once() -> None:
    event = EventSettings(name="launch", at=datetime.fromisoformat("2026-07-06T09:00"), hours=2, floor=2)
    endpoint = EndpointSettings(id="e", max_replicas=9, schedules=(OFFICE,), events=(event,))
    asked_often = Timetable(endpoint, BERLIN)
    start = unix("2026-07-06T05:00")
    began = time.process_time()
    for at in range(int(start), int(start) + 6 * 3600, 10):
        windows = asked_often.windows(at)
        if at % 600 == 0:
            assert windows == Timetable(endpoint, BERLIN).windows(at)
        assert all(window.begins <= at + AHEAD_SECONDS and window.ends > at for window in windows)
    assert time.process_time() - began < 2
    assert {str(window) for window in asked_often.windows(start + 4 * 3600)} == {"schedule 'office'", "event 'launch'"}
    assert asked_often.windows(start - 86_400) == Timetable(endpoint, BERLIN).windows(start - 86_400)  # the clock was set back


def test_what_comes_next_is_told_before_anything_runs() -> None:
    night = {"name": "night", "start": "30 2 * * *", "end": "0 6 * * *", "ceiling": 2}
    launch = {"name": "launch", "at": "2026-03-01T09:00", "hours": 2, "floor": 4}
    chat = {"id": "e", "max_replicas": 4, "schedules": [night, OFFICE.model_dump()], "events": [launch]}
    configured = Settings.model_validate({"calendar": BERLIN.model_dump(), "endpoints": {"chat": chat}})
    assert list(plans(configured, unix("2026-03-28T20:00"))) == [  # a Saturday; in the night the clocks go forward
        "chat: schedule 'night': ceiling 2, from 2026-03-29 01:30:00 UTC until 2026-03-29 04:00:00 UTC",
        "chat: schedule 'office': floor 3, from 2026-03-30 06:00:00 UTC until 2026-03-30 16:00:00 UTC",
        "chat: event 'launch': over",
    ]
    assert next(plans(configured, unix("2026-03-29T05:00"))) == "chat: schedule 'night': ceiling 2, until 2026-03-29 04:00:00 UTC"
    assert upcoming(OFFICE, BERLIN, unix("2026-12-24T18:00")) == next(recurring(OFFICE, BERLIN, *[unix("2026-12-28T09:00")] * 2)), (
        "a holiday"
    )
