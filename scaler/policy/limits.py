"""Within what a decision must stay: the endpoint's own bounds, narrowed by the calendar, then by the budget. Pure.

`limit` makes the bounds of this moment, and settings that carry them; `Limits.explain` adds to a decision what they have changed in it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from scaler.model import Allowance, Alternative, Decision, Power, Reason, ReasonCode, Stage, Window
from scaler.policy.budget import HOUR
from scaler.policy.calendar import Bound, Usual, ceilings, due, floors
from scaler.policy.course import in_words, span
from scaler.policy.fleet import Fleet
from scaler.settings import EndpointSettings

MAX_AWAKE_MINUTES = 1440
"""The longest idle timeout that every provider takes; a floor of more than a day without a single request may be cut short by it."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Floor and ceiling of this moment, ``floor <= ceiling``.

    clamps:        what was cut off on the way to them, and how tight the budget is; said in every case
    called_until:  Unix second up to which somebody asks for replicas beside the traffic: till then a stopped endpoint is to run
    awake_minutes: the platform's own idle timer must not strike in less
    """

    floor: Bound
    ceiling: Bound
    clamps: tuple[Reason, ...] = ()
    called_until: float | None = None
    awake_minutes: int = 0

    def within(self, settings: EndpointSettings) -> EndpointSettings:
        """``settings`` with these bounds in them; an endpoint that is called for does not stop."""
        bounds: dict[str, object] = {"min_replicas": self.floor.replicas, "max_replicas": self.ceiling.replicas}
        if self.called_until is not None:
            minutes = settings.idle.timeout_minutes
            awake = max(minutes, self.awake_minutes) if minutes else 0
            bounds["idle"] = settings.idle.model_copy(update={"allow_stop": False, "inactive_timeout_minutes": awake})
        return settings.model_copy(update=bounds)

    def explain(self, decision: Decision, needed: int, running: int) -> Decision:
        """The decision with the limits that shaped it in its argument, by their names.

        ``needed``: replicas that the traffic asked for; ``running``: replicas there or on their way.
        """
        lifts = self.floor.reason is not None and needed < self.floor.replicas and decision.power is not Power.STOP
        lowers = self.ceiling.reason is not None and max(needed, running) > self.ceiling.replicas
        other = {name for name, on in (("floor", lifts), ("allowed", lowers)) if on}
        own = [reason for reason in decision.reasons if reason.code is not ReasonCode.BOUNDED or not other & reason.numbers.keys()]
        told = {reason.code for reason in own}
        added = [bound.reason for bound, on in ((self.floor, lifts), (self.ceiling, lowers)) if on and bound.reason is not None]
        names = {"min_replicas": self.floor.by, "max_replicas": self.ceiling.by}
        return replace(
            decision,
            reasons=(*own, *(reason for reason in added if reason.code not in told), *self.clamps),
            alternatives=tuple(_renamed(other, names) for other in decision.alternatives),
            bound_by=names.get(decision.bound_by or "", decision.bound_by),
        )


def _renamed(other: Alternative, names: dict[str, str]) -> Alternative:
    for name, by in names.items():
        if other.why_not == f"limited by {name}":
            return replace(other, why_not=f"limited by {by}")
    return other


def own_limits(settings: EndpointSettings) -> Limits:
    """The endpoint's own bounds."""
    return Limits(Bound(settings.min_replicas, "min_replicas"), Bound(settings.max_replicas, "max_replicas"))


