"""What the rest of the house knows of an update API: reading, writing, and seven ways to fail.

The errors divide on one question, which the actuator has to answer before it may do anything else: can the call have had an effect?
`Unreachable` and `Refused` say no; `OutcomeUnknown` and `BadReply` say that only a read can tell. Their messages are safe to print:
bounded, free of control characters, without the key.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, Protocol

from scaler.model import Action, Endpoint, EndpointChange, EndpointState, EndpointWish, Price, Start


class Availability(StrEnum):
    """Whether the provider has hardware to give. ``UNKNOWN``: it did not say, or said a word we do not know."""

    AVAILABLE = "available"
    UNAVAILABLE = "unavailable"
    INSUFFICIENT = "insufficient"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Specs:
    """What a hardware configuration is made of; ``memory_gb`` is that of one GPU."""

    gpu: str
    link: str
    memory_gb: float
    count: int


@dataclass(frozen=True, slots=True)
class Hardware:
    """A hardware configuration: what one replica costs on it and whether there is any left. ``specs`` None: not told."""

    id: str
    price: Price
    availability: Availability
    specs: Specs | None = None


@dataclass(frozen=True, slots=True)
class Listing:
    """Which endpoints to list. Without ``mine`` those of others come, too; a None does not restrict."""

    mine: bool = True
    type: Literal["dedicated", "serverless"] | None = "dedicated"
    usage_type: Literal["on-demand", "reserved"] | None = None


OWN = Listing()
"""The caller's own dedicated endpoints."""


@dataclass(frozen=True, slots=True)
class EndpointSummary:
    """A line of a list. ``display_name`` is None where lists do not tell it (Together v1): only `Reader.get` does then."""

    id: str
    name: str
    model: str
    type: str
    owner: str
    state: EndpointState
    created_at: str
    display_name: str | None = None


class ProviderError(Exception):
    """A call that did not do what it should. ``retry_after``: seconds the provider asked us to wait, if it did."""

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        """``message`` must be safe to print."""
        super().__init__(message)
        self.retry_after = retry_after


class Unreachable(ProviderError):  # noqa: N818 (these names are a taxonomy and read as sentences: "except Refused")
    """No connection stood in time. Nothing was sent, so nothing has changed."""


class OutcomeUnknown(ProviderError):  # noqa: N818 (see above)
    """Sent, but no usable answer: it broke off, came too late, or was a 5xx. The call may have had its effect."""


class BadReply(ProviderError):  # noqa: N818 (see above)
    """An answer that is not what the contract says. A call that changes something may have had its effect."""


class Refused(ProviderError):  # noqa: N818 (see above)
    """The provider said no (4xx); nothing has changed."""

    def __init__(self, message: str, *, status: int, code: str | None, retry_after: float | None = None) -> None:
        """``code`` is the provider's own word for the reason, where it gives one."""
        super().__init__(message, retry_after=retry_after)
        self.status = status
        self.code = code


class NotFound(Refused):
    """No such thing (404)."""


class RateLimited(Refused):
    """Too many calls (429)."""


class BadProviderSettings(Exception):  # noqa: N818 (see above)
    """The provider section cannot be used as it is; no daemon should start with it."""


class Reader(Protocol):
    """Calls that change nothing. One call is one request: the next tick is the retry. All raise `ProviderError`."""

    async def get(self, endpoint_id: str) -> Endpoint:
        """The endpoint as it is right now; `NotFound` if there is none."""

    async def hardware(self, model: str | None = None) -> tuple[Hardware, ...]:
        """The catalog with prices; with ``model``, only what can serve it, and its availability."""

    async def list(self, which: Listing = OWN) -> tuple[EndpointSummary, ...]:
        """All endpoints that ``which`` describes."""

    async def zones(self) -> tuple[str, ...]:
        """The availability zones that an endpoint may be created in."""

    async def starts(self, endpoint_id: str) -> tuple[Start, ...]:
        """The complete starts of the endpoint's replicas that the provider has on record; none where it keeps no record."""

    async def close(self) -> None:
        """Let go of the connections."""


class Writer(Protocol):
    """Calls that change something. Only the actuator holds one."""

    async def apply(self, action: Action) -> Endpoint:
        """Make one call and return the endpoint as the provider describes it in its answer; raises `ProviderError`."""

    async def create(self, wish: EndpointWish) -> Endpoint:
        """Make one call and return the new endpoint as the answer describes it; raises `ProviderError`.

        There is no idempotency key: after `OutcomeUnknown` and `BadReply` the endpoint may exist.
        """

    async def change(self, endpoint_id: str, change: EndpointChange) -> Endpoint:
        """Make one call that says only what ``change`` says, and return the endpoint as the answer describes it; raises `ProviderError`."""

    async def delete(self, endpoint_id: str) -> None:
        """Remove the endpoint for good; raises `ProviderError`."""

    async def close(self) -> None:
        """Let go of the connections."""
