"""One tick's decision for one endpoint, from what is known to bounds and reasons.

The order is the argument: what cannot be known holds; what does not run is woken or left; what idles may sleep; what runs follows
its need, up at once and down with proof.
"""

import math
from dataclasses import dataclass, field, replace

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
from scaler.policy.course import Course, in_words, more, same, short
from scaler.policy.fleet import RUNNING, Fleet, track
from scaler.policy.history import History
from scaler.policy.learned import Learned
from scaler.policy.limits import Limits, afford, limit
from scaler.policy.outlook import Outlook
from scaler.policy.plan import Term
from scaler.policy.presence import Kept, kept
from scaler.policy.reactive import Need, measure, refuse_consolidation
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
        case EndpointState.STOPPING | EndpointState.ERROR | EndpointState.UNKNOWN:
            why = Reason(
                ReasonCode.ENDPOINT_FAULT, f"The endpoint is {endpoint.state}, a state to wait out or to be looked at by a person."
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
    why = f"{calls} requests came in the last {window:.0f} s while the endpoint was stopped: start it."
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
    course = replace(course, reasons=(*course.reasons, *_waiting(situation)))
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
        state = _remember(state, need, settings, now)
        course, present = _react(situation, need, fleet, state), need.replicas
    else:
        state = _remember(state, replace(need, replicas=plan.needed, burst=False), settings, now)
        objection = _doubt(situation) or _refusal(situation, plan.wanted, settings.policy.stable_window_seconds)
        if situation.outlook.young:
            objection = objection or _stabilizing(plan.wanted, state, settings, YOUNG_STABILIZATION_SECONDS)
        course, present = follow(plan, fleet, settings, objection), math.ceil(plan.load)
    state = replace(state, spikes=spike.observe(state.spikes, min(present, settings.max_replicas), fleet.total, now))
    if course.replicas > max(fleet.total, settings.min_replicas) and (passing := _passing(situation, fleet, state)):
        course = Course(fleet.total, (passing,), (Alternative(course.replicas, passing.sentence),), passing.code.value)
    return course, state


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


def _remember(state: PolicyState, need: Need, settings: EndpointSettings, now: float) -> PolicyState:
    """Keep the needs of the stabilization window, and the end of a panic."""
    horizon = now - settings.policy.stabilization_seconds
    needs = (*((when, replicas) for when, replicas in state.needs if when > horizon), (now, need.replicas))
    panic_until = now + settings.policy.stable_window_seconds if need.burst else state.panic_until
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


def _react(situation: Situation, need: Need, fleet: Fleet, state: PolicyState) -> Course:
    """What the traffic of the moment needs: while there is no forecast."""
    settings = situation.settings
    wanted = min(max(need.replicas, settings.min_replicas), settings.max_replicas)
    if fleet.missing and wanted >= fleet.total:
        return short(wanted, _figures(need, fleet), fleet)
    if wanted > fleet.total:
        return _up(need, fleet, settings)
    if wanted < fleet.total:
        return _down(situation, need, fleet, state)
    why = f"{need.stable:.1f} requests in flight need {in_words(need.replicas)}; there: {fleet.total}."
    return same(need.replicas, Reason(ReasonCode.STEADY, why, _figures(need, fleet)), fleet, settings)


def _figures(need: Need, fleet: Fleet) -> dict[str, float]:
    return {
        "concurrency_stable": need.stable,
        "concurrency_panic": need.panic,
        "per_replica": need.per_replica,
        "needed": need.replicas,
        "ready": fleet.ready,
        "starting": fleet.starting,
    }


def _up(need: Need, fleet: Fleet, settings: EndpointSettings) -> Course:
    wanted = max(need.replicas, settings.min_replicas)
    code = ReasonCode.BURST if need.burst else ReasonCode.TRAFFIC_UP
    seen = f"{need.panic:.1f} requests in flight in a burst" if need.burst else f"{need.stable:.1f} requests in flight"
    why = f"{seen} need {in_words(wanted)}; serving: {fleet.ready}, starting: {fleet.starting}."
    return more(wanted, Reason(code, why, _figures(need, fleet)), fleet, settings)


def _down(situation: Situation, need: Need, fleet: Fleet, state: PolicyState) -> Course:
    """Fewer, but only with proof; each objection keeps what runs and says so."""
    settings = situation.settings
    lowest = max(need.replicas, settings.min_replicas)
    target = min(max(lowest, fleet.total - settings.policy.max_step_down), settings.max_replicas)
    objection = _objection(situation, target, fleet, state)
    if objection is not None:
        return Course(fleet.total, (objection,), (Alternative(target, objection.sentence),), objection.code.value)
    highest = max(replicas for _, replicas in state.needs)
    why = (
        f"{need.stable:.1f} requests in flight need {in_words(need.replicas)}, never more than {highest} "
        f"in the last {settings.policy.stabilization_seconds:.0f} s, and {target} pass the consolidation check: one step down."
    )
    limited = target > lowest
    alternatives = (Alternative(lowest, "limited by max_step_down"),) if limited else ()
    return Course(
        target, (Reason(ReasonCode.TRAFFIC_DOWN, why, _figures(need, fleet)),), alternatives, "max_step_down" if limited else None
    )


def _objection(situation: Situation, target: int, fleet: Fleet, state: PolicyState) -> Reason | None:
    """The first thing that speaks against taking replicas away."""
    settings, now = situation.settings, situation.now
    policy = settings.policy
    if fleet.starting:
        why = f"{in_words(fleet.starting)} still starting; nothing is taken away against a start under way."
        return Reason(ReasonCode.WAITING_FOR_START, why, {"starting": fleet.starting})
    if doubt := _doubt(situation):
        return doubt
    if now < state.panic_until:
        why = f"A burst passed {policy.stable_window_seconds - (state.panic_until - now):.0f} s ago."
        return Reason(ReasonCode.STABILIZING, why, {"panic_seconds_left": state.panic_until - now})
    return _stabilizing(target, state, settings, policy.stabilization_seconds) or _refusal(situation, target, policy.stabilization_seconds)


def _stabilizing(target: int, state: PolicyState, settings: EndpointSettings, window: float) -> Reason | None:
    """More than ``target`` were needed within the last ``window`` seconds."""
    now = state.needs[-1][0]
    highest = max(replicas for when, replicas in state.needs if when > now - window)
    if min(highest, settings.max_replicas) <= target:
        return None
    why = f"{in_words(highest)} needed at some moment of the last {window:.0f} s."
    return Reason(ReasonCode.STABILIZING, why, {"highest_need": highest})


def _doubt(situation: Situation) -> Reason | None:
    """Only unbroken evidence may take anything away."""
    needed, since = situation.settings.policy.stabilization_seconds, situation.history.known_since
    proven = situation.now - (since if since is not None else situation.now)
    if proven >= needed:
        return None
    why = f"Traffic is known without a gap for {proven:.0f} s; taking away needs {needed:.0f}."
    return Reason(ReasonCode.WARMING_UP, why, {"known_seconds": proven})


def _refusal(situation: Situation, target: int, window: float) -> Reason | None:
    """Why ``target`` replicas would not do for the last ``window`` seconds."""
    settings = situation.settings
    refusal = refuse_consolidation(situation.history, target, settings, situation.now, window)
    if refusal is None or target >= settings.max_replicas:
        return None
    return Reason(ReasonCode.CONSOLIDATION_REFUSED, f"{in_words(target)} would not do: {refusal}.", {"target": target})


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
