"""How long it takes until a replica that is asked for serves: learned as a distribution, for each hardware.

Two sources. What is polled every tick: replicas asked for, and replicas ready (where the provider does not tell them, the endpoint's
state: STARTING, STARTED). And the provider's own record of starts, where it keeps one, which also knows those from before we watched.
Waiting for hardware that is out of stock is not starting and does not count.

Few starts are eked out by the shape of cold starts in general: a log-normal around what was seen. Before anything was seen it is placed
such that its p90 is the configured cold start.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import accumulate
from statistics import NormalDist

from scaler.model import Endpoint, EndpointState, Known, Observation, Start

PLANNED = 0.9
"""Quantile that is planned with."""
SPREAD = 0.25
"""Standard deviation of the logarithm, until starts say otherwise."""
SHAPE_WEIGHT = 1.0
"""How many starts the general shape weighs as much as."""
PLACE_WEIGHT = 0.5
"""How many starts the configured cold start weighs as much as, for where the shape is placed."""
SHAPE = tuple(NormalDist(0.0, SPREAD).inv_cdf((index + 0.5) / 20) for index in range(20))
"""Logarithms of the general shape's points, around 0."""
RECENCY = 0.9
"""Each start counts for this share of the next newer one."""
MAX_STARTS = 60
"""Older ones would count for nothing."""
TOLERANCE = 0.75
"""A start of which more than this share of its time lies between two looks is not measured."""
SAME_SECONDS = 60.0
"""Starts recorded this close to one that was seen are the same."""
MAX_SECONDS = 6 * 3600.0
"""Longer is no cold start but a fault."""
KEPT_HARDWARE = 8
"""Kinds of hardware whose starts are kept beside those of the one in use."""

RUNNING = frozenset({EndpointState.PENDING, EndpointState.STARTING, EndpointState.STARTED})


@dataclass(frozen=True, slots=True)
class Asked:
    """A replica that is on its way; monotonic seconds. It was asked for after the look at ``after`` and before the one at ``before``."""

    after: float
    before: float


@dataclass(frozen=True, slots=True)
class Watch:
    """The last look, in monotonic seconds: how many replicas were ready, and those on their way, oldest first."""

    at: float
    ready: int
    asked: tuple[Asked, ...] = ()


@dataclass(frozen=True, slots=True)
class ColdStart:
    """All that is known.

    hardware:   id of the hardware that ``starts`` are of
    starts:     by the time they were ready, oldest first
    former:     starts of other hardware
    watch:      None before the first look
    """

    hardware: str = ""
    starts: tuple[Start, ...] = ()
    former: Mapping[str, tuple[Start, ...]] = field(default_factory=dict[str, tuple[Start, ...]])
    watch: Watch | None = None


def observe(state: ColdStart, seen: Observation[Endpoint], now: float, at: float) -> ColdStart:
    """One look at the endpoint at the monotonic second ``now``, the Unix second ``at``."""
    if not isinstance(seen, Known) or seen.value.state is EndpointState.UNKNOWN:
        return state
    endpoint = seen.value
    state = _of_hardware(state, endpoint.hardware)
    ready, coming = _count(endpoint)
    watch = state.watch
    if watch is None:
        return replace(state, watch=Watch(now, ready, (Asked(-math.inf, now),) * coming))
    arrived = watch.asked[: max(0, ready - watch.ready)]
    left = watch.asked[len(arrived) :][:coming]
    asked = left + (Asked(watch.at, now),) * (coming - len(left))
    if _waits_for_hardware(endpoint):
        asked = tuple(Asked(now, now) for _ in asked)
    measured = [Start("", at - (now - one.after), at) for one in arrived if _is_sharp(one, watch.at, now)]
    starts = _merge(state.starts, measured) if measured else state.starts
    return replace(state, starts=starts, watch=Watch(now, ready, asked))


def recall(state: ColdStart, recorded: Iterable[Start]) -> ColdStart:
    """Add what the provider has recorded about the present hardware, but for what was seen by ourselves."""
    known = [start.ready_at for start in state.starts]
    new = [start for start in recorded if all(abs(start.ready_at - ready_at) > SAME_SECONDS for ready_at in known)]
    return replace(state, starts=_merge(state.starts, new))


