"""The JSON that v2's writes take."""

from typing import Annotated, Literal

from pydantic import Field

from scaler.world.v2.autoscaling import Autoscaling, Shape
from scaler.world.v2.registry import NAME

Name = Annotated[str, Field(min_length=1, max_length=300, json_schema_extra={"pattern": f"^(?:[^/]+/){{0,2}}{NAME}$"})]
"""By itself, or after its parent's name."""
Minutes = Annotated[int, Field(ge=0, le=100_000)]


class Weight(Shape):
    """What a deployment weighs in the traffic of its endpoint."""

    deployment_id: str
    weight: Annotated[float, Field(ge=0, allow_inf_nan=False)]


class CreateEndpoint(Shape):
    """A name that will route to deployments."""

    name: Name


class PatchEndpoint(Shape):
    """A new split of the traffic."""

    etag: str | None = None
    traffic_split: list[Weight] = Field(default_factory=list, max_length=100)


class Inline(Shape):
    """Regions where replicas must, or should, stand."""

    regions: list[str] = Field(default_factory=list, max_length=20)
    constraint: Literal["ENFORCEMENT_REQUIRED", "ENFORCEMENT_PREFERRED"] | None = None


class Placement(Shape):
    """Where replicas stand; a profile means nothing to the world."""

    inline: Inline | None = None
    profile: str | None = None


class CreateDeployment(Shape):
    """What a deployment is created from; the timeout in minutes, 0 = never."""

    name: Name
    autoscaling: Autoscaling
    model: str | None = None
    model_id: str | None = None
    config: str | None = None
    config_id: str | None = None
    inactive_timeout: Minutes = 0
    max_concurrent_requests_per_replica: str | None = None
    placement: Placement | None = None
    validate_only: bool = False


class PatchDeployment(Shape):
    """What is to change, as far as the mask names it."""

    etag: str | None = None
    autoscaling: Autoscaling | None = None
    inactive_timeout: Minutes | None = None
    max_concurrent_requests_per_replica: str | None = None
