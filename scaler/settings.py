"""The whole configuration: one tree, YAML file < environment (``SCALER_A__B``) < secret files (``*_file`` fields).

`load` returns a valid, frozen `Settings` or raises `ConfigError`, which names the file, the path of each bad field and what was
expected there. Nothing is ever half applied.
"""

import os
import re
from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo

import yaml
from cronsim import CronSim, CronSimError
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError

from scaler.proxy_settings import (  # noqa: F401 (those who read settings find all of them here)
    LOOPBACK,
    ClientKeySettings,
    FallbackSettings,
    Listen,
    Origin,
    Positive,
    ProxySettings,
    Seconds,
    Section,
    WakeMode,
    WakeSettings,
    host_of,
    host_port,
)

PREFIX = "SCALER_"
RESERVED_KEY = "other"
MAX_CONFIG_BYTES = 4 * 1024 * 1024
CRON_FIELDS = 5


def _zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ValueError, OSError, KeyError) as error:  # not found is a KeyError
        raise ValueError("expected a time zone such as UTC or Europe/Berlin") from error
    return value


def _cron(value: str) -> str:
    try:
        once = next(CronSim(value, datetime(2000, 1, 1)), None)  # noqa: DTZ001 (wall time of whatever zone)
    except CronSimError as error:
        raise ValueError(f"expected five cron fields, minute hour day month weekday ({error})") from error
    if once is None or len(value.split()) != CRON_FIELDS:
        raise ValueError("expected five cron fields that name some moment, minute hour day month weekday")
    return value


ClientName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]
Zone = Annotated[str, AfterValidator(_zone)]
"""Name of a time zone in the IANA database."""
Cron = Annotated[str, Field(max_length=200), AfterValidator(_cron)]
"""Five cron fields in wall time, with names of months and weekdays, ``L`` and ``#``."""
DEFAULT_CONCURRENCY = 8.0
"""Requests in flight that a replica is taken to serve well until it is known."""
V2_TIMEOUTS = range(30, 1441)
"""Minutes of inactivity that Together v2 can be told to wait, beside 0 for ever."""
DEFAULT_TIMEOUT = 60
"""Minutes of inactivity after which the platform stops an endpoint if nothing better is known; the platform's own default."""


class ClockSettings(Section):
    """Time. Only the embedded world can live faster than one second a second."""

    speed: Positive = 1.0
    """Clock seconds per real second. Leave 1 against a real provider."""
    epoch: float | None = None
    """Real Unix second at which the scaled clock reads ``start``; default: the moment the process starts."""
    start: float | None = None
    """What the scaled clock reads at ``epoch``, Unix seconds; default: ``epoch``."""


class ProviderSettings(Section):
    """The update API."""

    kind: Literal["together_v1", "together_v2", "auto"] = "together_v1"
    """Generation of the API. v1 is ``/v1/endpoints``; v2 is projects, endpoints and deployments; auto asks which one answers."""
    base_url: Origin = "https://api.together.xyz/v1"
    """Base of the management API; for v1 it ends in ``/v1``, else the host's root or ``/v1`` on it."""
    project: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9._-]*$", max_length=200)] | None = None
    """v2: id of the project that the deployments are in; default: the one that the key belongs to."""
    api_key: SecretStr | None = None
    """Never in the YAML file: SCALER_PROVIDER__API_KEY, or better ``api_key_file``."""
    api_key_file: Path | None = None
    """File that holds the key; wins over the environment."""
    timeout_seconds: Positive = 8.0
    """Deadline of one management call, in real seconds."""

    @property
    def key(self) -> SecretStr:
        """The key; `load` has made sure that there is one."""
        if self.api_key is None:
            raise RuntimeError("settings were not made by load()")
        return self.api_key

    @property
    def root(self) -> str:
        """The host's root, without ``/v1``."""
        return self.base_url.removesuffix("/v1")

    @property
    def v1_url(self) -> str:
        """Base of what is under ``/v1``: the first management API, and by default inference."""
        return self.base_url if self.kind == "together_v1" else f"{self.root}/v1"


