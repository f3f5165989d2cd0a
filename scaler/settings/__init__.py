"""The whole configuration: one tree, YAML file < environment (``SCALER_A__B``) < secret files (``*_file`` fields).

`load` returns a valid, frozen `Settings` or raises `ConfigError`, which names the file, the path of each bad field and what was
expected there. Nothing is ever half applied.

`tree` is the root, each branch has a module of its own, `files` reads. The request path's branches are in `scaler.proxy_settings`, below
all of this; whoever reads settings finds them here, too.
"""

from scaler.proxy_settings import LOOPBACK, ClientKeySettings, FallbackSettings, ProxySettings, WakeSettings, host_port
from scaler.settings.budget import BudgetSettings, CapSettings, EndpointBudgetSettings
from scaler.settings.calendar import CalendarSettings, EventSettings, WindowSettings
from scaler.settings.daemon import AdminSettings, ClockSettings, GuardSettings, LogSettings, ProviderSettings, StoreSettings
from scaler.settings.endpoint import EndpointSettings, display_name_of, misfit
from scaler.settings.files import ConfigError, load, load_provider, load_world, names_endpoints
from scaler.settings.policy import DEFAULT_CONCURRENCY, DEFAULT_TIMEOUT, IdleSettings, ObjectiveSettings, PolicySettings
from scaler.settings.tree import Settings
from scaler.settings.world import (
    ColdStartSettings,
    FaultSettings,
    FaultsSettings,
    NativeAutoscalerSettings,
    PlatformFaultSettings,
    ReplicaSettings,
    WorldEndpointSettings,
    WorldSettings,
)

__all__ = [
    "DEFAULT_CONCURRENCY",
    "DEFAULT_TIMEOUT",
    "LOOPBACK",
    "AdminSettings",
    "BudgetSettings",
    "CalendarSettings",
    "CapSettings",
    "ClientKeySettings",
    "ClockSettings",
    "ColdStartSettings",
    "ConfigError",
    "EndpointBudgetSettings",
    "EndpointSettings",
    "EventSettings",
    "FallbackSettings",
    "FaultSettings",
    "FaultsSettings",
    "GuardSettings",
    "IdleSettings",
    "LogSettings",
    "NativeAutoscalerSettings",
    "ObjectiveSettings",
    "PlatformFaultSettings",
    "PolicySettings",
    "ProviderSettings",
    "ProxySettings",
    "ReplicaSettings",
    "Settings",
    "StoreSettings",
    "WakeSettings",
    "WindowSettings",
    "WorldEndpointSettings",
    "WorldSettings",
    "display_name_of",
    "host_port",
    "load",
    "load_provider",
    "load_world",
    "misfit",
    "names_endpoints",
]
