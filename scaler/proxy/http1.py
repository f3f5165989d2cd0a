"""HTTP/1.1 heads: strict checks of what comes in, bytes of what goes out.

llhttp has tokenized a head and refused what is not HTTP; here stands what a proxy demands beyond that. No head is ever relayed: the
lines that pass are picked one by one, and framing, Host and Authorization are always written anew.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from http import HTTPStatus

from scaler.proxy.errors import Refusal

Fields = list[tuple[bytes, bytes]]
"""Header fields as the parser reports them: name, value."""

MAX_FIELDS = 128
"""Most header fields in a head, either way."""

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"

_HOST = re.compile(rb"(?:[A-Za-z0-9._~%!$&'()*+;=-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
_STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}

_PASS, _DROP = None, b""
"""Fates of a header field; any other is its name in lower case, under which its value is noted instead of passed on."""

_HOP_BY_HOP = frozenset({b"keep-alive", b"proxy-connection", b"te", b"trailer", b"upgrade"})
_FRAMING = frozenset({b"connection", b"content-length", b"transfer-encoding"})

_REQUEST_NOTED = _FRAMING | {b"host", b"expect", b"authorization"}
_REQUEST_DROPPED = _HOP_BY_HOP | {b"api-key", b"x-api-key", b"cookie", b"forwarded", b"x-real-ip", b"http2-settings"}
_REQUEST_DROPPED_PREFIXES = (b"proxy-", b"x-forwarded-", b"x-scaler-")

_RESPONSE_CONTENT = (b"content-type", b"content-encoding")
_RESPONSE_NOTED = _FRAMING.union(_RESPONSE_CONTENT)
_RESPONSE_DROPPED = _HOP_BY_HOP | {b"alt-svc", b"set-cookie", b"strict-transport-security"}
"""What speaks of the connection, or of the upstream's own origin, means nothing under ours."""
_RESPONSE_DROPPED_PREFIXES = (b"proxy-", b"x-scaler-")

_PERSISTENCE = frozenset({b"close", b"keep-alive"})


class Framing(Enum):
    """How a body ends."""

    NONE = "none"
    LENGTH = "length"
    CHUNKED = "chunked"
    EOF = "eof"


@lru_cache(maxsize=256)
def _request_fate(name: bytes) -> bytes | None:
    """Fate by name. ``x_y`` is dropped: some servers read it as ``x-y``, which we may have checked or dropped."""
    lower = name.lower()
    if lower in _REQUEST_NOTED:
        return lower
    return _DROP if lower in _REQUEST_DROPPED or b"_" in lower or lower.startswith(_REQUEST_DROPPED_PREFIXES) else _PASS


@lru_cache(maxsize=256)
def _response_fate(name: bytes) -> bytes | None:
    """Fate by name."""
    lower = name.lower()
    if lower in _RESPONSE_NOTED:
        return lower
    return _DROP if lower in _RESPONSE_DROPPED or lower.startswith(_RESPONSE_DROPPED_PREFIXES) else _PASS


@lru_cache(maxsize=256)
def _is_host(value: bytes) -> bool:
    return _HOST.fullmatch(value) is not None


@lru_cache(maxsize=256)
def _tokens(value: bytes) -> frozenset[bytes]:
    """What a Connection field lists, in lower case."""
    return frozenset(token.strip().lower() for token in value.split(b",") if token.strip())


def _sort(fields: Fields, fate_of: Callable[[bytes], bytes | None]) -> tuple[Fields, dict[bytes, bytes]]:
    """The fields to pass on, and the noted ones by lower-case name; repeated ones are joined by a comma, as their meaning is."""
    passed: Fields = []
    noted: dict[bytes, bytes] = {}
    for field in fields:
        fate = fate_of(field[0])
        if fate is _PASS:
            passed.append(field)
        elif fate:
            value = field[1].strip()
            noted[fate] = noted[fate] + b"," + value if fate in noted else value
    listed = _tokens(noted.get(b"connection", b""))
    if not listed <= _PERSISTENCE:
        passed = [field for field in passed if field[0].lower() not in listed]
    return passed, noted


def _lines(fields: Fields) -> bytes:
    """Fields as they are written, each with its end."""
    return b"\r\n".join([*map(b": ".join, fields), b""])


def _framing(noted: dict[bytes, bytes]) -> tuple[Framing, int]:
    """The one way in which a head frames its body, and its length; raises ValueError where it is not clear."""
    length, coding = noted.get(b"content-length"), noted.get(b"transfer-encoding")
    if coding is not None:
        if length is not None:
            raise ValueError("both Content-Length and Transfer-Encoding frame the body")
        if coding.lower() != b"chunked":
            raise ValueError("the only transfer coding is chunked")
        return Framing.CHUNKED, 0
    if length is None:
        return Framing.NONE, 0
    if not length.isdigit():
        raise ValueError("Content-Length is no number")
    return Framing.LENGTH, int(length)