class ClientsSettings(Section):
    """Who may send inference requests. Without keys anyone who reaches ``proxy.listen`` may."""

    keys: Annotated[dict[ClientName, ClientKeySettings], Field(max_length=1000)] = {}
    """Clients by a name of your own, which is also their label in metrics."""
    keys_file: Path | None = None
    """YAML file with more of them, of the same shape; it wins over ``keys`` where both name one."""
    anonymous_on: Listen | None = None
    """To serve anyone on an address that is not loopback: ``proxy.listen`` once more, so that it is no accident."""

    @field_validator("keys")
    @classmethod
    def _keys_differ(cls, value: dict[str, ClientKeySettings]) -> dict[str, ClientKeySettings]:
        owners: dict[str, str] = {}
        for name, key in value.items():
            if owners.setdefault(key.sha256, name) != name:
                raise ValueError(f"{name} has the same key as {owners[key.sha256]}")
        return value


class AdminSettings(Section):
    """Health, metrics and status."""

    listen: Listen = "127.0.0.1:9090"
    """Loopback by default; any other address demands a token."""
    hosts: tuple[str, ...] = ()
    """More names under which clients may ask for it (Host header), such as a service name."""
    token: SecretStr | None = None
    """Bearer token for everything but the health routes."""
    token_file: Path | None = None
    """File that holds the token; wins over the environment."""


class StoreSettings(Section):
    """Journal, intents and outcomes."""

    path: Path = Path("scaler.db")
    """SQLite file (WAL)."""
    retention_days: Annotated[int, Field(gt=0)] = 14
    """Decisions older than this are removed; intents never are."""


class ScheduleSettings(Section):
    """When things happen."""

    tick_seconds: Positive = 10.0
    """Period of the control loop."""
    overdue_ticks: Positive = 3.0
    """A tick later than this many periods counts as late: ``/livez`` fails."""


class GuardSettings(Section):
    """The last gate before money: limits on what the actuator may do, whatever the policy says."""

    max_actions_per_hour: Annotated[int, Field(gt=0)] = 60
    """Mutating calls per endpoint and hour; survives restarts."""
    max_decision_age_seconds: Positive = 30.0
    """A decision older than this is not carried out."""


class ObjectiveSettings(Section):
    """What a good answer is."""

    ttft_seconds: Positive | None = 2.0
    """A streamed answer should begin within this time."""
    latency_seconds: Positive | None = None
    """Any answer should be complete within this time."""
    share: Annotated[float, Field(gt=0, lt=1)] = 0.99
    """Share of requests that should meet both."""


class PolicySettings(Section):
    """How traffic becomes replicas."""

    target_concurrency: Positive | Literal["auto"] = "auto"
    """Requests in flight that one replica serves well; auto: learned from traffic, 8 (Together's own default) until it is known."""
    target_utilization: Annotated[float, Field(gt=0, le=1)] = 0.7
    """Share of that to plan with; the rest is headroom for the time a start takes."""
    stable_window_seconds: Positive = 60.0
    """Mean concurrency over this span drives ordinary changes."""
    panic_window_seconds: Positive = 20.0
    """Mean over this span drives the answer to a burst."""
    panic_threshold: Annotated[float, Field(gt=1)] = 2.0
    """A burst: the panic window wants this many times the ready replicas."""
    stabilization_seconds: Positive = 600.0
    """Down only to the highest need seen in this span; about two cold starts, since what is given back takes one to return."""
    tolerance: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Needs within this share of what runs change nothing."""
    max_step_up: Annotated[int, Field(gt=0)] = 4
    """Most replicas added at once (or doubling, whichever is more)."""
    max_step_down: Annotated[int, Field(gt=0)] = 1
    """Most replicas taken away at once."""
    cold_start_seconds: Positive = 300.0
    """Time from an update to a serving replica to plan with until starts were seen; from then on it is learned."""
    burst_replicas: Annotated[int, Field(ge=0)] = 0
    """How many replicas above our own count the platform's autoscaler may add; 0 pins min = max."""

    @property
    def per_replica(self) -> float:
        """``target_concurrency`` as a number."""
        return DEFAULT_CONCURRENCY if self.target_concurrency == "auto" else self.target_concurrency

    @model_validator(mode="after")
    def _windows_nest(self) -> Self:
        if self.panic_window_seconds > self.stable_window_seconds:
            raise ValueError("expected panic_window_seconds <= stable_window_seconds")
        return self


