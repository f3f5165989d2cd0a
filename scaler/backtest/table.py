"""The rows for people."""

from collections.abc import Callable, Iterable, Sequence
from itertools import groupby

from rich.console import Group
from rich.table import Table
from rich.text import Text

from scaler.backtest.rows import Row

CAPTION = (
    "replica-hours; cost / that of the clairvoyant; warm: calls that found their endpoint awake; "
    "cold hits: requests late while a replica was starting; changes a day"
)
"""What the heads mean."""

Show = Callable[[Row], str]


def _figure(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


COLUMNS: tuple[tuple[str, Show], ...] = (
    ("hours", lambda row: f"{row.cost_replica_hours:,.1f}"),
    ("cost", lambda row: f"${row.cost_dollars:,.0f}"),
    ("/ oracle", lambda row: _figure(row.ratio_to_oracle, ".3f")),
    ("on time", lambda row: _figure(row.attainment, ".2%")),
    ("warm", lambda row: _figure(row.warm_share, ".1%")),
    ("worst h", lambda row: _figure(row.worst_hour, ".1%")),
    ("cold hits", lambda row: _figure(row.cold_hit_requests, ",")),
    ("changes", lambda row: f"{row.actions_per_day:.1f}"),
    ("target", lambda row: _figure(row.target_factor, ".3f")),
)
"""Heads and figures; a column that is empty in a whole table is left out."""


def tables(rows: Sequence[Row]) -> Group:
    """One table for each trace and cold start; of a file of clients only all of them together."""
    shown = [row for row in rows if row.client is None]
    return Group(*(_table(list(group)) for _, group in groupby(shown, key=lambda row: (row.trace, row.cold_start_seconds))))


def _table(rows: Sequence[Row]) -> Table:
    first = rows[0]
    title = f"{first.trace}, cold start {first.cold_start_seconds:g} s, {first.days:.4g} days scored"
    table = Table(title=Text(title, style="bold"), title_justify="left", caption=CAPTION, caption_justify="left")
    table.add_column("policy", no_wrap=True)
    columns = [(head, show) for head, show in COLUMNS if any(map(show, rows))]
    for head, _ in columns:
        table.add_column(head, justify="right")
    for row in rows:
        table.add_row(row.policy, *_cells(columns, row))
    return table


def _cells(columns: Iterable[tuple[str, Show]], row: Row) -> list[str]:
    return [show(row) for _, show in columns]
