"""NVIDIA Dynamo's planner, fast loop, in the form that a proxy's figures allow."""

from collections import deque
from dataclasses import replace
from statistics import StatisticsError, linear_regression

import numpy as np

from scaler.policy.baselines.base import Limits, Periodic, Seen

PERIOD = 5.0
TTFT = 0.5
SENSITIVITY = 0.8
SAMPLES = 64
BUCKETS = 16
LEAST_SAMPLES = 5


class TtftModel:
    """ttft = a + b x load per replica, by least squares over the last samples, spread over equal buckets of load.

    Of more than 64 samples the oldest of the fullest of 16 buckets goes, so that a long calm does not push out what a rush taught.
    Fewer than 5 samples, samples of one load only, and a negative slope give no model.
    """

    def __init__(self) -> None:
        """Knows nothing."""
        self._samples: deque[tuple[float, float]] = deque()
        self._line: tuple[float, float] | None = None  # slope and intercept
        self._fresh = True  # nothing was learned since the line was fitted

    def learn(self, load: float, ttft: float) -> None:
        """One observation: requests in flight per replica, seconds."""
        self._samples.append((load, ttft))
        if len(self._samples) > SAMPLES:
            del self._samples[self._to_retire()]
        self._fresh = False

    def _to_retire(self) -> int:
        """Index of the oldest sample of the fullest bucket."""
        loads = np.array([load for load, _ in self._samples])
        low = loads.min()
        width = (loads.max() - low) / BUCKETS or 1.0
        places = np.minimum(((loads - low) / width).astype(np.intp), BUCKETS - 1)
        return int(np.bincount(places)[places].argmax())

    def estimate(self, load: float) -> float | None:
        """Seconds to the first token at this load per replica, or None without a model."""
        if not self._fresh:
            self._line, self._fresh = self._fitted(), True
        if self._line is None:
            return None
        slope, intercept = self._line
        return max(0.0, intercept + slope * load)

    def _fitted(self) -> tuple[float, float] | None:
        if len(self._samples) < LEAST_SAMPLES:
            return None
        try:
            slope, intercept = linear_regression(*zip(*self._samples, strict=True))
        except StatisticsError:
            return None
        return None if slope < 0 else (slope, intercept)


class Dynamo(Periodic):
    """One more when the estimated time to the first token misses the objective; one fewer when it is below 0.8 of it.

    One fewer only if the load on those left, N / (N - 1) times as much each, is estimated below 0.8 of it, too. Nothing while
    replicas start, nor without a model. Its estimates per engine are one per pool here; the slow loop (a forecast over 180 s, which
    gives a lower bound) needs engine profiles and is left out.

    Source: ai-dynamo/dynamo, components/src/dynamo/planner/core/load_scaling.py (the law), core/perf_model/base.py (the regression),
    config/defaults.py (the defaults).
    """

    def __init__(self, limits: Limits, *, ttft: float = TTFT) -> None:
        """``ttft``: the objective, seconds."""
        super().__init__(PERIOD)
        self._limits = replace(limits, min_replicas=max(1, limits.min_replicas))
        self._ttft = ttft
        self._model = TtftModel()

    def note(self, seen: Seen, span: float) -> None:
        """Learn from what was measured, if replicas served."""
        if span > 0 and seen.ttft is not None and seen.ready:
            self._model.learn(seen.concurrency / seen.ready, seen.ttft)

    def decide(self, seen: Seen) -> int | None:
        """One turn of the fast loop."""
        if not seen.replicas:
            return self._limits.min_replicas
        if seen.starting:
            return None
        load = seen.concurrency / seen.ready
        estimate = self._model.estimate(load)
        if estimate is None:
            return None
        if estimate > self._ttft:
            return self._limits.clamp(seen.ready + 1)
        fewer = seen.ready > 1 and self._spare(load, seen.ready)
        return self._limits.clamp(seen.ready - 1 if fewer else seen.ready)

    def _spare(self, load: float, ready: int) -> bool:
        """Whether one fewer would do; ``load`` is each replica's."""
        limit = SENSITIVITY * self._ttft
        estimates = [self._model.estimate(load), self._model.estimate(load * ready / (ready - 1))]
        return all(estimate is not None and estimate < limit for estimate in estimates)
