"""AWS Application Auto Scaling: target tracking, as for SageMaker endpoints."""

import math

from scaler.policy.baselines.base import ROUNDING, USUAL_SHARE, Limits, Periodic, Run, Seen, Window, ceil

POINT = 60.0
"""Seconds of one metric point."""
HIGH_FOR = 3 * POINT
LOW_FOR = 15 * POINT
LOW_SHARE = 0.9
COOLDOWN = 300.0


class TargetTracking(Periodic):
    """Two alarms on the metric per serving replica, and a proportional answer: ceil(serving x metric / target).

    Out: every point of 3 minutes is above the target, and the last scale-out is 300 s ago or asked for fewer than are wanted now.
    In: every point of 15 minutes is below 0.9 x target, and the last activity is 300 s ago.

    Source: docs.aws.amazon.com, Application Auto Scaling target tracking and SageMaker endpoint auto scaling (cooldowns, proportional
    answer); the alarms' shape is that of the CloudWatch alarms which the service makes.
    """

    def __init__(self, limits: Limits, *, share: float = USUAL_SHARE) -> None:
        """Steers to ``share`` of what a replica is good for."""
        super().__init__(POINT)
        self._limits = limits
        self._target = limits.per_replica * share
        self._metric = Window(POINT)
        self._point_from: float | None = None
        self._high, self._low = Run(), Run()
        self._last_out = self._last_activity = -math.inf
        self._requested = 0

    def note(self, seen: Seen, span: float) -> None:
        """The metric: requests in flight per serving replica; those of none count as one's."""
        self._metric.add(seen.now, span, seen.concurrency / max(1, seen.ready))

    def decide(self, seen: Seen) -> int | None:
        """One metric point, and what the alarms make of it."""
        start, self._point_from = self._point_from, seen.now
        if start is None:
            return None
        metric = self._metric.mean()
        self._high.mark(start, holds=metric > self._target + ROUNDING)
        self._low.mark(start, holds=metric < LOW_SHARE * self._target - ROUNDING)
        wanted = self._limits.clamp(ceil(max(1, seen.ready) * metric / self._target))
        if wanted > seen.replicas and self._high.lasts(HIGH_FOR, seen.now) and self._may_grow(wanted, seen.now):
            self._last_out = self._last_activity = seen.now
            self._requested = wanted
            return wanted
        if wanted < seen.replicas and self._low.lasts(LOW_FOR, seen.now) and self._rested(self._last_activity, seen.now):
            self._last_activity = seen.now
            return wanted
        return None

    def _may_grow(self, wanted: int, now: float) -> bool:
        return self._rested(self._last_out, now) or wanted > self._requested

    @staticmethod
    def _rested(since: float, now: float) -> bool:
        return now - since >= COOLDOWN - ROUNDING
