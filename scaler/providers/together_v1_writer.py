"""Together's first dedicated-endpoint API: the calls that change something. Only the actuator may import this module."""

from scaler.model import Action, ActionKind, Endpoint
from scaler.providers.base import Writer, require_built
from scaler.providers.http import JsonClient
from scaler.providers.together_v1 import endpoint_path, expect_endpoint
from scaler.settings import ProviderSettings


def patch_body(action: Action) -> dict[str, object]:
    """The body of the one PATCH that an action is.

    Both bounds and the timeout are always said: the API merges what is left out with what it has, and its default for the timeout
    is an hour. A stop says nothing else, so that it cannot fail on anything else.
    """
    if action.kind is ActionKind.STOP:
        return {"state": "STOPPED"}
    update: dict[str, object] = {
        "autoscaling": {"min_replicas": action.bounds.min_replicas, "max_replicas": action.bounds.max_replicas},
        "inactive_timeout": action.inactive_timeout_minutes,
    }
    return {"state": "STARTED", **update} if action.kind is ActionKind.START else update


class TogetherV1Writer:
    """The writing half of the API; see `scaler.providers.base.Writer`."""

    def __init__(self, client: JsonClient) -> None:
        """Takes the client over and closes it in the end."""
        self._client = client

    async def apply(self, action: Action) -> Endpoint:
        """``PATCH /endpoints/{id}``, once."""
        reply = await self._client.call("PATCH", endpoint_path(action.endpoint_id), body=patch_body(action))
        return expect_endpoint(reply, action.endpoint_id)

    async def close(self) -> None:
        """Close the client."""
        await self._client.close()


def open_writer(settings: ProviderSettings) -> Writer:
    """The writer that the settings ask for; `BadProviderSettings` if it cannot be."""
    require_built(settings)
    return TogetherV1Writer(JsonClient(settings.base_url, settings.key, settings.timeout_seconds, reuse_connections=False))
