"""What the clock on the wall asks for: windows that come again, what is planned once, holidays."""

from datetime import date, datetime
from typing import Annotated, Self
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError
from pydantic import AfterValidator, Field, model_validator

from scaler.proxy_settings import Section

CRON_FIELDS = 5


def _zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ValueError, OSError, KeyError) as error:  # not found is a KeyError
        raise ValueError("expected a time zone such as UTC or Europe/Berlin") from error
    return value


def _cron(value: str) -> str:
    try:
        once = next(CronSim(value, datetime(2000, 1, 1)), None)  # noqa: DTZ001 (wall time of whatever zone)
    except CronSimError as error:
        raise ValueError(f"expected five cron fields, minute hour day month weekday ({error})") from error
    if once is None or len(value.split()) != CRON_FIELDS:
        raise ValueError("expected five cron fields that name some moment, minute hour day month weekday")
    return value


Zone = Annotated[str, AfterValidator(_zone)]
"""Name of a time zone in the IANA database."""
Cron = Annotated[str, Field(max_length=200), AfterValidator(_cron)]
"""Five cron fields in wall time, with names of months and weekdays, ``L`` and ``#``."""


class WindowSettings(Section):
    """A window that comes again: from each moment that ``start`` names to the next one that ``end`` names, both in wall time.

    In a window there are at least ``floor`` replicas, ready when it begins, and at most ``ceiling``.
    """

    name: Annotated[str, Field(min_length=1, max_length=100)]
    """For people, and for the reasons of decisions."""
    start: Cron
    """When it begins, such as ``0 8 * * MON-FRI``."""
    end: Cron
    """When it ends, such as ``0 18 * * *``."""
    timezone: Zone | None = None
    """Default: ``calendar.timezone``."""
    floor: Annotated[int, Field(ge=1)] | None = None
    """At least so many replicas; a stopped endpoint is started for them."""
    ceiling: Annotated[int, Field(ge=1)] | None = None
    """At most so many."""
    on_holidays: bool = False
    """Whether it begins on ``calendar.holidays``, too."""

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.floor is None and self.ceiling is None:
            raise ValueError("expected a floor, a ceiling or both")
        return self


class EventSettings(Section):
    """Something planned that happens once, such as a launch at nine with three times the traffic for two hours."""

    name: Annotated[str, Field(min_length=1, max_length=100)]
    """For people, and for the reasons of decisions."""
    at: datetime
    """When it begins: with an offset from UTC, or else in wall time."""
    hours: Annotated[float, Field(gt=0, le=24 * 31)]
    """How long it lasts."""
    timezone: Zone | None = None
    """Default: ``calendar.timezone``."""
    multiplier: Annotated[float, Field(gt=1, le=1000)] | None = None
    """Times the load that there is just before it, in replicas ready when it begins."""
    floor: Annotated[int, Field(ge=1)] | None = None
    """At least so many replicas, ready when it begins."""
    ceiling: Annotated[int, Field(ge=1)] | None = None
    """At most so many."""

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.multiplier is None and self.floor is None and self.ceiling is None:
            raise ValueError("expected a multiplier, a floor or a ceiling")
        return self


class CalendarSettings(Section):
    """What the clock on the wall says, and which days are no working days."""

    timezone: Zone = "UTC"
    """Time zone of schedules, events and budget periods that do not name their own."""
    holidays: Annotated[tuple[date, ...], Field(max_length=1000)] = ()
    """Days on which schedules do not begin (unless ``on_holidays``), by the date in the schedule's time zone."""
