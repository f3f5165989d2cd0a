"""What a forecast looks at: about ninety figures read off a record, as logarithms relative to the recent level.

The same lines serve one instant (live) and many at once (fits and backtests). Demand x enters as lg(x) = log(x + 0.5): half a replica
is as small as anything here gets. What is not known enters as 0, which says "like now".
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from scaler.policy.forecast.record import DAY, STEP_SECONDS
from scaler.policy.forecast.windows import Floats, Instants, Windows

MINUTE = round(60 / STEP_SECONDS)
"""Steps of a minute."""
WINDOW = 2 * MINUTE
"""Length of what is forecast: from the lead on, this long."""
CLIP = 4.0
"""No column is farther from 0."""
LAGS = range(1, 8)
"""Days back that count as the same hour."""

_LEVEL = 10 * MINUTE
_SMOOTH = 11
"""Half the width of the smoothed past, in steps."""
_SHARPNESS = 8.0
_EXCESS_CLIP = 2.0

Columns = dict[str, Floats]


@dataclass(frozen=True, slots=True)
class Features:
    """Figures at instants.

    names:  of the columns
    values: (instants, columns)
    level:  lg of the mean of the last ten minutes, (instants,); forecasts are relative to it
    highest: step of the last week, (instants,)
    own:    the first so many columns are few and robust enough to be fitted to one endpoint alone
    """

    names: tuple[str, ...]
    values: Floats
    level: Floats
    highest: Floats
    own: int

    def at(self, rows: Instants | NDArray[np.bool_]) -> "Features":
        """Those of some instants."""
        return Features(self.names, self.values[rows], self.level[rows], self.highest[rows], self.own)


def features(values: Floats, at: Instants, lead: int) -> Features:
    """The columns at instants ``at`` of a record's ``values``, for a forecast ``lead`` steps ahead."""
    past = _Past(values, at, lead)
    own = _recent(past) | _seasons(past)
    every = own | _longer(past) | _more_seasons(past) | _restlessness(past) | _excess(past)
    table = np.stack(list(every.values()), axis=1)
    highest = past.demand.highest(-7 * DAY, 0)
    return Features(tuple(every), np.clip(np.nan_to_num(table), -CLIP, CLIP), past.level, highest, len(own))


def lg(replicas: Floats) -> Floats:
    """Logarithm of demand that knows no abyss at zero."""
    grown: Floats = np.log(np.maximum(replicas, 0.0) + 0.5)
    return grown


class _Past:
    """A record seen from instants, and the series derived from it."""

    def __init__(self, values: Floats, at: Instants, lead: int) -> None:
        self.at, self.lead = at, lead
        self.demand = Windows(values, at)
        self.everywhere = Windows(values, np.arange(values.size + 1))
        self.level = lg(self.demand.mean(-_LEVEL, 0))

    def minutes(self, span: int, ago: int = 0) -> Floats:
        """Lg of the mean of ``span`` minutes that ended ``ago`` minutes before."""
        return lg(self.demand.mean(-(ago + span) * MINUTE, -ago * MINUTE))

    def highest(self, span: int) -> Floats:
        """Lg of the maximum of the last ``span`` minutes."""
        return lg(self.demand.highest(-span * MINUTE, 0))

    def series(self, values: Floats) -> Windows:
        """A derived series at the same instants."""
        return Windows(values, self.at)

    @cached_property
    def smooth(self) -> Windows:
        """The 11-minute centred mean; only looked at a day and more ago."""
        return self.series(self.everywhere.mean(-_SMOOTH, _SMOOTH))

    def then(self, days: int) -> Floats:
        """Lg of the smoothed level at this time ``days`` ago."""
        return lg(self.smooth.mean(-days * DAY, -days * DAY + 1))

    def ahead(self, days: int, before: int = 0, after: int = WINDOW) -> Floats:
        """Lg of the smoothed maximum of what was, ``days`` ago, the window ahead; by default exactly that."""
        start = self.lead - days * DAY
        return lg(self.smooth.highest(start - before, start + after))

    @cached_property
    def growths(self) -> dict[int, Floats]:
        """What the window ahead had over the level of the time, for each lag."""
        return {days: self.ahead(days) - self.then(days) for days in LAGS}


def _recent(past: _Past) -> Columns:
    """The last hour."""
    level = past.level
    means = {f"mean_{span}m": past.minutes(span) - level for span in (1, 3, 5, 30, 60)}
    tops = {f"max_{span}m": past.highest(span) - level for span in (5, 15, 60)}
    usual = lg(past.demand.mean(-7 * DAY, 0))
    return means | tops | {"one": np.ones(level.size), "level": level, "level_or_usual": np.maximum(level, usual)}


