"""A story teller: traffic minute by minute, an obedient provider, and what the policy says to it."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from scaler.model import Allowance, Decision, Endpoint, EndpointState, Inputs, Known, Observation, Power, Sample, Unknown, Window
from scaler.policy import Memory, step
from scaler.policy.fleet import Fleet
from scaler.pooled import LIVE
from scaler.settings import EndpointSettings

STEP = 10.0


def sample(start: float, concurrency: float, *, slow: int = 0, seconds: float = STEP) -> Sample:
    """Traffic of one tick with this mean concurrency; each request takes a second."""
    served = round(concurrency * seconds)
    return Sample(
        start=start,
        end=start + seconds,
        arrivals=served,
        completions={"2xx": served},
        concurrency=concurrency,
        in_flight=round(concurrency),
        waiting=0,
        slow=slow,
        latency_sum=float(served),
        latency_count=served,
        ttft_sum=0.0,
        ttft_count=0,
        input_tokens=0,
        output_tokens=0,
    )


@dataclass
class Story:
    """Time goes on in ticks of ten seconds; the provider does what it is told, at once unless ``obeys`` is False."""

    settings: EndpointSettings
    endpoint: Endpoint
    now: float = 1000.0
    memory: Memory = field(default_factory=Memory)
    decisions: list[Decision] = field(default_factory=list)
    obeys: bool = True
    provider_silent: str | None = None
    windows: Callable[[float], tuple[Window, ...]] = lambda _at: ()
    allowance: Callable[[float], Allowance | None] = lambda _at: None
    stopped_by_us: bool | None = None

    def tick(self, concurrency: float | None, *, slow: int = 0) -> Decision:
        """One tick with this concurrency; None: the traffic is not known."""
        before, self.now = self.now, self.now + STEP
        seen: Observation[Sample] = (
            Unknown("cut off", self.now) if concurrency is None else Known(sample(before, concurrency, slow=slow), "story", self.now)
        )
        endpoint: Observation[Endpoint] = (
            Unknown(self.provider_silent, self.now) if self.provider_silent else Known(self.endpoint, "story", self.now)
        )
        inputs = Inputs(seen, endpoint, self.now, self.now, self.stopped_by_us, self.windows(self.now), allowance=self.allowance(self.now))
        decision, self.memory = step("chat", self.settings, inputs, self.memory, LIVE)
        self.decisions.append(decision)
        if self.obeys and not decision.hold:
            self._obey(decision)
        return decision

    def _obey(self, decision: Decision) -> None:
        state = {Power.STOP: EndpointState.STOPPED, Power.RUN: EndpointState.STARTED}.get(decision.power, self.endpoint.state)
        self.endpoint = replace(self.endpoint, bounds=decision.bounds, state=state)

    def minutes(self, count: float, concurrency: float | None, *, slow: int = 0) -> list[Decision]:
        """This many minutes of the same traffic."""
        return [self.tick(concurrency, slow=slow) for _ in range(round(count * 60 / STEP))]

    @property
    def replicas(self) -> int:
        """What the provider was last told."""
        return self.endpoint.bounds.min_replicas

    @property
    def fleet(self) -> Fleet:
        """What the policy believes to run."""
        assert self.memory.state.fleet is not None
        return self.memory.state.fleet
