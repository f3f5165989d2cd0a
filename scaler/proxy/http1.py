"""HTTP/1.1 heads: strict checks of what comes in, bytes of what goes out.

A head is taken apart by the grammar of RFC 9110 and 9112, written down here as three expressions; what they do not match is no head. What
a proxy demands beyond that is checked next. No head is ever relayed: the lines that pass are picked one by one, and framing, Host and
Authorization are always written anew. Lines and requests' heads that were understood are remembered, because most are the same.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from http import HTTPStatus

from scaler.proxy.errors import Refusal

MAX_FIELDS = 128
"""Most header fields in a head, either way."""

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"

REQUEST_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([!-~]+) HTTP/([0-9]\.[0-9])")
STATUS_LINE = re.compile(rb"HTTP/([0-9]\.[0-9]) ([0-9]{3})(?: [\t -~\x80-\xff]*)?")
FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):([\t -~\x80-\xff]*)")
_PART_OF_HEAD = re.compile(rb"(?:[\t -~\x80-\xff]++|\r\n)*+\r?")
_EMPTY_LINES = re.compile(rb"(?:\r\n)*+")

_HOST = re.compile(rb"(?:[A-Za-z0-9._~%!$&'()*+;=-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
_STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}

_PASS, _DROP = None, b""
"""Fates of a header field; any other is its name in lower case, under which its value is noted instead of passed on."""

_HOP_BY_HOP = frozenset({b"keep-alive", b"proxy-connection", b"te", b"trailer", b"upgrade"})
_FRAMING = frozenset({b"connection", b"content-length", b"transfer-encoding"})

_REQUEST_NOTED = _FRAMING | {b"host", b"expect", b"authorization", b"x-scaler-wake"}
_REQUEST_DROPPED = _HOP_BY_HOP | {b"api-key", b"x-api-key", b"cookie", b"forwarded", b"x-real-ip", b"http2-settings"}
_REQUEST_DROPPED_PREFIXES = (b"proxy-", b"x-forwarded-", b"x-scaler-")

_RESPONSE_NOTED = _FRAMING | {b"content-type", b"content-encoding"}
_RESPONSE_DROPPED = _HOP_BY_HOP | {b"alt-svc", b"set-cookie", b"strict-transport-security"}
"""What speaks of the connection, or of the upstream's own origin, means nothing under ours."""
_RESPONSE_DROPPED_PREFIXES = (b"proxy-", b"x-scaler-")

_MAX_LENGTH_DIGITS = 18
_PERSISTENCE = frozenset({b"close", b"keep-alive"})


class Framing(Enum):
    """How a body ends."""

    NONE = "none"
    LENGTH = "length"
    CHUNKED = "chunked"
    EOF = "eof"


NO_BODY, LENGTH, CHUNKED, EOF = Framing
"""The same, by names that are found ten times as fast as members of an enumeration."""


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


_MAX_LINES = 1024
_MAX_LINE_BYTES = 256


class _Lines(dict[bytes, tuple[bytes | None, bytes]]):
    """What becomes of a header line: its fate, and the line to pass on or the value to note. Bounded; full, it starts anew."""

    def __init__(self, fate_of: Callable[[bytes], bytes | None]) -> None:
        super().__init__()
        self._fate_of = fate_of

    def __missing__(self, line: bytes) -> tuple[bytes | None, bytes]:
        """Of a line not met before; ValueError if it is no field."""
        match = FIELD.fullmatch(line)
        if match is None:
            raise ValueError("a header field is malformed")
        name, value = match[1], match[2].strip(b" \t")
        fate = self._fate_of(name)
        found = (fate, b"%b: %b\r\n" % (name, value) if fate is _PASS else value)
        if len(line) <= _MAX_LINE_BYTES:
            if len(self) >= _MAX_LINES:
                self.clear()
            self[line] = found
        return found


_request_lines = _Lines(_request_fate)
_response_lines = _Lines(_response_fate)


class TooLargeError(ValueError):
    """More bytes or fields than a head may have."""


