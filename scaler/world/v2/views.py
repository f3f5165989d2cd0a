"""The JSON of everything that v2 shows; instants are RFC 3339 on the world's clock."""

from collections.abc import Callable
from typing import Final

from scaler.world.catalog import ZONES, Hardware
from scaler.world.platform import Platform
from scaler.world.replica import ReplicaState
from scaler.world.v2.events import Details, Happening
from scaler.world.v2.offers import (
    PUBLIC_PROJECT,
    Config,
    Model,
    default_config,
    gpu_type,
    hardware_name,
    instance_id,
    model_path,
)
from scaler.world.v2.registry import ORGANIZATION_ID, PROJECT_ID, Deployment, Endpoint, Registry
from scaler.world.v2.resources import (
    ConfigResource,
    DeploymentBase,
    DeploymentOptions,
    DeploymentResource,
    DeploymentStatus,
    DeploymentSummary,
    EndpointResource,
    EventResource,
    InstanceType,
    ModelResource,
    Profile,
    RegionStatus,
    SupportedModel,
)

CONCURRENCY: Final = "maxConcurrentRequestsPerReplica"
GIB_PER_GB = 1e9 / 2**30
MINUTES_PER_HOUR = 60
MESSAGES = {
    "PROVISIONING": "Replicas are starting",
    "SCALING": "Replicas are being added or removed",
    "READY": "All replicas are ready",
    "STOPPING": "Replicas are being removed",
    "STOPPED": "Stopped",
    "FAILED": "The deployment failed to start",
}


class Views:
    """Describes what belongs to one registry."""

    def __init__(self, registry: Registry, platform: Platform, rfc3339: Callable[[float], str]) -> None:
        """``rfc3339`` names an instant of the world."""
        self._registry = registry
        self._platform = platform
        self._rfc3339 = rfc3339

    def endpoint(self, endpoint: Endpoint) -> EndpointResource:
        """An endpoint with summaries of its deployments."""
        return {
            "id": endpoint.id,
            "object": "endpoint",
            "name": f"{self._registry.slug}/{endpoint.name}",
            "projectId": PROJECT_ID,
            "endpointType": "ENDPOINT_TYPE_DEDICATED",
            "visibility": "VISIBILITY_PRIVATE",
            "etag": endpoint.etag,
            "deployments": [self._summary(endpoint, deployment) for deployment in endpoint.deployments.values()],
            "trafficSplit": [{"deploymentId": id_, "weight": weight} for id_, weight in endpoint.split.items()],
            "createdAt": self._rfc3339(endpoint.created_at),
            "updatedAt": self._rfc3339(endpoint.updated_at),
        }

    def deployment(self, endpoint: Endpoint, deployment: Deployment) -> DeploymentResource:
        """All of a deployment."""
        config = deployment.config
        return {
            **self._common(endpoint, deployment),
            "projectId": PROJECT_ID,
            "endpointId": endpoint.id,
            "config": config.path,
            "configId": config.id,
            "model": model_path(config.model.id, config.model.revision_id),
            "modelRevisionId": config.model.revision_id,
            "status": self._status(deployment),
            "etag": deployment.etag,
            "updatedAt": self._rfc3339(deployment.updated_at),
            **_options(deployment),
        }

    def _summary(self, endpoint: Endpoint, deployment: Deployment) -> DeploymentSummary:
        model = deployment.config.model
        return {
            **self._common(endpoint, deployment),
            "model": model_path(model.id, model.revision_id),
            "state": f"DEPLOYMENT_STATE_{deployment.state}",
            "readyReplicas": deployment.ready,
        }

    def _common(self, endpoint: Endpoint, deployment: Deployment) -> DeploymentBase:
        return {
            "id": deployment.id,
            "name": f"{self._registry.slug}/{endpoint.name}/{deployment.name}",
            "autoscaling": deployment.autoscaling,
            "modelId": deployment.config.model.id,
            "hardware": hardware_name(deployment.config.hardware),
            "desiredReplicas": deployment.workload.desired,
            "trafficMode": "TRAFFIC_MODE_LIVE",
            "estimatedEffectiveTrafficShare": endpoint.share(deployment),
            "createdAt": self._rfc3339(deployment.created_at),
        }

    def _status(self, deployment: Deployment) -> DeploymentStatus:
        fleet = deployment.workload.fleet
        scheduled = [replica for replica in fleet.replicas if replica.state is not ReplicaState.DRAINING]
        zones = sorted({replica.zone for replica in scheduled})
        regions = [_region(zone, [replica.state for replica in scheduled if replica.zone == zone]) for zone in zones]
        return {
            "state": f"DEPLOYMENT_STATE_{deployment.state}",
            "message": _message(deployment),
            "readyReplicas": deployment.ready,
            "scheduledReplicas": len(scheduled),
            "details": {"region": regions},
        }

    def event(self, endpoint: Endpoint, event: Happening) -> EventResource:
        """One entry of the feed."""
        more: Details = {**event.more}
        if event.deployment_id:
            more["deploymentId"] = event.deployment_id
        return {
            "id": event.id,
            "createdAt": self._rfc3339(event.at),
            "endpointId": endpoint.id,
            "level": event.level,
            "source": "world",
            "sourceKind": "SOURCE_KIND_DEPLOYMENT" if event.deployment_id else "SOURCE_KIND_ENDPOINT",
            "type": event.type,
            "message": event.message,
            **more,
        }

    def supported_model(self, model: Model) -> SupportedModel:
        """A model of the public catalog, with its deployment profile."""
        config = default_config(model)
        return {
            "id": f"sm_{model.id.removeprefix('ml_')}",
            "name": model.name,
            "displayName": model.name.rpartition("/")[2],
            "displayType": "chat",
            "publisher": model.name.partition("/")[0],
            "baseModel": model_path(model.id),
            "baseModelId": model.id,
            "capabilities": ["CAPABILITY_CHAT"],
            "inputModalities": ["MODALITY_TEXT"],
            "outputModalities": ["MODALITY_TEXT"],
            "products": ["PRODUCT_DEDICATED"],
            "status": "SUPPORTED_MODEL_STATUS_SUPPORTED",
            "createdAt": self._rfc3339(0.0),
            "updatedAt": self._rfc3339(0.0),
            "deploymentProfiles": [_profile(config)],
        }

    def instance_type(self, hardware: Hardware) -> InstanceType:
        """A hardware configuration, its price per replica and hour, and how many more fit where."""
        return {
            "id": instance_id(hardware),
            "name": hardware_name(hardware),
            "description": f"{hardware.count} x {hardware.gpu.type.upper()}, {hardware.memory} GB",
            "gpuType": gpu_type(hardware),
            "gpuCount": hardware.count,
            "gpuMemoryGib": int(hardware.memory * GIB_PER_GB),
            "priceCentsPerHour": round(hardware.cents_per_minute * MINUTES_PER_HOUR),
            "regions": [
                {"name": zone, "headroom": {"relation": "RELATION_EQ", "value": self._platform.free(hardware.id, (zone,))}}
                for zone in ZONES
            ],
        }


