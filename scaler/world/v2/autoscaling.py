"""The autoscaling part of a deployment: its JSON shape, and what it means to the platform.

Of the scaling metrics only ``inflight_requests`` moves this world's autoscaler; others are kept and shown, and it goes on by the
default. ``scaleToZeroWindow`` is kept and shown.
"""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from scaler.model import Bounds
from scaler.settings import NativeAutoscalerSettings
from scaler.world.autoscaler import Policy, Rules, Scaling
from scaler.world.refusals import Invalid

MAX_REPLICAS = 10_000
MAX_RULES = 16
MAX_WINDOW_SECONDS = 86_400.0
UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}
DURATION = r"([0-9]{1,9}(?:\.[0-9]{1,9})?)([smh])"
IN_FLIGHT = "inflight_requests"


def seconds_of(text: str) -> float:
    """A duration such as ``300s`` (protobuf's JSON) or ``5m``. Raises `ValueError`."""
    match = re.fullmatch(DURATION, text)
    if match is None:
        raise ValueError("expected a duration such as 300s")
    seconds = float(match[1]) * UNITS[match[2]]
    if seconds > MAX_WINDOW_SECONDS:
        raise ValueError(f"expected at most {MAX_WINDOW_SECONDS:g}s")
    return seconds


def _canonical(text: str) -> str:
    return f"{seconds_of(text):g}s"


Duration = Annotated[str, AfterValidator(_canonical), Field(json_schema_extra={"pattern": f"^{DURATION}$"})]
Replicas = Annotated[int, Field(ge=0, le=MAX_REPLICAS)]


class Shape(BaseModel):
    """A JSON object with camelCase keys; unknown ones are ignored, as the provider does."""

    model_config = ConfigDict(alias_generator=to_camel, strict=True, frozen=True)


class ScalingPolicy(Shape):
    """How far the count may move within a period."""

    type: Literal["SCALING_POLICY_TYPE_PODS", "SCALING_POLICY_TYPE_PERCENT"]
    value: Annotated[int, Field(ge=0, le=MAX_REPLICAS)]
    period_seconds: Annotated[int, Field(gt=0, le=int(MAX_WINDOW_SECONDS))]


class ScalingRules(Shape):
    """Policies of one direction and which of them counts."""

    policies: Annotated[list[ScalingPolicy], Field(max_length=MAX_RULES)] | None = None
    select_policy: Literal["SCALING_POLICY_SELECT_MAX", "SCALING_POLICY_SELECT_MIN", "SCALING_POLICY_SELECT_DISABLED"] | None = None


class ScalingMetric(Shape):
    """What is steered, and to which value."""

    name: Literal[
        "inflight_requests",
        "throughput_per_replica",
        "gpu_utilization",
        "token_utilization",
        "cache_hit_rate",
        "ttft",
        "decoding_speed",
        "e2e_latency",
        "active_sessions",
    ]
    type: Literal["METRIC_TARGET_TYPE_AVERAGE_VALUE", "METRIC_TARGET_TYPE_UTILIZATION", "METRIC_TARGET_TYPE_VALUE"]
    target: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    percentile: Literal["p50", "p90", "p95", "p99"] | None = None


class Autoscaling(Shape):
    """Bounds, windows, rules and metrics as a client writes them; a maximum left out is the minimum."""

    min_replicas: Replicas | None = None
    max_replicas: Replicas | None = None
    scale_up_window: Duration | None = None
    scale_down_window: Duration | None = None
    scale_to_zero_window: Duration | None = None
    scale_up: ScalingRules | None = None
    scale_down: ScalingRules | None = None
    scaling_metrics: Annotated[list[ScalingMetric], Field(max_length=MAX_RULES)] | None = None

    def bounds(self) -> Bounds:
        """0..0 stops, 1 and more runs. Raises `Invalid` for anything else."""
        least = self.min_replicas if self.min_replicas is not None else min(1, self.max_replicas or 0)
        most = least if self.max_replicas is None else self.max_replicas
        if self.min_replicas is None and self.max_replicas is None:
            raise Invalid("autoscaling: expected minReplicas")
        if (least == 0) != (most == 0):
            raise Invalid("autoscaling: minReplicas 0 with a positive maxReplicas is not supported; set both to 0 to stop the deployment")
        if least > most:
            raise Invalid(f"autoscaling: expected minReplicas <= maxReplicas, got {least} and {most}")
        return Bounds(least, most)

    def scaling(self, defaults: NativeAutoscalerSettings) -> Scaling:
        """What the platform's autoscaler goes by."""
        targets = [metric.target for metric in self.scaling_metrics or () if metric.name == IN_FLIGHT]
        return Scaling(
            min(targets, default=defaults.target_in_flight),
            defaults.up_window_seconds if self.scale_up_window is None else seconds_of(self.scale_up_window),
            defaults.down_window_seconds if self.scale_down_window is None else seconds_of(self.scale_down_window),
            _rules(self.scale_up),
            _rules(self.scale_down),
        )


def _rules(shape: ScalingRules | None) -> Rules:
    if shape is None:
        return Rules()
    policies = tuple(map(_policy, shape.policies or ()))
    match shape.select_policy:
        case "SCALING_POLICY_SELECT_DISABLED":
            return Rules(policies, "DISABLED")
        case "SCALING_POLICY_SELECT_MIN":
            return Rules(policies, "MIN")
        case _:
            return Rules(policies, "MAX")


def _policy(shape: ScalingPolicy) -> Policy:
    return Policy("PODS" if shape.type == "SCALING_POLICY_TYPE_PODS" else "PERCENT", shape.value, shape.period_seconds)
