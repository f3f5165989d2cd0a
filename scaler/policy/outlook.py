"""What the policy expects: the record of demand, the model fitted to it, and the forecast of the moment.

A step of the record (30 s) brings a new forecast; a day, a lead that has moved, or another network, a new fit. Trust has to be earned:
no forecast in the first hour; in the first day the reactive headroom stands beside it.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Protocol

from pydantic import ValidationError, ValidatorFunctionWrapHandler, WrapValidator

from scaler.policy.demand import Load
from scaler.policy.forecast import Forecast, Network, Quantiles, Record, forecast, refit
from scaler.policy.forecast.model import assemble
from scaler.policy.forecast.own import Own
from scaler.policy.forecast.record import DAY, STEP_SECONDS, utilization
from scaler.policy.margin import Margin
from scaler.policy.plan import tuning

FIRST_STEPS = round(3600 / STEP_SECONDS)
"""Known steps without which nothing is forecast: an hour."""
YOUNG_STEPS = DAY
"""Known steps up to which the reactive headroom stands beside the forecast."""


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """The endpoint's own part of a model, for a lead in steps and beside the network of this id.

    ``own`` None: nothing yet; made at position ``at`` of the record.
    """

    lead: int
    aims: Quantiles
    network: str
    own: Own | None
    at: int


def _or_anew(value: Any, read: ValidatorFunctionWrapHandler) -> Fitted | None:  # noqa: ANN401 (what JSON holds)
    """What was kept, or None if another version fitted it: the next step fits it again."""
    try:
        fitted: Fitted | None = read(value)
    except ValidationError:
        return None
    return fitted


@dataclass(frozen=True, slots=True)
class Outlook:
    """What is expected of one endpoint's demand.

    known:    steps on record that were measured
    fitted:   what forecasts are made with beside the network; None before the first
    forecast: of the step just begun; None while there is nothing to go by
    margin:   headroom for what such forecasts lately fell short of
    """

    record: Record = field(default_factory=Record.empty)
    known: int = 0
    fitted: Annotated[Fitted | None, WrapValidator(_or_anew)] = None
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
    fitted = outlook.fitted
    if fitted is not None:
        fitted = replace(fitted, at=fitted.at + end - outlook.record.end)
    return Outlook(Record(outlook.record.values, end), outlook.known, fitted, margin=Margin(outlook.margin.extra))


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
        if fitted is None or not self._holds(fitted, record, lead_seconds):
            fitted = self._fit(record, lead_seconds)
        ahead = forecast(record, assemble(fitted.lead, fitted.aims, self._pooled(), fitted.own))
        demand = float(record.values[-1]) if record.end == before.record.end + 1 else math.nan
        return Outlook(
            record, known, fitted, ahead, judged(before.margin, demand, ahead, fitted.aims, lead=fitted.lead, lead_seconds=lead_seconds)
        )

    def _holds(self, fitted: Fitted, record: Record, lead_seconds: float) -> bool:
        moved = abs(lead_seconds / STEP_SECONDS - fitted.lead) > 1
        return record.end - fitted.at < DAY and not moved and fitted.network == self._pooled().id

    def _fit(self, record: Record, lead_seconds: float) -> Fitted:
        aims = tuning(lead_seconds).aims(utilization(record.values))
        model = refit(record, self._pooled(), lead_seconds, aims)
        return Fitted(model.lead, model.aims, model.pooled.id, model.own, record.end)


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