def _seasons(past: _Past) -> Columns:
    """Yesterday and a week ago."""
    level, growth = past.level, past.growths
    day, week = past.ahead(1), past.ahead(7)
    up_day, up_week = _positive(growth[1]), _positive(growth[7])
    return {
        "ahead_1d": day - level,
        "ahead_7d": week - level,
        "then_1d": past.then(1) - level,
        "then_7d": past.then(7) - level,
        "about_1d": past.ahead(1, 5 * MINUTE, 5 * MINUTE) - level,
        "growth_1d": growth[1],
        "growth_7d": growth[7],
        "up_1d": up_day,
        "up_7d": up_week,
        "up_or_max_5m": np.maximum(np.maximum(up_day, up_week), np.nan_to_num(past.highest(5) - level)),
        "ahead_1d_or_7d": np.fmax(day, week) - level,
    }


def _longer(past: _Past) -> Columns:
    """Other spans, up to three days."""
    level = past.level
    means = {f"mean_{span}m": past.minutes(span) - level for span in (2, 15, 20, 45, 90, 120, 180, 360, 720, 1440)}
    tops = {f"max_{span}m": past.highest(span) - level for span in (30, 120, 360, 720, 1440, 4320)}
    lows = {f"min_{span}m": lg(past.demand.lowest(-span * MINUTE, 0)) - level for span in (15, 60, 360, 1440)}
    slopes = {f"slope_{span}m_{ago}m": past.minutes(span) - past.minutes(span, ago) for span, ago in ((2, 5), (5, 10), (15, 30), (30, 60))}
    return means | tops | lows | slopes | {"below_week": level - lg(past.demand.highest(-7 * DAY, 0))}


def _more_seasons(past: _Past) -> Columns:
    """How well earlier days fit, what comes after the window, and what all days of the week have in common."""
    level, growth = past.level, past.growths
    found: Columns = {}
    for days in (1, 2, 7):
        soon = past.ahead(days, 0, 30 * MINUTE) - past.then(days)
        found[f"mismatch_{days}d"] = past.minutes(30) - past.minutes(30, days * 1440)
        found[f"soon_{days}d"] = soon
        found[f"soon_up_{days}d"] = _positive(soon)
        found[f"wide_{days}d"] = past.ahead(days, 20 * MINUTE, 20 * MINUTE) - level
    found |= {"then_2d": past.then(2) - level, "ahead_2d": past.ahead(2) - level, "growth_2d": growth[2], "up_2d": _positive(growth[2])}
    week = np.stack(list(growth.values()))
    return found | {
        "growth_mean": _mean_of_known(week),
        "growth_max": np.fmax.reduce(week),
        "up_max_3d": np.nan_to_num(week[:3]).max(axis=0),
    }


def _restlessness(past: _Past) -> Columns:
    """How much the level moves from minute to minute, and over a lead."""
    minute = lg(past.everywhere.mean(-MINUTE, 0))
    found: Columns = {}
    for name, steps in (("minute", MINUTE), ("lead", past.lead)):
        moves = past.series(np.abs(minute - _shifted(minute, steps)))
        found |= {f"moves_{name}_{span}m": moves.mean(1 - span * MINUTE, 1) for span in (15, 120, 1440)}
    return found


def _excess(past: _Past) -> Columns:
    """By how much what was to be forecast lay above the level: of late, and around this time of earlier days.

    An instant's outcome is known ``lead + WINDOW`` steps later; windows end there.
    """
    level = lg(past.everywhere.mean(-_LEVEL, 0))
    outcome = past.lead + WINDOW
    excess = lg(past.everywhere.highest(past.lead, outcome)) - level
    mild = np.clip(excess, -_EXCESS_CLIP, _EXCESS_CLIP)
    plain, ups, squares = past.series(excess), past.series(np.maximum(excess, 0.0)), past.series(excess**2)
    soft = past.series(np.exp(_SHARPNESS * mild))
    found = {"excess_max_60m": plain.highest(1 - outcome - 60 * MINUTE, 1 - outcome)}
    for span in (360, 1440, 4320):
        window = (1 - outcome - span * MINUTE, 1 - outcome)
        found |= {
            f"excess_{span}m": plain.mean(*window),
            f"excess_up_{span}m": ups.mean(*window),
            f"excess_rms_{span}m": np.sqrt(squares.mean(*window)),
            f"excess_soft_{span}m": np.log(soft.mean(*window)) / _SHARPNESS,
        }
    hours = np.stack([squares.mean(-days * DAY - 30 * MINUTE, -days * DAY + 30 * MINUTE) for days in LAGS])
    return found | {"excess_rms_hour": np.sqrt(_mean_of_known(hours))}


def _positive(growth: Floats) -> Floats:
    up: Floats = np.maximum(np.nan_to_num(growth), 0.0)
    return up


def _shifted(series: Floats, steps: int) -> Floats:
    """``series`` as it was ``steps`` before; not known at the beginning."""
    return np.concatenate((np.full(min(steps, series.size), np.nan), series[: max(0, series.size - steps)]))


def _mean_of_known(rows: Floats) -> Floats:
    """The mean over rows of what is known; NaN where nothing is."""
    known = ~np.isnan(rows)
    counts = known.sum(axis=0)
    means: Floats = np.divide(np.nan_to_num(rows).sum(axis=0), counts, out=np.full(counts.shape, np.nan), where=counts > 0)
    return means
