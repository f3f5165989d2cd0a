"""From a trace to demand: how many replicas its work would keep busy, step by step."""

import math

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
MAX_DAYS = 3660
"""A longer trace is refused."""

_DAY_SECONDS = 86400.0
_MINUTE_STEPS = 6

Demand = NDArray[np.float64]
"""Replicas kept busy by what arrives, one figure per step of `STEP_SECONDS`."""


def demand_series(trace: Trace, *, peak_replicas: float = 12.0) -> Demand:
    """Demand of ``trace`` from its origin (second 0) to the end of its last bucket, scaled to ``peak_replicas`` at its peak.

    A bucket's work spreads evenly over its width; what is missing is zero. The peak is the `PEAK_PERCENTILE` of the means of whole
    minutes from the origin on (a shorter trace counts as one minute). Scaling makes the unit of work irrelevant: a trace without tokens
    weighs every request alike.

    Raises `ValueError` for a trace that starts before its origin, is longer than `MAX_DAYS`, or whose peak is zero.
    """
    first, last = trace.buckets[0].at, trace.buckets[-1].at + trace.bucket_seconds
    if first < 0 or last > MAX_DAYS * _DAY_SECONDS:
        raise ValueError(f"expected a trace within {MAX_DAYS} days from second 0, got {first:g} to {last:g}")
    raw = _spread(trace, math.ceil(last / STEP_SECONDS))
    minutes = raw[: raw.size // _MINUTE_STEPS * _MINUTE_STEPS].reshape(-1, _MINUTE_STEPS) if raw.size >= _MINUTE_STEPS else raw[np.newaxis]
    peak = float(np.percentile(minutes.mean(axis=1), PEAK_PERCENTILE))
    if peak <= 0:
        raise ValueError(f"expected work in more than {100 - PEAK_PERCENTILE:g} % of the minutes")
    return raw * (peak_replicas / peak)


def _spread(trace: Trace, steps: int) -> Demand:
    """Work per second in each step: differences of the work done by the step's two edges."""
    work = np.array(
        [
            bucket.requests * (REQUEST_SECONDS + OUTPUT_TOKEN_SECONDS * bucket.mean_output + INPUT_TOKEN_SECONDS * bucket.mean_input)
            for bucket in trace.buckets
        ]
    )
    starts = np.array([bucket.at for bucket in trace.buckets])
    after = np.cumsum(work)
    before = np.concatenate(([0.0], after[:-1]))
    edges = np.arange(steps + 1) * STEP_SECONDS
    times = np.column_stack((starts, starts + trace.bucket_seconds)).ravel()
    done = np.interp(edges, times, np.column_stack((before, after)).ravel())
    spread: Demand = np.maximum(np.diff(done), 0.0) / STEP_SECONDS
    return spread
