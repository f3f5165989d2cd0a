"""What meters and gates say of themselves: figures of one moment, to be sampled, shown, and sent from a worker to the daemon."""

from collections.abc import Mapping
from dataclasses import dataclass

from scaler.proxy.routes import Standing


@dataclass(frozen=True, slots=True)
class HistogramReading:
    """A histogram at one moment.

    bounds:   upper bounds of the buckets, inclusive, in seconds; the last bucket, above them all, has none
    counts:   observations in each bucket alone, one more than there are bounds
    """

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    sum: float
    count: int


@dataclass(frozen=True, slots=True)
class Reading:
    """The figures of one route at the monotonic second ``at``; all but the gauges ``in_flight`` and ``waiting`` only grow.

    completions:         by outcome, each of `scaler.proxy.meter.OUTCOMES`
    failures:            the outcome "failed" by its reason, each of `scaler.proxy.meter.FAILURES`
    retries:             requests sent once more, because a kept connection had ended
    waiting:             of those in flight, not yet sent upstream
    in_flight_seconds:   integral of ``in_flight`` over time up to ``at``
    slow:                answers with 2xx that missed the route's objective
    input_tokens:        of all answers, broken and aborted ones as far as they came; likewise ``output_tokens``
    latency:             seconds from the request's last byte to the answer's, of answers with 2xx
    ttft:                seconds to the first byte of the body, of streamed answers with 2xx
    tpot:                seconds per output token after the first, of streamed answers with 2xx: (latency - ttft) / (tokens - 1)
    ttft_held:           seconds in ``ttft.sum`` for which a gate held requests back; likewise ``latency_held``
    """

    at: float
    arrivals: int
    completions: Mapping[str, int]
    failures: Mapping[str, int]
    retries: int
    in_flight: int
    waiting: int
    in_flight_seconds: float
    slow: int
    latency: HistogramReading
    ttft: HistogramReading
    tpot: HistogramReading
    input_tokens: int
    output_tokens: int
    ttft_held: float
    latency_held: float


@dataclass(frozen=True, slots=True)
class Call:
    """Requests came while the endpoint slept, and nobody has started it yet.

    since, last:   monotonic seconds of the first and the latest of them
    """

    since: float
    last: float
    requests: int


@dataclass(frozen=True, slots=True)
class GateReading:
    """A gate at one moment; all but ``standing``, ``proven``, ``capacity``, ``waiting``, ``waiting_bytes`` and ``call`` only grow.

    standing:       as told; None = not known
    proven:         requests may pass
    capacity:       requests in flight that may pass at once; infinite = not limited
    held:           requests that ever waited; ``hold_seconds`` how long those that waited no longer did
    wakes:          calls for a sleeping endpoint
    sheds:          refusals by code, each of `scaler.proxy.gate.SHEDS`
    """

    standing: Standing | None
    proven: bool
    capacity: float
    waiting: int
    waiting_bytes: int
    call: Call | None
    held: int
    hold_seconds: HistogramReading
    wakes: int
    fallbacks: int
    spills: int
    sheds: Mapping[str, int]
