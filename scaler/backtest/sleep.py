"""What it costs to let an endpoint sleep, and how often somebody finds it asleep: the study's model of scale to zero.

One replica, on or off. A client is active in a window of `WINDOW_SECONDS` or it is not:

* An active window keeps the endpoint busy for its whole length. It is warm if the endpoint is ready when it begins; a cold one starts the
  endpoint itself, at its beginning.
* An endpoint is ready one cold start after it was started, and billed from the start on until it stops.
* Beside the active windows it is on when the policy wishes so: `Spans` made from what happened up to their beginning, no more.

Cost is the time billed from the end of the warm-up on; policies are followed for `TAIL_SECONDS` beyond the end of the trace, so that the
last keep-alive is paid for like the others. Warm share is the share of the scored active windows that are warm. The oracle wakes every
endpoint just in time: for each scored active window its length, and ``min(gap, cold start)`` for the gap after it (the last one never
ends). All clients weigh by their windows: **cost / oracle is the total cost of all clients over the total of their oracles, warm share
the warm windows of all clients over their active windows.** That is how the study's rows are made: fixed timeouts of 30, 60 and 120
minutes cost 1.23 @ 92.8 %, 1.42 @ 94.3 % and 1.71 @ 95.9 % on its 30 clients.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scaler.backtest.activity import WINDOW_SECONDS, Activity

TAIL_SECONDS = 86400.0
"""How long a policy is followed beyond the end of the trace."""

Spans = NDArray[np.float64]
"""Shape (n, 2): from, to; seconds from the trace's origin."""
Windows = NDArray[np.bool_]
"""Whether one client is active, window by window."""


@dataclass(frozen=True, slots=True)
class SleepRules:
    """What holds for a run. Raises `ValueError` unless both are finite and the cold start takes time."""

    cold_start_seconds: float = 300.0
    warm_up_seconds: float = 7 * 86400.0

    def __post_init__(self) -> None:
        """Refuse what the model does not cover."""
        if not (0 < self.cold_start_seconds < math.inf and 0 <= self.warm_up_seconds < math.inf):
            raise ValueError(f"expected a cold start above 0 s and no negative warm-up, got {self}")


@dataclass(frozen=True, slots=True)
class SleepScore:
    """How one client, or many together, fared in the scored time."""

    cost_seconds: float = 0.0
    oracle_seconds: float = 0.0
    warm: int = 0
    active: int = 0
    starts: int = 0

    @property
    def ratio_to_oracle(self) -> float:
        """Cost / oracle; 1 where there was nothing to do."""
        return self.cost_seconds / self.oracle_seconds if self.oracle_seconds else 1.0

    @property
    def warm_share(self) -> float:
        """Warm windows / active windows; 1 without any."""
        return self.warm / self.active if self.active else 1.0

    def __add__(self, other: "SleepScore") -> "SleepScore":
        """Both clients together."""
        return SleepScore(
            self.cost_seconds + other.cost_seconds,
            self.oracle_seconds + other.oracle_seconds,
            self.warm + other.warm,
            self.active + other.active,
            self.starts + other.starts,
        )


def judge(active: Windows, wishes: Spans, rules: SleepRules) -> SleepScore:
    """The score of one client under these wishes."""
    on = on_spans(active, wishes)
    begins = np.flatnonzero(active) * WINDOW_SECONDS
    scored = begins[begins >= rules.warm_up_seconds]
    billed = np.maximum(on - rules.warm_up_seconds, 0.0)
    started = on[np.searchsorted(on[:, 0], scored, side="right") - 1, 0] if scored.size else scored
    gaps = np.diff(np.append(scored, math.inf)) - WINDOW_SECONDS
    return SleepScore(
        cost_seconds=float((billed[:, 1] - billed[:, 0]).sum()),
        oracle_seconds=float(scored.size * WINDOW_SECONDS + np.minimum(gaps, rules.cold_start_seconds).sum()),
        warm=int((scored - started >= rules.cold_start_seconds).sum()),
        active=int(scored.size),
        starts=int((on[:, 0] >= rules.warm_up_seconds).sum()),
    )


def on_spans(active: Windows, wishes: Spans) -> Spans:
    """When the endpoint is on: the active windows and the wishes, in order, overlapping and touching ones as one."""
    begins = np.flatnonzero(active) * WINDOW_SECONDS
    spans = np.concatenate((np.column_stack((begins, begins + WINDOW_SECONDS)), wishes.reshape(-1, 2)))
    spans = spans[spans[:, 1] > spans[:, 0]]
    spans = spans[np.argsort(spans[:, 0], kind="stable")]
    reach = np.maximum.accumulate(spans[:, 1]) if len(spans) else spans[:, 1]
    first = np.flatnonzero(np.concatenate((np.ones(min(len(spans), 1), dtype=np.bool_), spans[1:, 0] > reach[:-1])))
    return np.column_stack((spans[first, 0], np.maximum.reduceat(spans[:, 1], first) if first.size else spans[first, 1]))


def judge_all(activity: Activity, wishes: Sequence[Spans], rules: SleepRules) -> list[SleepScore]:
    """The score of every client, in order."""
    return [judge(active, wish, rules) for active, wish in zip(activity.active, wishes, strict=True)]


def together(scores: Iterable[SleepScore]) -> SleepScore:
    """All of them as one account."""
    return sum(scores, SleepScore())


def fixed_timeout(active: Windows, timeout_seconds: float) -> Spans:
    """Wishes of a timer: on for so long after every active window."""
    ends = (np.flatnonzero(active) + 1) * WINDOW_SECONDS
    return np.column_stack((ends, ends + min(timeout_seconds, active.size * WINDOW_SECONDS + TAIL_SECONDS)))


def always_on(active: Windows) -> Spans:
    """Wishes of somebody who never sleeps, to the end of the trace: no keep-alive of theirs ever ends."""
    return np.array([[0.0, active.size * WINDOW_SECONDS]])


def just_in_time(active: Windows, rules: SleepRules) -> Spans:
    """Wishes of the oracle: every window is warm, and nothing is on a second longer than that takes."""
    begins = np.flatnonzero(active) * WINDOW_SECONDS
    idle = np.diff(begins) - WINDOW_SECONDS
    awake = np.minimum(idle, rules.cold_start_seconds)
    wishes = np.column_stack((begins[1:] - awake, begins[1:]))[awake > 0]
    return np.concatenate((np.maximum([[begins[0] - rules.cold_start_seconds, begins[0]]], 0.0), wishes)) if begins.size else wishes
