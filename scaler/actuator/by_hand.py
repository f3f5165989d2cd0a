"""Managing endpoints by hand: what a person orders is sent once, unless the pause file says no.

Guarantees: one call per order; a create whose answer was lost is never repeated, but looked for by its display name, which nothing else
had before. Not guaranteed: what a daemon that looks after the same endpoint does next; it goes by its own configuration.
"""

import asyncio
from pathlib import Path

from scaler.actuator import open_writer
from scaler.actuator.find import find_by_display_name
from scaler.actuator.guard import pause_state
from scaler.model import Endpoint, EndpointChange, EndpointWish
from scaler.providers.base import BadReply, OutcomeUnknown, ProviderError, Reader, Writer
from scaler.settings import ProviderSettings

LOOKS = 5
LOOK_SECONDS = 2.0
"""A create whose answer was lost is looked for so often, so far apart: it may show up late."""


class NotSent(Exception):  # noqa: N818 (reads as a sentence: "except NotSent")
    """Nothing was sent, and why."""


class MaybeCreated(Exception):  # noqa: N818 (see above)
    """A create was sent and nobody can tell what became of it; the message says what to look for before trying again."""


class ByHand:
    """A person's orders."""

    def __init__(self, reader: Reader, writer: Writer, pause_file: Path | None) -> None:
        """Takes the writer over and closes it in the end. ``pause_file`` None: there is no daemon whose pause could be broken."""
        self._reader = reader
        self._writer = writer
        self._pause_file = pause_file

    async def create(self, wish: EndpointWish) -> Endpoint:
        """Create an endpoint, once. Raises `NotSent`, `MaybeCreated` and `ProviderError`."""
        if twins := await find_by_display_name(self._reader, wish.display_name):
            raise NotSent(f"an endpoint of display name {wish.display_name} exists already; its id is {twins[0].id}")
        self._require_go()
        try:
            return await self._writer.create(wish)
        except (OutcomeUnknown, BadReply) as error:
            return await self._adopt(wish, error)

    async def _adopt(self, wish: EndpointWish, lost: ProviderError) -> Endpoint:
        """The endpoint that a lost answer spoke of, if it can be found."""
        trouble: ProviderError = lost
        for _ in range(LOOKS):
            try:
                found = await find_by_display_name(self._reader, wish.display_name)
            except ProviderError as error:
                trouble, found = error, ()
            if found:
                return found[0]
            await asyncio.sleep(LOOK_SECONDS)
        raise MaybeCreated(f"{trouble}; before trying again look for an endpoint of display name {wish.display_name}") from lost

    async def change(self, endpoint_id: str, change: EndpointChange) -> Endpoint:
        """Update, start or stop an endpoint. Raises `NotSent` and `ProviderError`."""
        self._require_go()
        return await self._writer.change(endpoint_id, change)

    async def delete(self, endpoint_id: str) -> None:
        """Remove an endpoint for good. Raises `NotSent` and `ProviderError`."""
        self._require_go()
        await self._writer.delete(endpoint_id)

    async def close(self) -> None:
        """Close the writer."""
        await self._writer.close()

    def _require_go(self) -> None:
        """Look at the pause file in the instant before sending."""
        paused = pause_state(self._pause_file) if self._pause_file is not None else None
        if paused is not None:
            raise NotSent(f"{paused}; --force sends all the same")


def open_by_hand(settings: ProviderSettings, reader: Reader, pause_file: Path | None) -> ByHand:
    """Orders to the API that the settings name; the reader belongs to the caller. Raises `BadProviderSettings`."""
    return ByHand(reader, open_writer(settings, reader), pause_file)
