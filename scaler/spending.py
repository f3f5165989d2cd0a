"""`scaler ledger`: what each endpoint has cost, by the day or the hour, read from the store itself."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from scaler.ledger import QUARTER
from scaler.model import Entry
from scaler.override import now_of
from scaler.schedules import day_of
from scaler.settings import Settings
from scaler.store.beside import read_entries


@dataclass(frozen=True, slots=True)
class Line:
    """A day or an hour of an endpoint. ``when`` is its beginning in the budget's time zone."""

    when: str
    endpoint: str
    dollars: float
    replica_hours: float
    unpriced_hours: float


def statement(settings: Settings, days: int, *, hourly: bool) -> list[Line]:
    """The ledger of today and the days before, ``days`` in all, oldest first. Raises `StoreError` and `NoAnswer`."""
    zone = settings.budget.timezone or settings.calendar.timezone
    begins = now_of(settings)
    for _ in range(days):
        begins = day_of(begins, zone)[0] - 1
    return roll_up(read_entries(settings.store.path, int((begins + 1) // QUARTER)), zone, hourly=hourly)


def roll_up(entries: Iterable[tuple[str, Entry]], timezone: str, *, hourly: bool) -> list[Line]:
    """Quarters of an hour, summed by the hour or the day of a time zone."""
    zone = ZoneInfo(timezone)
    shape = "%Y-%m-%d %H:00 %z" if hourly else "%Y-%m-%d"
    sums: defaultdict[tuple[float, str, str], list[float]] = defaultdict(lambda: [0.0, 0.0, 0.0])
    first: dict[tuple[str, str], float] = {}
    for key, entry in entries:
        moment = datetime.fromtimestamp(entry.quarter * QUARTER, UTC).astimezone(zone)
        when = moment.strftime(shape)
        began = first.setdefault((when, key), entry.quarter)
        for index, value in enumerate((entry.dollars, entry.replica_seconds / 3600, entry.unpriced_seconds / 3600)):
            sums[began, when, key][index] += value
    return [Line(when, key, *values) for (_, when, key), values in sorted(sums.items())]


def table(lines: list[Line]) -> RenderableType:
    """Lines for a terminal, with their sum."""
    if not lines:
        return Text("Nothing has been charged in this time.")
    shown = Table("when", "endpoint", "replica-hours", "dollars", show_footer=True)
    shown.columns[2].footer = f"{sum(line.replica_hours for line in lines):.2f}"
    shown.columns[3].footer = f"{sum(line.dollars for line in lines):.2f}"
    for line in lines:
        unpriced = f" (+ {line.unpriced_hours:.2f} h without a price)" if line.unpriced_hours else ""
        shown.add_row(line.when, line.endpoint, f"{line.replica_hours:.2f}", f"{line.dollars:.2f}{unpriced}")
    return shown
