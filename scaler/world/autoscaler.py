"""The platform's own autoscaler: between the bounds, from load it has seen."""

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from scaler.settings import NativeAutoscalerSettings

UNLIMITED = 2**31 - 1
"""Replicas, where no rule names a number."""


@dataclass(frozen=True, slots=True)
class Policy:
    """How far the count may move within ``period_seconds``: by ``value`` replicas, or percent of those at the period's start."""

    kind: Literal["PODS", "PERCENT"]
    value: int
    period_seconds: float

    def allows(self, start: int, *, up: bool) -> int:
        """The farthest count in this direction when ``start`` replicas were desired at the period's start."""
        step = self.value if self.kind == "PODS" else start * self.value / 100
        return math.ceil(start + step) if up else max(0, math.floor(start - step))


@dataclass(frozen=True, slots=True)
class Rules:
    """Policies of one direction; ``select`` is which of them counts: the one that allows most, least, or no change at all."""

    policies: tuple[Policy, ...] = ()
    select: Literal["MAX", "MIN", "DISABLED"] = "MAX"


@dataclass(frozen=True, slots=True)
class Scaling:
    """What the autoscaler goes by: requests in flight per replica to steer to, and windows of patience in seconds."""

    target_in_flight: float
    up_window_seconds: float
    down_window_seconds: float
    up: Rules = Rules()
    down: Rules = Rules()

    @classmethod
    def of(cls, settings: NativeAutoscalerSettings) -> "Scaling":
        """As the world's settings have it, without policies."""
        return cls(settings.target_in_flight, settings.up_window_seconds, settings.down_window_seconds)

    @property
    def memory_seconds(self) -> float:
        """How far back it looks."""
        periods = (policy.period_seconds for rules in (self.up, self.down) for policy in rules.policies)
        return max(self.up_window_seconds, self.down_window_seconds, *periods)


@dataclass(frozen=True, slots=True)
class _Look:
    at: float
    recommended: int
    desired: int


class NativeAutoscaler:
    """Target tracking on concurrency, with a window of patience in each direction and rules for the size of steps.

    At each look the recommendation is ceil(load / target). It adds up to the lowest recommendation of the up window, takes away down to
    the highest of the down window, and does neither before that window has been watched in full (the Kubernetes HPA's stabilization).
    Policies then cap the step, as in the HPA's behavior. ``scaling`` may be replaced at any time.
    """

    def __init__(self, scaling: Scaling, now: float) -> None:
        """Has seen nothing; begins to watch ``now``."""
        self.scaling = scaling
        self._since = now
        self._looks: deque[_Look] = deque()

    def look(self, load: float, desired: int, now: float) -> int:
        """Replicas to have from ``now`` on, bounds aside; ``load`` = mean requests open since the last look."""
        scaling = self.scaling
        self._looks.append(_Look(now, math.ceil(load / scaling.target_in_flight), desired))
        while self._looks[0].at < now - scaling.memory_seconds:
            self._looks.popleft()
        if not desired:
            return min(1, self._looks[-1].recommended)
        up = min(self._within(scaling.up_window_seconds, desired, now))
        down = max(self._within(scaling.down_window_seconds, desired, now))
        if up > desired:
            return max(desired, min(up, self._limit(scaling.up, desired, now, up=True)))
        return min(desired, max(down, self._limit(scaling.down, desired, now, up=False)))

    def _within(self, window: float, desired: int, now: float) -> list[int]:
        """Recommendations of the window; the present count while it has not been watched in full."""
        if now - self._since < window:
            return [desired]
        return [look.recommended for look in self._looks if look.at >= now - window]

    def _limit(self, rules: Rules, desired: int, now: float, *, up: bool) -> int:
        """The farthest count that the rules allow in this direction."""
        if rules.select == "DISABLED":
            return desired
        if not rules.policies:
            return UNLIMITED if up else 0
        allowed = [policy.allows(self._desired_at(now - policy.period_seconds), up=up) for policy in rules.policies]
        farthest: Callable[[list[int]], int] = max if up == (rules.select == "MAX") else min
        return farthest(allowed)

    def _desired_at(self, at: float) -> int:
        """The count that was desired after the looks until then, as the first look since has found it."""
        return next(look.desired for look in self._looks if look.at > at)
