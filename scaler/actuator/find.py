"""Finding our own endpoints again: the API has no idempotency key, so a display name is what a create is recognised by."""

from scaler.model import Endpoint
from scaler.providers.base import NotFound, Reader


async def find_by_display_name(reader: Reader, display_name: str) -> tuple[Endpoint, ...]:
    """All own dedicated endpoints of this display name; raises `ProviderError` unless every candidate could be read.

    Where lists do not tell display names (Together v1), each endpoint is asked for its own.
    """
    found = []
    for summary in await reader.list():
        if summary.display_name not in {None, display_name}:
            continue
        try:
            endpoint = await reader.get(summary.id)
        except NotFound:
            continue  # deleted since it was listed
        if endpoint.display_name == display_name:
            found.append(endpoint)
    return tuple(found)
