"""The field's autoscalers in the fluid model: one adapter between what the model shows and what they see.

One replica's worth of work is one unit of concurrency, and of rate: a product's target, whatever its own unit, is a share of what a
replica is good for. The time to the first token is the wait in the queue; the model has no other.
"""

from dataclasses import replace

from scaler.backtest import fluid
from scaler.backtest.demand import STEP_SECONDS
from scaler.policy.baselines import BASELINES, Autoscaler, Dynamo, Limits, Schedule, Seen, Static, TogetherV2, office_hours
from scaler.policy.baselines.dynamo import TTFT


def autoscaler(name: str, limits: Limits, peak_replicas: float, *, factor: float = 1.0, ttft: float = TTFT) -> Autoscaler:
    """Baseline ``name`` with its defaults. Where a product's own are absolute, they are those for a replica that is good for so much.

    ``peak_replicas``: what who sizes for the peak orders; ``ttft``: the objective of who steers by it, in seconds;
    ``factor`` multiplies the target, whatever it is. Raises `KeyError` for a name that is none.
    """
    rate = None if limits.rate_per_replica is None else limits.rate_per_replica * factor
    bolder = replace(limits, per_replica=limits.per_replica * factor, rate_per_replica=rate)
    sized = limits.clamp(round(peak_replicas / factor))
    match name:
        case "static":
            return Static(limits, sized)
        case "office_hours":
            return Schedule(office_hours(replace(limits, max_replicas=sized)))
        case "dynamo":
            return Dynamo(limits, ttft=ttft * factor)
        case "together_v2":
            return TogetherV2(bolder, target=bolder.per_replica)
        case _:
            return BASELINES[name](bolder)


def foreign(name: str, rules: fluid.Rules, peak_replicas: float, *, factor: float = 1.0) -> fluid.Policy:
    """A baseline as a policy of the fluid model. Raises `KeyError` for a name that is none."""
    scaler = autoscaler(name, Limits(rules.min_replicas, rules.max_replicas, per_replica=1.0), peak_replicas, factor=factor)

    def policy(seen: fluid.Seen) -> int:
        answer = scaler.desired(_seen(seen))
        return seen.ready + seen.starting if answer is None else answer

    return policy


def _seen(seen: fluid.Seen) -> Seen:
    """Of the step before: the mean of what runs and, at its end, what waits; the fluid model's own measure of concurrency."""
    concurrency = seen.demand + seen.backlog / STEP_SECONDS
    wait = seen.backlog / seen.ready if seen.now else None
    return Seen(seen.now, concurrency, seen.demand, seen.ready, seen.starting, wait)
