"""Together's own autoscalers: of the second API as documented, of the first one as far as anybody knows."""

import math
from collections import deque

from scaler.policy.baselines.base import ROUNDING, Limits, Periodic, Seen, Window, ceil

PERIOD = 15.0
UP_WINDOW = 60.0
DOWN_WINDOW = 300.0
IN_FLIGHT = 8.0
IDLE_STOP = 3600.0


class TogetherV2(Periodic):
    """ceil(requests in flight / target): up to the lowest of the up window, down to the highest of the down window.

    Neither moves before its window has been watched in full. It never stops by itself, nor starts what is stopped.

    Source: togethercomputer/skills, together-dedicated-model-inference/references/api-reference.md (``inflight_requests`` as an average
    value with target 8, the windows' meaning, 300 s down); period and up window are not documented: 15 s and 60 s are assumed.
    """

    def __init__(
        self,
        limits: Limits,
        *,
        target: float = IN_FLIGHT,
        period: float = PERIOD,
        up_window: float = UP_WINDOW,
        down_window: float = DOWN_WINDOW,
    ) -> None:
        """``target``: requests in flight per replica; the windows in seconds."""
        super().__init__(period)
        self._limits = limits
        self._target = target
        self._up_window, self._down_window = up_window, down_window
        self._load = Window(period)
        self._looks: deque[tuple[float, int]] = deque()
        self._since = math.inf

    def note(self, seen: Seen, span: float) -> None:
        """The load since the last look."""
        self._load.add(seen.now, span, seen.concurrency)

    def decide(self, seen: Seen) -> int | None:
        """One look."""
        now, current = seen.now, seen.replicas
        self._since = min(self._since, now)
        self._looks.append((now, ceil(self._load.mean() / self._target)))
        while self._looks[0][0] < now - max(self._up_window, self._down_window) - ROUNDING:
            self._looks.popleft()
        if not current:
            return None
        up = min(self._within(self._up_window, current, now))
        down = max(self._within(self._down_window, current, now))
        return max(1, self._limits.clamp(up if up > current else min(current, down)))

    def _within(self, window: float, current: int, now: float) -> list[int]:
        """Recommendations of the window; the present count while it has not been watched in full."""
        if now - self._since < window - ROUNDING:
            return [current]
        return [count for when, count in self._looks if when >= now - window - ROUNDING]


class TogetherV1(TogetherV2):
    """The same law to what a replica is good for, and a stop after an idle hour; what is stopped stays so.

    Source: togethercomputer/together-python, src/together/resources/endpoints.py (``inactive_timeout``; bounds are the only knob). The
    law between the bounds is not documented ("server load"), hence the parameters.
    """

    def __init__(
        self,
        limits: Limits,
        *,
        target: float | None = None,
        period: float = PERIOD,
        up_window: float = UP_WINDOW,
        down_window: float = DOWN_WINDOW,
        idle_stop: float = IDLE_STOP,
    ) -> None:
        """``target``: requests in flight per replica, default what one is good for; ``idle_stop``: seconds without traffic."""
        chosen = limits.per_replica if target is None else target
        super().__init__(limits, target=chosen, period=period, up_window=up_window, down_window=down_window)
        self._idle_stop = idle_stop
        self._busy = -math.inf

    def note(self, seen: Seen, span: float) -> None:
        """The load, and when there was any; the first step counts as traffic, since nobody knows what was before."""
        super().note(seen, span)
        if self._busy == -math.inf or seen.concurrency > 0 or seen.rate > 0 or not seen.replicas:
            self._busy = seen.now

    def decide(self, seen: Seen) -> int | None:
        """One look; zero after an idle hour."""
        wanted = super().decide(seen)
        return 0 if seen.now - self._busy >= self._idle_stop - ROUNDING else wanted
