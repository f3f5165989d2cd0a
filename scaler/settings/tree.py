"""The root of the tree, and what holds between its branches."""

import re
from pathlib import Path
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from scaler.proxy_settings import LOOPBACK, ProxySettings, Section, host_port
from scaler.settings.budget import BudgetSettings
from scaler.settings.calendar import CalendarSettings
from scaler.settings.daemon import (
    AdminSettings,
    ClientsSettings,
    ClockSettings,
    GuardSettings,
    LogSettings,
    ProviderSettings,
    ScheduleSettings,
    StoreSettings,
)
from scaler.settings.endpoint import EndpointSettings, display_name_of
from scaler.settings.world import WorldSettings

PREFIX = "SCALER_"
RESERVED_KEY = "other"
V2_TIMEOUTS = range(30, 1441)
"""Minutes of inactivity that Together v2 can be told to wait, beside 0 for ever."""


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

    @model_validator(mode="after")
    def _goes_somewhere_else(self) -> Self:
        """A request that comes back here goes round until everything is full."""
        upstream, (host, port) = urlsplit(self.upstream), host_port(self.proxy.listen)
        if upstream.scheme == "http" and (upstream.port or 80) == port and host in {*LOOPBACK, "0.0.0.0", "::"}:  # noqa: S104 (compared)
            raise ValueError(f"proxy.upstream: expected another address than proxy.listen, {self.proxy.listen}")
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