class IdleSettings(Section):
    """When the endpoint may sleep."""

    inactive_timeout_minutes: Annotated[int, Field(ge=0)] | Literal["auto"] = "auto"
    """Sent with every update: the platform stops the endpoint after this long without a request; 0 = never. auto: 60 until gaps in the
    traffic are known, then what costs least with them; where scaler stops the endpoint itself, a little more than that takes."""
    allow_stop: bool = False
    """Whether scaler may stop the endpoint itself. On Together v1 make sure first that your account may start it again."""
    allow_irreversible_stop: bool = False
    """Whether it may be stopped even where the provider is known not to start it again."""
    stop_after_minutes: Positive | Literal["auto"] = "auto"
    """Proven idle this long, then stopped (when allowed). auto: as soon as a cold call is cheaper than waiting for it, by the gaps in the
    endpoint's own traffic; and it is started again in time for a call that can be foreseen."""
    wake: bool = True
    """Whether scaler starts the endpoint again when requests come while it is stopped."""
    prewarm: bool = True
    """With auto: whether it is started before a call that is expected."""
    warm_share: Annotated[float, Field(gt=0, lt=1)] | None = None
    """With auto: of the ten-minute windows with traffic, the share that should find the endpoint awake. Default: the objective's share."""
    cold_request_dollars: Positive | None = None
    """With auto: what it is worth that a call does not find the endpoint asleep; where prices are known, it takes the place of a share."""
    keep_at_least_minutes: Positive = 10.0
    """With auto: kept this long after traffic in any case."""
    keep_at_most_minutes: Positive = 240.0
    """With auto: kept no longer for a call that may come, however dear."""
    min_sleep_minutes: Positive = 20.0
    """With auto: a shorter sleep is not worth a stop and a start."""

    @property
    def timeout_minutes(self) -> int:
        """The platform's idle timer as far as it is known beforehand."""
        return DEFAULT_TIMEOUT if self.inactive_timeout_minutes == "auto" else self.inactive_timeout_minutes

    @property
    def proof_seconds(self) -> float:
        """Idleness that must be proven without a gap before a stop."""
        return 60 * (self.keep_at_least_minutes if self.stop_after_minutes == "auto" else self.stop_after_minutes)

    @model_validator(mode="after")
    def _keeps_ordered(self) -> Self:
        if self.keep_at_least_minutes > self.keep_at_most_minutes:
            raise ValueError("expected keep_at_least_minutes <= keep_at_most_minutes")
        return self


class TrafficSettings(Section):
    """How the request path treats an endpoint's requests."""

    max_in_flight: Annotated[int, Field(gt=0)] | None = None
    """Requests at once, those that wait among them; beyond it 503. Default: 1024, or four times what all replicas plan for if more."""
    retry_stale: bool = False
    """Send a request once more if its kept upstream connection ended without a byte of an answer. It may then be carried out twice."""


class WindowSettings(Section):
    """A window that comes again: from each moment that ``start`` names to the next one that ``end`` names, both in wall time.

    In a window there are at least ``floor`` replicas, ready when it begins, and at most ``ceiling``.
    """

    name: Annotated[str, Field(min_length=1, max_length=100)]
    """For people, and for the reasons of decisions."""
    start: Cron
    """When it begins, such as ``0 8 * * MON-FRI``."""
    end: Cron
    """When it ends, such as ``0 18 * * *``."""
    timezone: Zone | None = None
    """Default: ``calendar.timezone``."""
    floor: Annotated[int, Field(ge=1)] | None = None
    """At least so many replicas; a stopped endpoint is started for them."""
    ceiling: Annotated[int, Field(ge=1)] | None = None
    """At most so many."""
    on_holidays: bool = False
    """Whether it begins on ``calendar.holidays``, too."""

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.floor is None and self.ceiling is None:
            raise ValueError("expected a floor, a ceiling or both")
        return self


