"""What the rest of the house knows of an update API: reading, writing, and seven ways to fail.

The errors divide on one question, which the actuator has to answer before it may do anything else: can the call have had an effect?
`Unreachable` and `Refused` say no; `OutcomeUnknown` and `BadReply` say that only a read can tell. Their messages are safe to print:
bounded, free of control characters, without the key.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from scaler.model import Action, Endpoint, Price
from scaler.settings import ProviderSettings


class Availability(StrEnum):
    """Whether the provider has hardware to give. ``UNKNOWN``: it did not say, or said a word we do not know."""

    AVAILABLE = "available"
    UNAVAILABLE = "unavailable"
    INSUFFICIENT = "insufficient"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Hardware:
    """A hardware configuration: what one replica costs on it and whether there is any left."""

    id: str
    price: Price
    availability: Availability


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

    async def close(self) -> None:
        """Let go of the connections."""


class Writer(Protocol):
    """Calls that change something. Only the actuator holds one."""

    async def apply(self, action: Action) -> Endpoint:
        """Make one call and return the endpoint as the provider describes it in its answer; raises `ProviderError`."""

    async def close(self) -> None:
        """Let go of the connections."""


def require_built(settings: ProviderSettings) -> None:
    """Raise `BadProviderSettings` for a generation of the API that this version does not speak."""
    if settings.kind != "together_v1":
        raise BadProviderSettings(f"provider.kind: {settings.kind} is not built yet; use together_v1")