class HeadReader:
    """Collects a head from what is read, and gives up early on what cannot become one."""

    __slots__ = ("_first", "_limit", "_seen", "_skipped")

    def __init__(self, first: re.Pattern[bytes], limit: int) -> None:
        """``first``: what the first line must be; ``limit``: most bytes, the blank line among them."""
        self._first = first
        self._limit = limit
        self._seen = bytearray()
        self._skipped = 0  # bytes of empty lines before it

    @property
    def begun(self) -> bool:
        """Whether a part of a head has come."""
        return bool(self._seen)

    @property
    def second_word(self) -> bytes:
        """Of the part that has come: a request's target, as far as it goes."""
        return bytes(self._seen).partition(b"\r\n")[0].split(b" ", 2)[1] if self._seen.count(b" ", 0, 64) else b""

    def feed(self, data: bytes) -> tuple[bytes, bytes] | None:
        """The head's lines and what follows it; None while it is not whole. Raises ValueError."""
        if not self._seen:
            head, end, rest = data.partition(b"\r\n\r\n")
            if end and 0 < len(head) <= self._limit - len(end) and not head.startswith(b"\r"):
                return head, rest
        return self._collect(data)

    def _collect(self, data: bytes) -> tuple[bytes, bytes] | None:
        seen, before = self._seen, len(self._seen)
        seen += data
        if (empty := _EMPTY_LINES.match(seen)) and empty.end():
            del seen[: empty.end()]
            self._skipped += empty.end()
            before = 0
        end = seen.find(b"\r\n\r\n", max(0, before - 3), self._limit)
        if end >= 0:
            self._seen, self._skipped = bytearray(), 0
            return bytes(seen[:end]), bytes(seen[end + 4 :])
        self._check(max(0, before - seen[:before].endswith(b"\r")))
        return None

    def _check(self, start: int) -> None:
        """What is there, from ``start`` on."""
        seen = self._seen
        if len(seen) + self._skipped >= self._limit:
            raise TooLargeError("too many bytes")
        line = seen.find(b"\r\n")
        if not _PART_OF_HEAD.fullmatch(seen, start) or (line >= 0 and not self._first.fullmatch(seen, 0, line)):
            raise ValueError("a line of its head is malformed")


@lru_cache(maxsize=256)
def _is_host(value: bytes) -> bool:
    return _HOST.fullmatch(value) is not None


@lru_cache(maxsize=256)
def _tokens(value: bytes) -> frozenset[bytes]:
    """What a Connection field lists, in lower case."""
    return frozenset(token.strip().lower() for token in value.split(b",") if token.strip())


def _sort(lines: list[bytes], known: _Lines) -> tuple[list[bytes], dict[bytes, bytes]]:
    """The lines to pass on, and the noted values by lower-case name; repeated ones are joined by a comma, as their meaning is."""
    if len(lines) > MAX_FIELDS:
        raise TooLargeError("too many fields")
    passed: list[bytes] = []
    noted: dict[bytes, bytes] = {}
    for line in lines:
        fate, text = known[line]
        if fate is _PASS:
            passed.append(text)
        elif fate:
            noted[fate] = noted[fate] + b"," + text if fate in noted else text
    if b"connection" in noted and noted[b"connection"] != b"keep-alive":
        listed = _tokens(noted[b"connection"])
        if not listed <= _PERSISTENCE:
            passed = [line for line in passed if line.partition(b":")[0].lower() not in listed]
    return passed, noted


def _framing(noted: dict[bytes, bytes]) -> tuple[Framing, int]:
    """The one way in which a head frames its body, and its length; raises ValueError where it is not clear."""
    length = noted.get(b"content-length")
    if b"transfer-encoding" in noted:
        if length is not None:
            raise ValueError("both Content-Length and Transfer-Encoding frame the body")
        if noted[b"transfer-encoding"].lower() != b"chunked":
            raise ValueError("the only transfer coding is chunked")
        return CHUNKED, 0
    if length is None:
        return NO_BODY, 0
    if not length.isdigit() or len(length) > _MAX_LENGTH_DIGITS:
        raise ValueError("Content-Length is no number")
    return LENGTH, int(length)


@dataclass(frozen=True, slots=True)
class RequestHead:
    """A request's head that passed every check.

    target:             as the client wrote it
    path:               the target without its query, which goes nowhere
    lines:              header lines to pass on, each with its end
    chunked:            the body comes in chunks
    http11:             False for HTTP/1.0, which knows neither chunks nor (here) keep-alive
    expects_continue:   the client waits for ``100 Continue`` before it sends the body
    authorization:      the client's credential, which goes nowhere
    wake:               what the client wants if the endpoint sleeps (``x-scaler-wake``), as it wrote it; empty = nothing said
    """

    method: bytes
    target: bytes
    path: bytes
    lines: bytes
    chunked: bool
    keep_alive: bool
    http11: bool
    expects_continue: bool
    authorization: bytes
    wake: bytes = b""


_LENGTH = b"\r\nContent-Length: "
_MAX_HEADS = 256
_MAX_REMEMBERED_BYTES = 2048
_heads: dict[bytes, RequestHead] = {}
"""Requests' heads that were understood, without the digits of their Content-Length: with others they mean the same but for the length."""


def request_head(raw: bytes) -> tuple[RequestHead, int]:
    """A request's head from its lines, and its Content-Length, 0 where it has none; raises `Refusal`: the connection must be closed."""
    start = raw.find(_LENGTH) + len(_LENGTH)
    end = raw.find(b"\r\n", start)
    digits = raw[start : end if end >= 0 else len(raw)]
    if start < len(_LENGTH) or not digits.isdigit() or len(digits) > _MAX_LENGTH_DIGITS:
        return _request_head(raw)
    without = raw[:start] + raw[start + len(digits) :]
    known = _heads.get(without)
    if known is not None:
        return known, int(digits)
    head, length = _request_head(raw)
    if len(raw) <= _MAX_REMEMBERED_BYTES:
        if len(_heads) >= _MAX_HEADS:
            _heads.clear()
        _heads[without] = head
    return head, length


