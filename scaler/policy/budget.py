"""What a budget allows, by the ledger's figures. Pure: dollars, hours and replicas in, an `Allowance` or a refusal out.

A purse is one cap with what stands against it: what is spent, what is held for starts that were granted, and what is set aside for the
floors that are never given up until its period ends. A start is granted if the rest pays for a minimum run. As a purse gets used up
its stages follow each other (`scaler.model.Stage`); a purse that could pay for every maximum until the end of its period has none.

The ledger never passes a cap, if either all endpoints may be stopped or the floors of those that may not fit in it: a purse counts as used
up `BudgetSettings.cut_seconds` before it is, while anything runs that can be taken away.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scaler.model import Allowance, Endpoint, EndpointState, Stage
from scaler.policy.fleet import Fleet
from scaler.settings import BudgetSettings

HOUR = 3600.0
ROUNDING = 1e-9
"""Dollars forgiven to floating point."""


@dataclass(frozen=True, slots=True)
class Share:
    """One endpoint's part in a purse.

    price:      dollars per hour of one replica; None: nobody knows
    replicas:   that may run at this moment, starts that were granted included
    held:       dollars reserved for those, not yet spent
    kept:       its floor is never given up
    expendable: it is stopped when the purse gets tight
    """

    key: str
    price: float | None
    replicas: int
    floor: int
    ceiling: int
    held: float = 0.0
    kept: bool = True
    expendable: bool = False

    @property
    def rate(self) -> float:
        """Dollars per hour at this moment."""
        return self.replicas * (self.price or 0.0)

    @property
    def excess(self) -> float:
        """Dollars per hour of what can be taken away."""
        return max(0, self.replicas - (self.floor if self.kept else 0)) * (self.price or 0.0)


@dataclass(frozen=True, slots=True)
class Purse:
    """A cap in dollars for a period, and what stands against it. ``hours``: that are left of the period."""

    name: str
    dollars: float
    spent: float
    hours: float
    shares: tuple[Share, ...]

    @property
    def set_aside(self) -> float:
        """Dollars that the floors which are never given up will cost until the end."""
        return sum(share.floor * (share.price or 0.0) for share in self.shares if share.kept) * self.hours

    @property
    def held(self) -> float:
        """Dollars reserved for starts."""
        return sum(share.held for share in self.shares)

    @property
    def left(self) -> float:
        """Dollars that nobody has a claim on."""
        return self.dollars - self.spent - self.held - self.set_aside

    @property
    def used(self) -> float:
        """Share that is spent of what can be spent freely; at least 1 if the floors alone take everything."""
        free = self.dollars - self.set_aside
        return self.spent / free if free > 0 else max(1.0, self.spent / self.dollars)

    @property
    def covers_all(self) -> bool:
        """Whether every maximum could run until the end."""
        if any(share.price is None for share in self.shares):
            return False
        return self.spent + sum(share.ceiling * (share.price or 0.0) for share in self.shares) * self.hours <= self.dollars

    def share(self, key: str) -> Share:
        """The endpoint's part."""
        return next(share for share in self.shares if share.key == key)


@dataclass(frozen=True, slots=True)
class Burn:
    """A cap in dollars per hour on what runs at once."""

    name: str
    dollars_per_hour: float
    shares: tuple[Share, ...]

    @property
    def rate(self) -> float:
        """Dollars per hour at this moment."""
        return sum(share.rate for share in self.shares)

    def share(self, key: str) -> Share:
        """The endpoint's part."""
        return next(share for share in self.shares if share.key == key)


def billed(endpoint: Endpoint, fleet: Fleet, rule: str) -> int | None:
    """Replicas that the provider charges for; None if its word does not tell. ``rule``: ``BudgetSettings.billed_from``.

    Where the provider's own autoscaler moves between the bounds and nobody tells how many run, it is the upper bound.
    """
    match endpoint.state:
        case EndpointState.STOPPED | EndpointState.ERROR:
            return 0
        case EndpointState.UNKNOWN | EndpointState.STOPPING:
            return None
        case EndpointState.PENDING | EndpointState.STARTING | EndpointState.STARTED:
            floating = endpoint.bounds.max_replicas - endpoint.bounds.min_replicas if endpoint.ready_replicas is None else 0
            starting = fleet.starting if rule == "start" else 0
            return fleet.ready + starting + floating


def stage_of(purse: Purse, key: str, settings: BudgetSettings) -> Stage:
    """How tight ``purse`` is for an endpoint in it."""
    share = purse.share(key)
    soon = sum(each.excess for each in purse.shares) * min(settings.cut_seconds / HOUR, purse.hours)
    asleep = share.floor * (share.price or 0.0) * settings.minimum_run_seconds / HOUR if share.replicas == 0 and not share.kept else 0.0
    if purse.spent + purse.set_aside + max(soon, asleep) > purse.dollars + ROUNDING:
        return Stage.EXHAUSTED
    if purse.covers_all:
        return Stage.OPEN
    thresholds = (settings.no_prewarm_at, settings.lower_max_at, settings.slow_up_at, settings.stop_expendable_at)
    return Stage(sum(purse.used >= threshold for threshold in thresholds))


