import pytest

from scaler.policy.baselines import Limits, Schedule, Seen, office_hours

HOUR = 3600.0
LIMITS = Limits(1, 9, 1.0)


def at(scaler: Schedule, now: float) -> int | None:
    return scaler.desired(Seen(now, 50.0, 50.0, 1, 0))


def test_each_hour_has_its_count_and_the_week_comes_again() -> None:
    scaler = Schedule(range(168), since_monday=0.0)
    # Monday 00:00, Monday 01:30, Sunday 23:00, and Tuesday 00:00 of the week after (hour 168 + 24).
    assert [at(scaler, hours * HOUR) for hours in (0, 1.5, 167, 192)] == [0, 1, 167, 24]


def test_office_hours_in_unix_time() -> None:
    scaler = Schedule(office_hours(LIMITS))
    # 1970-01-01 was a Thursday: 07:59, 08:00 and 20:00 of it, and noon of the Saturday.
    assert [at(scaler, hours * HOUR) for hours in (7.98, 8, 20, 60)] == [1, 9, 1, 1]


def test_a_table_is_a_week() -> None:
    with pytest.raises(ValueError, match="168"):
        Schedule([1] * 24)
