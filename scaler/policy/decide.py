"""One tick's decision for one endpoint, from what is known to bounds and reasons.

The order is the argument: what cannot be known holds; what does not run is woken or left; what idles may sleep; what runs follows
its need, up at once and down with proof.
"""

import math
from dataclasses import dataclass, field, replace
from itertools import dropwhile

from scaler.model import (
    Allowance,
    Alternative,
    Bounds,
    Decision,
    Endpoint,
    EndpointState,
    Observation,
    Power,
    Reason,
    ReasonCode,
    Stage,
    Unknown,
    Window,
)
from scaler.policy import spike
from scaler.policy.ahead import follow, planned
from scaler.policy.calendar import take_note
from scaler.policy.course import Course
from scaler.policy.fleet import RUNNING, Fleet, track
from scaler.policy.history import History
from scaler.policy.learned import Learned
from scaler.policy.limits import Limits, afford, limit
from scaler.policy.moment import react
from scaler.policy.objections import doubt, refusal, stabilizing
from scaler.policy.outlook import Outlook
from scaler.policy.plan import Term
from scaler.policy.presence import Kept, kept
from scaler.policy.reactive import measure
from scaler.policy.returns import WINDOW_SECONDS
from scaler.policy.state import PolicyState
from scaler.settings import EndpointSettings

OFFERED_SECONDS = 30.0
"""What arrives now is the mean over so long."""
STOPPED_BY_OTHERS = Reason(ReasonCode.STOPPED_BY_OTHERS, "It was not scaler that stopped it: the platform's idle timer or a person did.")


YOUNG_STABILIZATION_SECONDS = 180.0
"""While a forecast is young, what it would give back must have been too much for so long; it knows no hold yet that it could trust."""


@dataclass(frozen=True, slots=True)
class Situation:
    """Everything a decision may look at.

    key:       the endpoint's name in the configuration
    endpoint:  what the provider said this tick
    history:   traffic up to this tick
    now:       monotonic seconds, for arithmetic
    at:        Unix seconds, for the record
    stopped_by_us: of an endpoint that is stopped: whether the last thing that we did to it was to stop it; None if nobody knows
    windows:   schedules, events and overrides in force, and those that begin soon
    allowance: what the budget lets it do; None: there is no budget
    limits:    the bounds of this moment where they are not the settings' own; ``settings`` carry them then
    calls:     requests for which the request path calls the sleeping endpoint
    learned:   what was learned of the endpoint; ``settings`` carry its capacity and cold start
    outlook:   what is expected of its demand
    """

    key: str
    endpoint: Observation[Endpoint]
    history: History
    settings: EndpointSettings
    now: float
    at: float
    stopped_by_us: bool | None = None
    windows: tuple[Window, ...] = ()
    allowance: Allowance | None = None
    limits: Limits | None = None
    calls: int = 0
    learned: Learned = field(default_factory=Learned)
    outlook: Outlook = field(default_factory=Outlook)


def decide(situation: Situation, before: PolicyState) -> tuple[Decision, PolicyState]:
    """What the endpoint should be now, and what to remember for the next tick."""
    seen = situation.endpoint
    if isinstance(seen, Unknown):
        why = Reason(
            ReasonCode.ENDPOINT_UNKNOWN, f"The provider has not said how the endpoint is ({seen.why}); whatever runs, keeps running."
        )
        return _hold(situation, before, why), before
    endpoint = seen.value
    state = _observe(situation, endpoint, before)
    if not situation.windows and situation.allowance is None:
        return _decide_known(situation, endpoint, state)
    limits, state = _limit(situation, state)
    limited = replace(situation, settings=limits.within(situation.settings), limits=limits)
    cut = _cut(limited, endpoint, limits, state)
    decision, state = _decide_known(limited, endpoint, state) if cut is None else (cut, state)
    needed = state.needs[-1][1] if state.needs and state.needs[-1][0] == situation.now else 0
    return limits.explain(decision, needed, state.fleet.total if state.fleet else 0), state


def _limit(situation: Situation, state: PolicyState) -> tuple[Limits, PolicyState]:
    """The bounds of this moment by calendar and budget, and what the load is before planned events."""
    history, settings, allowance, at = situation.history, situation.settings, situation.allowance, situation.at
    fleet = state.fleet or Fleet()
    lead = 0.0 if _thrifty(situation) else settings.policy.cold_start_seconds
    mean = history.mean_concurrency(situation.now - settings.policy.stable_window_seconds)
    planned = settings.policy.per_replica * settings.policy.target_utilization
    needed = mean / planned if history.known_since is not None and history.samples else math.nan
    usual = take_note(state.usual, situation.windows, needed, fleet.total, at=at, lead=lead)
    limits = limit(settings, situation.windows, usual, at=at, lead=lead)
    return limits if allowance is None else afford(limits, allowance, fleet, settings), replace(state, usual=usual)


