"""The nouns of the house: frozen values that every room may speak of.

No behaviour, no IO, no clock. Durations are seconds, instants named ``at`` are Unix seconds (UTC) for records,
and instants named ``monotonic`` are seconds of the running process's monotonic clock for arithmetic.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Generic, TypeVar

T = TypeVar("T")


class EndpointState(StrEnum):
    """Life of an endpoint, as the provider reports it.

    ``UNKNOWN`` stands for any word we do not know: nothing may be decided on it.
    """

    PENDING = "PENDING"
    STARTING = "STARTING"
    STARTED = "STARTED"
    STOPPING = "STOPPING"
    STOPPED = "STOPPED"
    ERROR = "ERROR"
    UNKNOWN = "UNKNOWN"


@dataclass(frozen=True, slots=True)
class Bounds:
    """Minimum and maximum replicas, inclusive; the unit of every update we send."""

    min_replicas: int
    max_replicas: int

    def __str__(self) -> str:
        """Read as ``2..4``."""
        return f"{self.min_replicas}..{self.max_replicas}"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What the provider says an endpoint is right now.

    ``id`` is for management, ``name`` for inference. ``ready_replicas``, ``desired_replicas`` and ``inactive_timeout_minutes`` are
    None where the provider does not tell (Together v1 tells none of them); texts that it does not tell are empty.

    created_at: as the provider writes it (RFC 3339)
    etag:       version of what was read, where the provider locks optimistically
    message:    the provider's own words about the state
    missing_replicas: of the desired ones, those that the provider says it has no hardware for
    """

    id: str
    name: str
    model: str
    hardware: str
    state: EndpointState
    bounds: Bounds
    display_name: str = ""
    ready_replicas: int | None = None
    inactive_timeout_minutes: int | None = None
    created_at: str = ""
    owner: str = ""
    etag: str | None = None
    desired_replicas: int | None = None
    message: str = ""
    missing_replicas: int = 0


@dataclass(frozen=True, slots=True)
class Start:
    """A start of a replica from its first phase to its last, in Unix seconds: what cold starts can be learned from."""

    replica: str
    started_at: float
    ready_at: float


@dataclass(frozen=True, slots=True)
class EndpointWish:
    """What an endpoint is to be created from; nothing is left to a default of the provider.

    ``inactive_timeout_minutes``: 0 = never. ``zone`` None: wherever there is room. ``start`` False: it is created stopped.
    """

    display_name: str
    model: str
    hardware: str
    bounds: Bounds
    inactive_timeout_minutes: int
    zone: str | None = None
    speculative_decoding: bool = False
    start: bool = True


@dataclass(frozen=True, slots=True)
class EndpointChange:
    """What a person asks of an endpoint that exists; None = leave it as it is. ``run``: start or stop it."""

    bounds: Bounds | None = None
    inactive_timeout_minutes: int | None = None
    run: bool | None = None


@dataclass(frozen=True, slots=True)
class Price:
    """Price of one replica of a hardware configuration (all its GPUs)."""

    cents_per_minute: float


@dataclass(frozen=True, slots=True)
class Entry:
    """A quarter of an hour of the ledger: what an endpoint's replicas have cost in it.

    quarter:          Unix seconds / 900 of its beginning, whole; days begin at :00, :15, :30 or :45 in every time zone
    replica_seconds:  for which replicas were charged
    unpriced_seconds: of those, without a price yet; they become dollars as soon as there is one
    """

    quarter: int
    dollars: float = 0.0
    replica_seconds: float = 0.0
    unpriced_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Account:
    """What an endpoint is being charged for since ``at`` (Unix seconds). ``dollars_per_hour``: of one replica; None: not known."""

    at: float
    replicas: int = 0
    dollars_per_hour: float | None = None


@dataclass(frozen=True, slots=True)
class Known(Generic[T]):
    """A value with its source and the monotonic second at which it was received."""

    value: T
    source: str
    received: float


@dataclass(frozen=True, slots=True)
class Unknown:
    """No value, and why. It has no number, so nothing can add it up or take it for zero."""

    why: str
    received: float


Observation = Known[T] | Unknown
"""What a sensor says: a value, or that it has none. No data is never zero."""


