"""What all client connections of a proxy share: who is connected, what they may do, and how long they may take for it."""

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from math import inf
from typing import TYPE_CHECKING, Final, Literal

from scaler.proxy.errors import Refusal
from scaler.proxy.gates import Gates
from scaler.proxy.keys import KeyRing
from scaler.proxy.meter import Meter
from scaler.proxy.room import Room
from scaler.proxy.upstream import Pool
from scaler.proxy_settings import ProxySettings

if TYPE_CHECKING:
    from scaler.proxy.downstream import ClientConnection

Phase = Literal["header", "body", "idle", "hold", "connect", "response", "write", "closing"]
"""What a connection waits for: to read a request; its turn, the upstream's connection or its answer; that the client reads; its end."""

LIMIT_OF: Final = {
    "url_too_long": "url",
    "head_too_large": "head",
    "body_too_large": "body",
    "overloaded": "buffered",
    "invalid_api_key": "unauthorized",
    "endpoint_saturated": "endpoint_in_flight",
}
"""Refusals that say that a limit was hit, and which."""


@dataclass(slots=True, eq=False)
class Context:
    """See the module.

    request_starts:   by the client's path, the beginning of the head that goes upstream
    models:           the answer to ``GET /v1/models``
    keys:             who may ask; None = anyone
    connections:      those that stand, and where they come from
    addresses:        how many from each address
    empty:            set while draining, once the last connection is gone
    seconds:          how long each phase may last
    """

    settings: ProxySettings
    pool: Pool
    meter: Meter
    gates: Gates
    request_starts: Mapping[bytes, bytes]
    models: bytes = b""
    keys: KeyRing | None = None
    addresses: Counter[str] = field(default_factory=Counter[str])
    limits_hit: Counter[str] = field(default_factory=Counter[str])
    connections: dict["ClientConnection", str] = field(default_factory=dict["ClientConnection", str])
    draining: bool = False
    empty: asyncio.Event = field(default_factory=asyncio.Event)
    room: Room = field(init=False)
    seconds: dict[Phase, float] = field(init=False)

    def __post_init__(self) -> None:
        """Look up once what every connection asks for."""
        settings = self.settings
        self.room = Room(settings.max_buffered_bytes)
        self.seconds = {
            "header": settings.header_timeout_seconds,
            "body": settings.body_timeout_seconds,
            "idle": settings.keepalive_seconds,
            "hold": inf,  # whoever waits has a clock of its own
            "connect": settings.connect_timeout_seconds,
            "response": settings.response_timeout_seconds,
            "write": settings.connect_timeout_seconds,
            "closing": settings.response_timeout_seconds,
        }

    def note(self, refusal: Refusal) -> None:
        """Count it where it says that a limit was hit."""
        if refusal.code in LIMIT_OF:
            self.limits_hit[LIMIT_OF[refusal.code]] += 1

    def welcome(self, connection: "ClientConnection", address: str) -> bool:
        """Whether there may be one more connection, from this address; if so, it counts from now on."""
        if len(self.connections) >= self.settings.max_connections:
            self.limits_hit["connections"] += 1
        elif self.addresses[address] >= self.settings.max_connections_per_address:
            self.limits_hit["connections_per_address"] += 1
        else:
            self.addresses[address] += 1
            self.connections[connection] = address
        return connection in self.connections

    def forget(self, connection: "ClientConnection") -> None:
        """It is gone; harmless where it was not welcome."""
        address = self.connections.pop(connection, None)
        if address is not None:
            self.addresses[address] -= 1
            if not self.addresses[address]:
                del self.addresses[address]
        if self.draining and not self.connections:
            self.empty.set()


def address_of(transport: asyncio.Transport) -> str:
    """Whose connection this is, for counting: an IPv4 address, or the network of an IPv6 one, which a single host may fill."""
    peer: tuple[str, int] | tuple[str, int, int, int] | None = transport.get_extra_info("peername")
    host = peer[0] if peer else "unknown"  # already gone
    return ":".join(ip_address(host.partition("%")[0]).exploded.split(":")[:4]) if ":" in host else host
