"""The program itself: where it listens, whom it speaks with, what it keeps, how often it looks, what it says."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr, field_validator

from scaler.proxy_settings import ClientKeySettings, Listen, Origin, Positive, Section


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


ClientName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]


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


class LogSettings(Section):
    """What is written to standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """Least level that is written."""
    format: Literal["auto", "json", "console"] = "auto"
    """auto: console on a terminal, JSON lines elsewhere."""