class EventSettings(Section):
    """Something planned that happens once, such as a launch at nine with three times the traffic for two hours."""

    name: Annotated[str, Field(min_length=1, max_length=100)]
    """For people, and for the reasons of decisions."""
    at: datetime
    """When it begins: with an offset from UTC, or else in wall time."""
    hours: Annotated[float, Field(gt=0, le=24 * 31)]
    """How long it lasts."""
    timezone: Zone | None = None
    """Default: ``calendar.timezone``."""
    multiplier: Annotated[float, Field(gt=1, le=1000)] | None = None
    """Times the load that there is just before it, in replicas ready when it begins."""
    floor: Annotated[int, Field(ge=1)] | None = None
    """At least so many replicas, ready when it begins."""
    ceiling: Annotated[int, Field(ge=1)] | None = None
    """At most so many."""

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.multiplier is None and self.floor is None and self.ceiling is None:
            raise ValueError("expected a multiplier, a floor or a ceiling")
        return self


class CapSettings(Section):
    """How much may be spent, by scaler's own ledger: its own clock times the price of what runs. None of them: no limit."""

    per_day_dollars: Positive | None = None
    """In a day of the budget's time zone."""
    per_month_dollars: Positive | None = None
    """In a calendar month."""
    per_hour_dollars: Positive | None = None
    """Burn rate: the price per hour of all that runs at once."""

    @property
    def capped(self) -> bool:
        """Whether there is any limit."""
        return (self.per_day_dollars, self.per_month_dollars, self.per_hour_dollars) != (None, None, None)


class EndpointBudgetSettings(CapSettings):
    """What one endpoint may cost."""

    expendable: bool = False
    """Whether it is stopped when a budget gets tight, so that others may go on; needs ``idle.allow_stop``."""
    at_cap: Literal["min", "stop"] | None = None
    """When a budget is used up: keep ``min_replicas``, whose cost is set aside from the beginning, or stop. Default: stop where
    ``idle.allow_stop`` allows it, else min."""
    price_dollars_per_hour: Positive | None = None
    """Of one replica; default: the provider's price list."""


class BudgetSettings(CapSettings):
    """What all endpoints together may cost, and what happens as it gets tight."""

    timezone: Zone | None = None
    """Where days and months begin; default: ``calendar.timezone``."""
    billed_from: Literal["start", "ready"] = "start"
    """Whether a replica is charged from when it is asked for or from when it serves (as Together bills); start is never too low."""
    minimum_run_seconds: Positive = 600.0
    """A start is made only if the budget pays for so long a run; so much is reserved for it beforehand."""
    cut_seconds: Positive = 60.0
    """A budget counts as used up so long before it is: the time that stopping may take."""
    no_prewarm_at: Annotated[float, Field(gt=0, le=1)] = 0.8
    """From this share on nothing is started ahead of need."""
    lower_max_at: Annotated[float, Field(gt=0, le=1)] = 0.85
    """From this share on the maximum is what can be paid until the period ends."""
    slow_up_at: Annotated[float, Field(gt=0, le=1)] = 0.9
    """From this share on replicas are added one after the other."""
    stop_expendable_at: Annotated[float, Field(gt=0, le=1)] = 0.95
    """From this share on expendable endpoints are stopped."""

    @model_validator(mode="after")
    def _stages_ordered(self) -> Self:
        stages = (self.no_prewarm_at, self.lower_max_at, self.slow_up_at, self.stop_expendable_at)
        if list(stages) != sorted(stages):
            raise ValueError("expected no_prewarm_at <= lower_max_at <= slow_up_at <= stop_expendable_at")
        return self