def _cut(situation: Situation, endpoint: Endpoint, limits: Limits, state: PolicyState) -> Decision | None:
    """What a budget that is used up demands at once, whatever the traffic; the reason is in the limits."""
    allowance = situation.allowance
    if allowance is None or endpoint.state not in RUNNING | {EndpointState.STOPPED}:
        return None
    if allowance.stop and endpoint.state is EndpointState.STOPPED:
        return _hold(situation, state)
    if allowance.stop:
        return _decision(situation, Course(endpoint.bounds.min_replicas, ()), Power.STOP, floor_max=endpoint.bounds.max_replicas)
    over = endpoint.state is EndpointState.STARTED and endpoint.bounds.max_replicas > limits.ceiling.replicas
    if allowance.stage is Stage.EXHAUSTED and over:
        return _decision(situation, Course(limits.ceiling.replicas, ()), Power.KEEP, floor_max=0)
    return None


def _decide_known(situation: Situation, endpoint: Endpoint, state: PolicyState) -> tuple[Decision, PolicyState]:
    """What to do about an endpoint in the state in which the provider says it is."""
    match endpoint.state:
        case EndpointState.STARTED:
            return _decide_running(situation, endpoint, state)
        case EndpointState.STOPPED:
            return _decide_stopped(situation, state), state
        case EndpointState.PENDING | EndpointState.STARTING:
            why = Reason(ReasonCode.WAITING_FOR_START, f"The endpoint is {endpoint.state}; nothing is decided against a start under way.")
        case EndpointState.STOPPING:
            why = Reason(ReasonCode.WAITING_FOR_STOP, "The endpoint is STOPPING; nothing is decided before it has stopped.")
        case EndpointState.ERROR | EndpointState.UNKNOWN:
            words = f" ({endpoint.message})" if endpoint.message else ""
            why = Reason(
                ReasonCode.ENDPOINT_FAULT, f"The endpoint is {endpoint.state}{words}, a state to wait out or to be looked at by a person."
            )
    return _hold(situation, state, why), state


def _observe(situation: Situation, endpoint: Endpoint, before: PolicyState) -> PolicyState:
    """Take note of what the provider said."""
    fleet = track(before.fleet, endpoint, cold_start=situation.settings.policy.cold_start_seconds, now=situation.now)
    return replace(before, fleet=fleet, bounds=endpoint.bounds)


def _decide_stopped(situation: Situation, state: PolicyState) -> Decision:
    """Stopped endpoints do not wake on traffic by themselves: requests that came in the last window are the call.

    The request path's own call stands for itself: it needs no unbroken measurement.
    """
    settings = situation.settings
    who = () if situation.stopped_by_us is not False else (STOPPED_BY_OTHERS,)
    if (floor := _calling_floor(situation, state)) is not None:
        return _decision(situation, Course(settings.min_replicas, (*who, floor)), Power.RUN, floor_max=0)
    window = settings.policy.stable_window_seconds
    arrivals = sum(sample.arrivals for sample in situation.history.since(situation.now - window))
    calls = max(situation.calls, arrivals if situation.history.known_since is not None else 0)
    if calls == 0 and (ahead := _prewarm(situation)) is not None:
        return _decision(situation, Course(settings.min_replicas, (ahead,)), Power.RUN, floor_max=0)
    if calls == 0:
        return _hold(situation, state, *who, Reason(ReasonCode.IDLE_KEPT, "The endpoint is stopped and nobody asks for it."))
    if not settings.idle.wake:
        why = "The endpoint is stopped and requests come in, but the configuration does not allow to start it (idle.wake)."
        return _hold(situation, state, *who, Reason(ReasonCode.IDLE_KEPT, why, {"arrivals": calls}))
    why = f"{calls} {'request' if calls == 1 else 'requests'} came in the last {window:.0f} s while the endpoint was stopped: start it."
    reason = Reason(ReasonCode.WAKE, why, {"arrivals": calls})
    return _decision(situation, Course(settings.min_replicas, (*who, reason)), Power.RUN, floor_max=0)


def _calling_floor(situation: Situation, state: PolicyState) -> Reason | None:
    """Why a stopped endpoint has to run, whether or not requests come: a floor by the calendar.

    Once a window: whoever stops in it what ran for it meant it.
    """
    limits = situation.limits
    if limits is None or limits.called_until is None:
        return None
    stopped_since = situation.stopped_by_us is not True and state.called >= limits.called_until
    return None if stopped_since else limits.floor.reason