@dataclass(frozen=True, slots=True)
class Sample:
    """The traffic of one endpoint between two reads of a meter.

    start, end:      monotonic seconds; ``end > start``
    arrivals:        requests that came in
    completions:     by status class: "2xx", "4xx", "5xx", "aborted" (client gone), "failed" (no or broken answer)
    concurrency:     time-weighted mean of requests in flight
    in_flight:       requests in flight at ``end``
    waiting:         of those, held by the proxy and not yet sent upstream
    ttft_seconds:    times to first token of the interval, summed and counted; likewise latency and tpot, time per output token;
                     without what the proxy held requests back for
    slow:            completions that missed the route's objective
    """

    start: float
    end: float
    arrivals: int
    completions: Mapping[str, int]
    concurrency: float
    in_flight: int
    waiting: int
    slow: int
    latency_sum: float
    latency_count: int
    ttft_sum: float
    ttft_count: int
    input_tokens: int
    output_tokens: int
    tpot_sum: float = 0.0
    tpot_count: int = 0


class WindowKind(StrEnum):
    """Where a window comes from."""

    SCHEDULE = "schedule"
    EVENT = "event"
    OVERRIDE = "override"


@dataclass(frozen=True, slots=True)
class Window:
    """A span of time in which an endpoint has a floor or a ceiling in replicas, or a multiple of its usual load.

    begins, ends: Unix seconds; at ``ends`` it is over
    """

    kind: WindowKind
    name: str
    begins: float
    ends: float
    floor: int | None = None
    ceiling: int | None = None
    multiplier: float | None = None

    def __str__(self) -> str:
        """Read as ``schedule 'office hours'``."""
        return f"{self.kind} '{self.name}'" if self.name else str(self.kind)


@dataclass(frozen=True, slots=True)
class Override:
    """A person's floor or ceiling for one endpoint, for a while. Unix seconds; at ``ends`` it is over."""

    endpoint: str
    begins: float
    ends: float
    floor: int | None = None
    ceiling: int | None = None


class Stage(IntEnum):
    """How tight a budget is. Each stage has the measures of those before it, too.

    OPEN:            nothing is restricted
    NO_PREWARM:      nothing is started ahead of need
    LOWER_MAX:       the maximum is what can be paid until the period ends
    SLOW_UP:         one replica after the other
    STOP_EXPENDABLE: what is marked expendable stops
    EXHAUSTED:       back to the floor, or a stop
    """

    OPEN = 0
    NO_PREWARM = 1
    LOWER_MAX = 2
    SLOW_UP = 3
    STOP_EXPENDABLE = 4
    EXHAUSTED = 5


@dataclass(frozen=True, slots=True)
class Allowance:
    """What the budget lets an endpoint do at this moment.

    stage:      of the tightest budget that the endpoint is in
    by:         name of that budget, such as ``chat month``; empty if none has a stage
    spent, cap: its dollars
    set_aside:  of these, what floors that are never given up will cost until its period ends
    hours:      that are left of its period
    ceiling:    most replicas that are paid for; None: no budget says anything about them
    ceiling_by: name of the budget that says so
    stop:       whether the endpoint is to stop, or to stay stopped
    """

    stage: Stage = Stage.OPEN
    by: str = ""
    spent: float = 0.0
    cap: float = 0.0
    ceiling: int | None = None
    ceiling_by: str = ""
    stop: bool = False
    set_aside: float = 0.0
    hours: float = 0.0


@dataclass(frozen=True, slots=True)
class Inputs:
    """Everything from outside that one tick's decision is made of; with what the policy remembers it makes the same decision again.

    now:           monotonic seconds, for arithmetic
    at:            Unix seconds, for the record
    stopped_by_us: of an endpoint that is stopped: whether the last thing that we did to it was to stop it; None if nobody knows
    windows:       schedules, events and overrides in force, and those that begin soon
    calls:         requests that the request path had to hold, divert or refuse because the endpoint sleeps, and that still count
    starts:        starts of replicas that the provider has on record, in a tick in which it was asked for them
    allowance:     what the budget lets it do; None: there is no budget
    price:         dollars of a replica for an hour; None where it is not known
    """

    sample: Observation[Sample]
    endpoint: Observation[Endpoint]
    now: float
    at: float
    stopped_by_us: bool | None = None
    windows: tuple[Window, ...] = ()
    calls: int = 0
    starts: tuple[Start, ...] = ()
    allowance: Allowance | None = None
    price: float | None = None