class EndpointSettings(Section):
    """One endpoint that scaler looks after. Its key in ``endpoints`` is a name for people, metrics and requests.

    It exists and has an ``id``, or it is declared: ``create: true`` beside what it is to be made of.
    """

    create: bool = False
    """Whether scaler may create it, once; it adopts one of its display name. It is never deleted, and never created again unasked."""
    id: Annotated[str, Field(max_length=200, pattern=r"^[A-Za-z0-9._-]*$", validate_default=True)] = ""
    """Management id, such as endpoint-e6c6b82f-...; none beside ``create``."""
    model: Annotated[str, Field(max_length=300, validate_default=True)] = ""
    """With ``create``: the model, such as org/model."""
    hardware: Annotated[str, Field(max_length=200, validate_default=True)] = ""
    """With ``create``: hardware id of a replica, such as 2x_nvidia_h100_80gb_sxm."""
    zone: str | None = None
    """With ``create``: availability zone; default: wherever there is room."""
    speculative_decoding: bool = False
    """With ``create``: better on average, worse in the tail."""
    display_name: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    """With ``create``: what it is recognised by among your own endpoints; default: ``scaler-`` and its key."""
    name: str | None = None
    """Inference name; default: what the provider says."""
    aliases: tuple[str, ...] = ()
    """More names under which clients may ask for it in ``model``."""
    pool: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    """A name that it shares with other endpoints; a request for it goes to the one with the most room."""
    wake: WakeSettings = WakeSettings()
    """What becomes of requests that cannot be served at once."""
    min_replicas: Annotated[int, Field(ge=1)] = 1
    """Floor while the endpoint runs."""
    max_replicas: Annotated[int, Field(ge=1)] = 1
    """Ceiling, always."""
    objective: ObjectiveSettings = ObjectiveSettings()
    """What a good answer is."""
    policy: PolicySettings = PolicySettings()
    """How traffic becomes replicas."""
    idle: IdleSettings = IdleSettings()
    """When it may sleep."""
    traffic: TrafficSettings = TrafficSettings()
    """How its requests are treated."""
    schedules: Annotated[tuple[WindowSettings, ...], Field(max_length=50)] = ()
    """Floors and ceilings that come again by the clock."""
    events: Annotated[tuple[EventSettings, ...], Field(max_length=200)] = ()
    """What is planned once. What is over may stay."""
    budget: EndpointBudgetSettings = EndpointBudgetSettings()
    """What it may cost."""

    @field_validator("id")
    @classmethod
    def _id_or_create(cls, value: str, info: ValidationInfo) -> str:
        if info.data.get("create") and value:
            raise ValueError("expected none beside create: true; remove one of the two")
        if not info.data.get("create") and not value:
            raise ValueError("expected the management id of an endpoint that exists, or create: true with model and hardware")
        return value

    @field_validator("model", "hardware")
    @classmethod
    def _made_of(cls, value: str, info: ValidationInfo) -> str:
        if info.data.get("create") and not value:
            raise ValueError("expected beside create: true")
        return value

    @field_validator("model", "hardware", "zone", "speculative_decoding", "display_name")
    @classmethod
    def _only_beside_create(cls, value: object, info: ValidationInfo) -> object:
        if value and not info.data.get("create"):
            raise ValueError("expected only beside create: true; an endpoint that exists has its own")
        return value

    @model_validator(mode="after")
    def _bounds_ordered(self) -> Self:
        if self.min_replicas > self.max_replicas:
            raise ValueError(f"expected min_replicas <= max_replicas, got {self.min_replicas} > {self.max_replicas}")
        return self

    @model_validator(mode="after")
    def _may_stop_for_budget(self) -> Self:
        for name, stops in (("expendable: true", self.budget.expendable), ("at_cap: stop", self.budget.at_cap == "stop")):
            if stops and not self.idle.allow_stop:
                raise ValueError(f"budget: expected idle.allow_stop: true beside {name}")
        return self

    @property
    def kept_at_cap(self) -> bool:
        """Whether ``min_replicas`` go on running when a budget is used up."""
        return self.budget.at_cap == "min" or (self.budget.at_cap is None and not self.idle.allow_stop)

    @model_validator(mode="after")
    def _windows_fit(self) -> Self:
        named = [(f"schedules.{i} ({window.name})", window.floor, window.ceiling) for i, window in enumerate(self.schedules)]
        named += [(f"events.{i} ({event.name})", event.floor, event.ceiling) for i, event in enumerate(self.events)]
        for where, floor, ceiling in named:
            if trouble := misfit(self, floor, ceiling):
                raise ValueError(f"{where}: {trouble}")
        return self


def misfit(endpoint: EndpointSettings, floor: int | None, ceiling: int | None) -> str:
    """Why a floor or a ceiling does not go with the endpoint's own bounds; empty if it does."""
    if floor is not None and floor > endpoint.max_replicas:
        return f"expected floor <= max_replicas, got {floor} > {endpoint.max_replicas}"
    if ceiling is not None and ceiling < endpoint.min_replicas:
        return f"expected ceiling >= min_replicas, got {ceiling} < {endpoint.min_replicas}"
    if floor is not None and ceiling is not None and floor > ceiling:
        return f"expected floor <= ceiling, got {floor} > {ceiling}"
    return ""


