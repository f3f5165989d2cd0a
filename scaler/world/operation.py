"""A call of the world's API as it is described: what it takes and what it answers."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, get_type_hints

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

Document = dict[str, Any]
TEXT: Document = {"type": "string"}


@dataclass(frozen=True, slots=True)
class Operation:
    """One call: its query (names and what they may be), its body, its answer (None = 204), and whether that may be a stream.

    Body and answer are types that pydantic can describe.
    """

    answer: Any
    body: Any = None
    query: Mapping[str, Document] = field(default_factory=dict)
    streams: bool = False


class Call(Route):
    """A route that answers with the JSON of what its handler returns, and is described by that handler's return type."""

    def __init__(
        self,
        method: str,
        path: str,
        handler: Callable[[Request], Awaitable[object]],
        *,
        body: Any = None,  # noqa: ANN401 (a type)
        query: Mapping[str, Document] | None = None,
    ) -> None:
        """``body`` and ``query`` as in `Operation`."""

        async def answered(request: Request) -> Response:
            return JSONResponse(await handler(request))

        super().__init__(path, answered, methods=[method])
        self.operation = Operation(get_type_hints(handler)["return"], body, query or {})
