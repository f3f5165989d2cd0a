"""The request's ``model``: which one is asked for, and the body with the name that the upstream knows.

The body that goes out must mean to every JSON parser what it meant to ours, or a client could be routed by one model and served by
another. So either the one place that can hold the field is changed, or the whole body is written anew.
"""

import json
import re
from typing import Any, Final, NoReturn

import msgspec

from scaler.proxy.errors import Refusal

Body = bytes | bytearray

PATIENT_BYTES: Final = 1 << 20
"""What is understood in part only is read once more as a whole up to this size; beyond it that would hold up everybody else."""
MOST_KEYS: Final = 50_000
"""Of a body beyond that size which has to be written anew, its objects' keys taken together."""

_KEY: Final = b'"model"'
_FIELD: Final = re.compile(rb'"model"[ \t\r\n]*:[ \t\r\n]*("(?:[^"\\]|\\.)*")')


class _Asked(msgspec.Struct):
    model: str = ""


_quick: Final = msgspec.json.Decoder(_Asked).decode
"""Checks that the whole is JSON, but makes only this field of it. Does not look into strings: those must be known to be UTF-8."""
_fields: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode: Final = msgspec.json.encode


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_DECODER: Final = json.JSONDecoder(parse_constant=_no_constant)


def asked(body: Body) -> str:
    """The request's ``model``; raises `Refusal`."""
    try:
        if model := _quick(body if body.isascii() else body.decode()).model:
            return model
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        if len(body) > PATIENT_BYTES:
            raise Refusal("invalid_json", "The request's body is not a JSON object in UTF-8 with a model.") from error
    return parse(body)[1]  # which says what is wrong


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


def rewrite(body: Body, name: str, model: str) -> Body:
    """The body, which asks for ``name``, with this ``model``; the same object where nothing has to change. Raises `Refusal`.

    The key is found by its bytes. If they occur twice, or letters may be written as Unicode escapes, another place can be taken for it.
    """
    # ``find``, because ``in`` takes the bytes for a number first, and fails.
    if body.count(_KEY) != 1 or (body.find(b"\\") >= 0 and b"\\u00" in body):
        return _anew(body, model)
    if name == model:
        return body
    found = _FIELD.search(body)
    if found is None or found[1] != b'"%b"' % name.encode():
        return _anew(body, model)
    return bytes(body[: found.start(1)]) + _encode(model) + body[found.end(1) :]


def _anew(body: Body, model: str) -> bytes:
    """The object once more, each key once; values are copied as they stand, for they cannot be taken for this field."""
    if len(body) > PATIENT_BYTES and body.count(b":") > MOST_KEYS and body.translate(None, b" \t\r\n").count(b'":') > MOST_KEYS:
        raise Refusal("invalid_json", f"The request's body, which is large, has more than {MOST_KEYS} keys.")
    try:
        fields = _fields(body)
    except (msgspec.DecodeError, RecursionError) as error:
        if len(body) > PATIENT_BYTES:
            raise Refusal("invalid_json", "The request's body holds text that is not Unicode.") from error
        return _anew_with_care(parse(body)[0] | {"model": model})
    fields["model"] = msgspec.Raw(_encode(model))
    return _encode(fields)


def _anew_with_care(request: dict[str, Any]) -> bytes:
    """Where halves of surrogate pairs stand in a key, which are JSON, but no Unicode."""
    try:
        return json.dumps(request, allow_nan=False, separators=(",", ":")).encode()
    except (ValueError, RecursionError) as error:
        raise Refusal("invalid_json", "The request's body holds a number that JSON cannot carry.") from error
