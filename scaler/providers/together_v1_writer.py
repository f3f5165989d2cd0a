"""Together's first dedicated-endpoint API: the calls that change something. Only the actuator may import this module."""

from scaler.model import Action, ActionKind, Bounds, Endpoint, EndpointChange, EndpointWish
from scaler.providers.http import JsonClient
from scaler.providers.together_v1 import endpoint_path, expect_endpoint, parse_endpoint


def patch_body(action: Action) -> dict[str, object]:
    """The body of the one PATCH that an action is.

    Both bounds and the timeout are always said: the API merges what is left out with what it has, and its default for the timeout
    is an hour. A stop says nothing else, so that it cannot fail on anything else.
    """
    if action.kind is ActionKind.STOP:
        return {"state": "STOPPED"}
    update: dict[str, object] = {
        "autoscaling": _autoscaling(action.bounds),
        "inactive_timeout": action.inactive_timeout_minutes,
    }
    return {"state": "STARTED", **update} if action.kind is ActionKind.START else update


def create_body(wish: EndpointWish) -> dict[str, object]:
    """The body of the one POST that creates an endpoint. All that has a default is said; ``disable_prompt_cache`` is deprecated."""
    body: dict[str, object] = {
        "model": wish.model,
        "hardware": wish.hardware,
        "display_name": wish.display_name,
        "autoscaling": _autoscaling(wish.bounds),
        "inactive_timeout": wish.inactive_timeout_minutes,
        "disable_speculative_decoding": not wish.speculative_decoding,
        "state": "STARTED" if wish.start else "STOPPED",
    }
    return body if wish.zone is None else body | {"availability_zone": wish.zone}


def change_body(change: EndpointChange) -> dict[str, object]:
    """The body of a PATCH that says only what ``change`` says: the API keeps what is left out."""
    body: dict[str, object] = {}
    if change.bounds is not None:
        body["autoscaling"] = _autoscaling(change.bounds)
    if change.inactive_timeout_minutes is not None:
        body["inactive_timeout"] = change.inactive_timeout_minutes
    if change.run is not None:
        body["state"] = "STARTED" if change.run else "STOPPED"
    return body


def _autoscaling(bounds: Bounds) -> dict[str, int]:
    return {"min_replicas": bounds.min_replicas, "max_replicas": bounds.max_replicas}


class TogetherV1Writer:
    """The writing half of the API; see `scaler.providers.base.Writer`."""

    def __init__(self, client: JsonClient) -> None:
        """Takes the client over and closes it in the end."""
        self._client = client

    async def apply(self, action: Action) -> Endpoint:
        """``PATCH /endpoints/{id}``, once."""
        reply = await self._client.call("PATCH", endpoint_path(action.endpoint_id), body=patch_body(action))
        return expect_endpoint(reply, action.endpoint_id)

    async def create(self, wish: EndpointWish) -> Endpoint:
        """``POST /endpoints``, once."""
        return parse_endpoint(await self._client.call("POST", "/endpoints", body=create_body(wish)))

    async def change(self, endpoint_id: str, change: EndpointChange) -> Endpoint:
        """``PATCH /endpoints/{id}``, once."""
        return expect_endpoint(await self._client.call("PATCH", endpoint_path(endpoint_id), body=change_body(change)), endpoint_id)

    async def delete(self, endpoint_id: str) -> None:
        """``DELETE /endpoints/{id}``, once."""
        await self._client.call("DELETE", endpoint_path(endpoint_id))

    async def close(self) -> None:
        """Close the client."""
        await self._client.close()