class ReasonCode(StrEnum):
    """Why a decision is what it is; the label in metrics and the key in the journal."""

    STEADY = "steady"
    TRAFFIC_UP = "traffic_up"
    FORECAST = "forecast"
    BURST = "burst"
    SPIKE = "spike"
    TRAFFIC_DOWN = "traffic_down"
    STABILIZING = "stabilizing"
    CONSOLIDATION_REFUSED = "consolidation_refused"
    WAITING_FOR_START = "waiting_for_start"
    WAITING_FOR_STOP = "waiting_for_stop"
    WARMING_UP = "warming_up"
    NO_DATA = "no_data"
    ENDPOINT_UNKNOWN = "endpoint_unknown"
    ENDPOINT_FAULT = "endpoint_fault"
    IDLE_STOP = "idle_stop"
    IDLE_KEPT = "idle_kept"
    WAKE = "wake"
    PREWARM = "prewarm"
    BOUNDED = "bounded"
    SHORTAGE = "shortage"
    DEPLOY = "deploy"
    STOPPED_BY_OTHERS = "stopped_by_others"
    FLOOR = "floor"
    CEILING = "ceiling"
    EVENT = "event"
    CLAMPED = "clamped"
    BUDGET_NO_PREWARM = "budget_no_prewarm"
    BUDGET_LOWER_MAX = "budget_lower_max"
    BUDGET_SLOW_UP = "budget_slow_up"
    BUDGET_STOP_EXPENDABLE = "budget_stop_expendable"
    BUDGET_EXHAUSTED = "budget_exhausted"
    BUDGET_BURN = "budget_burn"


@dataclass(frozen=True, slots=True)
class Reason:
    """One step of the argument: an enum for machines, a sentence for people, the numbers behind it."""

    code: ReasonCode
    sentence: str
    numbers: Mapping[str, float] = field(default_factory=dict[str, float])


@dataclass(frozen=True, slots=True)
class Alternative:
    """A course that lost, and what spoke against it."""

    replicas: int
    why_not: str


class Power(StrEnum):
    """Whether the endpoint should run at all."""

    RUN = "run"
    STOP = "stop"
    KEEP = "keep"


@dataclass(frozen=True, slots=True)
class Decision:
    """What an endpoint should be, and the whole argument for it.

    ``bounds`` and ``inactive_timeout_minutes`` are always complete: both bounds, and a timeout that is said rather than
    assumed (0 = never). ``hold`` means: whatever runs, keep it; the actuator then sends nothing.
    """

    endpoint: str
    at: float
    bounds: Bounds
    inactive_timeout_minutes: int
    power: Power
    hold: bool
    reasons: tuple[Reason, ...]
    alternatives: tuple[Alternative, ...] = ()
    bound_by: str | None = None

    @property
    def sentence(self) -> str:
        """The argument in words, for logs, the status page and `scaler explain`."""
        return " ".join(reason.sentence for reason in self.reasons)


class ActionKind(StrEnum):
    """The mutating calls that exist. Deleting is not among them."""

    CREATE = "create"
    UPDATE = "update"
    START = "start"
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class Action:
    """One call to the update API, complete: bounds and timeout are sent with every kind but STOP.

    ``etag`` is that of the reading it was planned from: where the provider locks optimistically, another one is refused.
    A CREATE has no id yet; ``wish`` is all of it, and its bounds and timeout are those of the wish.
    """

    kind: ActionKind
    endpoint_id: str
    bounds: Bounds
    inactive_timeout_minutes: int
    etag: str | None = None
    wish: EndpointWish | None = None


@dataclass(frozen=True, slots=True)
class Intent:
    """An action written down before it is sent. ``id`` grows by one without gaps.

    ``before`` is what the provider reported just before: without it nobody could tell later whether equal bounds are an effect.
    """

    id: int
    at: float
    endpoint: str
    action: Action
    why: str
    before: Bounds | None = None


class OutcomeStatus(StrEnum):
    """How an action ended.

    CONFIRMED: the provider's state was read back and is what we asked for. REFUSED: the provider said no and nothing changed.
    UNKNOWN: the reply was lost or contradicts itself; the next tick reads back before anything else.
    """

    CONFIRMED = "confirmed"
    REFUSED = "refused"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of an intent."""

    intent_id: int
    at: float
    status: OutcomeStatus
    detail: str
