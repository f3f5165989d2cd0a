"""What a control loop and a proxy would report, to be turned into metrics."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from scaler.actuator import Skipped, SkipReason
from scaler.controller import Tick
from scaler.model import (
    Bounds,
    Decision,
    Endpoint,
    EndpointState,
    Known,
    Observation,
    Outcome,
    OutcomeStatus,
    Power,
    Reason,
    ReasonCode,
    Sample,
    Unknown,
)
from scaler.policy.fleet import Fleet
from scaler.policy.learned import Learned
from scaler.policy.outlook import Outlook
from scaler.proxy.keys import Account

BOUNDS = Bounds(2, 4)
FLEET = Fleet(2, (60.0,))
NO_OP = Skipped(SkipReason.NO_OP, "already so")
CONFIRMED = Outcome(1, 0.0, OutcomeStatus.CONFIRMED, "read back")


@dataclass(frozen=True)
class StillProxy:
    """A proxy with some connections, in which nothing moves."""

    connections: int = 3
    limits_hit: Mapping[str, int] = field(default_factory=lambda: {"body": 2, "connections": 0})
    clients: Mapping[str, Account] = field(default_factory=dict[str, Account])


@dataclass(frozen=True)
class TickStory:
    """One tick in the words of a test; `tick` makes the real thing."""

    key: str = "chat"
    bounds: Bounds = BOUNDS
    concurrency: float | None = 5.5
    state: EndpointState | None = EndpointState.STARTED
    fleet: Fleet | None = FLEET
    power: Power = Power.KEEP
    hold: bool = False
    reasons: Iterable[ReasonCode] = (ReasonCode.TRAFFIC_UP,)
    result: Outcome | Skipped = NO_OP
    journal_error: str | None = None
    learned: Learned = field(default_factory=Learned)
    outlook: Outlook = field(default_factory=Outlook)
    price: float | None = None

    def tick(self) -> Tick:
        reasons = tuple(Reason(code, f"{code}.") for code in self.reasons)
        decision = Decision(self.key, 1e9, self.bounds, 60, self.power, self.hold, reasons)
        return Tick(
            self.key,
            self._sample(),
            self._endpoint(),
            decision,
            self.fleet,
            self.learned,
            self.outlook,
            self.result,
            self.journal_error,
            0.02,
            self.price,
        )

    def _sample(self) -> Observation[Sample]:
        if self.concurrency is None:
            return Unknown("the meter is broken", 0.0)
        sample = Sample(
            0,
            10,
            7,
            {},
            self.concurrency,
            5,
            0,
            0,
            latency_sum=0,
            latency_count=0,
            ttft_sum=0,
            ttft_count=0,
            input_tokens=0,
            output_tokens=0,
        )
        return Known(sample, "own meter", 0.0)

    def _endpoint(self) -> Observation[Endpoint]:
        if self.state is None:
            return Unknown("timeout", 0.0)
        return Known(Endpoint("endpoint-1", "tester/m", "m", "2x_gpu", self.state, self.bounds), "provider", 0.0)
