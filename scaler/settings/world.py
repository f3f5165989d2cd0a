"""The platform in a box."""

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from scaler.proxy_settings import Listen, Positive, Seconds, Section


class ColdStartSettings(Section):
    """Time from placement to serving: log-normal."""

    median_seconds: Positive = 180.0
    """Half of the starts are faster."""
    sigma: Annotated[float, Field(ge=0, le=2)] = 0.2
    """Spread: standard deviation of the logarithm."""


class ReplicaSettings(Section):
    """How a replica of the world serves."""

    slots: Annotated[int, Field(gt=0)] = 8
    """Requests served at once; more wait in the endpoint's queue."""
    ttft_seconds: Positive = 0.4
    """Time to first token of an empty prompt on an idle replica."""
    seconds_per_input_token: Seconds = 0.0001
    """Added to it for each input token."""
    seconds_per_output_token: Positive = 0.02
    """Time per output token on an idle replica."""
    slowdown: Seconds = 0.6
    """Both grow with load: a full replica takes (1 + slowdown) times as long."""
    tokens_per_event: Annotated[int, Field(gt=0)] = 1
    """Tokens in one SSE event."""


class NativeAutoscalerSettings(Section):
    """The platform's own autoscaler between the bounds: reacts to load it has seen."""

    target_in_flight: Positive = 8.0
    """Requests in flight per replica it steers to."""
    period_seconds: Positive = 15.0
    """How often it looks."""
    up_window_seconds: Seconds = 60.0
    """Load must stand this long before it adds."""
    down_window_seconds: Seconds = 300.0
    """And be gone this long before it takes away."""


class FaultSettings(Section):
    """One way in which calls go wrong, and which calls it strikes: all of its side, unless a filter says otherwise.

    At most one of ``status``, ``garbage``, ``half_body``, ``drop_request`` and ``drop_reply``; ``delay_seconds`` goes with any or alone.
    """

    delay_seconds: Annotated[float, Field(gt=0, le=86_400)] | None = None
    """Clock seconds before anything else happens."""
    status: Annotated[int, Field(ge=400, le=599)] | None = None
    """Answer with this error instead of carrying the call out."""
    retry_after_seconds: Annotated[int, Field(ge=0, le=86_400)] | None = None
    """Retry-After of that error; default: 1 for 429 and 503, else none."""
    garbage: bool = False
    """Answer 200 with something that is not JSON instead of carrying the call out."""
    half_body: bool = False
    """Carry the call out, send half of the answer that was promised, and close the connection."""
    drop_request: bool = False
    """Close the connection without carrying the call out."""
    drop_reply: bool = False
    """Carry the call out, then close the connection without an answer."""
    methods: tuple[Literal["GET", "POST", "PUT", "PATCH", "DELETE"], ...] = ()
    """Strikes these methods only; default: all."""
    path_prefix: str = ""
    """Strikes paths that begin so only."""
    share: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Probability that it strikes a call; the dice come from the world's seed."""
    count: Annotated[int, Field(gt=0)] | None = None
    """It strikes so many calls and is over; default: no limit."""
    seconds: Positive | None = None
    """It is over after so many clock seconds; default: it stays until replaced."""

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        wrongs = [self.status is not None, self.garbage, self.half_body, self.drop_request, self.drop_reply].count(True)
        if wrongs > 1 or (wrongs == 0 and self.delay_seconds is None):
            raise ValueError("expected one of status, garbage, half_body, drop_request and drop_reply, or delay_seconds alone")
        if self.retry_after_seconds is not None and self.status is None:
            raise ValueError("retry_after_seconds: expected status beside it")
        return self


class PlatformFaultSettings(Section):
    """What goes wrong behind the API; each is done once, in this order."""

    stock: dict[str, Annotated[int, Field(ge=0)]] = {}
    """From now on so many replicas of this hardware id exist, placed ones included."""
    fail_starts: dict[str, Annotated[int, Field(ge=0)]] = {}
    """So many next cold starts of this endpoint id fail; 0 takes it back."""
    slow_starts: Positive | None = None
    """From now on cold starts take so many times as long; 1 = as they should."""
    lose_replica: str | None = None
    """This endpoint id loses a replica with all requests on it."""


def _several(value: object) -> object:
    """One fault may stand for a list of one, and None for none."""
    if value is None:
        return ()
    return (value,) if isinstance(value, dict | FaultSettings) else value


SideFaults = Annotated[tuple[FaultSettings, ...], BeforeValidator(_several), Field(max_length=100)]


class FaultsSettings(Section):
    """What is wrong with the world. Of several faults of one side the first that strikes a call counts."""

    management: SideFaults = ()
    """Faults of the management API; one or a list."""
    inference: SideFaults = ()
    """Faults of chat completions, completions and embeddings; one or a list."""
    platform: PlatformFaultSettings = PlatformFaultSettings()
    """Faults behind the API."""
    seconds: Positive | None = None
    """How long faults last that do not say it themselves, in clock seconds; default: until replaced."""


class WorldEndpointSettings(Section):
    """An endpoint that exists when the world begins."""

    id: str | None = None
    """Default: made up from the seed."""
    model: str
    """One of the catalog's models."""
    hardware: str
    """One of the model's hardware ids."""
    display_name: str = ""
    """Default: the name."""
    min_replicas: Annotated[int, Field(ge=0)] = 1
    """Lower bound at the beginning."""
    max_replicas: Annotated[int, Field(ge=1)] = 1
    """Upper bound at the beginning."""
    inactive_timeout_minutes: Annotated[int, Field(ge=0)] = 60
    """0 = never."""
    state: Literal["STARTED", "STOPPED"] = "STARTED"
    """STARTED: its minimum is ready at once."""
    speculative_decoding: bool = False
    """Less time per output token on average, but some answers take several times as long."""


class WorldSettings(Section):
    """A platform in a box, for trying, testing and backtesting without spending a cent."""

    listen: Listen = "127.0.0.1:8123"
    """Where it serves the provider's HTTP API."""
    seed: int = 1
    """Same seed, same cold starts."""
    owner: str = "tester"
    """First part of every endpoint name."""
    stock: dict[str, Annotated[int, Field(ge=0)]] = {}
    """Replicas that can be placed, by hardware id; default 64 of each."""
    placement_seconds: Seconds = 5.0
    """Time a new endpoint is PENDING before its first replicas are placed."""
    stop_seconds: Seconds = 10.0
    """Time from STOPPING to STOPPED once requests in flight are done."""
    max_queued: Annotated[int, Field(ge=0)] = 1_000
    """Requests that may wait in front of one endpoint; beyond it 503."""
    billing_from: Literal["ready", "start"] = "ready"
    """Whether the minutes of a cold start are billed (Together says they are not)."""
    cold_start: ColdStartSettings = ColdStartSettings()
    """How long a replica takes to serve."""
    replica: ReplicaSettings = ReplicaSettings()
    """How it serves."""
    native_autoscaler: NativeAutoscalerSettings = NativeAutoscalerSettings()
    """What moves replicas between the bounds."""
    faults: FaultsSettings = FaultsSettings()
    """What is wrong from the beginning."""
    endpoints: tuple[WorldEndpointSettings, ...] = ()
    """What exists at the beginning."""
