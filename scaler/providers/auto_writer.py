"""The writer that belongs to a reader, whichever generation that is. Only the actuator may import this module."""

from http import HTTPStatus

from scaler.model import Action, Endpoint, EndpointChange, EndpointWish
from scaler.providers.base import BadReply, OutcomeUnknown, ProviderError, Reader, Refused, Unreachable, Writer
from scaler.providers.http import JsonClient
from scaler.providers.probe import CREATE_DISABLED, AutoReader
from scaler.providers.together_v1_writer import TogetherV1Writer
from scaler.providers.together_v2 import TogetherV2Reader
from scaler.providers.together_v2_writer import TogetherV2Writer
from scaler.settings import ProviderSettings

JUDGED = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY})


def open_writer(settings: ProviderSettings, reader: Reader) -> Writer:
    """The writer of the reader's generation; raises `BadProviderSettings` as `JsonClient` does."""
    if isinstance(reader, AutoReader):
        return AutoWriter(settings, reader)
    if isinstance(reader, TogetherV2Reader):
        return TogetherV2Writer(_client(settings, settings.root), reader.directory)
    return TogetherV1Writer(_client(settings, settings.v1_url))


def _client(settings: ProviderSettings, base_url: str) -> JsonClient:
    return JsonClient(base_url, settings.key, settings.timeout_seconds, reuse_connections=False)


class AutoWriter:
    """A writer of the generation that its reader has found; see `scaler.providers.base.Writer`."""

    def __init__(self, settings: ProviderSettings, reader: AutoReader) -> None:
        """The reader belongs to somebody else. Nothing is opened yet."""
        self._settings = settings
        self._reader = reader
        self._writer: Writer | None = None
        self._may_create: bool | None = None

    async def _resolve(self, endpoint_id: str | None = None) -> Writer:
        """The writer, or `Unreachable`: nothing is sent to nobody knows whom."""
        try:
            reader = await self._reader.resolve(endpoint_id)
        except (OutcomeUnknown, BadReply) as error:
            raise Unreachable(f"nothing was sent: {error}", retry_after=error.retry_after) from None
        if self._writer is None:
            self._writer = open_writer(self._settings, reader)
        return self._writer

    async def apply(self, action: Action) -> Endpoint:
        """As the generation that was found does it."""
        return await (await self._resolve(action.endpoint_id)).apply(action)

    async def create(self, wish: EndpointWish) -> Endpoint:
        """As the generation that was found does it."""
        return await (await self._resolve()).create(wish)

    async def change(self, endpoint_id: str, change: EndpointChange) -> Endpoint:
        """As the generation that was found does it."""
        return await (await self._resolve(endpoint_id)).change(endpoint_id, change)

    async def delete(self, endpoint_id: str) -> None:
        """As the generation that was found does it."""
        await (await self._resolve(endpoint_id)).delete(endpoint_id)

    async def why_stop_is_final(self) -> str | None:
        """Why a stop could not be taken back, or None if it surely can.

        In v1 an account that may not create endpoints may not start stopped ones either. It is asked with an empty order, which lacks
        everything that an endpoint is made from: it can only be refused, and the refusal says which of the two it is. Asked once.
        """
        try:
            await self._resolve()
        except ProviderError as error:
            return str(error)
        if self._reader.found is not None and self._reader.found.kind == "together_v2":
            return None
        if self._may_create is None:
            trouble = await self._order_nothing()
            if self._may_create is None:
                return f"nobody can tell whether it could be started again: {trouble}"
        return None if self._may_create else f"the account may not start v1 endpoints again ({CREATE_DISABLED})"

    async def _order_nothing(self) -> str:
        """Learn from an empty order; what was said, in case it teaches nothing."""
        client = _client(self._settings, self._settings.v1_url)
        try:
            await client.call("POST", "/endpoints", body={})
        except Refused as error:
            if error.code == CREATE_DISABLED:
                self._may_create = False
            elif error.status in JUDGED:
                self._may_create = True
            return str(error)
        except ProviderError as error:
            return str(error)
        finally:
            await client.close()
        return "POST /endpoints: an empty order was not refused; look at what it has created"

    async def close(self) -> None:
        """Close the writer, if there ever was one."""
        if self._writer is not None:
            await self._writer.close()
