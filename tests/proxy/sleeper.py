"""An upstream that sleeps until told otherwise, and remembers whom it served and how many at once."""

import asyncio
import json
from dataclasses import dataclass, field, replace
from typing import Any

from scaler.proxy.readings import GateReading
from scaler.proxy.routes import Objective, Readiness, Route, RouteTable, Standing
from scaler.settings import WakeSettings
from tests.proxy.house import House
from tests.proxy.wire import MODEL, STREAM_HEAD, Message, Visit, answer, chunk, request

ASLEEP_ANSWER = answer(b'{"error": {"code": "endpoint_not_running"}}', b"400 Bad Request")
EVENTS = (b'data: {"choices": [{"delta": {"content": "hi"}}]}\n\n', b"data: [DONE]\n\n")
QUICK = {"probe_seconds": 0.02, "comment_seconds": 0.05}


def is_probe(message: Message) -> bool:
    """Whether scaler itself asks."""
    return b'"content": "."' in message.body


@dataclass
class Sleeper:
    """A script for an upstream. ``refusal`` is what it says while it sleeps; awake, it takes ``seconds`` for each request."""

    awake: bool = False
    seconds: float = 0.0
    refusal: bytes = ASLEEP_ANSWER
    serving: int = 0
    most: int = 0
    probes: int = 0
    served: list[str] = field(default_factory=list)
    refused: int = 0

    async def __call__(self, visit: Visit) -> None:
        while True:
            message = await visit.request()
            if is_probe(message):
                self.probes += 1
                await visit.send(answer() if self.awake else self.refusal)
            elif self.awake:
                await self._serve(visit, message)
            else:
                self.refused += 1
                await visit.send(self.refusal)

    async def _serve(self, visit: Visit, message: Message) -> None:
        self.served.append(str(message.json.get("x", "")))
        self.serving += 1
        self.most = max(self.most, self.serving)
        try:
            await asyncio.sleep(self.seconds)
            if message.json.get("stream"):
                await visit.send(STREAM_HEAD, *map(chunk, EVENTS), b"0\r\n\r\n")
            else:
                await visit.send(answer())
        finally:
            self.serving -= 1


def route(
    standing: Standing | None,
    *,
    at: float = 0.0,
    capacity: float = 4.0,
    remaining: float | None = None,
    objective: Objective = Objective(),  # noqa: B008 (it is frozen)
    **wake: Any,  # noqa: ANN401 (settings of any type)
) -> Route:
    """The route ``chat`` with an endpoint that stands so; None = nothing is known."""
    readiness = None if standing is None else Readiness(standing, at, capacity, remaining_seconds=remaining)
    settings = WakeSettings.model_validate(QUICK | wake)
    return Route("chat", MODEL, frozenset({"chat"}), objective, wake=settings, readiness=readiness)


def tell(house: House, *routes: Route) -> None:
    """From now on the house's proxy has this table."""
    house.proxy.set_routes(RouteTable.of(routes))


def stands(known: Route, standing: Standing) -> Route:
    """The same route, with an endpoint that stands so."""
    assert known.readiness is not None
    return replace(known, readiness=replace(known.readiness, standing=standing))


def gate(house: House, key: str = "chat") -> GateReading:
    return house.proxy.gates[key]


def ask(
    mark: object = "", *, stream: bool = False, model: str = "chat", wake: str = "", fields: bytes = b"", version: bytes = b"1.1"
) -> bytes:
    """A request with a mark to know it by, and a wish."""
    body = json.dumps({"model": model, "messages": [], "x": str(mark)} | ({"stream": True} if stream else {})).encode()
    return request(body, fields=fields + (b"X-Scaler-Wake: %b\r\n" % wake.encode() if wake else b""), version=version)
