"""Which generation of the API an account lives in, found out by asking both; no call changes anything.

One is settled on when it answers and the other one says a definite no, or when the endpoint's id is of its kind. While that cannot be
said every call raises `ProviderError`, and the next one asks anew: for those who ask, the provider is silent, no more.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

import structlog

from scaler.model import Endpoint, Start
from scaler.providers.base import (
    OWN,
    EndpointSummary,
    Hardware,
    Listing,
    OutcomeUnknown,
    ProviderError,
    RateLimited,
    Reader,
    Refused,
)
from scaler.providers.http import JsonClient
from scaler.providers.together_v1 import TogetherV1Reader
from scaler.providers.together_v2 import TogetherV2Reader
from scaler.settings import ProviderSettings

log = structlog.get_logger(__name__)

Kind = Literal["together_v1", "together_v2"]
CREATE_DISABLED = "endpoints_v1_create_access_disabled"
"""v1's word for an account that may create no endpoints, and start no stopped ones."""
V2_ID = re.compile(r"dep_.+")
V1_ID = re.compile(r"endpoint-.+")


@dataclass(frozen=True, slots=True)
class Found:
    """The generation, and how it was found out."""

    kind: Kind
    why: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What one generation said when it was asked. ``yes`` None: nothing that would settle it."""

    yes: bool | None
    words: str


def judge(v1: Answer, v2: Answer, endpoint_id: str | None) -> Found | None:
    """The generation, or None as long as it cannot be told. Pure."""
    kinds: tuple[tuple[Kind, Answer, Answer, re.Pattern[str]], ...] = (
        ("together_v2", v2, v1, V2_ID),
        ("together_v1", v1, v2, V1_ID),
    )
    for kind, own, other, shape in kinds:
        if own.yes and endpoint_id is not None and shape.fullmatch(endpoint_id):
            return Found(kind, f"{endpoint_id} is an id of its kind, and {own.words}")
        if own.yes and other.yes is False:
            return Found(kind, f"{own.words}; {other.words}")
    return None


async def _ask(question: Callable[[], Awaitable[object]], name: str) -> Answer:
    """Put the question: an answer is a yes, a refusal a no; silence, trouble and a 429 settle nothing."""
    try:
        await question()
    except ProviderError as error:
        no = isinstance(error, Refused) and not isinstance(error, RateLimited)
        return Answer(False if no else None, f"{name} says {error}")
    return Answer(yes=True, words=f"{name} answers")


class AutoReader:
    """A reader that finds out at the first call that succeeds which one it is; see `scaler.providers.base.Reader`."""

    def __init__(self, settings: ProviderSettings, example: str | None = None) -> None:
        """Nothing is asked yet. ``example``: the id of an endpoint of ours. Raises `BadProviderSettings` as `JsonClient` does."""
        self._example = example
        self._settings = settings
        self._v1 = TogetherV1Reader(JsonClient(settings.v1_url, settings.key, settings.timeout_seconds))
        self._v2 = TogetherV2Reader(JsonClient(settings.root, settings.key, settings.timeout_seconds), settings.project)
        self._asking = asyncio.Lock()
        self.found: Found | None = None
        self.trouble = "nobody has been asked yet"

    async def resolve(self, endpoint_id: str | None = None) -> Reader:
        """The reader of the generation that was found. Raises `ProviderError` while none is."""
        async with self._asking:
            if self.found is None:
                v1, v2 = await asyncio.gather(_ask(self._v1.list, "v1"), _ask(self._v2.directory.look, "v2"))
                self.found = judge(v1, v2, endpoint_id or self._example)
                if self.found is None:
                    both = "; both are there, so set provider.kind" if v1.yes and v2.yes else ""
                    self.trouble = f"{v1.words}; {v2.words}{both}"
                    raise OutcomeUnknown(f"generation of the API not known yet: {self.trouble}")
                log.info("provider generation found", kind=self.found.kind, why=self.found.why)
        return self._v2 if self.found.kind == "together_v2" else self._v1

    async def get(self, endpoint_id: str) -> Endpoint:
        """As the generation that was found does it."""
        return await (await self.resolve(endpoint_id)).get(endpoint_id)

    async def hardware(self, model: str | None = None) -> tuple[Hardware, ...]:
        """As the generation that was found does it."""
        return await (await self.resolve()).hardware(model)

    async def list(self, which: Listing = OWN) -> tuple[EndpointSummary, ...]:
        """As the generation that was found does it."""
        return await (await self.resolve()).list(which)

    async def zones(self) -> tuple[str, ...]:
        """As the generation that was found does it."""
        return await (await self.resolve()).zones()

    async def starts(self, endpoint_id: str) -> tuple[Start, ...]:
        """As the generation that was found does it."""
        return await (await self.resolve(endpoint_id)).starts(endpoint_id)

    async def close(self) -> None:
        """Close both."""
        await self._v1.close()
        await self._v2.close()