@dataclass(slots=True)
class RequestHead:
    """A request's head that passed every check.

    path:               the target without its query, which goes nowhere
    lines:              header lines to pass on, each with its end
    length:             Content-Length; 0 for a chunked body or none
    http11:             False for HTTP/1.0, which knows neither chunks nor (here) keep-alive
    expects_continue:   the client waits for ``100 Continue`` before it sends the body
    authorization:      the client's credential, which goes nowhere
    """

    method: bytes
    path: bytes
    lines: bytes
    length: int
    keep_alive: bool
    http11: bool
    expects_continue: bool
    authorization: bytes


def request_head(method: bytes, target: bytes, version: str, fields: Fields) -> RequestHead:
    """Check a request's head, all but its size; raises `Refusal`, after which the connection must be closed."""
    http11 = version == "1.1"
    if not http11 and version != "1.0":
        raise Refusal("version_not_supported", "Only HTTP/1.1 is spoken here.")
    if not target.startswith(b"/"):
        raise Refusal("invalid_request", "The request's target must be a path.")
    passed, noted = _sort(fields, _request_fate)
    if not _is_host(noted.get(b"host", b"")):
        raise Refusal("invalid_request", "A request needs exactly one valid Host.")
    try:
        framing, length = _framing(noted)
    except ValueError as error:
        raise Refusal("invalid_request", f"The body cannot be read: {error}.") from error
    if framing is Framing.CHUNKED and not http11:
        raise Refusal("invalid_request", "HTTP/1.0 knows no chunks.")
    expect = noted.get(b"expect")
    if expect is not None and expect.lower() != b"100-continue":
        raise Refusal("expectation_failed", "The only expectation that can be met is 100-continue.")
    path = target.partition(b"?")[0]
    keep_alive = http11 and b"close" not in _tokens(noted.get(b"connection", b""))
    expects_continue = http11 and expect is not None
    return RequestHead(method, path, _lines(passed), length, keep_alive, http11, expects_continue, noted.get(b"authorization", b""))


def head_bytes(method: bytes, target: bytes, fields: Fields) -> int:
    """Size of a request's head on the wire, written without needless space."""
    return len(method) + len(target) + len("  HTTP/1.1\r\n\r\n") + sum(len(name) + len(value) + len(": \r\n") for name, value in fields)


@dataclass(slots=True)
class ResponseHead:
    """An answer's head that passed every check.

    lines:      header lines to pass on, each with its end
    reusable:   the upstream will take another request on this connection
    streamed:   server-sent events
    readable:   not compressed
    """

    status: int
    lines: bytes
    framing: Framing
    length: int
    reusable: bool
    streamed: bool
    readable: bool


def response_head(status: int, version: str, fields: Fields) -> ResponseHead:
    """Check the head of a final answer; raises ValueError where it cannot be trusted."""
    if not 200 <= status <= 599:  # noqa: PLR2004 (the final status classes)
        raise ValueError(f"status {status}")
    if version not in ("1.1", "1.0"):
        raise ValueError(f"HTTP/{version}")
    if len(fields) > MAX_FIELDS:
        raise ValueError("too many header fields")
    passed, noted = _sort(fields, _response_fate)
    passed += [(name, noted[name]) for name in _RESPONSE_CONTENT if name in noted]
    framing, length = _framing(noted)
    if status in (204, 304):
        framing, length = Framing.NONE, 0
    elif framing is Framing.NONE:
        framing = Framing.EOF
    reusable = version == "1.1" and framing is not Framing.EOF and b"close" not in _tokens(noted.get(b"connection", b""))
    streamed = noted.get(b"content-type", b"").lower().startswith(b"text/event-stream")
    readable = noted.get(b"content-encoding", b"identity").lower() == b"identity"
    return ResponseHead(status, _lines(passed), framing, length, reusable, streamed, readable)


def head_out(status: int, lines: bytes, framing: Framing, length: int, *, keep_alive: bool) -> bytes:
    """Bytes of an answer's head with exactly one way to end its body."""
    start = _STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status
    connection = b"" if keep_alive else b"connection: close\r\n"
    if framing is Framing.LENGTH:
        return b"%b%b%bcontent-length: %d\r\n\r\n" % (start, lines, connection, length)
    if framing is Framing.CHUNKED:
        return b"%b%b%btransfer-encoding: chunked\r\n\r\n" % (start, lines, connection)
    return b"%b%b%b\r\n" % (start, lines, connection)


def json_answer(status: int, lines: bytes, body: bytes, *, keep_alive: bool, with_body: bool = True) -> bytes:
    """Bytes of a whole answer of our own."""
    head = head_out(status, b"content-type: application/json\r\n" + lines, Framing.LENGTH, len(body), keep_alive=keep_alive)
    return head + body if with_body else head