def _decide_running(situation: Situation, endpoint: Endpoint, state: PolicyState) -> tuple[Decision, PolicyState]:
    """Follow the need: up at once, down with proof, asleep when idle long enough."""
    history, settings, now = situation.history, situation.settings, situation.now
    limits, fleet = situation.limits, state.fleet or Fleet()
    if limits is not None and limits.called_until is not None:
        state = replace(state, called=limits.called_until)
    if history.known_since is None or not history.samples:
        if limits is not None and limits.floor.reason is not None and limits.floor.replicas > fleet.total:
            course = Course(limits.floor.replicas, (limits.floor.reason,))  # the calendar is known, whatever the traffic is
            return _decision(situation, course, Power.KEEP, floor_max=endpoint.bounds.max_replicas), state
        unknown = Reason(ReasonCode.NO_DATA, "The traffic is not known; no data is not zero, so whatever runs, keeps running.")
        return _hold(situation, state, unknown), state
    if idle := _idle_stop(situation):
        return _decision(
            situation, Course(endpoint.bounds.min_replicas, (idle,)), Power.STOP, floor_max=endpoint.bounds.max_replicas
        ), state

    course, state = _steer(situation, fleet, state)
    if waiting := _waiting(situation):
        course = replace(course, reasons=(*course.reasons, *waiting))
    proven = now - history.known_since >= settings.policy.stabilization_seconds
    floor_max = 0 if proven else endpoint.bounds.max_replicas
    return _decision(situation, course, Power.KEEP, floor_max=floor_max), state


def _steer(situation: Situation, fleet: Fleet, state: PolicyState) -> tuple[Course, PolicyState]:
    """By forecast where there is one, by the traffic of the moment until then; a spike of the moment (``present``) may start nothing."""
    history, settings, now = situation.history, situation.settings, situation.now
    need = measure(history, fleet, settings.policy, now)
    plan = planned(situation.outlook, history, fleet, settings, now)
    if plan is not None and plan.term is Term.AHEAD and _thrifty(situation):
        plan = None
    if plan is None:
        state = _remember(state, need.replicas, settings, now, burst=need.burst)
        course, present = react(need, fleet, history, state, settings), need.replicas
    else:
        state = _remember(state, plan.needed, settings, now, burst=False)
        course, present = follow(plan, fleet, settings, _objection(situation, plan.wanted, state)), math.ceil(plan.load)
    spikes = spike.observe(state.spikes, min(present, settings.max_replicas), fleet.total, now)
    state = state if spikes is state.spikes else replace(state, spikes=spikes)
    if course.replicas > max(fleet.total, settings.min_replicas) and (passing := _passing(situation, fleet, state)):
        course = Course(fleet.total, (passing,), (Alternative(course.replicas, passing.sentence),), passing.code.value)
    return course, state


def _objection(situation: Situation, target: int, state: PolicyState) -> Reason | None:
    """What speaks against taking away what no forecast asks for."""
    history, settings, now = situation.history, situation.settings, situation.now
    objection = doubt(history, settings.policy, now) or refusal(history, target, settings, now, settings.policy.stable_window_seconds)
    if objection is None and situation.outlook.young:
        return stabilizing(target, state.needs, settings, YOUNG_STABILIZATION_SECONDS)
    return objection


def _passing(situation: Situation, fleet: Fleet, state: PolicyState) -> Reason | None:
    """Why the load above what runs starts nothing: it would be over before a replica could serve. None if it may last."""
    learned, policy, now = situation.learned, situation.settings.policy, situation.now
    offered, service, lead = learned.offered(now - OFFERED_SECONDS), learned.demand.service_seconds, policy.cold_start_seconds
    drained = None
    if not fleet.ready:
        return None
    if offered is not None and service is not None:
        drained = spike.drained_in(offered, learned.loads[-1].concurrency, fleet.ready * policy.target_utilization, service)
    why = spike.over_before(state.spikes, lead, now, drained_in=drained)
    return None if why is None else Reason(ReasonCode.SPIKE, f"A spike starts nothing: {why}.", {"lead_seconds": lead})


def _remember(state: PolicyState, needed: int, settings: EndpointSettings, now: float, *, burst: bool) -> PolicyState:
    """Keep the needs of the stabilization window, and the end of a panic, which a burst begins."""
    horizon = now - settings.policy.stabilization_seconds
    needs = (*dropwhile(lambda need: need[0] <= horizon, state.needs), (now, needed))
    panic_until = now + settings.policy.stable_window_seconds if burst else state.panic_until
    return replace(state, needs=needs, panic_until=panic_until)