def _request_head(raw: bytes) -> tuple[RequestHead, int]:
    first, *lines = raw.split(b"\r\n")
    start = REQUEST_LINE.fullmatch(first)
    if start is None:
        raise Refusal("invalid_request", "The request is not HTTP/1.1: its first line is malformed.")
    method, target, version = start.groups()
    if version not in (b"1.1", b"1.0"):
        raise Refusal("version_not_supported", "Only HTTP/1.1 is spoken here.")
    if not target.startswith(b"/"):
        raise Refusal("invalid_request", "The request's target must be a path.")
    try:
        passed, noted = _sort(lines, _request_lines)
        framing, length = _framing(noted)
    except TooLargeError as error:
        raise Refusal("head_too_large", f"The request's head has more than {MAX_FIELDS} fields.") from error
    except ValueError as fault:
        raise Refusal("invalid_request", f"The request is not HTTP/1.1: {fault}.") from fault
    if not _is_host(noted.get(b"host", b"")):
        raise Refusal("invalid_request", "A request needs exactly one valid Host.")
    http11, chunked = version == b"1.1", framing is CHUNKED
    if chunked and not http11:
        raise Refusal("invalid_request", "HTTP/1.0 knows no chunks.")
    expect = noted.get(b"expect")
    if expect is not None and expect.lower() != b"100-continue":
        raise Refusal("expectation_failed", "The only expectation that can be met is 100-continue.")
    path = target.partition(b"?")[0]
    keep_alive = http11 and b"close" not in _tokens(noted.get(b"connection", b""))
    expects_continue = http11 and expect is not None
    authorization, wake = noted.get(b"authorization", b""), noted.get(b"x-scaler-wake", b"")
    passed_on = b"".join(passed)
    return RequestHead(method, target, path, passed_on, chunked, keep_alive, http11, expects_continue, authorization, wake), length


@dataclass(slots=True)
class ResponseHead:
    """An answer's head that passed every check; interim ones (1xx) end with it.

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


@lru_cache(maxsize=64)
def _status(line: bytes) -> tuple[bytes, int]:
    """Version and status."""
    match = STATUS_LINE.fullmatch(line)
    if match is None:
        raise ValueError("its first line is malformed")
    version, status = match[1], int(match[2])
    if not 100 <= status <= 599:  # noqa: PLR2004 (the status classes)
        raise ValueError(f"status {status}")
    if version not in (b"1.1", b"1.0"):
        raise ValueError(f"HTTP/{version.decode()}")
    return version, status


@lru_cache(maxsize=64)
def _content(kind: bytes | None, coding: bytes | None) -> tuple[bytes, bool, bool]:
    """Lines that say what the body is; whether it is server-sent events; whether it can be read as it is."""
    named = ((b"content-type", kind), (b"content-encoding", coding))
    lines = b"".join(b"%b: %b\r\n" % (name, value) for name, value in named if value is not None)
    return lines, (kind or b"").lower().startswith(b"text/event-stream"), (coding or b"identity").lower() == b"identity"


def response_head(raw: bytes) -> ResponseHead:
    """An answer's head from its lines; raises ValueError where it cannot be trusted."""
    first, *lines = raw.split(b"\r\n")
    version, status = _status(first)
    passed, noted = _sort(lines, _response_lines)
    content, streamed, readable = _content(noted.get(b"content-type"), noted.get(b"content-encoding"))
    framing, length = _framing(noted)
    if status < 200 or status in (204, 304):  # noqa: PLR2004 (interim)
        framing, length = NO_BODY, 0
    elif framing is NO_BODY:
        framing = EOF
    closes = b"connection" in noted and b"close" in _tokens(noted[b"connection"])
    reusable = version == b"1.1" and framing is not EOF and not closes
    return ResponseHead(status, b"".join(passed) + content, framing, length, reusable, streamed, readable)


def head_out(status: int, lines: bytes, framing: Framing, length: int, *, keep_alive: bool) -> bytes:
    """Bytes of an answer's head with exactly one way to end its body."""
    start = _STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status
    connection = b"" if keep_alive else b"connection: close\r\n"
    if framing is LENGTH:
        return b"%b%b%bcontent-length: %d\r\n\r\n" % (start, lines, connection, length)
    if framing is CHUNKED:
        return b"%b%b%btransfer-encoding: chunked\r\n\r\n" % (start, lines, connection)
    return b"%b%b%b\r\n" % (start, lines, connection)


def json_answer(status: int, lines: bytes, body: bytes, *, keep_alive: bool, with_body: bool = True) -> bytes:
    """Bytes of a whole answer of our own."""
    head = head_out(status, b"content-type: application/json\r\n" + lines, LENGTH, len(body), keep_alive=keep_alive)
    return head + body if with_body else head
