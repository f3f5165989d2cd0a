"""The field's autoscalers in the fluid model: one adapter between what the model shows and what they see.

One replica's worth of work is one unit of concurrency, and of rate: a product's target, whatever its own unit, is a share of what a
replica is good for. The time to the first token is the wait in the queue; the model has no other.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from types import MappingProxyType

from scaler.backtest import fluid
from scaler.backtest.demand import STEP_SECONDS
from scaler.policy.baselines import BASELINES, Autoscaler, Dynamo, Limits, Schedule, Seen, Static, TogetherV2, office_hours
from scaler.policy.baselines.dynamo import TTFT

Make = Callable[[Limits, int], Autoscaler]
"""Makes an autoscaler for limits and the replicas that the peak needs. Its target is a share of ``Limits.per_replica``."""


def _office_hours(limits: Limits, peak: int) -> Autoscaler:
    return Schedule(office_hours(replace(limits, max_replicas=_sized(limits, peak))))


def _sized(limits: Limits, peak: int) -> int:
    """What a person would order who knows the peak and what a replica is good for."""
    return limits.clamp(round(peak / limits.per_replica))


def _usual(make: Callable[[Limits], Autoscaler], limits: Limits, _: int) -> Autoscaler:
    return make(limits)


MAKERS: Mapping[str, Make] = MappingProxyType(
    {name: partial(_usual, make) for name, make in BASELINES.items()}
    | {
        "static": lambda limits, peak: Static(limits, _sized(limits, peak)),
        "office_hours": _office_hours,
        "dynamo": lambda limits, _: Dynamo(replace(limits, per_replica=1.0), ttft=TTFT * limits.per_replica),
        "together_v2": lambda limits, _: TogetherV2(limits, target=limits.per_replica),
    }
)
"""Each baseline with its defaults. Where a product's default is absolute, it is that for a replica that is good for so much."""


def foreign(name: str, rules: fluid.Rules, peak_replicas: float, *, factor: float = 1.0) -> fluid.Policy:
    """A baseline as a policy of the fluid model; ``factor`` multiplies its default target (or its objective, where that is a time).

    Raises `KeyError` for a name that is none.
    """
    limits = Limits(rules.min_replicas, rules.max_replicas, per_replica=factor)
    autoscaler = MAKERS[name](limits, round(peak_replicas))

    def policy(seen: fluid.Seen) -> int:
        answer = autoscaler.desired(_seen(seen))
        return seen.ready + seen.starting if answer is None else answer

    return policy


def _seen(seen: fluid.Seen) -> Seen:
    """Of the step before: the mean of what runs and, at its end, what waits; the fluid model's own measure of concurrency."""
    concurrency = seen.demand + seen.backlog / STEP_SECONDS
    wait = seen.backlog / seen.ready if seen.now else None
    return Seen(seen.now, concurrency, seen.demand, seen.ready, seen.starting, wait)
