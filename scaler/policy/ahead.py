"""The course that a forecast sets: what the peak ahead needs is started, what may be needed before it could be back is kept."""

from scaler.model import Alternative, Reason, ReasonCode
from scaler.policy.course import Course, cut, enough, more, same, short, span
from scaler.policy.fleet import Fleet
from scaler.policy.history import History
from scaler.policy.outlook import Outlook
from scaler.policy.plan import Plan, Standing, Term, plan, tuning
from scaler.settings import EndpointSettings


def planned(outlook: Outlook, history: History, fleet: Fleet, settings: EndpointSettings, now: float) -> Plan | None:
    """The plan for this moment; None while there is no forecast."""
    if outlook.forecast is None:
        return None
    policy = settings.policy
    load = history.mean_concurrency(now - policy.stable_window_seconds) / policy.per_replica
    standing = Standing(load, fleet.ready, fleet.total - fleet.ready, settings.min_replicas, settings.max_replicas)
    return plan(outlook.forecast, standing, tuning(policy.cold_start_seconds), margin=outlook.margin.factor, cautious=outlook.young)


def follow(plan: Plan, fleet: Fleet, settings: EndpointSettings, objection: Reason | None) -> Course:
    """From what there is to what is planned; ``objection``: what speaks against taking anything away."""
    lead = settings.policy.cold_start_seconds
    figures = _figures(plan, fleet)
    if fleet.missing and plan.wanted >= fleet.total:
        return short(plan.wanted, figures, fleet)
    if plan.wanted > fleet.total:
        return more(plan.needed, _need(plan, fleet, lead, figures), fleet, settings)
    if plan.wanted == fleet.total:
        return same(plan.needed, Reason(ReasonCode.STEADY, _kept(plan, fleet, lead), figures), fleet, settings)
    if objection is not None:
        return Course(fleet.total, (objection,), (Alternative(plan.wanted, objection.sentence),), objection.code.value)
    if plan.needed > settings.max_replicas:
        return cut(plan.needed, settings)
    why = (
        f"No more than {plan.keep:.1f} replicas' worth of traffic is to be expected within {span(2 * lead)} (two starts), "
        f"{plan.load:.1f} are there now: {enough(plan.wanted)}."
    )
    return Course(plan.wanted, (Reason(ReasonCode.TRAFFIC_DOWN, why, figures),))


def _need(plan: Plan, fleet: Fleet, lead: float, figures: dict[str, float]) -> Reason:
    there = f"serving: {fleet.ready}, starting: {fleet.starting}"
    if plan.term is Term.AHEAD:
        why = f"In {span(lead)}, when a start would serve, a peak of {plan.ahead:.1f} replicas' worth is to be expected; {there}."
        return Reason(ReasonCode.FORECAST, why, figures)
    why = f"The traffic of the last minute and what waits keep {plan.load:.1f} replicas busy, more than was foreseen; {there}."
    return Reason(ReasonCode.TRAFFIC_UP, why, figures)


def _kept(plan: Plan, fleet: Fleet, lead: float) -> str:
    expected = f"a peak of {plan.ahead:.1f} replicas' worth in {span(lead)}, up to {plan.keep:.1f} within {span(2 * lead)} (two starts)"
    return f"To be expected: {expected}; there: {fleet.total}."


def _figures(plan: Plan, fleet: Fleet) -> dict[str, float]:
    return {
        "forecast_ahead": plan.ahead,
        "forecast_keep": plan.keep,
        "load": plan.load,
        "needed": plan.needed,
        "ready": fleet.ready,
        "starting": fleet.starting,
    }
