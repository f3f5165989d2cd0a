"""The platform's own autoscaler: between the bounds, from load it has seen."""

import math
from collections import deque

from scaler.settings import NativeAutoscalerSettings


class NativeAutoscaler:
    """Target tracking on concurrency, with a window of patience in each direction.

    At each look the recommendation is ceil(load / target). It adds up to the lowest recommendation of the up window, takes away down to
    the highest of the down window, and does neither before that window has been watched in full (the Kubernetes HPA's stabilization).
    """

    def __init__(self, settings: NativeAutoscalerSettings, now: float) -> None:
        """Has seen nothing; begins to watch ``now``."""
        self._settings = settings
        self._since = now
        self._recommendations: deque[tuple[float, int]] = deque()

    def look(self, load: float, desired: int, now: float) -> int:
        """Replicas to have from ``now`` on, bounds aside; ``load`` = mean requests open since the last look."""
        settings = self._settings
        span = max(settings.up_window_seconds, settings.down_window_seconds)
        self._recommendations.append((now, math.ceil(load / settings.target_in_flight)))
        while self._recommendations[0][0] < now - span:
            self._recommendations.popleft()
        if not desired:
            return min(1, self._recommendations[-1][1])
        up = min(self._within(settings.up_window_seconds, desired, now))
        down = max(self._within(settings.down_window_seconds, desired, now))
        return up if up > desired else min(desired, down)

    def _within(self, window: float, desired: int, now: float) -> list[int]:
        """Recommendations of the window; the present count while it has not been watched in full."""
        if now - self._since < window:
            return [desired]
        return [wanted for at, wanted in self._recommendations if at >= now - window]
