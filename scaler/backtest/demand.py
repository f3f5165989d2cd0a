"""From a trace to demand: how many replicas its work would keep busy, step by step."""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from scaler.world.workload import Trace

STEP_SECONDS = 10.0
"""Length of a step of every series."""
REQUEST_SECONDS = 0.2
"""Work of a request itself."""
OUTPUT_TOKEN_SECONDS = 0.02
"""Work of an output token."""
INPUT_TOKEN_SECONDS = 0.0001
"""Work of an input token."""
PEAK_PERCENTILE = 99.9
"""The percentile of 1-minute means that counts as the peak."""
PEAK_REPLICAS = 12.0
"""Where the peak of a trace is scaled to when nothing else is asked for."""
MAX_DAYS = 3660
"""A longer trace is refused."""

_DAY_SECONDS = 86400.0
_MINUTE_STEPS = 6

Demand = NDArray[np.float64]
"""Replicas kept busy by what arrives, one figure per step of `STEP_SECONDS`."""

Steps = NDArray[np.bool_]
"""Whether a step was seen, one answer per step."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """What arrives, one figure per step of `STEP_SECONDS`; everything is scaled alike, so figures of a step may be fractions.

    demand:        replicas kept busy
    requests:      arrivals of the step
    input_tokens, output_tokens: of these requests
    scale:         what the trace's own figures were multiplied by
    known:         whether the step was seen; None = all were. What was not seen has no demand, and its cost does not count
    origin:        Unix seconds of the first step; 0 where nobody knows
    """

    demand: Demand
    requests: Demand
    input_tokens: Demand
    output_tokens: Demand
    scale: float = 1.0
    known: Steps | None = None
    origin: float = 0.0

    @property
    def days(self) -> float:
        """Length in days."""
        return self.demand.size * STEP_SECONDS / _DAY_SECONDS

    def known_days(self, warm_up_seconds: float) -> float:
        """Length of what was seen after the warm-up, in days."""
        first = math.ceil(warm_up_seconds / STEP_SECONDS)
        steps = max(0, self.demand.size - first) if self.known is None else int(self.known[first:].sum())
        return steps * STEP_SECONDS / _DAY_SECONDS

    def scaled(self, peak_replicas: float) -> "Traffic":
        """The same with its peak, the `PEAK_PERCENTILE` of minutes, at ``peak_replicas``. Raises `ValueError` if it is zero."""
        peak = peak_of(self.demand)
        if peak <= 0:
            raise ValueError(f"expected work in more than {100 - PEAK_PERCENTILE:g} % of the minutes")
        by = peak_replicas / peak
        return replace(
            self,
            demand=self.demand * by,
            requests=self.requests * by,
            input_tokens=self.input_tokens * by,
            output_tokens=self.output_tokens * by,
            scale=self.scale * by,
        )

    def sees(self, step: int) -> bool:
        """Whether ``step`` was seen."""
        return self.known is None or bool(self.known[step])


def traffic_of(trace: Trace, *, peak_replicas: float = PEAK_REPLICAS) -> Traffic:
    """``trace`` from its origin (second 0) to the end of its last bucket, scaled so that its demand has its peak at ``peak_replicas``.

    What a bucket holds spreads evenly over its width; what is missing is zero. The peak is the `PEAK_PERCENTILE` of the means of whole
    minutes from the origin on (a shorter trace counts as one minute). Scaling makes the unit of work irrelevant: a trace without tokens
    weighs every request alike.

    Raises `ValueError` for a trace that starts before its origin, is longer than `MAX_DAYS`, or whose peak is zero.
    """
    first, last = trace.buckets[0].at, trace.buckets[-1].at + trace.bucket_seconds
    if first < 0 or last > MAX_DAYS * _DAY_SECONDS:
        raise ValueError(f"expected a trace within {MAX_DAYS} days from second 0, got {first:g} to {last:g}")
    columns = np.array(
        [(bucket.requests, bucket.requests * bucket.mean_input, bucket.requests * bucket.mean_output) for bucket in trace.buckets]
    )
    weights = (REQUEST_SECONDS, INPUT_TOKEN_SECONDS, OUTPUT_TOKEN_SECONDS)
    work, requests, inputs, outputs = (spread(trace, amounts) for amounts in (columns @ weights, *columns.T))
    return Traffic(work / STEP_SECONDS, requests, inputs, outputs).scaled(peak_replicas)


def demand_series(trace: Trace, *, peak_replicas: float = PEAK_REPLICAS) -> Demand:
    """The demand alone of `traffic_of`."""
    return traffic_of(trace, peak_replicas=peak_replicas).demand


def peak_of(raw: Demand) -> float:
    """The `PEAK_PERCENTILE` of the means of whole minutes; what is shorter than one counts as one."""
    minutes = raw[: raw.size // _MINUTE_STEPS * _MINUTE_STEPS].reshape(-1, _MINUTE_STEPS) if raw.size >= _MINUTE_STEPS else raw[np.newaxis]
    return float(np.percentile(minutes.mean(axis=1), PEAK_PERCENTILE))


def spread(trace: Trace, amounts: Demand) -> Demand:
    """Of each bucket's amount, what falls into each step: differences of the sums at the step's two edges."""
    starts = np.array([bucket.at for bucket in trace.buckets])
    after = np.cumsum(amounts)
    before = np.concatenate(([0.0], after[:-1]))
    edges = np.arange(math.ceil((starts[-1] + trace.bucket_seconds) / STEP_SECONDS) + 1) * STEP_SECONDS
    times = np.column_stack((starts, starts + trace.bucket_seconds)).ravel()
    sums = np.interp(edges, times, np.column_stack((before, after)).ravel())
    parts: Demand = np.maximum(np.diff(sums), 0.0)
    return parts