def display_name_of(key: str, endpoint: EndpointSettings) -> str:
    """What a declared endpoint is recognised by."""
    return endpoint.display_name or f"scaler-{key}"


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


class LogSettings(Section):
    """What is written to standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """Least level that is written."""
    format: Literal["auto", "json", "console"] = "auto"
    """auto: console on a terminal, JSON lines elsewhere."""


class CalendarSettings(Section):
    """What the clock on the wall says, and which days are no working days."""

    timezone: Zone = "UTC"
    """Time zone of schedules, events and budget periods that do not name their own."""
    holidays: Annotated[tuple[date, ...], Field(max_length=1000)] = ()
    """Days on which schedules do not begin (unless ``on_holidays``), by the date in the schedule's time zone."""


class Settings(BaseSettings):
    """The root of the tree."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True, use_attribute_docstrings=True
    )

    provider: ProviderSettings = ProviderSettings()
    """The update API."""
    proxy: ProxySettings = ProxySettings()
    """The request path."""
    clients: ClientsSettings = ClientsSettings()
    """Who may send requests."""
    admin: AdminSettings = AdminSettings()
    """Health, metrics and status."""
    endpoints: Annotated[dict[str, EndpointSettings], Field(min_length=1, max_length=100)]
    """What scaler looks after, by a name of your own."""
    schedule: ScheduleSettings = ScheduleSettings()
    """When things happen."""
    calendar: CalendarSettings = CalendarSettings()
    """Time zone and holidays."""
    budget: BudgetSettings = BudgetSettings()
    """What all endpoints together may cost."""
    guard: GuardSettings = GuardSettings()
    """The last gate before money."""
    store: StoreSettings = StoreSettings()
    """Journal, intents and outcomes."""
    pause_file: Path = Path("scaler.paused")
    """While this file exists (or cannot be looked for), nothing is sent to the update API."""
    dry_run: bool = False
    """Decide, explain and measure, but send nothing."""
    clock: ClockSettings = ClockSettings()
    """Time."""
    world: WorldSettings | None = None
    """If given, this platform in a box is served beside the daemon."""
    log: LogSettings = LogSettings()
    """What is written to standard error."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 (pydantic-settings' signature)
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what `load` has merged: the environment must not slip in a second time above the secret files."""
        return (init_settings,)

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        seen: dict[str, str] = {}
        for key, endpoint in self.endpoints.items():
            if key == RESERVED_KEY:
                raise ValueError(f"endpoints.{key}: expected another name; the metrics call unrouted requests so")
            if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", key):
                raise ValueError(f"endpoints.{key}: expected a name of up to 63 letters, digits, '.', '_' and '-'")
            for name in {key, *endpoint.aliases, *filter(None, (endpoint.id, endpoint.name))}:
                if name in seen:
                    raise ValueError(f"endpoints.{key}: {name!r} already names endpoints.{seen[name]}")
                seen[name] = key
        for key, endpoint in self.endpoints.items():
            if endpoint.pool in seen:
                raise ValueError(f"endpoints.{key}.pool: {endpoint.pool!r} already names endpoints.{seen[endpoint.pool]}")
            fallback = endpoint.wake.fallback
            if fallback is not None and (seen.get(fallback.model) == key or fallback.model == endpoint.pool):
                raise ValueError(f"endpoints.{key}.wake.fallback.model: expected another one, {fallback.model!r} is itself")
        return self

    @model_validator(mode="after")
    def _workers_have_one_clock(self) -> Self:
        if self.proxy.workers > 1 and (self.clock.speed != 1 or self.clock.start is not None):
            raise ValueError("proxy.workers: expected 1 where the clock is not the machine's own")
        return self

    @model_validator(mode="after")
    def _timeouts_are_v2s(self) -> Self:
        for key, endpoint in self.endpoints.items():
            minutes = endpoint.idle.timeout_minutes
            if self.provider.kind != "together_v1" and minutes != 0 and minutes not in V2_TIMEOUTS:
                where = f"endpoints.{key}.idle.inactive_timeout_minutes"
                raise ValueError(f"{where}: {minutes}; together_v2 accepts 0 (never) or {V2_TIMEOUTS[0]}..{V2_TIMEOUTS[-1]}")
        return self

    @model_validator(mode="after")
    def _display_names_are_unique(self) -> Self:
        seen: dict[str, str] = {}
        for key, endpoint in self.endpoints.items():
            name = display_name_of(key, endpoint)
            if endpoint.create and seen.setdefault(name, key) != key:
                raise ValueError(f"endpoints.{key}.display_name: {name!r} already is that of endpoints.{seen[name]}")
        return self

    @model_validator(mode="after")
    def _can_create(self) -> Self:
        for key, endpoint in self.endpoints.items():
            if endpoint.create and self.provider.kind == "together_v2":
                raise ValueError(f"endpoints.{key}.create: v2 deploys from a model's configs; expected the id of a deployment that exists")
        return self

    @model_validator(mode="after")
    def _admin_is_private(self) -> Self:
        host, _ = host_port(self.admin.listen)
        if host not in LOOPBACK and self.admin.token is None and self.admin.token_file is None:
            raise ValueError(f"admin.listen: {host} is not loopback; expected admin.token_file beside it")
        return self

    @model_validator(mode="after")
    def _requests_are_somebodys(self) -> Self:
        listen, clients = self.proxy.listen, self.clients
        if host_port(listen)[0] not in LOOPBACK and not clients.keys and clients.anonymous_on != listen:
            raise ValueError(
                f"clients.keys: proxy.listen {listen} is not loopback; expected keys of clients, or clients.anonymous_on: '{listen}'"
            )
        return self

    @property
    def secrets(self) -> tuple[SecretStr, ...]:
        """Everything that must never be written anywhere."""
        return tuple(secret for secret in (self.provider.api_key, self.admin.token) if secret is not None)

    @property
    def upstream(self) -> str:
        """Base of the inference API."""
        return self.proxy.upstream or self.provider.v1_url


class ManagementSettings(Section):
    """What it takes to manage endpoints by hand: a connection, and the pause file of the daemon beside it, if there is one."""

    provider: ProviderSettings = ProviderSettings()
    """The update API."""
    pause_file: Path | None = None
    """While it exists nothing is sent; None = there is none to respect."""


class ConfigError(Exception):
    """The configuration is bad. ``problems`` has one line each: ``FILE: path: what was expected``."""

    def __init__(self, source: Path, problems: list[str]) -> None:
        """Name the file in front of each problem."""
        self.problems = [f"{source}: {problem}" for problem in problems]
        super().__init__("\n".join(self.problems))


class _StrictLoader(yaml.SafeLoader):
    """YAML in which a key stands once; plain YAML would silently take the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002 (PyYAML's signature)
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for (key_node, _), key in zip(node.value, keys, strict=True):
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} stands more than once", key_node.start_mark)
        return super().construct_mapping(node, deep=deep)


