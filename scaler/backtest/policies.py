"""Every policy under one interface: a name and a case give a score."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from scaler.backtest.demand import PEAK_REPLICAS, STEP_SECONDS, Traffic
from scaler.backtest.fluid import Policy, Rules, Schedule, Score, Seen, run
from scaler.backtest.foreign import foreign
from scaler.backtest.live import Live, Native, settings_of
from scaler.backtest.oracle import oracle, perfect_forecast, static
from scaler.policy.baselines import BASELINES

OURS = "scaler"
CLAIRVOYANT = ("oracle", "perfect")
NAMES = (OURS, *BASELINES, *CLAIRVOYANT)
"""What ``--policy`` understands: scaler's own, the field's, and two that know the future."""
TUNED = "_tuned"
"""Ending of the name of a baseline whose target was chosen in hindsight."""

FACTORS = (0.25, 8.0)
"""Range of the factor on a baseline's default target."""
HALVINGS = 7
"""Of the range, in logarithms: the factor is then known to 3 %."""
LOOKS = 6
"""Factors tried above the one found, 1 % apart: attainment is no smooth function of them."""
TUNING_RUNS = 1 + HALVINGS + LOOKS
"""Runs that tuning takes, at most."""
_DAY_SECONDS = 86400.0

Progress = Callable[[float], None]
"""Told what share of a run has been played since it was last told."""


def unwatched(share: float) -> None:
    """Tell nobody."""


@dataclass(frozen=True)
class Case:
    """One trace at one cold start.

    peak_replicas: what the trace was scaled to, and what who sizes for the peak orders
    objective:     share of work that should be on time
    """

    traffic: Traffic
    rules: Rules
    peak_replicas: float = PEAK_REPLICAS
    objective: float = 0.99
    native: Native = "pinned"
    burst_replicas: int = 0

    @cached_property
    def best(self) -> Score:
        """The oracle."""
        return self.judge(oracle(self.traffic.demand, self.rules, goal=self.objective).schedule)

    def judge(self, control: Policy | Schedule) -> Score:
        """The score of a policy or of a schedule."""
        return run(self.traffic.demand, control, self.rules, self.traffic.known)


def score(name: str, case: Case, progress: Progress = unwatched) -> Score:
    """How policy ``name`` with its defaults does in ``case``. Raises `KeyError` for a name that is none."""
    match name:
        case "oracle":
            return case.best
        case "perfect":
            return case.judge(perfect_forecast(case.traffic.demand, case.rules, goal=case.objective).schedule)
        case "scaler":
            settings = settings_of(case.rules, burst_replicas=case.burst_replicas)
            return _play(Live(case.traffic, settings, case.native), case, progress)
        case _:
            return _play(_baseline(name, case), case, progress)


def tuned(name: str, case: Case, progress: Progress = unwatched) -> tuple[Score, float | None]:
    """The cheapest that baseline ``name`` could have been at the objective had its user known the trace, and the factor on its target.

    The factor is searched by bisection, as a higher target is cheaper and serves worse, and then a little above; where none attains the
    objective, it is the lowest. A constant count has none: it is the smallest that attains.
    """
    if name == "static":
        return case.judge(static(case.traffic.demand, case.rules, goal=case.objective).schedule), None

    def at(factor: float) -> tuple[Score, float]:
        return _play(_baseline(name, case, factor), case, progress), factor

    low, high = FACTORS
    tried = [at(low)]
    if tried[0][0].attainment < case.objective:
        return tried[0]
    for _ in range(HALVINGS):
        tried.append(at(math.sqrt(low * high)))
        low, high = (tried[-1][1], high) if tried[-1][0].attainment >= case.objective else (low, tried[-1][1])
    tried += [at(low * (1 + look / 100)) for look in range(1, LOOKS + 1)]
    return min((one for one in tried if one[0].attainment >= case.objective), key=lambda one: one[0].cost_replica_minutes)


def _baseline(name: str, case: Case, factor: float = 1.0) -> Policy:
    """A baseline that keeps what it has while nothing is known."""
    policy, sees = foreign(name, case.rules, case.peak_replicas, factor=factor), case.traffic.sees
    if case.traffic.known is None:
        return policy

    def patient(seen: Seen) -> int:
        unseen = seen.now and not sees(round(seen.now / STEP_SECONDS) - 1)
        return seen.ready + seen.starting if unseen else policy(seen)

    return patient


def _play(policy: Policy, case: Case, progress: Progress) -> Score:
    """In closed loop; ``progress`` hears of each day."""
    share = 1.0 / max(1.0, case.traffic.days)

    def watched(seen: Seen) -> int:
        if seen.now % _DAY_SECONDS == 0.0 and seen.now:
            progress(share)
        return policy(seen)

    return case.judge(watched)
