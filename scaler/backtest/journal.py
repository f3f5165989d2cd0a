"""What the daemon itself has recorded, as traffic.

Demand is the recorded concurrency divided by what a replica serves well, by the endpoint's settings or as the daemon had learned it by its
newest checkpoint: replicas as they were needed, not scaled. Where replicas were too few, requests that waited are part of it. Samples are
laid out by the wall clock; what no sample covers is a gap, in which nothing is known: no policy sees anything there, and nothing that
happens there is scored.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scaler.backtest.demand import MAX_DAYS, STEP_SECONDS, Demand, Traffic
from scaler.backtest.options import BadUsage
from scaler.model import Known, Sample
from scaler.replay import restore
from scaler.settings import PolicySettings
from scaler.store.base import Checkpoint, DecisionRecord, StoreError
from scaler.store.sqlite import journalled, read_journal

COVERED = 0.9
"""Share of a step that samples must cover for it to count as seen: ticks are seldom exactly a step apart."""
_DAY_SECONDS = 86400.0


@dataclass(frozen=True, slots=True)
class Span:
    """A sample on the wall clock; Unix seconds."""

    start: float
    end: float
    sample: Sample


def read_store(path: Path) -> dict[str, Traffic]:
    """The traffic of each endpoint in a store, by its key. Raises `BadUsage` for what is none, or has no samples."""
    if not path.exists():
        raise BadUsage(f"{path}: expected a store, but there is no such file")
    try:
        found = {key: traffic for key in journalled(path) if (traffic := _traffic(read_journal(path, key))) is not None}
    except StoreError as error:
        raise BadUsage(str(error)) from error
    except ValueError as error:
        raise BadUsage(f"{path}: {error}") from error
    if not found:
        raise BadUsage(f"{path}: expected decisions made from known samples, but there are none")
    return found


def _traffic(records: Iterable[DecisionRecord]) -> Traffic | None:
    """The journal of one endpoint, oldest first, as traffic; None without known samples."""
    newest: Checkpoint | None = None
    spans: list[Span] = []
    for record in records:
        newest = record.checkpoint or newest
        spans += _span(record)
    ordered = list(_without_overlap(spans))
    return lay_out(ordered, _per_replica(newest)) if ordered else None


def _per_replica(newest: Checkpoint | None) -> float:
    """Requests in flight that a replica serves well, as the daemon took it last."""
    if newest is None:
        return PolicySettings().per_replica
    settings, memory = restore(newest)
    return memory.learned.per_replica(settings)


def _span(record: DecisionRecord) -> Iterator[Span]:
    seen, lead = record.inputs.sample, record.inputs.at - record.inputs.now
    if isinstance(seen, Known):
        yield Span(seen.value.start + lead, seen.value.end + lead, seen.value)


def _without_overlap(spans: list[Span]) -> Iterator[Span]:
    """In order of time; where the wall clock was set back, what covers a time twice is left out."""
    reached = -np.inf
    for span in sorted(spans, key=lambda one: (one.start, one.end)):
        if span.start >= reached - (span.end - span.start) * (1 - COVERED):
            yield span
            reached = span.end


def lay_out(spans: list[Span], per_replica: float) -> Traffic:
    """Samples in order of time, cut into steps. Raises `ValueError` where they span more than `MAX_DAYS`."""
    origin = spans[0].start
    if spans[-1].end - origin > MAX_DAYS * _DAY_SECONDS:
        raise ValueError(f"expected samples within {MAX_DAYS} days")
    starts, ends = (np.array(times) - origin for times in ([span.start for span in spans], [span.end for span in spans]))
    starts[1:] = np.maximum(starts[1:], ends[:-1])
    samples = [span.sample for span in spans]
    concurrency = np.array([sample.concurrency for sample in samples]) * (ends - starts)
    counts = ([getattr(sample, name) for sample in samples] for name in ("arrivals", "input_tokens", "output_tokens"))
    covered = _cut(starts, ends, ends - starts)
    known = covered >= COVERED * STEP_SECONDS
    whole = np.where(known, STEP_SECONDS / np.maximum(covered, 1.0), 0.0)
    requests, inputs, outputs = (_cut(starts, ends, np.array(count)) * whole for count in counts)
    demand = _cut(starts, ends, concurrency) * whole / (STEP_SECONDS * per_replica)
    return Traffic(demand, requests, inputs, outputs, known=known, origin=origin)


def _cut(starts: Demand, ends: Demand, amounts: Demand) -> Demand:
    """What falls into each step of amounts that spread evenly from ``starts`` to ``ends``."""
    after = np.cumsum(amounts)
    before = np.concatenate(([0.0], after[:-1]))
    edges = np.arange(int(ends[-1] / STEP_SECONDS + 1 - COVERED) + 1) * STEP_SECONDS
    sums = np.interp(edges, np.column_stack((starts, ends)).ravel(), np.column_stack((before, after)).ravel())
    parts: Demand = np.maximum(np.diff(sums), 0.0)
    return parts
