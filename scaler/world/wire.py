"""Bytes of HTTP that all parts of the face share: bodies in, JSON and error objects out."""

import json
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.types import Receive, Send

from scaler.world.refusals import Conflict, Invalid, NotFound, NotRunning, Overloaded, Refused, Unroutable

Shape = TypeVar("Shape", bound=BaseModel)

STATUS = {NotFound: 404, Invalid: 400, NotRunning: 400, Overloaded: 503, Conflict: 409, Unroutable: 503}
RETRY_AFTER_SECONDS = 1
"""What an overloaded endpoint asks for."""
UNAUTHORIZED = 401


class TooLarge(Refused):
    """The body exceeds the limit."""

    code = "request_too_large"


class ClientGone(Exception):  # noqa: N818 (an event, not a fault)
    """The client closed the connection before its request was complete."""


async def read_body(receive: Receive, limit: int) -> bytes:
    """The whole request body. Raises `TooLarge` beyond ``limit`` bytes, and `ClientGone`."""
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        part = message.get("body", b"")
        size += len(part)
        if size > limit:
            raise TooLarge(f"The request body exceeds {limit} bytes")
        parts.append(part)
        if not message.get("more_body", False):
            return b"".join(parts)


def read_object(body: bytes) -> dict[str, Any]:
    """The body as a JSON object. Raises `Invalid`."""
    try:
        parsed = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Invalid("The request body is not valid JSON") from error
    if not isinstance(parsed, dict):
        raise Invalid("The request body must be a JSON object")
    return parsed


async def read_as(shape: type[Shape], receive: Receive, limit: int) -> Shape:
    """The body as this model. Raises `Invalid`, `TooLarge` or `ClientGone`."""
    return shaped(shape, read_object(await read_body(receive, limit)))


def shaped(shape: type[Shape], body: dict[str, Any]) -> Shape:
    """The object as this model. Raises `Invalid`."""
    try:
        return shape.model_validate(body)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_input=False)
        raise Invalid("; ".join(f"{'.'.join(map(str, fault['loc'])) or 'body'}: {fault['msg']}" for fault in faults)) from error


def dump(value: object) -> bytes:
    """Compact JSON."""
    return json.dumps(value, separators=(",", ":")).encode()


def error_object(status: int, message: str, code: str | None = None) -> dict[str, Any]:
    """The provider's form of an error; ``code`` is a string or null, never a number."""
    kind = {UNAUTHORIZED: "authentication_error"}.get(status, "invalid_request_error" if status < 500 else "server_error")  # noqa: PLR2004 (HTTP)
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def status_of(refusal: Refused) -> int:
    """The HTTP status that says this refusal."""
    return 413 if isinstance(refusal, TooLarge) else STATUS[type(refusal)]


def headers_of(status: int, retry_after: int | None = None) -> list[tuple[bytes, bytes]]:
    """Extra headers of an error; ``retry_after`` in seconds, by default what an overloaded endpoint asks for."""
    if retry_after is None and status in (429, 503):
        retry_after = RETRY_AFTER_SECONDS
    return [] if retry_after is None else [(b"retry-after", b"%d" % retry_after)]


async def send_json(send: Send, status: int, value: object, *, retry_after: int | None = None) -> None:
    """A complete JSON response; ``retry_after`` as in `headers_of`."""
    await send_bytes(send, status, dump(value), b"application/json", retry_after=retry_after)


async def send_refusal(send: Send, refusal: Refused) -> None:
    """A refusal as the error object."""
    status = status_of(refusal)
    await send_json(send, status, error_object(status, str(refusal), refusal.code))


async def send_bytes(send: Send, status: int, body: bytes, content_type: bytes, *, retry_after: int | None = None) -> None:
    """A complete response of any type; ``retry_after`` as in `headers_of`."""
    headers = [(b"content-type", content_type), (b"content-length", b"%d" % len(body)), *headers_of(status, retry_after)]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})
