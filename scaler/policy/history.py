"""What was seen lately: a bounded run of samples, oldest first, and the figures that are read off it."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import dropwhile

from scaler.model import Known, Observation, Sample

MAX_SAMPLES = 1000


@dataclass(frozen=True, slots=True)
class History:
    """Samples of one endpoint. Unknown ones are not kept: they leave a gap, and a gap ends the evidence."""

    samples: tuple[Sample, ...] = ()
    known_since: float | None = None
    """Start of the unbroken run of known samples that reaches to the last one; None while the last one is unknown."""
    busy_until: float | None = None
    """`last_busy` of the samples up to the one before the last, those among them that are no longer kept."""

    def add(self, observed: Observation[Sample], *, keep_seconds: float) -> "History":
        """The history with one more observation, without what ended more than ``keep_seconds`` before it."""
        if not isinstance(observed, Known):
            return History(self.samples, None, self.last_busy())
        sample = observed.value
        horizon = sample.end - keep_seconds
        kept = tuple(dropwhile(lambda old: old.end <= horizon, self.samples[-(MAX_SAMPLES - 1) :]))
        since = sample.start if self.known_since is None else self.known_since
        return History((*kept, sample), since, self.last_busy())

    def since(self, start: float) -> Iterator[Sample]:
        """Samples that end after ``start``, newest first."""
        for sample in reversed(self.samples):
            if sample.end <= start:
                return
            yield sample

    def mean_concurrency(self, start: float) -> float:
        """Time-weighted mean of requests in flight from ``start`` (monotonic seconds) on; 0 without samples."""
        weighted = spanned = 0.0
        for sample in self.since(start):
            seconds = sample.end - max(sample.start, start)
            weighted += sample.concurrency * seconds
            spanned += seconds
        return weighted / spanned if spanned > 0 else 0.0

    def peak_concurrency(self, start: float) -> float:
        """Highest sample mean from ``start`` on."""
        return max((sample.concurrency for sample in self.since(start)), default=0.0)

    def slow_share(self, start: float) -> float:
        """Share of answers from ``start`` on that missed the objective; 0 without answers."""
        slow = answers = 0
        for sample in self.since(start):
            slow += sample.slow
            answers += sample.latency_count
        return slow / answers if answers else 0.0

    def last_busy(self) -> float | None:
        """End of the newest sample that saw a request, however long ago; None if none did."""
        return next((s.end for s in reversed(self.samples) if s.arrivals or s.in_flight or s.concurrency > 0), self.busy_until)
