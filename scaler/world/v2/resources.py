"""The JSON that v2 answers with. No answer has fields beside these; instants are RFC 3339."""

from typing import Annotated, Any, Generic, Literal, NotRequired, TypeVar

from pydantic import Field, GetPydanticSchema, with_config
from typing_extensions import TypedDict  # (pydantic describes no other one before Python 3.12)

from scaler.world.v2.autoscaling import Autoscaling
from scaler.world.v2.bodies import Placement
from scaler.world.v2.events import LEVELS, Details

Item = TypeVar("Item")

STATES = ("PROVISIONING", "SCALING", "READY", "DEGRADED", "STOPPING", "STOPPED", "FAILED")
"""Of a deployment, without their prefix."""
closed = with_config(extra="forbid")

Instant = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
Count = Annotated[int, Field(ge=0)]
DeploymentState = Annotated[str, Field(json_schema_extra={"enum": [f"DEPLOYMENT_STATE_{state}" for state in STATES]})]
Level = Annotated[str, Field(json_schema_extra={"enum": list(LEVELS)})]
ShownAutoscaling = Annotated[dict[str, Any], GetPydanticSchema(lambda _, handler: handler(Autoscaling))]
ShownPlacement = Annotated[dict[str, Any], GetPydanticSchema(lambda _, handler: handler(Placement))]


@closed
class Empty(TypedDict):
    """Nothing is left to be said."""


@closed
class Listing(TypedDict, Generic[Item]):
    """A page of a list; the cursor is what ``after`` takes for the next one, null on the last page."""

    object: Literal["list"]
    data: list[Item]
    next_cursor: str | None


@closed
class SplitEntry(TypedDict):
    """What a deployment weighs in the traffic of its endpoint."""

    deploymentId: str
    weight: Annotated[float, Field(ge=0)]


class DeploymentBase(TypedDict):
    """What is always said of a deployment."""

    id: str
    name: str
    autoscaling: ShownAutoscaling
    modelId: str
    hardware: str
    desiredReplicas: Count
    trafficMode: Literal["TRAFFIC_MODE_LIVE"]
    estimatedEffectiveTrafficShare: Annotated[float, Field(ge=0, le=1)]
    createdAt: Instant


@closed
class DeploymentSummary(DeploymentBase):
    """A deployment as part of its endpoint."""

    model: str
    state: DeploymentState
    readyReplicas: Count


@closed
class RegionStatus(TypedDict):
    """Replicas in one region."""

    region: str
    scheduledReplicas: Count
    readyReplicas: Count


@closed
class StatusDetails(TypedDict):
    """Replicas by region."""

    region: list[RegionStatus]


@closed
class DeploymentStatus(TypedDict):
    """How a deployment is."""

    state: DeploymentState
    message: str
    readyReplicas: Count
    scheduledReplicas: Count
    details: StatusDetails


class DeploymentOptions(TypedDict, total=False):
    """What is said of a deployment only where there is something to say."""

    inactiveTimeout: Count
    speculator: str
    placement: ShownPlacement
    maxConcurrentRequestsPerReplica: str


@closed
class DeploymentResource(DeploymentBase, DeploymentOptions):
    """All of a deployment; the timeout in minutes."""

    projectId: str
    endpointId: str
    config: str
    configId: str
    model: str
    modelRevisionId: str
    status: DeploymentStatus
    etag: str
    updatedAt: Instant


@closed
class EndpointResource(TypedDict):
    """An endpoint with summaries of its deployments."""

    id: str
    object: Literal["endpoint"]
    name: str
    projectId: str
    endpointType: Literal["ENDPOINT_TYPE_DEDICATED"]
    visibility: Literal["VISIBILITY_PRIVATE"]
    etag: str
    deployments: list[DeploymentSummary]
    trafficSplit: list[SplitEntry]
    createdAt: Instant
    updatedAt: Instant


@closed
class EventResource(Details, TypedDict):
    """One entry of the feed."""

    id: str
    createdAt: Instant
    endpointId: str
    level: Level
    source: Literal["world"]
    sourceKind: Literal["SOURCE_KIND_DEPLOYMENT", "SOURCE_KIND_ENDPOINT"]
    type: str
    message: str


@closed
class Analytics(TypedDict):
    """Numbers of an endpoint; none are kept."""

    endpointId: str
    deploymentAnalytics: list[Empty]
    timeSeries: list[Empty]


@closed
class Profile(TypedDict):
    """How a model of the public catalog is deployed."""

    profileId: str
    model: str
    modelName: str
    config: str
    certifiedConfigRevisionId: str
    certifiedModelRevisionId: str
    gpuType: str
    gpuCount: Count
    parallelism: str
    quantization: str
    performanceBenchmarks: Empty


@closed
class SupportedModel(TypedDict):
    """A model of the public catalog."""

    id: str
    name: str
    displayName: str
    displayType: Literal["chat"]
    publisher: str
    baseModel: str
    baseModelId: str
    capabilities: list[Literal["CAPABILITY_CHAT"]]
    inputModalities: list[Literal["MODALITY_TEXT"]]
    outputModalities: list[Literal["MODALITY_TEXT"]]
    products: list[Literal["PRODUCT_DEDICATED"]]
    status: Literal["SUPPORTED_MODEL_STATUS_SUPPORTED"]
    createdAt: Instant
    updatedAt: Instant
    deploymentProfiles: list[Profile]


@closed
class Headroom(TypedDict):
    """How many more replicas fit."""

    relation: Literal["RELATION_EQ"]
    value: Count


@closed
class RegionHeadroom(TypedDict):
    """How many more replicas fit where."""

    name: str
    headroom: Headroom


@closed
class InstanceType(TypedDict):
    """A hardware configuration, and the price of one replica on it."""

    id: str
    name: str
    description: str
    gpuType: str
    gpuCount: Count
    gpuMemoryGib: Count
    priceCentsPerHour: Count
    regions: list[RegionHeadroom]


@closed
class Weights(TypedDict):
    """What a model's weights are."""

    type: Literal["WEIGHTS_TYPE_DEFAULT"]


@closed
class ModelResource(TypedDict):
    """A model as a resource of the public project."""

    id: str
    object: Literal["model"]
    name: str
    organizationId: str
    projectId: str
    visibility: Literal["VISIBILITY_INTERNAL"]
    weights: Weights


@closed
class Selector(TypedDict):
    """One property of the hardware that a config is for."""

    key: Literal["accelerator_type", "accelerator_count"]
    value: str


@closed
class ConfigResource(TypedDict):
    """How a model runs; its selectors name the hardware."""

    id: str
    object: Literal["config"]
    projectId: str
    referenceModel: str
    referenceModelId: str
    certifications: list[Empty]
    selectors: list[Selector]
    draftModel: NotRequired[str]
