"""The live policy in the fluid model: the step the controller makes, on samples that the model's traffic would leave in a meter.

What reaches the policy is what it would see beside a real endpoint: arrivals, requests in flight, times, tokens, and what the provider
says. A replica's worth of work is `PolicySettings.per_replica` requests in flight, so latency follows from Little's law.
"""

import math
from typing import Literal

import numpy as np

from scaler.backtest.demand import STEP_SECONDS, Demand, Traffic
from scaler.backtest.fluid import ON_TIME_SECONDS, Rules, Seen
from scaler.backtest.foreseen import Foreseen
from scaler.model import Bounds, Endpoint, EndpointState, Inputs, Known, Observation, Sample, Unknown
from scaler.policy import Memory, step
from scaler.pooled import shipped
from scaler.settings import DEFAULT_CONCURRENCY, EndpointSettings, NativeAutoscalerSettings, PolicySettings, ReplicaSettings
from scaler.world.autoscaler import NativeAutoscaler, Scaling

KEY = "backtest"
TTFT_SECONDS = ReplicaSettings().ttft_seconds
"""Time to the first token of a request that does not wait."""

Native = Literal["pinned", "v1", "v2"]
"""What is between the bounds: nothing, so that replicas follow the lower one; or the platform's own autoscaler.

With v1 the provider does not tell how many replicas are ready, otherwise it does.
"""


def settings_of(rules: Rules, *, burst_replicas: int = 0) -> EndpointSettings:
    """An endpoint with the defaults that ship; capacity and cold start are known, as they would be after the first days."""
    policy = PolicySettings(
        target_concurrency=DEFAULT_CONCURRENCY, cold_start_seconds=rules.cold_start_seconds, burst_replicas=burst_replicas
    )
    return EndpointSettings(id=KEY, min_replicas=rules.min_replicas, max_replicas=rules.max_replicas, policy=policy)


class Live:
    """A policy of the fluid model that asks scaler's own."""

    def __init__(self, traffic: Traffic, settings: EndpointSettings, native: Native = "pinned") -> None:
        """Knows nothing yet; ``traffic`` is read only as far as it has come."""
        self._settings = settings
        self._meter = Meter(traffic, settings.policy.per_replica)
        self._origin = traffic.origin
        self._tells = native != "v1"
        self._between = None if native == "pinned" else Between(NativeAutoscalerSettings())
        self._foresight = Foreseen(traffic.demand, settings.policy.cold_start_seconds, shipped())
        self._memory = Memory()
        self._bounds = Bounds(settings.min_replicas, settings.min_replicas)

    def __call__(self, seen: Seen) -> int:
        """One tick."""
        sample = self._meter.sample(seen)
        endpoint = Known(self._endpoint(seen), KEY, seen.now)
        if sample is None:
            return seen.ready + seen.starting
        inputs = Inputs(sample, endpoint, seen.now, self._origin + seen.now)
        decision, self._memory = step(KEY, self._settings, inputs, self._memory, self._foresight)
        if not decision.hold:
            self._bounds = decision.bounds
        if self._between is None:
            return self._bounds.min_replicas
        return self._between.desired(self._meter.in_flight(seen), seen, self._bounds)

    def _endpoint(self, seen: Seen) -> Endpoint:
        told = (seen.ready, seen.ready + seen.starting) if self._tells else (None, None)
        return Endpoint(
            KEY,
            KEY,
            "",
            "",
            EndpointState.STARTED,
            self._bounds,
            ready_replicas=told[0],
            desired_replicas=told[1],
            inactive_timeout_minutes=0,
        )


class Meter:
    """What a proxy in front of the model would have counted in each step; whole requests, with the fractions carried on."""

    def __init__(self, traffic: Traffic, per_replica: float) -> None:
        """``per_replica``: requests in flight that are a replica's worth of work."""
        self._per_replica = per_replica
        self._sees = traffic.sees
        self._counts = [_whole(column).tolist() for column in (traffic.requests, traffic.input_tokens, traffic.output_tokens)]

    def in_flight(self, seen: Seen) -> float:
        """Requests in flight over the step before: what ran, and what waited at its end."""
        return self._per_replica * (seen.demand + seen.backlog / STEP_SECONDS)

    def sample(self, seen: Seen) -> Observation[Sample] | None:
        """The step before; None before there was one."""
        number = round(seen.now / STEP_SECONDS) - 1
        if number < 0:
            return None
        if not self._sees(number):
            return Unknown("the journal has a gap", seen.now)
        requests, inputs, outputs = (counts[number] for counts in self._counts)
        in_flight = self.in_flight(seen)
        wait = seen.backlog / seen.ready
        sample = Sample(
            start=seen.now - STEP_SECONDS,
            end=seen.now,
            arrivals=requests,
            completions={"2xx": requests},
            concurrency=in_flight,
            in_flight=round(in_flight),
            waiting=0,
            slow=requests if wait > ON_TIME_SECONDS else 0,
            latency_sum=in_flight * STEP_SECONDS,
            latency_count=requests,
            ttft_sum=requests * (TTFT_SECONDS + wait),
            ttft_count=requests,
            input_tokens=inputs,
            output_tokens=outputs,
        )
        return Known(sample, KEY, seen.now)


def _whole(figures: Demand) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
    """Whole numbers with the same sums, up to one."""
    return np.diff(np.floor(np.cumsum(figures) + 1e-6), prepend=0.0).astype(np.int64)


class Between:
    """The platform's autoscaler between the bounds that it is given; it looks on its own grid."""

    def __init__(self, settings: NativeAutoscalerSettings) -> None:
        """Watches from second 0 on."""
        self._period = settings.period_seconds
        self._autoscaler = NativeAutoscaler(Scaling.of(settings), 0.0)
        self._load = self._looked_at = 0.0
        self._due = self._period

    def desired(self, in_flight: float, seen: Seen, bounds: Bounds) -> int:
        """Replicas wanted; ``in_flight``: mean requests over the step before."""
        wanted = seen.ready + seen.starting
        self._load += in_flight * STEP_SECONDS
        if seen.now >= self._due:
            wanted = self._autoscaler.look(self._load / (seen.now - self._looked_at), wanted, seen.now)
            self._load, self._looked_at = 0.0, seen.now
            self._due += self._period * (math.floor((seen.now - self._due) / self._period) + 1)
        return min(max(wanted, bounds.min_replicas), bounds.max_replicas)
