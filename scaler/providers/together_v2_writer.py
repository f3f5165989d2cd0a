"""Together's second dedicated-endpoint API: the calls that change something. Only the actuator may import this module."""

from http import HTTPStatus

from scaler.model import Action, ActionKind, Bounds, Endpoint, EndpointChange, EndpointWish
from scaler.providers.base import BadReply, NotFound, OutcomeUnknown, Refused, Unreachable
from scaler.providers.http import JsonClient
from scaler.providers.together_v2 import Directory, NotOffered, expect_deployment

STOPPED = Bounds(0, 0)
"""v2 has no word for a stop: bounds of zero are one."""
BOUNDS_MASK = "autoscaling.minReplicas,autoscaling.maxReplicas"
"""Windows and metrics beside the bounds belong to whoever set them; a mask of ``autoscaling`` alone might reset them."""
CONFLICTS = frozenset({HTTPStatus.CONFLICT, HTTPStatus.PRECONDITION_FAILED})


def patch(action: Action) -> tuple[str, dict[str, object]]:
    """Update mask and body of the one PATCH that an action is. A stop says nothing but its bounds; a start is an update."""
    if action.kind is ActionKind.STOP:
        mask, body = _said(STOPPED, None)
    else:
        mask, body = _said(action.bounds, action.inactive_timeout_minutes)
    return mask, body if action.etag is None else body | {"etag": action.etag}


def _said(bounds: Bounds | None, timeout_minutes: int | None) -> tuple[str, dict[str, object]]:
    masks: list[str] = []
    body: dict[str, object] = {}
    if bounds is not None:
        masks.append(BOUNDS_MASK)
        body["autoscaling"] = {"minReplicas": bounds.min_replicas, "maxReplicas": bounds.max_replicas}
    if timeout_minutes is not None:
        masks.append("inactiveTimeout")
        body["inactiveTimeout"] = timeout_minutes
    return ",".join(masks), body


class TogetherV2Writer:
    """The writing half of the API; see `scaler.providers.base.Writer`."""

    def __init__(self, client: JsonClient, directory: Directory) -> None:
        """Takes the client over and closes it in the end; the directory is the reader's."""
        self._client = client
        self._directory = directory

    async def apply(self, action: Action) -> Endpoint:
        """``PATCH`` of the deployment, once; `Refused` if it has changed since the reading that the action was planned from."""
        mask, body = patch(action)
        try:
            return await self._patch(action.endpoint_id, mask, body)
        except Refused as error:
            if error.status not in CONFLICTS:
                raise
            message = f"somebody else has changed the deployment since it was read: {error}"
            raise Refused(message, status=error.status, code=error.code, retry_after=error.retry_after or 0.0) from None

    async def create(self, wish: EndpointWish) -> Endpoint:
        """Not offered: what v2 creates is a choice of configs, models and traffic splits."""
        raise NotOffered(f"v2 deploys from a model's configs: use `together endpoints deploy {wish.model} --endpoint NAME`")

    async def change(self, endpoint_id: str, change: EndpointChange) -> Endpoint:
        """``PATCH`` of the deployment, once, without a look at what it was; to run is to have bounds."""
        if change.run and change.bounds is None:
            raise NotOffered("v2 starts a deployment by its bounds: update --min-replicas N --max-replicas N")
        mask, body = _said(STOPPED if change.run is False else change.bounds, change.inactive_timeout_minutes)
        return await self._patch(endpoint_id, mask, body)

    async def delete(self, endpoint_id: str) -> None:
        """``DELETE`` of the deployment, once; the endpoint above it stays."""
        await self._client.call("DELETE", await self._path(endpoint_id))
        self._directory.forget(endpoint_id)

    async def _patch(self, endpoint_id: str, mask: str, body: dict[str, object]) -> Endpoint:
        path = await self._path(endpoint_id)
        try:
            reply = await self._client.call("PATCH", path, query={"updateMask": mask}, body=body)
        except NotFound:
            self._directory.forget(endpoint_id)
            raise
        return expect_deployment(reply, endpoint_id)

    async def _path(self, endpoint_id: str) -> str:
        """Where the deployment is. Nothing has been sent when that cannot be found out."""
        try:
            return await self._directory.deployment(endpoint_id)
        except (OutcomeUnknown, BadReply) as error:
            raise Unreachable(f"nothing was sent: {error}", retry_after=error.retry_after) from None

    async def close(self) -> None:
        """Close the client."""
        await self._client.close()
