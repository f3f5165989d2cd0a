"""The results: a row for each trace, client, cold start and policy, and each policy's schedule."""

import csv
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, TextIO

import numpy as np

from scaler.backtest.demand import STEP_SECONDS, Demand, Steps
from scaler.backtest.fluid import Schedule

DIGITS = 6
"""Figures are rounded to so many decimals, so that equal results are equal bytes."""

Change = tuple[float, int]
"""From this second on so many replicas are wanted, running and starting together."""


@dataclass(frozen=True, slots=True)
class Row:
    """How one policy did; figures of the scored time, starts included. None: the model does not have it.

    trace, client:        the file's name, and one of its clients; a file of clients also has a row of all of them together
    mode:                 ``fluid``, ``requests`` or ``sleep``
    cost_dollars:         at the price asked for, or the platform's own bill
    ratio_to_oracle:      cost / that of the clairvoyant optimum
    attainment:           share of work (or of requests) on time
    warm_share:           share of calls that found their endpoint awake
    worst_hour:           the lowest attainment of any hour
    cold_hit_requests:    the trace's requests that came late or were lost while a replica was starting
    target_factor:        what the policy's default target was multiplied by, where it was tuned in hindsight
    """

    trace: str
    client: str | None
    policy: str
    mode: str
    cold_start_seconds: float
    days: float
    cost_replica_minutes: float
    cost_replica_hours: float
    cost_dollars: float
    ratio_to_oracle: float | None
    attainment: float | None
    warm_share: float | None
    actions_per_day: float
    worst_hour: float | None
    cold_hit_requests: int | None
    target_factor: float | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """A row and what led to it: the replicas wanted over the whole trace, a change at a time, the first at second 0."""

    row: Row
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class Played:
    """A result with what a plot of it needs, a figure per step of `STEP_SECONDS` from second 0 on.

    demand: replicas kept busy by what arrived
    late:   the part of it that was not on time
    known:  whether the step was seen; None = all were
    """

    result: Result
    demand: Demand
    late: Demand
    known: Steps | None = None


def changes_of(schedule: Schedule) -> tuple[Change, ...]:
    """A schedule's first count and each one that differs from that before."""
    steps = np.flatnonzero(np.diff(schedule, prepend=-1))
    return tuple((step * STEP_SECONDS, count) for step, count in zip(steps.tolist(), schedule[steps].tolist(), strict=True))


def as_json(rows: Iterable[Row]) -> str:
    """The rows as a list of objects, ending in a new line."""
    return json.dumps([{key: plain(value) for key, value in asdict(row).items()} for row in rows], indent=2) + "\n"


def plain(value: Any) -> Any:  # noqa: ANN401 (a column of any type)
    """Numbers without more digits than matter; whole ones as whole."""
    if not isinstance(value, float):
        return value
    rounded = round(value, DIGITS)
    return int(rounded) if rounded.is_integer() else rounded


def span_of(days: float) -> str:
    """A length of time in words."""
    return f"{days:.3g} days" if days >= 2 else f"{days * 24:.3g} hours"  # noqa: PLR2004 (one day and a half reads better in hours)


def write_schedule(results: Sequence[Result], file: TextIO) -> None:
    """``t_seconds,desired``, and in front of them what it takes to tell the schedules apart.

    These are ``client`` where there are clients, and ``trace``, ``policy`` or ``cold_start_seconds`` if there are several.
    """
    alone = [result for result in results if result.row.client is not None or not _has_clients(results, result.row.trace)]
    keys = [name for name in ("trace", "policy", "cold_start_seconds") if len({getattr(result.row, name) for result in alone}) > 1]
    keys += ["client"] * any(result.row.client is not None for result in alone)
    out = csv.writer(file, lineterminator="\n")
    out.writerow([*keys, "t_seconds", "desired"])
    for result in alone:
        lead = [plain(getattr(result.row, key)) for key in keys]
        out.writerows([*lead, plain(at), count] for at, count in result.changes)


def _has_clients(results: Iterable[Result], trace: str) -> bool:
    return any(result.row.client is not None for result in results if result.row.trace == trace)


COLUMNS = tuple(field.name for field in fields(Row))
"""Names of a row's figures, in order."""
