"""Where a decision steers: the replicas to have, and the argument so far."""

import math
from dataclasses import dataclass

from scaler.model import Alternative, Reason, ReasonCode
from scaler.policy.fleet import Fleet
from scaler.settings import EndpointSettings


@dataclass(frozen=True, slots=True)
class Course:
    """The replicas to have, and the argument so far."""

    replicas: int
    reasons: tuple[Reason, ...]
    alternatives: tuple[Alternative, ...] = ()
    bound_by: str | None = None


def more(needed: int, reason: Reason, fleet: Fleet, settings: EndpointSettings) -> Course:
    """Up to what is ``needed`` or to the floor, at once; doubling or ``max_step_up``, whichever is more, and never above the ceiling.

    Where the floor alone asks for more, the ``reason`` of the need is none.
    """
    wanted = max(needed, settings.min_replicas)
    reasons = (reason,) if needed > fleet.total else ()
    if wanted > needed:
        reasons = (*reasons, Reason(ReasonCode.BOUNDED, f"min_replicas asks for at least {in_words(wanted)}.", {"floor": wanted}))
    step = fleet.total + max(settings.policy.max_step_up, fleet.total)
    replicas = min(wanted, step, settings.max_replicas)
    if replicas == wanted:
        return Course(replicas, reasons, bound_by="min_replicas" if wanted > needed else None)
    bound_by = "max_replicas" if replicas == settings.max_replicas else "max_step_up"
    limit = Reason(ReasonCode.BOUNDED, f"{bound_by} allows {replicas} of them now.", {"allowed": replicas})
    return Course(replicas, (*reasons, limit), (Alternative(wanted, f"limited by {bound_by}"),), bound_by)


def same(needed: int, reason: Reason, fleet: Fleet, settings: EndpointSettings) -> Course:
    """What runs is what is needed, or as near to it as the bounds allow."""
    if needed > settings.max_replicas:
        limit = Reason(ReasonCode.BOUNDED, f"max_replicas allows {settings.max_replicas}.", {"allowed": settings.max_replicas})
        return Course(fleet.total, (reason, limit), (Alternative(needed, "limited by max_replicas"),), "max_replicas")
    return Course(fleet.total, (reason,), bound_by="min_replicas" if needed < settings.min_replicas else None)


def cut(wanted: int, settings: EndpointSettings) -> Course:
    """Down to the ceiling, which allows less than the ``wanted``."""
    allowed = settings.max_replicas
    why = f"max_replicas allows {in_words(allowed)}; without it there would be {wanted}."
    reason = Reason(ReasonCode.BOUNDED, why, {"allowed": allowed})
    return Course(allowed, (reason,), (Alternative(wanted, "limited by max_replicas"),), "max_replicas")


def short(wanted: int, figures: dict[str, float], fleet: Fleet) -> Course:
    """What was asked for does not come: whoever waits adds to the load, and asking for more on that account would only grow the bill."""
    why = f"{fleet.missing} of {fleet.total} replicas asked for have no hardware yet; nothing more is asked for until they come."
    alternatives = (Alternative(wanted, "replicas asked for before have no hardware yet"),) if wanted > fleet.total else ()
    reason = Reason(ReasonCode.SHORTAGE, why, figures | {"missing": fleet.missing})
    return Course(fleet.total, (reason,), alternatives, ReasonCode.SHORTAGE.value if alternatives else None)


def enough(count: int) -> str:
    """That so many replicas do."""
    return f"{in_words(count)} {'is' if count == 1 else 'are'} enough"


def in_words(count: int) -> str:
    """A count of replicas."""
    return "1 replica" if count == 1 else f"{count} replicas"


SPANS = ((90, 1, ".0f", "s"), (7200, 60, ".0f", "min"), (72 * 3600, 3600, ".1f", "h"), (math.inf, 86_400, ".1f", "days"))
"""Up to so many seconds a time is told in this unit."""


def span(seconds: float) -> str:
    """Two digits of time, such as ``25 min``, ``3.5 h`` or ``11.2 days``."""
    unit, digits, name = next((unit, digits, name) for below, unit, digits, name in SPANS if seconds < below)
    return f"{format(seconds / unit, digits)} {name}"
