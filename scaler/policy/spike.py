"""Spikes: load that would be over before a replica started for it could serve.

A spike begins when more is needed than runs, and ends when what ran then is enough again. Whether one is worth a start is asked of
those that were. It can only delay a start, by at most half a cold start and `MAX_HOLD_SECONDS`; whatever lasts longer is no spike.
"""

from dataclasses import dataclass, replace

MAX_HOLD_SECONDS = 120.0
"""No start is held back longer."""
MIN_SPIKES = 8
"""Past spikes of at least the present one's age without which nothing is known."""
RISK = 0.1
"""Share of spikes that may turn out to have been worth a start."""
OVER = 0.5
"""A rush is over when no more arrives than this share of what is planned with; more than that may be a pause in it."""
MAX_SPIKES = 100
"""Spikes remembered."""
APART_LEADS = 2.0
"""Cold starts since the last spike; a train of spikes closer than this is served best by a replica that stays."""


@dataclass(frozen=True, slots=True)
class Spike:
    """One that is over; seconds."""

    seconds: float
    ended: float


@dataclass(frozen=True, slots=True)
class Spikes:
    """Those that were, oldest first, and the present one: since when (monotonic seconds; None: there is none), above how many replicas."""

    past: tuple[Spike, ...] = ()
    since: float | None = None
    level: int = 0


def observe(state: Spikes, needed: int, running: int, now: float) -> Spikes:
    """``needed`` replicas at ``now``, while ``running`` are ready or on their way."""
    if state.since is None:
        return replace(state, since=now, level=running) if needed > running else state
    if needed > state.level:
        return state
    past = (*state.past, Spike(now - state.since, now))[-MAX_SPIKES:]
    return Spikes(past)


def over_before(state: Spikes, lead: float, now: float, *, drained_in: float | None = None) -> str | None:
    """Why nothing should be started for the present load, or None if something should.

    ``lead``: seconds until a replica started now would serve. ``drained_in``: seconds until what waits is worked off at what arrives now;
    None while more comes, or if that is not known.
    """
    if state.since is None:
        return None
    age = now - state.since
    if age > min(MAX_HOLD_SECONDS, lead / 2):
        return None
    if drained_in is not None and drained_in < lead:
        return f"what arrives now fits what runs; what waits is worked off in {drained_in:.0f} s, a replica would serve in {lead:.0f}"
    if state.past and state.since - state.past[-1].ended < APART_LEADS * lead:
        return None
    reached = [spike.seconds for spike in state.past if spike.seconds > age]
    lasting = sum(seconds > age + lead for seconds in reached)
    if len(reached) < MIN_SPIKES or lasting > RISK * len(reached):
        return None
    return (
        f"{len(reached) - lasting} of {len(reached)} such spikes were over before a replica could have served, "
        f"which takes {lead:.0f} s; this one is {age:.0f} s old"
    )


def drained_in(offered: float, concurrency: float, planned: float, service_seconds: float) -> float | None:
    """Seconds until what is in flight is no more than ``planned``; None unless the rush is clearly over.

    All in replicas, ``planned`` as far as what is ready is meant to be used. What exceeds it is worth ``service_seconds`` of one each.
    """
    if offered > OVER * planned or planned <= 0:
        return None
    return max(0.0, concurrency - planned) * service_seconds / (planned - offered)
