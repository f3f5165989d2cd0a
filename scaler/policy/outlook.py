"""What the policy expects: the record of demand, the model fitted to it, and the forecast of the moment.

A step of the record (30 s) brings a new forecast; a day, or a lead that has moved, a new fit. Trust has to be earned: no forecast in the
first hour; in the first day the reactive headroom stands beside it.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Annotated, Protocol

from pydantic import PlainValidator

from scaler.policy.demand import Load
from scaler.policy.forecast import Forecast, Model, Network, Quantiles, Record, forecast, refit
from scaler.policy.forecast.record import DAY, STEP_SECONDS, utilization
from scaler.policy.margin import Margin
from scaler.policy.plan import tuning

FIRST_STEPS = round(3600 / STEP_SECONDS)
"""Known steps without which nothing is forecast: an hour."""
YOUNG_STEPS = DAY
"""Known steps up to which the reactive headroom stands beside the forecast."""


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """What forecasts are made with, from position ``at`` of the record on."""

    model: Model
    at: int


@dataclass(frozen=True, slots=True)
class Outlook:
    """What is expected of one endpoint's demand.

    known:    steps on record that were measured
    fitted:   what forecasts are made with; None before the first, and after a restart, as making it takes no longer than keeping it
    forecast: of the step just begun; None while there is nothing to go by
    margin:   headroom for what such forecasts lately fell short of
    """

    record: Record = field(default_factory=Record.empty)
    known: int = 0
    fitted: Annotated[Fitted | None, PlainValidator(lambda _: None)] = None
    forecast: Forecast | None = None
    margin: Margin = field(default_factory=Margin)

    @property
    def young(self) -> bool:
        """Whether the forecast still needs the reactive headroom beside it."""
        return self.known < YOUNG_STEPS


def resumed(outlook: Outlook, kept: float, at: float, now: float) -> Outlook:
    """An outlook that another process left at ``kept``, on this one's clock; ``kept`` and ``at`` are Unix seconds, ``now`` monotonic.

    The time in between is a gap. A wall clock that was set back leaves none.
    """
    end = math.floor(now / STEP_SECONDS) - math.floor(max(0.0, at - kept) / STEP_SECONDS)
    return Outlook(Record(outlook.record.values, end), outlook.known, margin=Margin(outlook.margin.extra))


class Foresight(Protocol):
    """How outlooks come about: live from the record, or in a backtest for a whole trace in one go."""

    def look(self, before: Outlook, loads: tuple[Load, ...], *, now: float, lead_seconds: float) -> Outlook:
        """The outlook at ``now`` (monotonic seconds), after the new ``loads``, for replicas that need ``lead_seconds`` to serve."""
        ...


class Forecaster:
    """Live: every figure from the record that the endpoint has so far."""

    def __init__(self, pooled: Callable[[], Network]) -> None:
        """``pooled`` gives the network that ships with the program."""
        self._pooled = pooled

    def look(self, before: Outlook, loads: tuple[Load, ...], *, now: float, lead_seconds: float) -> Outlook:
        """A few sums in most ticks, some milliseconds when a step is over, a fraction of a second once a day."""
        record = _measured(before.record, loads).until(now)
        if record.end == before.record.end:
            return replace(before, record=record)
        known = record.known_steps
        if known < FIRST_STEPS:
            return Outlook(record, known)
        fitted = before.fitted
        if fitted is None or record.end - fitted.at >= DAY or abs(lead_seconds / STEP_SECONDS - fitted.model.lead) > 1:
            aims = tuning(lead_seconds).aims(utilization(record.values))
            fitted = Fitted(refit(record, self._pooled(), lead_seconds, aims), record.end)
        model = fitted.model
        ahead = forecast(record, model)
        demand = float(record.values[-1]) if record.end == before.record.end + 1 else math.nan
        margin = judged(before.margin, demand, ahead, model.aims, lead=model.lead, lead_seconds=lead_seconds)
        return Outlook(record, known, fitted, ahead, margin)


def judged(margin: Margin, demand: float, ahead: Forecast | None, aims: Quantiles, *, lead: int, lead_seconds: float) -> Margin:
    """The margin after a step of ``demand`` replicas (NaN after a gap), with the forecast made at its end for ``lead`` steps later.

    ``lead_seconds``: what a replica needs to serve, from which a forecast's lead may be a step away.
    """
    prepared = math.nan if ahead is None else tuning(lead_seconds).headroom * ahead.up
    return margin.after(demand, prepared, risk=1 - aims.up, lead=lead)


def _measured(record: Record, loads: Iterable[Load]) -> Record:
    """The record with what was offered; it begins with the first load."""
    for load in loads:
        if not record.values.size and not record.measured:
            record = Record.empty(load.start)
        record = record.observe(load.start, load.end, load.offered)
    return record
