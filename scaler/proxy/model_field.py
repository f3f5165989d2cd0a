"""The request's ``model``: which one is asked for, and the body with the name that the upstream knows.

The body that goes out must mean to every JSON parser what it meant to ours, or a client could be routed by one model and served by
another. So either the one place that can hold the field is changed, or the whole body is written anew.
"""

import json
import re
from typing import Any, NoReturn

from scaler.proxy.errors import Refusal

Body = bytes | bytearray

_FIELD = re.compile(rb'"model"[ \t\r\n]*:[ \t\r\n]*("(?:[^"\\]|\\.)*")')


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_no_constant)


def parse(body: Body) -> tuple[dict[str, Any], str]:
    """The request and its ``model``; raises `Refusal`."""
    try:
        request = _DECODER.decode(body.decode())
    except (ValueError, RecursionError) as error:
        raise Refusal("invalid_json", "The request's body is not JSON in UTF-8.") from error
    if not isinstance(request, dict):
        raise Refusal("invalid_json", "The request's body must be a JSON object.")
    model = request.get("model")
    if not isinstance(model, str):
        raise Refusal("model_missing", "You must provide a model, as a string.", param="model")
    return request, model


def rewrite(body: Body, request: dict[str, Any], model: str) -> Body:
    """The body with this ``model``; the same object where nothing has to change. Raises `Refusal`."""
    place = _only_place(body, request["model"])
    if place is None:
        return _anew(request | {"model": model})
    if request["model"] == model:
        return body
    return bytes(body[: place[0]]) + json.dumps(model).encode() + body[place[1] :]


def _only_place(body: Body, value: str) -> tuple[int, int] | None:
    """Where the field's value stands, if no other place of the body can be taken for it.

    The key is found by its bytes, unless letters of it are written as Unicode escapes; then the answer is no.
    """
    if body.count(b'"model"') != 1 or (b"\\" in body and b"\\u00" in body):
        return None
    found = _FIELD.search(body)
    return found.span(1) if found is not None and found[1] == b'"%b"' % value.encode() else None


def _anew(request: dict[str, Any]) -> bytes:
    try:
        return json.dumps(request, allow_nan=False, separators=(",", ":")).encode()
    except (ValueError, RecursionError) as error:
        raise Refusal("invalid_json", "The request's body holds a number that JSON cannot carry.") from error
