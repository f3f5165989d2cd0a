"""How many replicas to have, from a forecast and from what is there: a pure rule of a few lines.

Start what the peak ahead needs by the time a new replica would serve; keep what is needed at any moment until it could be back; and
never plan for less than the load of the last minute with its queue, which repays what a forecast has missed.
"""

import math
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

from scaler.policy.forecast.model import Quantiles
from scaler.policy.forecast.predict import Forecast

ROUNDING = 1e-9
"""Forgiven when replicas are rounded up."""
RISKS = (0.008, 0.2)
"""Least and most chance to take that demand exceeds what is prepared: what the network knows to tell apart."""


@dataclass(frozen=True, slots=True)
class Tuning:
    """How careful to be at one lead.

    start:     price at which replicas are started, see `aims`
    keep:      price at which they are kept
    headroom:  factor on the forecasts
    tolerance: replicas by which the need must exceed what is there before more is started
    floor:     share of a replica's capacity that the load of the last minute may use
    alone:     the same while there is no forecast
    """

    start: float
    keep: float
    headroom: float
    tolerance: float = 0.15
    floor: float = 1.0
    alone: float = 0.7

    def aims(self, utilization: float) -> Quantiles:
        """What a model must forecast for an endpoint that uses this share of the replicas it pays for.

        A replica more for a share s of the time raises the bill by s / paid. With a probability p it has work to do, and the work on time
        grows by s * p / used. A price says how much of the one must be had for how much of the other, as shares; so it is worth having
        where p > price * used / paid: the newsvendor's critical ratio (Arrow, Harris and Marschak, Optimal inventory policy, 1951).
        """
        return Quantiles(1 - _risk(self.start * utilization), 1 - _risk(self.keep * utilization))


ANCHORS: tuple[tuple[float, Tuning], ...] = (
    (60.0, Tuning(0.2, 0.133, 0.96)),
    (180.0, Tuning(0.16, 0.053, 0.972)),
    (600.0, Tuning(0.04, 0.033, 0.965)),
)
"""Frozen defaults by lead in seconds, chosen on endpoints that the network had not been trained on."""


def tuning(lead_seconds: float) -> Tuning:
    """The defaults for a lead: between the `ANCHORS` in proportion to log(lead), beyond them the nearest."""
    where = min(max(lead_seconds, ANCHORS[0][0]), ANCHORS[-1][0])
    (left, low), (right, high) = next(pair for pair in pairwise(ANCHORS) if where <= pair[1][0])
    share = math.log(where / left) / math.log(right / left)

    def mix(one: float, other: float) -> float:
        return one + share * (other - one)

    return Tuning(mix(low.start, high.start), mix(low.keep, high.keep), mix(low.headroom, high.headroom))


def _risk(share: float) -> float:
    return min(max(share, RISKS[0]), RISKS[1])


@dataclass(frozen=True, slots=True)
class Standing:
    """What is there, and what may be.

    load: mean over the last minute of the demand that came and the queue (its work over the length of a step), in replicas
    """

    load: float
    running: int
    starting: int
    min_replicas: int
    max_replicas: int

    @property
    def replicas(self) -> int:
        """Running and starting."""
        return self.running + self.starting


class Term(StrEnum):
    """What a plan's number of replicas follows from."""

    AHEAD = "ahead"
    """The peak forecast for when a new replica would serve."""
    LOAD = "load"
    """The load of the last minute, queue included."""
    HOLD = "hold"
    """Nothing: no more is needed ahead, and what is there may be needed before it could be back."""
    SURPLUS = "surplus"
    """More is there than may be needed before it could be back."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Replicas to have, running and starting together, within the bounds; and the figures behind it, in replicas.

    needed: before the bounds
    ahead:  forecast peak ahead with headroom; 0 without a forecast
    keep:   forecast peak over two leads with headroom, never below ``ahead``
    load:   load of the last minute over the share of capacity it may use
    """

    wanted: int
    term: Term
    needed: int
    ahead: float
    keep: float
    load: float


def plan(forecast: Forecast | None, standing: Standing, settings: Tuning, *, margin: float = 1.0, cautious: bool = False) -> Plan:
    """Start if the peak ahead or the load exceeds what is there; stop what exceeds the peak over two leads, too; else keep.

    ``margin``: factor on the headroom. ``cautious``: the load keeps the headroom that it has without a forecast.
    """
    ahead = keep = 0.0
    if forecast is not None:
        ahead = settings.headroom * margin * forecast.up
        keep = max(ahead, settings.headroom * margin * forecast.down)
    load = standing.load / (settings.alone if cautious or forecast is None else settings.floor)
    fewest, most = _replicas(max(ahead, load) - settings.tolerance), _replicas(max(keep, load))
    if fewest > standing.replicas:
        needed, term = fewest, Term.AHEAD if ahead >= load else Term.LOAD
    elif most < standing.replicas:
        needed, term = most, Term.SURPLUS
    else:
        needed, term = standing.replicas, Term.HOLD
    wanted = min(max(needed, standing.min_replicas), standing.max_replicas)
    return Plan(wanted, term, needed, ahead, keep, load)


def _replicas(need: float) -> int:
    return math.ceil(need - ROUNDING)
