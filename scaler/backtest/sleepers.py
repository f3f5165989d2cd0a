"""Policies that let endpoints sleep, played on files of clients: the wishes of every client, each made from what came before it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from scaler.backtest.activity import WINDOW_SECONDS, Activity
from scaler.backtest.sleep import SleepRules, Spans
from scaler.policy.idle import NEVER, Past, Plan, Terms, plan, price_for, worth
from scaler.policy.returns import DAY, HORIZON, Floats, Windows, hazard

REPRICE_WINDOWS = 6
"""The price is found anew every hour"""
PAST_WINDOWS = 7 * DAY
"""from what happened in so many windows."""

Forecast = Callable[[str, Windows], Floats]
"""A client's name and its past -> its chance of a return in each window after the first one of the gap that begins now."""
Whole = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Gaps:
    """All gaps of all clients in the order in which they begin; windows from the origin.

    returns: window in which the client is back, beyond all windows if it is not
    worths:  shape (gaps, HORIZON), see `scaler.policy.idle.worth`
    found:   the worth of the window of the return
    """

    client: Whole
    begins: Whole
    returns: Whole
    worths: Floats
    found: Floats


def money(activity: Activity, rules: SleepRules, warm_share: float, forecast: Forecast | None = None) -> list[Spans]:
    """What scaler itself wishes; ``warm_share`` of the scored active windows of all clients together are to be warm.

    A cold start has the same price for all clients: who is cheaper to keep warm is kept warm.
    """
    terms = Terms(rules.cold_start_seconds / WINDOW_SECONDS)
    gaps = gaps_of(activity, terms, forecast or (lambda _, past: hazard(past)))
    account = _Account(activity, gaps, round(rules.warm_up_seconds / WINDOW_SECONDS))
    wishes: list[list[tuple[float, float]]] = [[] for _ in activity.clients]
    for begin in range(0, activity.active.shape[1] + 1, REPRICE_WINDOWS):
        price = price_for(warm_share, account.past(begin))
        for gap in account.beginning(begin):
            chosen = plan(gaps.worths[gap], price, terms)
            account.note(gap, chosen)
            wishes[gaps.client[gap]] += _spans(chosen, int(gaps.begins[gap]), int(gaps.returns[gap]), terms)
    return [np.array(wish, dtype=np.float64).reshape(-1, 2) * WINDOW_SECONDS for wish in wishes]


def gaps_of(activity: Activity, terms: Terms, forecast: Forecast) -> Gaps:
    """Every gap, with what is foreseen at its beginning."""
    far = activity.active.shape[1] + HORIZON + 1
    rows: list[tuple[int, int, int]] = []
    for client, active in enumerate(activity.active):
        busy = np.flatnonzero(active)
        last = np.flatnonzero(np.diff(np.append(busy, far)) > 1)
        rows += zip((busy[last] + 1).tolist(), [client] * last.size, np.append(busy, far)[last + 1].tolist(), strict=True)
    rows.sort()
    begins, clients, returns = np.array(rows, dtype=np.int64).reshape(-1, 3).T
    ahead = [forecast(activity.clients[who], activity.active[who, :begin]) for begin, who, _ in rows]
    worths = worth(np.array(ahead).reshape(-1, HORIZON), terms)
    length = returns - begins
    found = np.where(length <= HORIZON, worths[np.arange(length.size), np.minimum(length, HORIZON) - 1], NEVER)
    return Gaps(clients, begins, returns, worths, found)


@dataclass(slots=True)
class _Account:
    """All clients together as time goes by: what is known of earlier gaps at the beginning of a window."""

    activity: Activity
    gaps: Gaps
    counts_from: int
    cold: Windows = field(init=False)
    active: Whole = field(init=False)
    first: Whole = field(init=False)

    def __post_init__(self) -> None:
        self.cold = np.zeros(self.gaps.begins.size, dtype=np.bool_)
        self.active = np.concatenate(([0], np.cumsum(self.activity.active.sum(axis=0))))
        self.first = np.array([busy[0] for row in self.activity.active if (busy := np.flatnonzero(row)).size], dtype=np.int64)

    def past(self, now: int) -> Past:
        """What happened before window ``now``."""
        start, since = max(0, now - PAST_WINDOWS), min(now, max(self.counts_from, now - PAST_WINDOWS))
        back = self.gaps.returns
        return Past(
            worths=self.gaps.found[(back >= start) & (back < now)],
            active=float(self.active[now] - self.active[start]),
            days=(now - start) / DAY,
            spent_active=float(self.active[now] - self.active[since]),
            spent_cold=float((self.cold & (back >= since) & (back < now)).sum() + ((self.first >= since) & (self.first < now)).sum()),
        )

    def beginning(self, now: int) -> Iterator[int]:
        """The gaps that begin before the next price."""
        first, last = np.searchsorted(self.gaps.begins, (now, now + REPRICE_WINDOWS))
        yield from range(first, last)

    def note(self, gap: int, chosen: Plan) -> None:
        """How the gap is going to end under this plan; it is looked at once it has."""
        length = int(self.gaps.returns[gap] - self.gaps.begins[gap])
        self.cold[gap] = not any(first <= length <= last for first, last in chosen.ready)


def _spans(chosen: Plan, begin: int, end: int, terms: Terms) -> list[tuple[float, float]]:
    """When to be on during a gap, in windows: a run's first window is prepared for, and it ends at the beginning of its last one."""
    spans = ((begin + max(0.0, first - terms.start) if first > 1 else float(begin), float(begin + last)) for first, last in chosen.ready)
    return [(start, min(stop, float(end))) for start, stop in spans if start < end]