def _count(endpoint: Endpoint) -> tuple[int, int]:
    """Replicas ready and on their way. Where they are not told, the endpoint's state stands for one."""
    if endpoint.state not in RUNNING:
        return 0, 0
    if endpoint.ready_replicas is None:
        ready = int(endpoint.state is EndpointState.STARTED)
        return ready, 1 - ready
    low, high = endpoint.bounds.min_replicas, endpoint.bounds.max_replicas
    desired = low if endpoint.desired_replicas is None else min(max(endpoint.desired_replicas, low), high)
    return endpoint.ready_replicas, max(0, desired - endpoint.ready_replicas)


def _waits_for_hardware(endpoint: Endpoint) -> bool:
    return endpoint.missing_replicas > 0 or (endpoint.ready_replicas is None and endpoint.state is EndpointState.PENDING)


def _is_sharp(asked: Asked, looked: float, now: float) -> bool:
    """Whether the looks were close enough together to measure; the time counts from look to look, as a controller has to wait."""
    seconds = now - asked.after
    return seconds <= MAX_SECONDS and (now - looked) + (asked.before - asked.after) <= TOLERANCE * seconds


def _merge(starts: tuple[Start, ...], more: Iterable[Start]) -> tuple[Start, ...]:
    sane = (start for start in more if 0 < start.ready_at - start.started_at <= MAX_SECONDS)
    return tuple(sorted((*starts, *sane), key=lambda start: start.ready_at)[-MAX_STARTS:])


def _of_hardware(state: ColdStart, hardware: str) -> ColdStart:
    """The same, or what is known of other hardware; what is known of the present one is kept."""
    if hardware == state.hardware:
        return state
    former = {**state.former, state.hardware: state.starts} if state.starts else dict(state.former)
    found = former.pop(hardware, ())
    return ColdStart(hardware, found, dict(list(former.items())[-KEPT_HARDWARE:]))


@dataclass(frozen=True, slots=True)
class Distribution:
    """Cold starts as weighted points, in seconds, ascending.

    starts:      how many of them were measured
    configured:  the p90 while nothing was known
    """

    points: tuple[tuple[float, float], ...]
    starts: int
    configured: float

    def quantile(self, share: float) -> float:
        """The time in which this share of starts is done."""
        return _quantile(self.points, share)

    def remaining(self, elapsed: float, share: float) -> float:
        """How long this share of those starts that have taken ``elapsed`` already will take on; never below zero.

        Beyond all that is known, the tail of the general shape: what is late is likely to be later still.
        """
        later = tuple((seconds, weight) for seconds, weight in self.points if seconds > elapsed)
        if later:
            return _quantile(later, share) - elapsed
        shape = NormalDist(math.log(self.quantile(0.5)), SPREAD)
        done = shape.cdf(math.log(elapsed))
        return max(math.exp(shape.inv_cdf(min(done + share * (1 - done), 1 - 1e-9))) - elapsed, SPREAD * share * elapsed)


@lru_cache(maxsize=64)  # every tick asks twice, and the points change with the next start
def _quantile(points: tuple[tuple[float, float], ...], share: float) -> float:
    wanted = share * math.fsum(weight for _, weight in points) * (1 - 1e-12)
    reached = accumulate(weight for _, weight in points)
    return next(seconds for (seconds, _), weight in zip(points, reached, strict=True) if weight >= wanted)


def estimate(state: ColdStart, configured: float) -> Distribution:
    """The distribution as far as it is known; ``configured`` is its p90 as long as nothing is."""
    seen = [(start.ready_at - start.started_at, RECENCY**age) for age, start in enumerate(reversed(state.starts))]
    weight = math.fsum(w for _, w in seen)
    usual = math.log(configured) - SHAPE[round(PLANNED * len(SHAPE)) - 1]
    place = (PLACE_WEIGHT * usual + math.fsum(w * math.log(s) for s, w in seen)) / (PLACE_WEIGHT + weight)
    shape = [(math.exp(place + point), SHAPE_WEIGHT / len(SHAPE)) for point in SHAPE]
    return Distribution(tuple(sorted((*seen, *shape))), len(seen), configured)
