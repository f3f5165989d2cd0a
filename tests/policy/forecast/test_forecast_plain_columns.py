"""Every column of a forecast once more, scan by plain scan: two steps are a minute, and what lies outside the record is not known."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from scaler.policy.forecast.columns import CLIP, WINDOW, features, lg
from scaler.policy.forecast.record import DAY
from scaler.policy.forecast.windows import Floats
from tests.policy.forecast.weeks import office

LEAD = 7
Scan = Callable[[int, int], float]


def known(series: Floats, first: int, last: int) -> Floats:
    """What is known in ``series[first:last]``."""
    cut = series[max(0, first) : max(0, last)]
    return cut[~np.isnan(cut)]


def mean(series: Floats, first: int, last: int) -> float:
    cut = known(series, first, last)
    return float(cut.mean()) if cut.size else math.nan


def top(series: Floats, first: int, last: int) -> float:
    return float(known(series, first, last).max(initial=-math.inf)) if known(series, first, last).size else math.nan


def log(replicas: float) -> float:
    return math.log(max(replicas, 0.0) + 0.5)


def gappy() -> Floats:
    """Eight days and a bit: restless, with an outage, an hour of nobody watching and two rushes."""
    values = office(9, noise=0.8)[: 8 * DAY + 700]
    values[3000:3400] = np.nan
    values[-100:-95] = np.nan
    values[100] = values[8 * DAY + 300 : 8 * DAY + 330] = 500.0
    return values


VALUES = gappy()
PLACES = range(VALUES.size + 1)
SMOOTH = np.array([mean(VALUES, k - 11, k + 11) for k in PLACES])
MINUTES = np.array([log(mean(VALUES, k - 2, k)) for k in PLACES])
LEVELS = np.array([log(mean(VALUES, k - 20, k)) for k in PLACES])
EXCESS = np.array([log(top(VALUES, k + LEAD, k + LEAD + WINDOW)) for k in PLACES]) - LEVELS


def moves(steps: int) -> Floats:
    return np.array([abs(MINUTES[k] - MINUTES[k - steps]) if k >= steps else math.nan for k in PLACES])


MOVES = {"minute": moves(2), "lead": moves(LEAD)}


def expected(at: int) -> dict[str, float]:
    """The columns at one instant, not yet clipped; NaN where nothing is known."""
    level = LEVELS[at]

    def ago(minutes: int, until: int = 0) -> float:
        return log(mean(VALUES, at - 2 * (minutes + until), at - 2 * until))

    def then(days: int) -> float:
        return log(SMOOTH[at - days * DAY]) if at >= days * DAY else math.nan

    def ahead(days: int, before: int = 0, after: int = WINDOW) -> float:
        start = at + LEAD - days * DAY
        return log(top(SMOOTH, start - before, start + after))

    def positive(growth: float) -> float:
        return 0.0 if math.isnan(growth) else max(0.0, growth)

    growth = {days: ahead(days) - then(days) for days in range(1, 8)}
    some = [figure for figure in growth.values() if not math.isnan(figure)]
    week = log(top(VALUES, at - 7 * DAY, at))
    told = {f"mean_{span}m": ago(span) - level for span in (1, 2, 3, 5, 15, 20, 30, 45, 60, 90, 120, 180, 360, 720, 1440)}
    told |= {f"max_{span}m": log(top(VALUES, at - 2 * span, at)) - level for span in (5, 15, 30, 60, 120, 360, 720, 1440, 4320)}
    told |= {f"min_{span}m": log(-top(-VALUES, at - 2 * span, at)) - level for span in (15, 60, 360, 1440)}
    told |= {f"slope_{span}m_{later}m": ago(span) - ago(span, later) for span, later in ((2, 5), (5, 10), (15, 30), (30, 60))}
    told |= {"one": 1.0, "level": level, "level_or_usual": max(level, log(mean(VALUES, at - 7 * DAY, at))), "below_week": level - week}
    for days in (1, 2, 7):
        soon = ahead(days, 0, 60) - then(days)
        told |= {
            f"ahead_{days}d": ahead(days) - level,
            f"then_{days}d": then(days) - level,
            f"growth_{days}d": growth[days],
            f"up_{days}d": positive(growth[days]),
            f"mismatch_{days}d": ago(30) - ago(30, days * 1440),
            f"soon_{days}d": soon,
            f"soon_up_{days}d": positive(soon),
            f"wide_{days}d": ahead(days, 40, 40) - level,
        }
    told |= {
        "about_1d": ahead(1, 10, 10) - level,
        "up_or_max_5m": max(positive(growth[1]), positive(growth[7]), log(top(VALUES, at - 10, at)) - level),
        "ahead_1d_or_7d": float(np.fmax(ahead(1), ahead(7))) - level,
        "growth_mean": sum(some) / len(some) if some else math.nan,
        "growth_max": max(some, default=math.nan),
        "up_max_3d": max(0.0 if math.isnan(growth[days]) else growth[days] for days in (1, 2, 3)),
    }
    told |= {f"moves_{name}_{span}m": mean(MOVES[name], at + 1 - 2 * span, at + 1) for name in MOVES for span in (15, 120, 1440)}
    end = at + 1 - LEAD - WINDOW  # what came of later instants is not known yet
    told["excess_max_60m"] = top(EXCESS, end - 120, end)
    for span in (360, 1440, 4320):
        seen = known(EXCESS, end - 2 * span, end)
        told |= {
            f"excess_{span}m": seen.mean(),
            f"excess_up_{span}m": np.maximum(seen, 0).mean(),
            f"excess_rms_{span}m": np.sqrt((seen**2).mean()),
            f"excess_soft_{span}m": np.log(np.exp(8 * np.clip(seen, -2, 2)).mean()) / 8,
        }
    hours = [mean(EXCESS**2, at - days * DAY - 60, at - days * DAY + 60) for days in range(1, 8)]
    told["excess_rms_hour"] = math.sqrt(np.mean([hour for hour in hours if not math.isnan(hour)]))
    return told


AT = [2 * DAY + 1500, 3 * DAY + 5, 6 * DAY + 1111, 7 * DAY - 30, 8 * DAY + 100, *range(8 * DAY + 200, 8 * DAY + 690, 25)]


@pytest.mark.parametrize("at", AT)
def test_every_column_is_what_a_plain_scan_says(at: int) -> None:
    seen = features(VALUES, np.array([at]), LEAD)
    wanted = expected(at)
    assert set(seen.names) == set(wanted)
    for name, figure in zip(seen.names, seen.values[0].tolist(), strict=True):
        plain = 0.0 if math.isnan(wanted[name]) else min(max(wanted[name], -CLIP), CLIP)
        assert figure == pytest.approx(plain, abs=1e-7), name
    assert (seen.level[0], seen.highest[0]) == pytest.approx((LEVELS[at], top(VALUES, at - 7 * DAY, at)))


def test_the_first_columns_are_those_that_one_endpoint_is_fitted_on() -> None:
    seen = features(VALUES, np.array([8 * DAY]), LEAD)
    own = seen.names[: seen.own]
    assert seen.own == 22
    assert own[:5] == ("mean_1m", "mean_3m", "mean_5m", "mean_30m", "mean_60m")
    assert own[-1] == "ahead_1d_or_7d"


def test_demand_below_zero_is_none() -> None:
    assert lg(np.array([-3.0, 0.0, 1.5])) == pytest.approx([math.log(0.5), math.log(0.5), math.log(2.0)])
