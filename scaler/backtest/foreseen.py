"""Every forecast of a trace, made in one go.

Demand does not depend on what is decided, so forecasts can be computed before the loop: a day at a time, with the model that the
daemon would have had on that day. The columns are those of `scaler.policy.forecast`, line for line.
"""

import math
from collections.abc import Iterable, Iterator

import numpy as np

from scaler.backtest.demand import STEP_SECONDS, Demand
from scaler.policy.demand import Load
from scaler.policy.forecast import Forecast, Model, Network, Quantiles, unfitted
from scaler.policy.forecast.columns import Features, features
from scaler.policy.forecast.model import FIRST_FIT_DAYS, fit, fitting, steps_of, targets
from scaler.policy.forecast.predict import forecasts
from scaler.policy.forecast.record import DAY, utilization
from scaler.policy.forecast.record import STEP_SECONDS as RECORD_STEP
from scaler.policy.forecast.windows import Floats
from scaler.policy.outlook import FIRST_STEPS, Outlook, judged
from scaler.policy.plan import Tuning, tuning

_STEPS = round(RECORD_STEP / STEP_SECONDS)


class Foreseen:
    """Outlooks of a whole trace, made in one go; to `scaler.policy.step` they are like any other."""

    def __init__(self, demand: Demand, lead_seconds: float, pooled: Network) -> None:
        """``demand`` is looked at only as far as it has come, and the lead is taken as it is learned in the end."""
        self._values, self._lead, self._lead_seconds = record_of(demand), steps_of(lead_seconds), lead_seconds
        self._aims = daily_aims(self._values, tuning(lead_seconds))
        self._forecasts = list(foresee(self._values, lead_seconds, pooled, self._aims))

    def look(self, before: Outlook, loads: tuple[Load, ...], *, now: float, lead_seconds: float) -> Outlook:  # noqa: ARG002 (all is known)
        """The outlook of the step of the record that ``now`` is in."""
        known = math.floor(now / RECORD_STEP)
        if known == before.known or known < FIRST_STEPS:
            return before
        ahead, demand = self._forecasts[known], float(self._values[known - 1]) if known == before.known + 1 else math.nan
        margin = judged(before.margin, demand, ahead, self._aims[known // DAY], lead=self._lead, lead_seconds=self._lead_seconds)
        return Outlook(before.record, known, forecast=ahead, margin=margin)


def record_of(demand: Demand) -> Floats:
    """The record that a daemon would have of ``demand``: means of its whole steps."""
    whole = demand[: demand.size // _STEPS * _STEPS]
    means: Floats = whole.reshape(-1, _STEPS).mean(axis=1)
    return means


def daily_aims(values: Floats, settings: Tuning) -> list[Quantiles]:
    """What is forecast on each day of a record, and on the one that begins at its end."""
    return [settings.aims(utilization(values[:start])) for start in range(0, values.size + 1, DAY)]


def foresee(values: Floats, lead_seconds: float, pooled: Network, aims: Iterable[Quantiles]) -> Iterator[Forecast | None]:
    """The forecast at the beginning of each step of a record's ``values``, and one at its end; ``aims``: of each day."""
    lead = steps_of(lead_seconds)
    at = np.arange(values.size + 1)
    seen, goals = features(values, at, lead), targets(values, at, lead)
    for start, aim in zip(range(0, at.size, DAY), aims, strict=True):
        if start >= FIRST_FIT_DAYS * DAY:
            rows = fitting(start, lead)
            model = fit(seen.at(rows), goals[:, rows], lead, pooled, aim)
        else:
            model = unfitted(pooled, lead_seconds, aim)
        yield from _day(seen.at(at[start : start + DAY]), model)


def _day(seen: Features, model: Model) -> Iterator[Forecast | None]:
    for level, up, down in zip(seen.level.tolist(), *forecasts(seen, model).tolist(), strict=True):
        yield None if np.isnan(level) else Forecast(up, down, model.id)
