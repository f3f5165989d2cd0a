"""When somebody will be back: the chance that traffic returns in each window to come, given that it has not until then.

Time is cut into windows of `WINDOW_SECONDS`; in each there was traffic or not. A gap is a run of windows without. Its hazard, the chance
that it ends with the k-th window if it has lasted that long, is a logistic regression on what an endpoint's own past says about it:

* the age of the gap: long silence rarely ends (straight pieces between `KNOTS`, in logarithms);
* the endpoint's own gaps: the share of those that lasted so long and then ended, smoothed over similar ages, the newest weighing most;
  once over all, once over those that began at a similar time of day;
* what happened at that time a day and a week ago.

Who returns at the same time every day is rare in what the coefficients come from, so a habit stands beside them: the larger chance holds.

The coefficients (`returns_theta`) are the same for everybody: what differs between endpoints is in their pasts. Only elapsed time counts,
no calendar: a change of clocks shifts people, and the newest days say by how much.
"""

import numpy as np
from numpy.typing import NDArray

from scaler.policy.returns_theta import THETA

WINDOW_SECONDS = 600.0
"""Width of a window."""
DAY = 144
"""Windows of a day."""
HORIZON = 3 * DAY
"""Windows that are looked ahead; nobody is expected back after that."""
MAX_GAPS = 400
"""An endpoint's newest gaps that are looked at."""
MEMORY_WINDOWS = 15 * DAY
"""What a week ago looked like is known after eight days; more than this much past is not read."""

KNOTS = np.log([1, 2, 3, 5, 8, 13, 24, 48, 96, 200, 500])
_LAGS = (DAY, 7 * DAY)
_FADE_WINDOWS = 5.0 * DAY
_HOUR_WINDOWS = 12.0
_SIMILAR_AGE = float(np.exp(0.35))
_AGES = np.arange(1, HORIZON + 1)
_SPAN = (
    np.maximum(1, np.floor(_AGES / _SIMILAR_AGE + 0.5)).astype(np.int64),
    np.minimum(HORIZON, np.ceil(_AGES * _SIMILAR_AGE - 0.5)).astype(np.int64),
)
_USUAL = 0.6 / (1.0 + _AGES)
"""What is believed of an endpoint without gaps: half of them end with the next window or the one after; worth one gap."""
_MEMORY_MOST = 3.0
_SILENCE = 6
_HABIT_SHARE = 0.6
_HABIT_DOUBT = 1.0
"""Weight of a return that was not followed by another, before any are known."""

Windows = NDArray[np.bool_]
Floats = NDArray[np.float64]


def hazard(past: Windows, theta: Floats = THETA) -> Floats:
    """Shape (HORIZON,): entry k - 1 is the chance of a return k windows after the gap's first one, if there was none before.

    ``past``: traffic or none, window by window; the gap begins right after it.
    """
    x = features(past)
    chance: Floats = 1.0 / (1.0 + np.exp(-np.clip(theta[0] + x @ theta[1:], -15.0, 15.0)))
    return np.maximum(chance, np.maximum.reduce([_habit(past[-MEMORY_WINDOWS:], lag) for lag in _LAGS]))


def _habit(past: Windows, lag: int) -> Floats:
    """Shape (HORIZON,): the chance of a return just where there was one ``lag`` earlier, give or take a window, where that is a habit.

    It is if most returns after an hour of silence were followed by one ``lag`` later, of those for which there was an hour of silence then.
    """
    begins, lengths = gaps_of(past)
    back = (begins + lengths)[lengths >= _SILENCE]
    returned = np.zeros(past.size + 2 * lag + HORIZON + 3, dtype=np.bool_)
    returned[back] = True
    known = back[back + lag + 1 < past.size]
    busy = np.concatenate(([0], np.cumsum(past)))
    known = known[busy[known + lag - 1] == busy[known + lag - 1 - _SILENCE]]
    kept = returned[known + lag - 1] | returned[known + lag] | returned[known + lag + 1]
    fresh = np.exp((known - past.size) / _FADE_WINDOWS)
    share = float((fresh @ kept) / (fresh.sum() + _HABIT_DOUBT))
    if share < _HABIT_SHARE:
        return np.zeros(HORIZON)
    target = past.size + _AGES - lag
    around = [(target + shift >= 0) & returned[np.maximum(target + shift, 0)] for shift in (-1, 0, 1)]
    chance: Floats = np.select(around, [share, share / 2, share / 3], 0.0) * (_AGES >= _SILENCE)
    return chance