def limit(settings: EndpointSettings, windows: Sequence[Window], usual: Sequence[Usual], *, at: float, lead: float) -> Limits:
    """The limits at ``at`` (Unix seconds); ``lead``: seconds from asking for a replica to having it."""
    own = own_limits(settings)
    asked = floors(windows, usual, at=at, lead=lead)
    floor = max((*asked, own.floor), key=lambda bound: bound.replicas)
    ceiling = min((own.ceiling, *ceilings(windows, at=at)), key=lambda bound: bound.replicas)
    clamps: tuple[Reason, ...] = ()
    if floor.replicas > own.ceiling.replicas:
        clamps = (_clamp(f"{floor.by} asks for {floor.replicas}, max_replicas allows {own.ceiling.replicas}."),)
        floor = replace(floor, replicas=own.ceiling.replicas)
    if ceiling.replicas < floor.replicas:
        clamps = (*clamps, _clamp(f"{ceiling.by} allows {ceiling.replicas}, but the floor of {floor.replicas} ({floor.by}) wins."))
        most = Reason(ReasonCode.CEILING, f"At most {in_words(floor.replicas)} for now.", {"ceiling": floor.replicas})
        ceiling = Bound(floor.replicas, ceiling.by, most)
    calling = [window for window in windows if due(window, at, lead) and (window.floor is not None or window.multiplier is not None)]
    until = max((window.ends for window in calling), default=None)
    longest = max((window.ends - window.begins for window in calling), default=0.0) + lead
    return Limits(floor, ceiling, clamps, until, min(MAX_AWAKE_MINUTES, math.ceil(longest / 60)))


def afford(limits: Limits, allowance: Allowance, fleet: Fleet, settings: EndpointSettings) -> Limits:
    """The limits as the budget narrows them: it wins over every floor but ``min_replicas``."""
    paid = [(allowance.ceiling, allowance.ceiling_by)] if allowance.ceiling is not None else []
    if allowance.stage >= Stage.SLOW_UP:
        paid.append((fleet.total + (0 if fleet.starting else 1), allowance.by))
    clamps = limits.clamps if allowance.stage is Stage.OPEN else (*limits.clamps, stage_reason(allowance))
    most, by = min(paid, default=(limits.ceiling.replicas, ""))
    most = max(most, settings.min_replicas)
    if most >= limits.ceiling.replicas:
        return replace(limits, clamps=clamps)
    code = ReasonCode.CEILING if allowance.stage >= Stage.LOWER_MAX else ReasonCode.BUDGET_BURN
    reason = Reason(code, f"Budget '{by}' pays for at most {in_words(most)} now.", {"ceiling": most})
    ceiling = Bound(most, f"budget '{by}'", reason)
    if limits.floor.replicas <= most:
        return replace(limits, ceiling=ceiling, clamps=clamps)
    clamp = _clamp(f"{limits.floor.by} asks for {limits.floor.replicas}, budget '{by}' pays for {most}.")
    return replace(limits, floor=replace(limits.floor, replicas=most), ceiling=ceiling, clamps=(clamp, *clamps))


MEASURES = {
    Stage.NO_PREWARM: (ReasonCode.BUDGET_NO_PREWARM, "nothing is started ahead of need"),
    Stage.LOWER_MAX: (ReasonCode.BUDGET_LOWER_MAX, "the maximum is what can be paid until the period ends"),
    Stage.SLOW_UP: (ReasonCode.BUDGET_SLOW_UP, "one replica is added after the other"),
    Stage.STOP_EXPENDABLE: (ReasonCode.BUDGET_STOP_EXPENDABLE, "what is expendable is stopped"),
    Stage.EXHAUSTED: (ReasonCode.BUDGET_EXHAUSTED, "only min_replicas goes on, whatever the traffic"),
}


def stage_reason(allowance: Allowance) -> Reason:
    """How tight the budget is, and what follows. ``allowance`` has a stage."""
    code, measure = MEASURES[allowance.stage]
    if allowance.stop:
        measure = "it is stopped, whatever the traffic, until there is money again"
    numbers = {"spent_dollars": allowance.spent, "budget_dollars": allowance.cap}
    claims = f"${allowance.spent:.2f} of ${allowance.cap:.2f} are spent"
    if allowance.set_aside:
        claims += f" and ${allowance.set_aside:.2f} set aside for floors"
        numbers["set_aside_dollars"] = allowance.set_aside
    return Reason(code, f"Budget '{allowance.by}' ({span(allowance.hours * HOUR)} more): {claims}; {measure}.", numbers)


def _clamp(sentence: str) -> Reason:
    return Reason(ReasonCode.CLAMPED, sentence[:1].upper() + sentence[1:])
