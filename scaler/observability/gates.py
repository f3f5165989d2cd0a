"""What the gates before the endpoints do, for metrics and the status page: who waits, goes elsewhere or is refused, and who is called."""

import math
from collections.abc import Callable, Iterator, Mapping
from itertools import accumulate
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.utils import floatToGoString

from scaler.proxy.readings import GateReading
from scaler.proxy.routes import Standing

COUNTERS = (
    ("held", "scaler_requests_held", "Requests that had to wait for their endpoint."),
    ("wakes", "scaler_wakes", "Times that a request called a sleeping endpoint."),
    ("fallbacks", "scaler_fallbacks", "Requests that went elsewhere because their endpoint slept or was waking."),
    ("spills", "scaler_spills", "Requests that went elsewhere because their endpoint was full."),
)
GAUGES = (
    ("waiting", "scaler_requests_held_now", "Requests that wait for their endpoint."),
    ("waiting_bytes", "scaler_requests_held_bytes", "Bytes of their bodies."),
    ("proven", "scaler_gate_open", "1 while requests may pass, 0 while the endpoint sleeps or wakes."),
)


class GateCollector:
    """The gates' figures, read when asked."""

    def __init__(self, read: Callable[[], Mapping[str, GateReading]], monotonic: Callable[[], float]) -> None:
        """``read`` takes all readings; ``monotonic`` is the clock that they speak of."""
        self._read = read
        self._monotonic = monotonic

    def collect(self) -> Iterator[Metric]:
        """All families of one reading."""
        readings = self._read()
        for attribute, name, help_text in COUNTERS:
            yield _family(CounterMetricFamily(name, help_text, labels=["endpoint"]), readings, attribute)
        for attribute, name, help_text in GAUGES:
            yield _family(GaugeMetricFamily(name, help_text, labels=["endpoint"]), readings, attribute)
        yield from self._rest(readings)

    def _rest(self, readings: Mapping[str, GateReading]) -> Iterator[Metric]:
        called = GaugeMetricFamily(
            "scaler_wake_pending_seconds", "Age of a call that nobody has answered; NaN = none.", labels=["endpoint"]
        )
        sheds = CounterMetricFamily("scaler_sheds", "Requests that the gate refused, by its reason.", labels=["endpoint", "reason"])
        held = HistogramMetricFamily("scaler_hold_seconds", "How long requests waited, whatever came of it.", labels=["endpoint"])
        now = self._monotonic()
        for key, reading in readings.items():
            called.add_metric([key], math.nan if reading.call is None else now - reading.call.since)
            for reason, count in reading.sheds.items():
                sheds.add_metric([key, reason], count)
            seconds = reading.hold_seconds
            bounds = [*map(floatToGoString, seconds.bounds), "+Inf"]
            held.add_metric([key], list(zip(bounds, accumulate(seconds.counts), strict=True)), seconds.sum)
        yield from (called, sheds, held)


def _family(
    family: CounterMetricFamily | GaugeMetricFamily, readings: Mapping[str, GateReading], attribute: str
) -> CounterMetricFamily | GaugeMetricFamily:
    for key, reading in readings.items():
        family.add_metric([key], getattr(reading, attribute))
    return family


def gate_status(readings: Mapping[str, GateReading], now: float) -> dict[str, Any]:
    """Every gate as JSON-ready values; ``now`` in monotonic seconds."""
    return {key: _status_of(reading, now) for key, reading in readings.items()}


def _status_of(reading: GateReading, now: float) -> dict[str, Any]:
    call = reading.call
    return {
        "standing": "unknown" if reading.standing is None else Standing(reading.standing).name.lower(),
        "open": reading.proven,
        "capacity": reading.capacity if math.isfinite(reading.capacity) else None,
        "waiting": reading.waiting,
        "waiting_bytes": reading.waiting_bytes,
        "called": None if call is None else {"seconds_ago": round(now - call.since, 1), "requests": call.requests},
        "held": reading.held,
        "wakes": reading.wakes,
        "fallbacks": reading.fallbacks,
        "spills": reading.spills,
        "sheds": dict(reading.sheds),
    }