def features(past: Windows) -> Floats:
    """Shape (HORIZON, 23): the columns of the regression for each window that may end the gap."""
    past = past[-MEMORY_WINDOWS:]
    begins, lengths = gaps_of(past)
    return np.column_stack((_AGE_COLUMNS, *(_a_while_ago(past, lag) for lag in _LAGS), _own_gaps(begins, lengths, past.size)))


def gaps_of(past: Windows) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First window and length of each gap that ended, oldest first, the newest `MAX_GAPS` of them."""
    busy = np.flatnonzero(past)
    ended = np.flatnonzero(np.diff(busy) > 1)
    begins = busy[ended] + 1
    return begins[-MAX_GAPS:], (busy[ended + 1] - begins)[-MAX_GAPS:]


def _hats(x: Floats) -> Floats:
    """One column per knot: 1 there, falling in a straight line to 0 at its neighbours."""
    return np.column_stack([np.interp(x, KNOTS, row) for row in np.eye(KNOTS.size)])


_AGE_COLUMNS = _hats(np.log(_AGES))


def _a_while_ago(past: Windows, lag: int) -> Floats:
    """Shape (HORIZON, 4): traffic in the same window ``lag`` earlier, its share of half an hour around, returns nearby and around."""
    reach = 4
    early = lag + HORIZON + reach + 1
    busy = np.concatenate((np.zeros(early), past, np.zeros(HORIZON + reach + 1)))
    back = np.maximum(np.diff(busy, prepend=0.0), 0.0)
    until = np.concatenate(([0.0], np.cumsum(busy))), np.concatenate(([0.0], np.cumsum(back)))
    center = early + past.size + _AGES - lag

    def around(sums: Floats, windows: int) -> Floats:
        return sums[center + windows + 1] - sums[center - windows]

    columns = (around(until[0], 0), around(until[0], 3) / 7, around(until[1], 1), around(until[1], 4) / 3)
    return np.column_stack(columns)


def _own_gaps(begins: NDArray[np.int64], lengths: NDArray[np.int64], now: int) -> Floats:
    """Shape (HORIZON, 4): log odds of an end at this age among all gaps and those of this hour, how many were there, and both in one."""
    age = now - begins
    fresh = np.exp(-age / _FADE_WINDOWS)
    apart = np.minimum(age % DAY, DAY - age % DAY)
    overall, known = _ended(lengths, fresh)
    hourly, _ = _ended(lengths, fresh * np.exp(-0.5 * (apart / _HOUR_WINDOWS) ** 2))
    return np.column_stack((overall, hourly, known, overall * np.minimum(known, _MEMORY_MOST) / _MEMORY_MOST))


def _ended(lengths: NDArray[np.int64], weights: Floats) -> tuple[Floats, Floats]:
    """Log odds that a gap of each age ends there, and log(1 + weight of the gaps that grew as old)."""
    reached = np.bincount(np.minimum(lengths, HORIZON + 1), weights=weights, minlength=HORIZON + 2)[1:]
    old = np.cumsum(reached[::-1])[::-1][:HORIZON]
    first, last = _SPAN
    ends, risks = np.concatenate(([0.0], np.cumsum(reached[:HORIZON]))), np.concatenate(([0.0], np.cumsum(old)))
    share = np.clip((ends[last] - ends[first - 1] + _USUAL) / (risks[last] - risks[first - 1] + 1.0), 1e-5, 0.98)
    return np.log(share) - np.log1p(-share), np.log1p(old)