def model(model: Model) -> ModelResource:
    """A model as a resource of the public project."""
    return {
        "id": model.id,
        "object": "model",
        "name": model.name,
        "organizationId": ORGANIZATION_ID,
        "projectId": PUBLIC_PROJECT,
        "visibility": "VISIBILITY_INTERNAL",
        "weights": {"type": "WEIGHTS_TYPE_DEFAULT"},
    }


def config(config: Config) -> ConfigResource:
    """A config; its selectors name the hardware."""
    shown: ConfigResource = {
        "id": config.id,
        "object": "config",
        "projectId": PUBLIC_PROJECT,
        "referenceModel": model_path(config.model.id),
        "referenceModelId": config.model.id,
        "certifications": [],
        "selectors": [
            {"key": "accelerator_type", "value": gpu_type(config.hardware)},
            {"key": "accelerator_count", "value": str(config.hardware.count)},
        ],
    }
    if config.speculation:
        shown["draftModel"] = model_path(config.model.draft_id)
    return shown


def _options(deployment: Deployment) -> DeploymentOptions:
    shown: DeploymentOptions = {}
    if deployment.workload.inactive_timeout_minutes:
        shown["inactiveTimeout"] = deployment.workload.inactive_timeout_minutes
    if deployment.config.speculation:
        shown["speculator"] = model_path(deployment.config.model.draft_id)
    if deployment.shown.get("placement") is not None:
        shown["placement"] = deployment.shown["placement"]
    if deployment.shown.get(CONCURRENCY) is not None:
        shown[CONCURRENCY] = deployment.shown[CONCURRENCY]
    return shown


def _profile(config: Config) -> Profile:
    return {
        "profileId": f"pr_{config.id.removeprefix('cr_')}",
        "model": model_path(config.model.id),
        "modelName": config.model.name,
        "config": config.path,
        "certifiedConfigRevisionId": config.id,
        "certifiedModelRevisionId": config.model.revision_id,
        "gpuType": gpu_type(config.hardware),
        "gpuCount": config.hardware.count,
        "parallelism": f"TP{config.hardware.count}",
        "quantization": "",
        "performanceBenchmarks": {},
    }


def _region(zone: str, states: list[ReplicaState]) -> RegionStatus:
    return {"region": zone, "scheduledReplicas": len(states), "readyReplicas": states.count(ReplicaState.READY)}


def _message(deployment: Deployment) -> str:
    state = deployment.state
    if state != "DEGRADED":
        return MESSAGES[state]
    workload = deployment.workload
    return (
        f"Insufficient GPU capacity: {workload.fleet.size} of {workload.desired} replicas are scheduled on "
        f"{hardware_name(deployment.config.hardware)}; more follow when there is room"
    )
