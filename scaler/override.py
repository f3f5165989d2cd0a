"""`scaler override`: a person's floor or ceiling for a while. It goes straight into the store, whether or not the daemon runs."""

import math
import re

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from scaler.daemon import clock_of
from scaler.model import Override
from scaler.observability.client import ask
from scaler.settings import EndpointSettings, Settings, misfit
from scaler.show import moment
from scaler.store.beside import impose, lift, read_overrides

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
LONGEST_DAYS = 366


class BadOverride(Exception):  # noqa: N818 (reads as a sentence)
    """The override cannot be; the message says why."""


def seconds_of(text: str) -> float:
    """``90s``, ``30m``, ``2h``, ``1.5d`` and sums like ``1h30m`` in seconds; raises `BadOverride`."""
    parts = re.findall(r"(\d+(?:\.\d+)?)([smhd])", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise BadOverride(f"--for: expected a time such as 30m, 2h or 1d, got {text!r}")
    seconds = math.fsum(float(number) * UNITS[unit] for number, unit in parts)
    if not 0 < seconds <= LONGEST_DAYS * UNITS["d"]:
        raise BadOverride(f"--for: expected more than nothing and at most {LONGEST_DAYS} days")
    return seconds


def set_override(settings: Settings, key: str, floor: int | None, ceiling: int | None, lasting: str | None) -> str:
    """Write it down and say so; raises `BadOverride` and `StoreError`."""
    if lasting is None or (floor is None and ceiling is None):
        raise BadOverride("expected --floor or --ceiling, and --for beside it; or --clear")
    if trouble := misfit(_known(settings, key), floor, ceiling):
        raise BadOverride(f"endpoints.{key}: {trouble}")
    now = now_of(settings)
    override = Override(key, now, now + seconds_of(lasting), floor, ceiling)
    impose(settings.store.path, override)
    return f"{key}: {_limits(override)} until {moment(override.ends)} UTC, from the daemon's next tick on"


def clear_override(settings: Settings, key: str) -> str:
    """Take it back and say so; raises `BadOverride` and `StoreError`."""
    _known(settings, key)
    return f"{key}: the override is cleared" if lift(settings.store.path, key) else f"{key}: there is no override"


def list_overrides(settings: Settings, key: str | None) -> RenderableType:
    """What stands now, of one endpoint or all; raises `BadOverride` and `StoreError`."""
    if key is not None:
        _known(settings, key)
    overrides, now = read_overrides(settings.store.path), now_of(settings)
    standing = [each for each in overrides if each.ends > now and key in (None, each.endpoint)]
    if not standing:
        return Text("No override.")
    table = Table("endpoint", "limits", "since (UTC)", "until (UTC)")
    for each in standing:
        table.add_row(each.endpoint, _limits(each), moment(each.begins), moment(each.ends))
    return table


def now_of(settings: Settings) -> float:
    """What the daemon's clock shows; a fast one that began with the daemon has to be asked for (raises `NoAnswer`)."""
    clock = settings.clock
    if (clock.speed == 1 and clock.start is None) or clock.epoch is not None:
        return clock_of(clock).now()
    return float(ask(settings.admin, "/status")["now"])


def _known(settings: Settings, key: str) -> EndpointSettings:
    if key not in settings.endpoints:
        raise BadOverride(f"{key}: expected one of {', '.join(settings.endpoints)}")
    return settings.endpoints[key]


def _limits(override: Override) -> str:
    named = (("floor", override.floor), ("ceiling", override.ceiling))
    return ", ".join(f"{name} {replicas}" for name, replicas in named if replicas is not None)
