"""What speaks against taking replicas away: evidence with a gap, a need not long ago, answers that are late already."""

from collections.abc import Sequence

from scaler.model import Reason, ReasonCode
from scaler.policy.course import in_words
from scaler.policy.history import History
from scaler.policy.reactive import refuse_consolidation
from scaler.settings import EndpointSettings, PolicySettings


def doubt(history: History, policy: PolicySettings, now: float) -> Reason | None:
    """Only unbroken evidence may take anything away."""
    needed, since = policy.stabilization_seconds, history.known_since
    proven = now - (since if since is not None else now)
    if proven >= needed:
        return None
    why = f"Traffic is known without a gap for {proven:.0f} s; taking away needs {needed:.0f}."
    return Reason(ReasonCode.WARMING_UP, why, {"known_seconds": proven})


def stabilizing(target: int, needs: Sequence[tuple[float, int]], settings: EndpointSettings, window: float) -> Reason | None:
    """More than ``target`` were needed within the last ``window`` seconds. ``needs``: instants and replicas, up to this tick's."""
    now = needs[-1][0]
    highest = max(replicas for when, replicas in needs if when > now - window)
    if min(highest, settings.max_replicas) <= target:
        return None
    why = f"{in_words(highest)} needed at some moment of the last {window:.0f} s."
    return Reason(ReasonCode.STABILIZING, why, {"highest_need": highest})


def refusal(history: History, target: int, settings: EndpointSettings, now: float, window: float) -> Reason | None:
    """Why ``target`` replicas would not do for the last ``window`` seconds."""
    why = refuse_consolidation(history, target, settings, now, window)
    if why is None or target >= settings.max_replicas:
        return None
    return Reason(ReasonCode.CONSOLIDATION_REFUSED, f"{in_words(target)} would not do: {why}.", {"target": target})
