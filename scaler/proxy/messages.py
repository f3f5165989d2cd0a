"""What the daemon and its workers say to each other over a pair of sockets: length, then MessagePack, checked against these types."""

import asyncio
from collections.abc import Callable
from types import MappingProxyType
from typing import Any, cast

import msgspec
from pydantic import BaseModel, SecretStr

from scaler.proxy.readings import GateReading, Reading
from scaler.proxy.routes import Route
from scaler.proxy_settings import ClientKeySettings, ProxySettings

MAX_MESSAGE_BYTES = 64 * 1024 * 1024
_LENGTH_BYTES = 4


class Begin(msgspec.Struct, tag=True):
    """To a worker, first of all: be this proxy, and listen."""

    settings: ProxySettings
    upstream: str
    api_key: SecretStr
    keys: dict[str, ClientKeySettings]
    routes: tuple[Route, ...]


class Routes(msgspec.Struct, tag=True):
    """To a worker: the table from now on."""

    routes: tuple[Route, ...]


class Keys(msgspec.Struct, tag=True):
    """To a worker: the clients from now on."""

    keys: dict[str, ClientKeySettings]


class Drain(msgspec.Struct, tag=True):
    """To a worker: take nothing new, finish within ``seconds``, and end. ``idle``: close idle connections at once."""

    seconds: float
    idle: bool


class ClientReading(msgspec.Struct, frozen=True):
    """A client with a key, at one moment; see `scaler.proxy.keys.Account`."""

    in_flight: int
    outcomes: dict[str, int]


class Report(msgspec.Struct, tag=True, frozen=True):
    """From a worker, several times a second: all its figures."""

    readings: dict[str, Reading] = {}
    gates: dict[str, GateReading] = {}
    clients: dict[str, ClientReading] = {}
    limits_hit: dict[str, int] = {}
    connections: int = 0
    tap_errors: int = 0


class Listening(msgspec.Struct, tag=True):
    """From a worker: it serves."""


class Called(msgspec.Struct, tag=True):
    """From a worker: the endpoint of this key is asked for and sleeps."""

    key: str


class Reached(msgspec.Struct, tag=True):
    """From a worker: why it cannot reach the upstream; empty: it can again."""

    why: str


Order = Begin | Routes | Keys | Drain
News = Listening | Called | Reached | Report


def _plain(value: object) -> object:
    """Of what MessagePack does not know."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, MappingProxyType):
        return dict(value)
    raise NotImplementedError(type(value))


def _made(kind: type[Any], value: Any) -> Any:  # noqa: ANN401 (any model of the settings)
    return kind.model_validate(value) if issubclass(kind, BaseModel) else kind(value)


class Link(asyncio.Protocol):
    """One end of the pair."""

    def __init__(self, kind: Any, received: Callable[[Any], None], lost: Callable[[], None]) -> None:  # noqa: ANN401 (a union of types)
        """``kind``: `Order` or `News`, what comes in; ``received`` gets each; ``lost``: the other end is gone."""
        self._decoder = msgspec.msgpack.Decoder(kind, dec_hook=_made)
        self._received = received
        self._lost = lost
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The pair is whole."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Bytes of messages."""
        self._buffer += data
        while len(self._buffer) >= _LENGTH_BYTES:
            end = _LENGTH_BYTES + int.from_bytes(self._buffer[:_LENGTH_BYTES], "big")
            if end > MAX_MESSAGE_BYTES:
                self.close()
                return
            if len(self._buffer) < end:
                return
            message = bytes(self._buffer[_LENGTH_BYTES:end])
            del self._buffer[:end]
            self._received(self._decoder.decode(message))

    def connection_lost(self, _exc: Exception | None) -> None:
        """The other end is gone."""
        self._transport = None
        self._lost()

    def send(self, message: Order | News) -> None:
        """Nothing is sent to an end that is gone."""
        if self._transport is not None:
            data = msgspec.msgpack.encode(message, enc_hook=_plain)
            self._transport.write(len(data).to_bytes(_LENGTH_BYTES, "big") + data)

    def close(self) -> None:
        """Once everything is written."""
        if self._transport is not None:
            self._transport.close()
