"""When an endpoint had traffic, window by window, and what follows for its sleep: a fold over the inputs of each tick.

Windows are counted from the Unix epoch, so what is known outlives the process; clocks that change with the seasons do not matter.
What is not known counts as traffic, for an hour at most: nobody is put to sleep for want of data, and a night in which the daemon did not
run does not become a busy one. Bounded: `MAX_GAPS` gaps of the last `MEMORY_WINDOWS`.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from scaler.model import Inputs, Known, Sample
from scaler.policy.idle import NEVER, Past, Plan, Terms, plan, price_for, worth
from scaler.policy.returns import DAY, MAX_GAPS, MEMORY_WINDOWS, WINDOW_SECONDS, Windows, hazard
from scaler.settings import DEFAULT_TIMEOUT, EndpointSettings

REPRICE_WINDOWS = 6
"""The price of a cold call is found anew every hour"""
PAST_WINDOWS = 7 * DAY
"""from what happened in a week."""
SET_BACK_WINDOWS = 6
"""A clock that is set back by more had been wrong: what was seen by it in windows that are yet to come, is forgotten."""
UNKNOWN_WINDOWS = 6
"""So many windows without data count as traffic."""
TIMERS = (30, 45, 60, 90, 120, 180, 240, 360, 480, 720, 1440)
"""Minutes of the platform's own idle timer that are chosen from; what Together v2 accepts."""
TIMER_GAPS = 20
"""Gaps that have to be known for that,"""
TIMER_GAIN = 0.05
"""and the share of the cost that a change has to save: each is a call to the provider."""
_HOUR = 3600.0


@dataclass(frozen=True, slots=True)
class Return:
    """The end of a gap: in which window, the price from which on the endpoint would have been ready for it, and whether it was not."""

    window: int
    worth: float
    cold: bool


@dataclass(frozen=True, slots=True)
class Presence:
    """What is known of one endpoint's traffic. A fresh one is safe: its first window counts as busy.

    runs:     (first, last) windows of traffic without a window between them, oldest first; the last one may go on
    since:    first window that was watched
    seen:     last one
    returns:  ends of the gaps of the last `PAST_WINDOWS`
    chances:  of the gap after the last run: `scaler.policy.returns.hazard`; empty while there is none
    worths:   the same for `scaler.policy.idle.worth`
    price:    what a cold call is worth, in windows of idle time
    priced:   window in which that was found
    timer:    minutes of the platform's idle timer that suit the gaps
    """

    runs: tuple[tuple[int, int], ...] = ()
    since: int = 0
    seen: int = -1
    returns: tuple[Return, ...] = ()
    chances: tuple[float, ...] = ()
    worths: tuple[float, ...] = ()
    price: float = 0.0
    priced: int = -REPRICE_WINDOWS
    timer: int = DEFAULT_TIMEOUT


@dataclass(frozen=True, slots=True)
class Kept:
    """Why an endpoint is to be awake.

    since, until: Unix seconds of the run of windows that it is ready for
    returning:    whether a return is waited for; False: the window of the last request is not over yet
    chance:       that somebody is back in the run, if nobody was before
    price:        of a cold call, in seconds of idle time
    """

    since: float
    until: float
    returning: bool
    chance: float
    price: float


def observe(before: Presence, settings: EndpointSettings, inputs: Inputs, *, lead_seconds: float, ready: bool) -> Presence:
    """Take note of one tick. ``lead_seconds``: from a start to service; ``ready``: whether a replica serves."""
    now = _window(inputs.at)
    if before.seen - SET_BACK_WINDOWS <= now < before.seen:
        return before  # the clock was set back; what happened in these windows is known
    if now < before.seen:
        before = _until(before, now)
    first = _busy_since(before, inputs)
    after = before if first is None else _mark(before, first, now, cold=not ready)
    after = after if after.seen == now else replace(after, seen=now)
    if now > after.runs[-1][1] and not after.worths:
        after = _look_ahead(after, terms_of(settings, lead_seconds))
    return after if now - after.priced < REPRICE_WINDOWS else _price(after, settings, inputs.price)


