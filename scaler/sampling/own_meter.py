"""Demand from this process's own proxy: the difference between two readings of its cumulative meter."""

import math
from collections.abc import Callable

from scaler.model import Known, Observation, Sample, Unknown
from scaler.proxy.readings import Reading


class OwnMeter:
    """The traffic that passed through the proxy in this process."""

    def __init__(self, read: Callable[[], Reading], monotonic: Callable[[], float]) -> None:
        """``read`` takes one route's reading; ``monotonic`` stamps the receipt."""
        self._read = read
        self._monotonic = monotonic
        self._last: Reading | None = None

    def sample(self) -> Observation[Sample]:
        """The traffic since the last call; Unknown on the first one, on a broken meter and on figures that cannot be."""
        received = self._monotonic()
        try:
            reading = self._read()
        except Exception as error:  # noqa: BLE001 (whatever the meter does, it must not stop the controller)
            self._last = None
            return Unknown(f"the meter cannot be read ({type(error).__name__}: {error})", received)
        last, self._last = self._last, reading
        if last is None:
            return Unknown("one reading is no interval yet", received)
        sample = between(last, reading)
        if fault := _fault(sample):
            return Unknown(f"the meter contradicts itself: {fault}", received)
        return Known(sample, "own meter", received)


def between(before: Reading, after: Reading) -> Sample:
    """What happened between two readings of one route. Concurrency is the integral of in-flight over the span.

    Times are those that the endpoint took: what the gate held back is demand, but teaches nothing of replicas.
    """
    span = after.at - before.at
    outcomes = {name: count - before.completions.get(name, 0) for name, count in after.completions.items()}
    return Sample(
        start=before.at,
        end=after.at,
        arrivals=after.arrivals - before.arrivals,
        completions=outcomes,
        concurrency=(after.in_flight_seconds - before.in_flight_seconds) / span if span > 0 else math.nan,
        in_flight=after.in_flight,
        waiting=after.waiting,
        slow=after.slow - before.slow,
        latency_sum=(after.latency.sum - after.latency_held) - (before.latency.sum - before.latency_held),
        latency_count=after.latency.count - before.latency.count,
        ttft_sum=(after.ttft.sum - after.ttft_held) - (before.ttft.sum - before.ttft_held),
        ttft_count=after.ttft.count - before.ttft.count,
        input_tokens=after.input_tokens - before.input_tokens,
        output_tokens=after.output_tokens - before.output_tokens,
        tpot_sum=after.tpot.sum - before.tpot.sum,
        tpot_count=after.tpot.count - before.tpot.count,
    )


def _fault(sample: Sample) -> str | None:
    """What cannot be true of a sample; cumulative counters never go back."""
    if not sample.end > sample.start:
        return f"an interval of {sample.end - sample.start} s"
    if not math.isfinite(sample.concurrency) or sample.concurrency < 0:
        return f"a concurrency of {sample.concurrency}"
    counts = (sample.arrivals, sample.in_flight, sample.waiting, sample.slow, sample.latency_count, *sample.completions.values())
    return "a counter went back" if min(counts) < 0 else None