def affordable(purse: Purse, key: str) -> int:
    """Replicas that ``purse`` pays for until its period ends, each endpoint getting the same part of the way from floor to ceiling."""
    share = purse.share(key)
    span = sum((each.ceiling - each.floor) * (each.price or 0.0) for each in purse.shares)
    floors = sum(each.floor * (each.price or 0.0) for each in purse.shares)
    rate = (purse.dollars - purse.spent) / purse.hours if purse.hours > 0 else math.inf
    part = min(1.0, max(0.0, (rate - floors) / span)) if span > 0 else 1.0
    return share.floor + math.floor(part * (share.ceiling - share.floor) + ROUNDING)


def room(burn: Burn, key: str) -> int | None:
    """Replicas that the endpoint can have under ``burn`` while the others stay as they are; None without a price."""
    share = burn.share(key)
    if not share.price:
        return None
    return max(share.floor, math.floor((burn.dollars_per_hour - burn.rate + share.rate) / share.price + ROUNDING))


def allowance(key: str, purses: Sequence[Purse], burns: Sequence[Burn], settings: BudgetSettings) -> Allowance:
    """What the budgets that endpoint ``key`` is in let it do: the worst stage, the lowest ceiling."""
    stages = {purse.name: stage_of(purse, key, settings) for purse in purses}
    tightest = max(purses, key=lambda purse: (stages[purse.name], purse.used), default=None)
    ceilings = {purse.name: _ceiling(purse, key, stages[purse.name]) for purse in purses} | {burn.name: room(burn, key) for burn in burns}
    known: Mapping[str, int] = {name: ceiling for name, ceiling in ceilings.items() if ceiling is not None}
    lowest = min(known, key=lambda name: known[name], default="")
    stage = max(stages.values(), default=Stage.OPEN)
    shares = [purse.share(key) for purse in purses] or [burn.share(key) for burn in burns]
    member = shares[0] if shares else None
    stop = member is not None and ((stage is Stage.EXHAUSTED and not member.kept) or (stage >= Stage.STOP_EXPENDABLE and member.expendable))
    if tightest is None or stage is Stage.OPEN:
        return Allowance(ceiling=known.get(lowest), ceiling_by=lowest)
    figures = (tightest.name, tightest.spent, tightest.dollars, known.get(lowest), lowest)
    return Allowance(stage, *figures, stop, tightest.set_aside, tightest.hours)


def _ceiling(purse: Purse, key: str, stage: Stage) -> int | None:
    if stage is Stage.EXHAUSTED:
        return purse.share(key).floor
    return affordable(purse, key) if stage >= Stage.LOWER_MAX else None


def refusal(key: str, replicas: int, purses: Sequence[Purse], burns: Sequence[Burn], settings: BudgetSettings) -> str | None:
    """Why endpoint ``key`` may not have ``replicas``, or None if it may. Fewer than it is charged for are always granted."""
    for purse in purses:
        share = purse.share(key)
        if replicas <= share.replicas:
            return None
        if share.price is None:
            return f"the price of a replica is not known; {purse.name} has a budget"
        hours = settings.minimum_run_seconds / HOUR
        floor = share.floor if share.kept else 0
        kept, free = _more(share.replicas, min(replicas, floor)), free_of_floor(share, replicas)
        if kept and purse.spent + purse.held + kept * share.price * hours > purse.dollars + ROUNDING:
            return f"{purse.name}: ${purse.spent:.2f} of ${purse.dollars:.2f} are spent; the rest does not pay for a start"
        if free and free * share.price * hours > purse.left + ROUNDING:
            return f"{purse.name}: {free} more for {hours * 60:.0f} min cost ${free * share.price * hours:.2f}, {_rest(purse)}"
    return next(filter(None, (_too_fast(key, replicas, burn) for burn in burns)), None)


def free_of_floor(share: Share, replicas: int) -> int:
    """How many of the replicas that come on top up to ``replicas`` are not paid for by what is set aside."""
    return _more(max(share.replicas, share.floor if share.kept else 0), replicas)


def _more(now: int, then: int) -> int:
    return max(0, then - now)


def _rest(purse: Purse) -> str:
    """What is left of a purse, and where the rest is."""
    claims = f"${purse.spent:.2f} of ${purse.dollars:.2f} spent, ${purse.held:.2f} reserved, ${purse.set_aside:.2f} set aside for floors"
    return f"free are ${max(0.0, purse.left):.2f} ({claims})"


def _too_fast(key: str, replicas: int, burn: Burn) -> str | None:
    share = burn.share(key)
    if replicas <= share.replicas:
        return None
    if share.price is None:
        return f"the price of a replica is not known; {burn.name} has a budget"
    rate = burn.rate - share.rate + replicas * share.price
    if rate <= burn.dollars_per_hour + ROUNDING:
        return None
    return f"{burn.name}: ${rate:.2f} an hour, ${burn.dollars_per_hour:.2f} are allowed"