def _until(before: Presence, now: int) -> Presence:
    """What was known before a clock ran ahead of window ``now``."""
    return Presence(
        runs=tuple((first, min(last, now)) for first, last in before.runs if first <= now),
        since=min(before.since, now),
        seen=now,
        returns=tuple(back for back in before.returns if back.window <= now),
        price=before.price,
        timer=before.timer,
    )


def busy_runs(windows: Iterable[int]) -> tuple[tuple[int, int], ...]:
    """Busy windows, in order, as runs."""
    runs: list[tuple[int, int]] = []
    for window in windows:
        if runs and window == runs[-1][1] + 1:
            runs[-1] = (runs[-1][0], window)
        else:
            runs.append((window, window))
    return tuple(runs)


def _window(at: float) -> int:
    return math.floor(at / WINDOW_SECONDS)


def _busy_since(before: Presence, inputs: Inputs) -> int | None:
    """The first of the windows up to now that count as busy; None: nothing happened."""
    now = _window(inputs.at)
    if not before.runs:
        return now
    missed = now - before.seen - 1
    sample = inputs.sample.value if isinstance(inputs.sample, Known) else None
    unseen = before.seen + 1 if 0 < missed <= UNKNOWN_WINDOWS else now
    if sample is None or inputs.calls:
        return unseen
    if not (sample.arrivals or sample.in_flight or sample.concurrency > 0):
        return unseen if unseen < now else None
    return min(unseen, max(before.seen, _window(_begin(inputs, sample))))


def _begin(inputs: Inputs, sample: Sample) -> float:
    """Unix second at which the sample begins."""
    return inputs.at - (inputs.now - sample.start)


def _mark(before: Presence, first: int, last: int, *, cold: bool) -> Presence:
    """Traffic from window ``first`` to ``last``."""
    if not before.runs:
        return replace(before, runs=((first, last),), since=first)
    begin, end = before.runs[-1]
    if last <= end and not before.worths:
        return before  # as most of the time: the window is known to be busy
    if first <= end + 1:
        return replace(before, runs=(*before.runs[:-1], (begin, max(end, last))), chances=(), worths=())
    returns = before.returns
    if before.worths:
        age = first - end - 1
        found = before.worths[age - 1] if age <= len(before.worths) else NEVER
        recent = (old for old in returns if old.window > first - PAST_WINDOWS)
        returns = (*tuple(recent)[1 - MAX_GAPS :], Return(first, found, cold))
    runs = (*(run for run in before.runs[-MAX_GAPS:] if run[1] > last - MEMORY_WINDOWS), (first, last))
    return replace(before, runs=runs, since=max(before.since, last - MEMORY_WINDOWS), returns=returns, chances=(), worths=())


def _look_ahead(before: Presence, terms: Terms) -> Presence:
    """A gap has begun: when somebody will be back, and what it is worth to be ready then."""
    chances = hazard(_past(before))
    worths = worth(chances[np.newaxis], terms)[0]
    return replace(before, chances=tuple(chances.tolist()), worths=tuple(worths.tolist()))


def _past(presence: Presence) -> Windows:
    """Traffic or none from the first window that is remembered to the last busy one."""
    start, end = min(presence.since, presence.runs[0][0]), presence.runs[-1][1]
    past = np.zeros(end - start + 1, dtype=np.bool_)
    for first, last in presence.runs:
        past[first - start : last - start + 1] = True
    return past


def terms_of(settings: EndpointSettings, lead_seconds: float) -> Terms:
    """What a sleep takes, where a start takes ``lead_seconds``."""
    rest = math.ceil(settings.idle.min_sleep_minutes * 60 / WINDOW_SECONDS)
    return Terms(start=lead_seconds / WINDOW_SECONDS, rest=max(1, rest))


