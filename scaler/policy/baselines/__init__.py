"""The autoscalers that a user could pick instead, each with its own law and its own defaults, for comparison in a backtest.

All speak one interface (`Autoscaler`), get the same configuration (`Limits`) and see the same figures (`Seen`). Pure: no IO, no clock;
all durations are seconds. `BASELINES` makes each by name with its defaults.
"""

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType

from scaler.policy.baselines.aws import TargetTracking
from scaler.policy.baselines.base import Autoscaler, Limits, Seen
from scaler.policy.baselines.dynamo import Dynamo
from scaler.policy.baselines.hpa import Hpa
from scaler.policy.baselines.idle import IdleTimeout
from scaler.policy.baselines.keda import Keda
from scaler.policy.baselines.kpa import Kpa
from scaler.policy.baselines.ray import RayServe
from scaler.policy.baselines.schedule import Schedule, office_hours
from scaler.policy.baselines.skyserve import SkyServe
from scaler.policy.baselines.static import Static
from scaler.policy.baselines.together import TogetherV1, TogetherV2


def _office_hours(limits: Limits) -> Schedule:
    return Schedule(office_hours(limits))


BASELINES: Mapping[str, Callable[[Limits], Autoscaler]] = MappingProxyType(
    {
        "static": Static,
        "hpa": Hpa,
        "kpa": Kpa,
        "keda": Keda,
        "aws": TargetTracking,
        "ray": RayServe,
        "skyserve": SkyServe,
        "dynamo": Dynamo,
        "together_v1": TogetherV1,
        "together_v2": TogetherV2,
        "office_hours": _office_hours,
        "idle_10m": partial(IdleTimeout, seconds=600.0),
        "idle_30m": partial(IdleTimeout, seconds=1800.0),
        "idle_60m": partial(IdleTimeout, seconds=3600.0),
    }
)
"""Each baseline by name: called with the limits, it gives a fresh autoscaler with its defaults."""

__all__ = [
    "BASELINES",
    "Autoscaler",
    "Dynamo",
    "Hpa",
    "IdleTimeout",
    "Keda",
    "Kpa",
    "Limits",
    "RayServe",
    "Schedule",
    "Seen",
    "SkyServe",
    "Static",
    "TargetTracking",
    "TogetherV1",
    "TogetherV2",
    "office_hours",
]
