"""Schedules, events and overrides as plain windows in time: cron expressions, time zones and days end here, the policy sees Unix seconds.

Cron expressions are read in wall time, and each moment is then found on the time zone's own clock. A window from 8 to 18 is that on every
day, also on those of 23 and 25 hours. A moment in the hour that is left out in spring is taken by the clock of before, one in the hour
that comes twice in autumn is taken the first time.
"""

import math
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from cronsim import CronSim

from scaler.model import Override, Window, WindowKind
from scaler.settings import CalendarSettings, EndpointSettings, EventSettings, Settings, WindowSettings

AHEAD_SECONDS = 2 * 3600.0
"""Windows that begin within this time are told to the policy; longer than any cold start."""
FRESH_SECONDS = 600.0
"""How long an expansion is used; it looks that much further ahead."""
MAX_BEGINNINGS = 1000
"""Moments of one cron expression that are looked at for one expansion."""
CHANGE_OF_CLOCKS = timedelta(hours=3)
"""More than any clock is ever put forward or back."""


class Plans:
    """The windows of every endpoint: what is configured, and what people have imposed for a while."""

    def __init__(self, settings: Settings) -> None:
        """Nothing is imposed yet."""
        self._timetables: dict[str, Timetable] = {}
        self._imposed: dict[str, Window] = {}
        self.use(settings)

    def use(self, settings: Settings) -> None:
        """Go by these settings from now on."""
        self._timetables = {key: Timetable(endpoint, settings.calendar) for key, endpoint in settings.endpoints.items()}

    def impose(self, overrides: Iterable[Override]) -> None:
        """These overrides stand, and no others."""
        self._imposed = {override.endpoint: imposed(override) for override in overrides}

    def windows(self, key: str, at: float) -> tuple[Window, ...]:
        """In force for ``endpoints.<key>`` at ``at`` (Unix seconds) or beginning soon."""
        configured = self._timetables[key].windows(at) if key in self._timetables else ()
        override = self._imposed.get(key)
        return configured if override is None or override.ends <= at else (*configured, override)


class Timetable:
    """The windows of one endpoint. Expansions are kept for a while, so asking each tick costs nothing."""

    def __init__(self, endpoint: EndpointSettings, calendar: CalendarSettings) -> None:
        """Both are valid, so every expression and zone can be read."""
        self.sources = (endpoint.schedules, endpoint.events, calendar)
        self._made: float | None = None
        self._windows: tuple[Window, ...] = ()

    def windows(self, at: float) -> tuple[Window, ...]:
        """In force at ``at`` (Unix seconds) or beginning within `AHEAD_SECONDS`, by their beginning."""
        if not self.sources[0] and not self.sources[1]:
            return ()
        if self._made is None or not 0 <= at - self._made < FRESH_SECONDS:
            self._windows = tuple(self._expand(at, at + FRESH_SECONDS + AHEAD_SECONDS))
            self._made = at
        return tuple(window for window in self._windows if window.begins <= at + AHEAD_SECONDS and window.ends > at)

    def _expand(self, since: float, until: float) -> list[Window]:
        schedules, events, calendar = self.sources
        found = [window for schedule in schedules for window in recurring(schedule, calendar, since, until)]
        planned = [once(event, calendar) for event in events]
        found += [window for window in planned if window.begins <= until and window.ends > since]
        return sorted(found, key=lambda window: (window.begins, window.kind, window.name))


def recurring(schedule: WindowSettings, calendar: CalendarSettings, since: float, until: float) -> Iterator[Window]:
    """The windows of ``schedule`` that overlap ``since``..``until`` (Unix seconds), the latest first."""
    latest = _wall(until, _zone(schedule, calendar)) + CHANGE_OF_CLOCKS
    for window in _beginnings(schedule, calendar, CronSim(schedule.start, latest, reverse=True), until + AHEAD_SECONDS):
        if window.begins <= until and since < window.ends and window.begins < window.ends:
            yield window
        if window.begins <= since:
            return


def upcoming(schedule: WindowSettings, calendar: CalendarSettings, at: float) -> Window | None:
    """The window of ``schedule`` that is in force at ``at`` (Unix seconds), or else its next one; None: none is to come."""
    if (present := next(recurring(schedule, calendar, at, at), None)) is not None:
        return present
    earliest = _wall(at, _zone(schedule, calendar)) - CHANGE_OF_CLOCKS
    windows = _beginnings(schedule, calendar, CronSim(schedule.start, earliest), math.inf)
    return next((window for window in windows if at < window.begins < window.ends), None)


def _beginnings(schedule: WindowSettings, calendar: CalendarSettings, starts: Iterator[datetime], never: float) -> Iterator[Window]:
    """A window for each of these moments of the wall clock but holidays; ``never``: when one ends that has no end."""
    zone = _zone(schedule, calendar)
    for _, start in zip(range(MAX_BEGINNINGS), starts, strict=False):
        if start.date() in calendar.holidays and not schedule.on_holidays:
            continue
        end = next(CronSim(schedule.end, start), None)
        begins, ends = _unix(start, zone), never if end is None else _unix(end, zone)
        yield Window(WindowKind.SCHEDULE, schedule.name, begins, ends, schedule.floor, schedule.ceiling)


def _zone(schedule: WindowSettings, calendar: CalendarSettings) -> ZoneInfo:
    return ZoneInfo(schedule.timezone or calendar.timezone)


def once(event: EventSettings, calendar: CalendarSettings) -> Window:
    """The window of ``event``."""
    at = event.at if event.at.tzinfo is not None else event.at.replace(tzinfo=ZoneInfo(event.timezone or calendar.timezone))
    begins = at.timestamp()
    return Window(WindowKind.EVENT, event.name, begins, begins + event.hours * 3600, event.floor, event.ceiling, event.multiplier)


def imposed(override: Override) -> Window:
    """The window of ``override``."""
    return Window(WindowKind.OVERRIDE, "", override.begins, override.ends, override.floor, override.ceiling)


def day_of(at: float, timezone: str) -> tuple[float, float]:
    """Begin and end (Unix seconds) of the day in which ``at`` lies: 23, 24 or 25 hours, usually."""
    zone = ZoneInfo(timezone)
    midnight = _wall(at, zone).replace(hour=0, minute=0, second=0, microsecond=0)
    return _unix(midnight, zone), _unix(midnight + timedelta(days=1), zone)


def month_of(at: float, timezone: str) -> tuple[float, float]:
    """Begin and end (Unix seconds) of the month in which ``at`` lies."""
    zone = ZoneInfo(timezone)
    first = _wall(at, zone).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    following = (first + timedelta(days=31)).replace(day=1)
    return _unix(first, zone), _unix(following, zone)


def _wall(at: float, zone: ZoneInfo) -> datetime:
    """What a clock on the wall shows, without its zone."""
    return datetime.fromtimestamp(at, zone).replace(tzinfo=None, fold=0)


def _unix(wall: datetime, zone: ZoneInfo) -> float:
    """The moment at which a clock on the wall shows ``wall``, for the first time; for a time that is left out, by the clock of before."""
    return wall.replace(tzinfo=zone).astimezone(UTC).timestamp()
