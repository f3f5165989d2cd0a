"""When an endpoint may sleep, as a matter of money.

Being ready for a window in which nobody returns costs idle time; being asleep in one in which somebody does costs that caller a cold
start, at a price. Both prices are in windows of idle replica time, so dollars only matter where one of them is given in dollars.

For each price of a cold start there is a cheapest way through a gap (Bellman's equation, backwards from the horizon): stay, sleep, or
start again just in time. The lowest price at which it pays to be ready for a window is that window's **worth**, an index in the
sense of Whittle (1988). A plan at a price is then nothing but the windows whose worth is at most that price: whoever pays more is never
ready for less. A window just before the usual return has a low worth, one deep in the night a high one.

The price follows from the share of calls that should find the endpoint awake: in the past, with this price, so many would have.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scaler.policy.returns import HORIZON, Floats

PRICES = np.geomspace(0.5, 300.0, 80)
"""Prices that are told apart, in windows: 8 % from one to the next."""
NEVER = float("inf")
"""Worth of a window that no price pays for."""
USUAL_COLD = (
    (0.5, 0.142),
    (1, 0.142),
    (2, 0.132),
    (4, 0.108),
    (8, 0.079),
    (16, 0.058),
    (32, 0.033),
    (64, 0.019),
    (128, 0.01),
    (256, 0.005),
)
"""Cold starts per active window at a price, on the clients that `returns_theta` comes from: what is believed before there is a past."""
USUAL_WINDOWS = 600.0
"""Active windows that this belief weighs as much as."""
RECOVER_DAYS = 2.0
"""Within so many days of the usual traffic a share that was missed, or overdone, is to be made up for"""
RECOVER_MOST = 0.06
"""by asking for more or less than wanted, but no more than this apart."""


DOUBT = 0.25
"""Windows that a start is taken to cost more than it takes: people come back in the middle of a window, too, not just when it begins."""
CHUNK = 256
"""Gaps that are worked on at a time, so that memory stays small."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What a sleep takes, in windows; ``start``: from a start to service, ``rest``: the shortest sleep that is worth two changes (>= 1)."""

    start: float
    rest: int = 1


@dataclass(frozen=True, slots=True)
class Plan:
    """For which windows of a gap to be ready: runs (first, last), counted from 1, the window after the gap's first one."""

    ready: tuple[tuple[int, int], ...]

    @property
    def keep(self) -> int:
        """Windows that it stays awake at the beginning."""
        return self.ready[0][1] if self.ready and self.ready[0][0] == 1 else 0


@dataclass(frozen=True, slots=True)
class Past:
    """What became of earlier gaps, of one endpoint or of a whole account.

    worths:         of each return, the price from which on it would have found the endpoint ready
    active:         active windows in the same time
    days:           length of that time
    spent_active:   active windows since the share counts,
    spent_cold:     and how many of them began cold
    """

    worths: Floats
    active: float
    days: float
    spent_active: float = 0.0
    spent_cold: float = 0.0


def worth(hazards: Floats, terms: Terms) -> Floats:
    """Shape (gaps, HORIZON): the lowest price at which it pays to be ready for the window; `NEVER` if none does.

    ``hazards``: shape (gaps, HORIZON), a gap a row, the first column for the window after the gap's first one; at its beginning the
    endpoint runs.
    """
    chunks = [_worth(hazards[first : first + CHUNK], terms) for first in range(0, len(hazards), CHUNK)]
    return np.concatenate(chunks) if chunks else np.empty_like(hazards)


def _worth(hazards: Floats, terms: Terms) -> Floats:
    """Follow the cheapest way of every price at once, and note the first price that is ready."""
    stays, starts = _choices(hazards, terms)
    asleep = np.full(stays.shape[1:], -1)  # windows that it still has to sleep; -1: awake
    found = np.full(hazards.shape, NEVER)
    for k in range(hazards.shape[1]):
        awake = asleep < 0
        ready = np.where(awake, stays[k], (asleep == 0) & starts[k])
        asleep = np.where(ready, -1, np.where(awake, terms.rest - 1, np.maximum(asleep - 1, 0)))
        found[:, k] = np.where(ready.any(axis=1), PRICES[ready.argmax(axis=1)], NEVER)
    return found


def _choices(hazards: Floats, terms: Terms) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Shapes (HORIZON, gaps, prices): whether the cheapest way stays awake, and whether it starts when it may, for each window."""
    gaps, horizon = hazards.shape
    stays = np.empty((horizon, gaps, PRICES.size), dtype=np.bool_)
    starts = np.empty_like(stays)
    awake = np.broadcast_to(PRICES, stays.shape[1:])  # beyond the horizon a return is cold
    asleep = [awake] * terms.rest  # by windows that it still has to sleep
    for k in range(horizon - 1, -1, -1):
        chance = hazards[:, k, np.newaxis]
        stay, start = 1.0 + (1.0 - chance) * awake, terms.start + DOUBT + (1.0 - chance) * awake
        sleep = [chance * PRICES + (1.0 - chance) * later for later in asleep]
        stays[k], starts[k] = stay < sleep[-1], start < sleep[0]
        awake = np.minimum(stay, sleep[-1])
        asleep = [np.minimum(start, sleep[0]), *sleep[:-1]]
    return stays, starts


def plan(worths: Floats, price: float, terms: Terms, *, least: int = 0, most: int = HORIZON) -> Plan:
    """For what to be ready at this price, given the worths of one gap.

    A sleep shorter than ``terms.rest`` is none. ``least`` and ``most``: bounds of the time that it stays awake at first, in windows;
    ``most`` also of each time later, but for one window.
    """
    ready = worths <= price
    ready[:least] = True
    edges = np.flatnonzero(np.diff(np.concatenate(([False], ready, [False])).astype(np.int8)))
    runs: list[tuple[int, int]] = []
    for first, last in zip((edges[::2] + 1).tolist(), edges[1::2].tolist(), strict=True):
        begun = runs[-1] if runs else (1, 0)
        if first - begun[1] <= terms.rest:
            runs[-1:] = [(begun[0], last)]
        else:
            runs.append((first, last))
    kept = most if runs and runs[0][0] == 1 else 1
    cut = [(first, min(last, first + max(1, most) - 1)) for first, last in runs[0 if kept else 1 :]]
    return Plan(tuple(cut))


def price_for(share: float, past: Past) -> float:
    """The lowest of `PRICES` at which so many of the past's active windows, and of the usual ones, would have begun warm.

    What was missed or overdone since the share counts is made up for.
    """
    active = past.active + USUAL_WINDOWS
    allowed = (1.0 - _owed(share, past)) * active
    cold = (past.worths[:, np.newaxis] > PRICES).sum(axis=0) + USUAL_WINDOWS * _usual_cold()
    enough = np.flatnonzero(cold <= allowed)
    return float(PRICES[enough[0]] if enough.size else PRICES[-1])


def _owed(share: float, past: Past) -> float:
    """The share of the next `RECOVER_DAYS` that brings the share since it counts to ``share``."""
    coming = past.active / max(past.days, 1.0) * RECOVER_DAYS
    if coming <= 0:
        return share
    owed = 1.0 - ((1.0 - share) * (past.spent_active + coming) - past.spent_cold) / coming
    return min(max(owed, share - RECOVER_MOST), share + RECOVER_MOST, 1.0 - 1e-9)


def _usual_cold() -> Floats:
    """`USUAL_COLD` at each of `PRICES`."""
    at, cold = np.array(USUAL_COLD).T
    usual: Floats = np.interp(np.log(PRICES), np.log(at), cold)
    return usual
