"""The rows for people."""

from collections.abc import Callable, Sequence
from itertools import groupby

from rich.console import Group
from rich.table import Table
from rich.text import Text

from scaler.backtest.rows import Row, span_of

Show = Callable[[Row], str]


def _figure(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


COLUMNS: tuple[tuple[str, Show, str], ...] = (
    ("hours", lambda row: f"{row.cost_replica_hours:,.1f}", "of replicas"),
    ("cost", lambda row: f"${row.cost_dollars:,.0f}", ""),
    ("/ oracle", lambda row: _figure(row.ratio_to_oracle, ".3f"), "cost / that of the clairvoyant"),
    ("on time", lambda row: _figure(row.attainment, ".2%"), "share of the work"),
    ("warm", lambda row: _figure(row.warm_share, ".1%"), "calls that found their endpoint awake"),
    ("worst h", lambda row: _figure(row.worst_hour, ".1%"), "on time in the worst hour"),
    ("cold hits", lambda row: _figure(row.cold_hit_requests, ","), "requests late while a replica was starting"),
    ("changes", lambda row: f"{row.actions_per_day:.1f}", "a day"),
    ("target", lambda row: _figure(row.target_factor, ".3f"), "times the product's own"),
)
"""Heads, figures and what they mean; a column that is empty in a whole table is left out."""


def tables(rows: Sequence[Row]) -> Group:
    """One table for each trace and cold start; of a file of clients only all of them together."""
    shown = [row for row in rows if row.client is None]
    return Group(*(_table(list(group)) for _, group in groupby(shown, key=lambda row: (row.trace, row.cold_start_seconds))))


def _table(rows: Sequence[Row]) -> Table:
    first = rows[0]
    title = f"{first.trace}, cold start {first.cold_start_seconds:g} s, {span_of(first.days)} scored"
    columns = [column for column in COLUMNS if any(map(column[1], rows))]
    caption = "; ".join(f"{head}: {meaning}" for head, _, meaning in columns if meaning)
    table = Table(title=Text(title, style="bold"), title_justify="left", caption=caption, caption_justify="left")
    table.add_column("policy", no_wrap=True)
    for head, _, _ in columns:
        table.add_column(head, justify="right")
    for row in rows:
        table.add_row(row.policy, *(show(row) for _, show, _ in columns))
    return table