def _price(before: Presence, settings: EndpointSettings, dollars_per_hour: float | None) -> Presence:
    """What a cold call is worth: declared in dollars, or as much as keeps the wanted share warm."""
    idle = settings.idle
    if idle.cold_request_dollars is not None and dollars_per_hour:
        window_dollars = dollars_per_hour * settings.min_replicas * WINDOW_SECONDS / _HOUR
        price = idle.cold_request_dollars / window_dollars
    else:
        price = price_for(idle.warm_share or settings.objective.share, _recent(before))
    priced = replace(before, price=price, priced=before.seen)
    return replace(priced, timer=_timer(priced))


def _recent(presence: Presence) -> Past:
    """The last `PAST_WINDOWS`."""
    start = max(presence.since, presence.seen - PAST_WINDOWS)
    active = float(sum(max(0, last - max(first, start) + 1) for first, last in presence.runs))
    returns = [back for back in presence.returns if back.window >= start]
    return Past(
        worths=np.array([back.worth for back in returns]),
        active=active,
        days=(presence.seen - start) / DAY,
        spent_active=active,
        spent_cold=float(sum(back.cold for back in returns)),
    )


def _timer(presence: Presence) -> int:
    """Of `TIMERS` the one that would have cost least in the gaps: E[min(gap, timer)] + P(gap > timer) x price."""
    ends = presence.runs[-TIMER_GAPS * 10 :]
    lengths = [(later[0] - earlier[1] - 1) * WINDOW_SECONDS / 60 for earlier, later in pairwise(ends)]
    if len(lengths) < TIMER_GAPS:
        return presence.timer
    dear = presence.price * WINDOW_SECONDS / 60
    costs = {timer: sum(min(gap, timer) + (dear if gap > timer else 0.0) for gap in lengths) for timer in {*TIMERS, presence.timer}}
    best = min(TIMERS, key=lambda timer: costs[timer])
    return best if costs[best] < (1 - TIMER_GAIN) * costs[presence.timer] else presence.timer


def timer_for(presence: Presence, settings: EndpointSettings) -> int:
    """The platform's own idle timer, in minutes, where it is left to us.

    Where scaler stops the endpoint itself the timer is a net for the case that it cannot: it must not strike before.
    """
    if not settings.idle.allow_stop:
        return presence.timer
    return next((timer for timer in TIMERS if timer > settings.idle.keep_at_most_minutes), TIMERS[-1])


def kept(presence: Presence, settings: EndpointSettings, at: float) -> Kept | None:
    """Whether the endpoint is to be awake at Unix second ``at``, or has to start now to be so in time; None: it may sleep."""
    if not presence.runs:
        return None
    last = presence.runs[-1][1]
    soon = range(_window(at), _window(at + settings.policy.cold_start_seconds) + 1)
    for first, end in ((-1, 0), *plan_of(presence, settings).ready):  # up to 0: the last busy window, and the one after it
        if any(first <= window - last - 1 <= end for window in soon):
            return _kept(presence, first, end)
    return None


def _kept(presence: Presence, first: int, end: int) -> Kept:
    begin = presence.runs[-1][1] + 1
    chance = 1.0 - math.prod(1.0 - chance for chance in presence.chances[max(0, first - 1) : max(0, end)])
    since, until = ((begin + window) * WINDOW_SECONDS for window in (first, end + 1))
    return Kept(since, until, end > 0, chance, presence.price * WINDOW_SECONDS)


def plan_of(presence: Presence, settings: EndpointSettings) -> Plan:
    """The windows of the gap to be ready for, within the configured bounds."""
    if not presence.worths:
        return Plan(())
    idle = settings.idle
    least = math.ceil(idle.keep_at_least_minutes * 60 / WINDOW_SECONDS) - 1
    most = math.floor(idle.keep_at_most_minutes * 60 / WINDOW_SECONDS) - 1
    worths = np.array(presence.worths)
    return plan(worths, presence.price, terms_of(settings, settings.policy.cold_start_seconds), least=max(0, least), most=max(0, most))