def _read_yaml(path: Path) -> dict[str, Any]:
    """The file as a mapping; every fault is a `ConfigError`."""
    try:
        with path.open("rb") as file:
            text = file.read(MAX_CONFIG_BYTES + 1)
    except OSError as error:
        raise ConfigError(path, [f"cannot be read: {error.strerror}"]) from error
    if len(text) > MAX_CONFIG_BYTES:
        raise ConfigError(path, [f"larger than {MAX_CONFIG_BYTES} bytes"])
    try:
        tree = yaml.load(text, Loader=_StrictLoader)  # noqa: S506 (a SafeLoader)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(path, [f"is not YAML: {' '.join(str(error).split())}"]) from error
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ConfigError(path, ["expected a mapping of settings at the top"])
    return tree


SECRETS = (("provider", "api_key"), ("admin", "token"))


def _inline_secrets(tree: dict[str, Any]) -> list[str]:
    """Secrets do not belong in a file that is copied, committed and shown."""
    return [
        f"{section}.{name}: expected in the environment ({PREFIX}{section.upper()}__{name.upper()}) or in {section}.{name}_file, not inline"
        for section, name in SECRETS
        if isinstance(tree.get(section), dict) and name in tree[section]
    ]


def _secret_files(tree: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The secrets that the ``*_file`` fields point to, as an overlay, and what went wrong on the way."""
    overlay: dict[str, Any] = {}
    problems: list[str] = []
    for section, name in SECRETS:
        branch = tree.get(section)
        file = branch.get(f"{name}_file") if isinstance(branch, dict) else None
        if file is None:
            continue
        try:
            secret = Path(file).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError, TypeError) as error:
            problems.append(f"{section}.{name}_file: expected a readable text file, got {file!r} ({type(error).__name__})")
            continue
        if not secret:
            problems.append(f"{section}.{name}_file: expected a secret, but {file} is empty")
        overlay.setdefault(section, {})[name] = secret
    return overlay, problems


def _client_keys(tree: dict[str, Any]) -> dict[str, Any]:
    """The clients that ``clients.keys_file`` names, as an overlay; raises `ConfigError`."""
    branch = tree.get("clients")
    file = branch.get("keys_file") if isinstance(branch, dict) else None
    return {"clients": {"keys": _read_yaml(Path(file))}} if isinstance(file, str) else {}


def _describe(error: ValidationError) -> list[str]:
    """One line per fault; the input itself is never shown, it may be a secret."""
    lines = []
    for fault in error.errors(include_url=False, include_input=False):
        where = ".".join(str(part) for part in fault["loc"])
        message = fault["msg"].removeprefix("Value error, ")
        if fault["type"] == "extra_forbidden":
            message = "unknown key"
        lines.append(f"{where}: {message}" if where else message)
    return lines


def _unknown_variables() -> list[str]:
    """A misspelt variable would silently do nothing; nested ones are caught by the tree itself."""
    known = set(Settings.model_fields)
    return [
        f"{name} (environment): unknown key"
        for name in os.environ
        if name.startswith(PREFIX) and name.removeprefix(PREFIX).lower().split("__", 1)[0] not in known
    ]


def _merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """``over`` wins, branch by branch."""
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = _merge(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


def load_world(path: Path) -> WorldSettings:
    """The ``world`` section alone of a configuration file, checked; its defaults when the file has none.

    Raises `ConfigError`.
    """
    try:
        return WorldSettings.model_validate(_read_yaml(path).get("world") or {})
    except ValidationError as error:
        raise ConfigError(path, [f"world.{problem}" for problem in _describe(error)]) from error


def _gather(source: Path, file: dict[str, Any]) -> dict[str, Any]:
    """``file`` < environment < secret files, not yet checked; ``source`` names it in the `ConfigError`."""
    if problems := _inline_secrets(file) + _unknown_variables():
        raise ConfigError(source, problems)
    try:
        tree = _merge(file, EnvSettingsSource(Settings)())
    except SettingsError as error:
        raise ConfigError(source, [f"environment: {error}"]) from error
    secrets, problems = _secret_files(tree)
    if problems:
        raise ConfigError(source, problems)
    return _merge(_merge(tree, secrets), _client_keys(tree))


def _require_key(source: Path, provider: ProviderSettings) -> None:
    if provider.api_key is None:
        raise ConfigError(source, ["provider.api_key: expected SCALER_PROVIDER__API_KEY in the environment, or provider.api_key_file"])


def load_provider(path: Path | None) -> ManagementSettings:
    """The connection alone: of a configuration file, whose ``endpoints`` it does not need, or of the environment.

    Raises `ConfigError`.
    """
    source = path or Path("environment")
    tree = _gather(source, _read_yaml(path) if path else {})
    default = Settings.model_fields["pause_file"].default if path else None
    try:
        settings = ManagementSettings(provider=tree.get("provider") or {}, pause_file=tree.get("pause_file", default))
    except ValidationError as error:
        raise ConfigError(source, _describe(error)) from error
    _require_key(source, settings.provider)
    return settings


def names_endpoints(path: Path) -> bool:
    """Whether the configuration is more than a connection. Raises `ConfigError`."""
    return bool(_gather(path, _read_yaml(path)).get("endpoints"))


def load(path: Path, **overrides: Any) -> Settings:  # noqa: ANN401 (any field of the tree)
    """Read, merge and check the whole configuration.

    ``overrides`` are top-level fields that win over everything (command-line options).
    Raises `ConfigError`.
    """
    tree = _gather(path, _read_yaml(path))
    try:
        settings = Settings(**_merge(tree, overrides))
    except ValidationError as error:
        raise ConfigError(path, _describe(error)) from error
    _require_key(path, settings.provider)
    return settings
