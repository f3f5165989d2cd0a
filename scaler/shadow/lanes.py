"""What others would have done with the same traffic: baselines that run beside the live policy, on live demand, without acting.

Each is a lane of the fluid model (`scaler.backtest.fluid`): the demand that the meter saw flows through the fleet that the baseline wants,
with the endpoint's bounds, its cold start and its price. Two lanes are ours: ``actual`` follows the fleet as it is, ``scaler`` the fleet as
decided; they part where nothing is sent, as in a dry run. Only these two may sleep: then they cost nothing and serve nobody. All lanes are
judged by the same model, so their dollars and their share of work on time compare with one another; neither is the provider's bill nor
the clients' experience.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from scaler.backtest.demand import STEP_SECONDS
from scaler.backtest.fluid import Lane, Policy, Rules, Seen
from scaler.backtest.foreign import foreign

ACTUAL = "actual"
SCALER = "scaler"
OTHERS = ("static", "together_v2", "hpa")
"""Always on at the most that is allowed, the platform's own autoscaler alone, and Kubernetes' law."""
MAX_GAP_SECONDS = 600.0
"""A longer silence of the meter is left out of all lanes."""


@dataclass(frozen=True, slots=True)
class Beat:
    """What one tick tells the lanes: ``offered`` replicas' worth of work arrived in each second from ``start`` to ``end`` (monotonic).

    actual, decided:  replicas running and starting, and those that the decision wants
    dollars_per_hour: price of a replica
    """

    start: float
    end: float
    offered: float
    actual: int
    decided: int
    dollars_per_hour: float


@dataclass(frozen=True, slots=True)
class Standing:
    """What a lane has come to since the start.

    replicas: ready and starting, now
    dollars:  billed, starting replicas included
    work, on_time: what arrived and what of it was on time, in replica-seconds
    seconds:  of traffic that were followed
    """

    replicas: int
    dollars: float = 0.0
    work: float = 0.0
    on_time: float = 0.0
    seconds: float = 0.0

    @property
    def attainment(self) -> float:
        """Share of work on time; 1 without work."""
        return self.on_time / self.work if self.work > 0 else 1.0


class Shadow:
    """The lanes of one endpoint."""

    def __init__(self, rules: Rules, others: Iterable[str] = OTHERS) -> None:
        """All begin with the minimum ready. Raises `KeyError` for a baseline that does not exist."""
        self._policies: dict[str, Policy | None] = {ACTUAL: None, SCALER: None}
        self._policies |= {name: foreign(name, rules, rules.max_replicas) for name in others}
        self._lanes = {name: Lane(rules, may_sleep=policy is None) for name, policy in self._policies.items()}
        self._standings = {name: Standing(rules.min_replicas) for name in self._policies}
        self._origin: float | None = None
        self._before = 0.0

    @property
    def standings(self) -> Mapping[str, Standing]:
        """By lane, always in the same order."""
        return self._standings

    def follow(self, beat: Beat) -> None:
        """Everyone orders by what was known at the beginning of the beat and serves its work to its end."""
        seconds = beat.end - beat.start
        if not 0 < seconds <= MAX_GAP_SECONDS:
            return
        self._origin = beat.start if self._origin is None else self._origin
        now = beat.start - self._origin
        for name, lane in self._lanes.items():
            lane.ripen(now)
            replicas = lane.order(self._wanted(name, lane, now, beat), now)
            on_time = lane.serve(beat.offered, seconds)
            before = self._standings[name]
            self._standings[name] = Standing(
                replicas,
                before.dollars + replicas * beat.dollars_per_hour * seconds / 3600,
                before.work + beat.offered * seconds,
                before.on_time + on_time,
                before.seconds + seconds,
            )
        self._before = beat.offered

    def _wanted(self, name: str, lane: Lane, now: float, beat: Beat) -> int:
        policy = self._policies[name]
        if policy is None:
            return beat.actual if name == ACTUAL else beat.decided
        return policy(Seen(now, self._before, self._before + lane.backlog / STEP_SECONDS, lane.backlog, lane.ready, lane.starting))
