"""The course that the traffic of the moment sets, while there is no forecast: up at once, down a step at a time and with proof."""

from scaler.model import Alternative, Reason, ReasonCode
from scaler.policy.course import Course, cut, enough, in_words, more, same, short
from scaler.policy.fleet import Fleet
from scaler.policy.history import History
from scaler.policy.objections import doubt, refusal, stabilizing
from scaler.policy.reactive import Need
from scaler.policy.state import PolicyState
from scaler.settings import EndpointSettings


def react(need: Need, fleet: Fleet, history: History, state: PolicyState, settings: EndpointSettings) -> Course:
    """From what there is to what the traffic needs; ``state`` remembers the needs up to this tick's."""
    wanted = min(max(need.replicas, settings.min_replicas), settings.max_replicas)
    if fleet.missing and wanted >= fleet.total:
        return short(wanted, _figures(need, fleet), fleet)
    if wanted > fleet.total:
        return _up(need, fleet, settings)
    if wanted < fleet.total:
        return _down(need, fleet, history, state, settings)
    why = f"{need.stable:.1f} requests in flight need {in_words(need.replicas)}; there: {fleet.total}."
    return same(need.replicas, Reason(ReasonCode.STEADY, why, _figures(need, fleet)), fleet, settings)


def _up(need: Need, fleet: Fleet, settings: EndpointSettings) -> Course:
    code = ReasonCode.BURST if need.burst else ReasonCode.TRAFFIC_UP
    seen = f"{need.panic:.1f} requests in flight in a burst" if need.burst else f"{need.stable:.1f} requests in flight"
    why = f"{seen} need {in_words(need.replicas)}; serving: {fleet.ready}, starting: {fleet.starting}."
    return more(need.replicas, Reason(code, why, _figures(need, fleet)), fleet, settings)


def _down(need: Need, fleet: Fleet, history: History, state: PolicyState, settings: EndpointSettings) -> Course:
    """Fewer, but only with proof; each objection keeps what runs and says so."""
    lowest = max(need.replicas, settings.min_replicas)
    wanted = max(lowest, fleet.total - settings.policy.max_step_down)
    target = min(wanted, settings.max_replicas)
    objection = _objection(target, fleet, history, state, settings)
    if objection is not None:
        return Course(fleet.total, (objection,), (Alternative(target, objection.sentence),), objection.code.value)
    if wanted > target:
        return cut(wanted, settings)
    highest = max(replicas for _, replicas in state.needs)
    why = (
        f"{need.stable:.1f} requests in flight need {in_words(need.replicas)}, never more than {highest} "
        f"in the last {settings.policy.stabilization_seconds:.0f} s, and {enough(target)} for its peak: one step down."
    )
    reason = Reason(ReasonCode.TRAFFIC_DOWN, why, _figures(need, fleet))
    if target > lowest:
        return Course(target, (reason,), (Alternative(lowest, "limited by max_step_down"),), "max_step_down")
    return Course(target, (reason,))


def _objection(target: int, fleet: Fleet, history: History, state: PolicyState, settings: EndpointSettings) -> Reason | None:
    """The first thing that speaks against taking replicas away."""
    policy, now = settings.policy, state.needs[-1][0]
    if fleet.starting:
        why = f"{in_words(fleet.starting)} still starting; nothing is taken away against a start under way."
        return Reason(ReasonCode.WAITING_FOR_START, why, {"starting": fleet.starting})
    if unproven := doubt(history, policy, now):
        return unproven
    if now < state.panic_until:
        why = f"A burst passed {policy.stable_window_seconds - (state.panic_until - now):.0f} s ago."
        return Reason(ReasonCode.STABILIZING, why, {"panic_seconds_left": state.panic_until - now})
    window = policy.stabilization_seconds
    return stabilizing(target, state.needs, settings, window) or refusal(history, target, settings, now, window)


def _figures(need: Need, fleet: Fleet) -> dict[str, float]:
    return {
        "concurrency_stable": need.stable,
        "concurrency_panic": need.panic,
        "per_replica": need.per_replica,
        "needed": need.replicas,
        "ready": fleet.ready,
        "starting": fleet.starting,
    }