def _idle_stop(situation: Situation) -> Reason | None:
    """Idle for long enough, with unbroken proof of it, and allowed to stop."""
    idle, history = situation.settings.idle, situation.history
    if not idle.allow_stop or history.known_since is None:
        return None
    proven = situation.now - max(history.known_since, history.last_busy() or history.known_since)
    if proven < idle.proof_seconds:
        return None
    if idle.stop_after_minutes != "auto":
        why = f"No request for {proven / 60:.0f} minutes, {idle.stop_after_minutes:g} are enough: stop."
        return Reason(ReasonCode.IDLE_STOP, why, {"idle_seconds": proven})
    if _awake(situation) is not None:
        return None
    price = situation.learned.presence.price * WINDOW_SECONDS
    why = (
        f"No request for {proven / 60:.0f} minutes. A cold call is worth {price / 60:.0f} minutes of waiting for it, "
        "and the next one is not expected that soon: stop."
    )
    return Reason(ReasonCode.IDLE_STOP, why, {"idle_seconds": proven, "cold_call_seconds": price})


def _awake(situation: Situation) -> Kept | None:
    """Why it is to be awake though nobody asks; None: it may sleep."""
    return kept(situation.learned.presence, situation.settings, situation.at)


def _waiting(situation: Situation) -> tuple[Reason, ...]:
    """Why an idle endpoint that might be stopped goes on running."""
    idle = situation.settings.idle
    awake = _awake(situation) if idle.allow_stop and idle.stop_after_minutes == "auto" else None
    if awake is None or not awake.returning:
        return ()
    why = f"Kept warm until {_clock(awake.until)} UTC: {_worth_it(awake)}."
    return (Reason(ReasonCode.IDLE_KEPT, why, _wager(awake)),)


def _thrifty(situation: Situation) -> bool:
    """Whether a budget is so tight that nothing is started ahead of need."""
    return situation.allowance is not None and situation.allowance.stage >= Stage.NO_PREWARM


def _prewarm(situation: Situation) -> Reason | None:
    """A call is expected within the time that a start takes, and worth being ready for; only of what we stopped ourselves."""
    idle = situation.settings.idle
    if not (idle.prewarm and idle.wake and idle.allow_stop and idle.stop_after_minutes == "auto" and situation.stopped_by_us):
        return None
    if _thrifty(situation):
        return None
    awake = _awake(situation)
    if awake is None or not awake.returning:
        return None
    why = f"Started ahead of the calls expected from {_clock(awake.since)} to {_clock(awake.until)} UTC: {_worth_it(awake)}."
    return Reason(ReasonCode.PREWARM, why, _wager(awake))


def _worth_it(awake: Kept) -> str:
    return (
        f"the chance of a call by then is {awake.chance:.0%}, and a cold one would be as bad as {awake.price / 60:.0f} minutes "
        f"of idle running, which outweighs the wait"
    )


def _wager(awake: Kept) -> dict[str, float]:
    return {"until": awake.until, "chance": awake.chance, "cold_call_seconds": awake.price}


def _clock(at: float) -> str:
    """Unix seconds as HH:MM of the day."""
    return f"{int(at // 3600 % 24):02}:{int(at // 60 % 60):02}"


def _decision(situation: Situation, course: Course, power: Power, *, floor_max: int) -> Decision:
    """Bounds around the course. ``floor_max``: the upper bound does not come below this (no proof yet that it may).

    More replicas than the ceiling allows are left alone until there is proof, too: such a decision holds.
    """
    settings = situation.settings
    upper = min(max(course.replicas + settings.policy.burst_replicas, floor_max), settings.max_replicas)
    return Decision(
        endpoint=situation.key,
        at=situation.at,
        bounds=Bounds(course.replicas, max(upper, course.replicas)),
        inactive_timeout_minutes=settings.idle.timeout_minutes,
        power=power,
        hold=course.replicas > settings.max_replicas and power is not Power.STOP,
        reasons=course.reasons,
        alternatives=course.alternatives,
        bound_by=course.bound_by,
    )


def _hold(situation: Situation, state: PolicyState, *reasons: Reason) -> Decision:
    """Nothing is sent; the bounds are those last seen."""
    settings = situation.settings
    bounds = state.bounds or Bounds(settings.min_replicas, settings.max_replicas)
    return Decision(situation.key, situation.at, bounds, settings.idle.timeout_minutes, Power.KEEP, True, reasons)
