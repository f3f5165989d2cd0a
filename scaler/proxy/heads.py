"""Heads that can be trusted: what they say of the message, and the lines of them that pass.

No head is ever relayed: the lines that pass are picked one by one, and framing, Host and Authorization are always written anew. What a
proxy demands beyond the grammar is checked here. Lines and requests' heads that were understood are remembered, because most are the same.
"""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Final

from scaler.proxy.errors import Refusal
from scaler.proxy.http1 import FIELD, REQUEST_LINE, STATUS_LINE, Framing, TooLargeError

MAX_FIELDS: Final = 128
"""Most header fields in a head, either way."""
_MAX_LENGTH_DIGITS: Final = 18
_MAX_LINES: Final = 1024
_MAX_LINE_BYTES: Final = 256
_MAX_HEADS: Final = 256
MAX_KNOWN_BYTES: Final = 2048
"""Bounds of what is remembered."""

_LENGTH: Final = b"\r\nContent-Length: "
_HOST: Final = re.compile(rb"(?:[A-Za-z0-9._~%!$&'()*+;=-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
_PERSISTENCE: Final = frozenset({b"close", b"keep-alive"})
_FRAMING: Final = frozenset({b"connection", b"content-length", b"transfer-encoding"})
_HOP_BY_HOP: Final = frozenset({b"keep-alive", b"proxy-connection", b"te", b"trailer", b"upgrade"})

_REQUEST_NOTED: Final = _FRAMING | {b"host", b"expect", b"authorization", b"x-scaler-wake"}
_REQUEST_DROPPED: Final = _HOP_BY_HOP | {b"api-key", b"x-api-key", b"cookie", b"forwarded", b"x-real-ip", b"http2-settings"}
_RESPONSE_NOTED: Final = _FRAMING | {b"content-type", b"content-encoding"}
_RESPONSE_DROPPED: Final = _HOP_BY_HOP | {b"alt-svc", b"set-cookie", b"strict-transport-security"}
"""What speaks of the connection, or of the upstream's own origin, means nothing under ours."""


def _is_dropped_from_requests(name: bytes) -> bool:
    """``x_y`` is: some servers read it as ``x-y``, which we may have checked or dropped."""
    return name in _REQUEST_DROPPED or b"_" in name or name.startswith((b"proxy-", b"x-forwarded-", b"x-scaler-"))


def _is_dropped_from_responses(name: bytes) -> bool:
    return name in _RESPONSE_DROPPED or name.startswith((b"proxy-", b"x-scaler-"))


class _Lines(dict[bytes, tuple[bytes, bytes]]):
    """What becomes of a header line: its name and value where they are noted, else nothing and the line as it passes, empty if dropped.

    Names are in lower case. Bounded; full, it starts anew.
    """

    def __init__(self, noted: frozenset[bytes], is_dropped: Callable[[bytes], bool]) -> None:
        super().__init__()
        self._noted = noted
        self._is_dropped = is_dropped

    def __missing__(self, line: bytes) -> tuple[bytes, bytes]:
        """Of a line not met before; ValueError if it is no field."""
        match = FIELD.fullmatch(line)
        if match is None:
            raise ValueError("a header field is malformed")
        name, value = match[1].lower(), match[2].strip(b" \t")
        passed = b"" if self._is_dropped(name) else b"%b: %b\r\n" % (match[1], value)
        found = (name, value) if name in self._noted else (b"", passed)
        if len(line) <= _MAX_LINE_BYTES:
            if len(self) >= _MAX_LINES:
                self.clear()
            self[line] = found
        return found


_request_lines: Final = _Lines(_REQUEST_NOTED, _is_dropped_from_requests)
_response_lines: Final = _Lines(_RESPONSE_NOTED, _is_dropped_from_responses)


@lru_cache(maxsize=256)
def _tokens(value: bytes) -> frozenset[bytes]:
    """What a Connection field lists, in lower case."""
    return frozenset(token.strip().lower() for token in value.split(b",") if token.strip())


def _sort(lines: list[bytes], known: _Lines) -> tuple[bytes, dict[bytes, bytes], bool]:
    """The lines to pass on; the noted values, repeated ones joined by a comma, as their meaning is; whether the connection closes."""
    if len(lines) > MAX_FIELDS:
        raise TooLargeError(f"a head of more than {MAX_FIELDS} fields")
    passed: list[bytes] = []
    noted: dict[bytes, bytes] = {}
    for line in lines:
        name, text = known[line]
        if name:
            noted[name] = noted[name] + b"," + text if name in noted else text
        else:
            passed.append(text)
    connection = noted.get(b"connection", b"keep-alive")
    if connection == b"keep-alive":
        return b"".join(passed), noted, False
    listed = _tokens(connection)
    if not listed <= _PERSISTENCE:
        passed = [line for line in passed if line.partition(b":")[0].lower() not in listed]
    return b"".join(passed), noted, b"close" in listed


def _framing(noted: dict[bytes, bytes]) -> tuple[Framing, int]:
    """The one way in which a head frames its body, and its length; raises ValueError where it is not clear."""
    length = noted.get(b"content-length")
    if b"transfer-encoding" in noted:
        if length is not None:
            raise ValueError("both Content-Length and Transfer-Encoding frame the body")
        if noted[b"transfer-encoding"].lower() != b"chunked":
            raise ValueError("the only transfer coding is chunked")
        return "chunked", 0
    if length is None:
        return "none", 0
    if not length.isdigit() or len(length) > _MAX_LENGTH_DIGITS:
        raise ValueError("Content-Length is no number")
    return "length", int(length)


class RequestHead:
    """A request's head that passed every check.

    target:             as the client wrote it
    path:               the target without its query, which goes nowhere
    lines:              header lines to pass on, each with its end
    http11:             False for HTTP/1.0, which knows neither chunks nor (here) keep-alive
    expects_continue:   the client waits for ``100 Continue`` before it sends the body
    authorization:      the client's credential, which goes nowhere
    wake:               what the client wants if the endpoint sleeps (``x-scaler-wake``), as it wrote it; empty = nothing said
    """

    def __init__(self, raw: bytes) -> None:
        """From its lines; raises ValueError or `Refusal`: the connection must be closed."""
        lines = raw.split(b"\r\n")
        start = REQUEST_LINE.fullmatch(lines.pop(0))
        if start is None:
            raise ValueError("its first line is malformed")
        self.method, self.target, version = start.groups()
        if version not in (b"1.1", b"1.0"):
            raise Refusal("version_not_supported", "Only HTTP/1.1 is spoken here.")
        if not self.target.startswith(b"/"):
            raise ValueError("its target must be a path")
        self.lines, noted, closes = _sort(lines, _request_lines)
        self.framing, self.length = _framing(noted)
        if not _HOST.fullmatch(noted.get(b"host", b"")):
            raise ValueError("it needs exactly one valid Host")
        self.http11 = version == b"1.1"
        if self.framing == "chunked" and not self.http11:
            raise ValueError("HTTP/1.0 knows no chunks")
        if noted.get(b"expect", b"100-continue").lower() != b"100-continue":
            raise Refusal("expectation_failed", "The only expectation that can be met is 100-continue.")
        self.path = self.target.partition(b"?")[0]
        self.keep_alive = self.http11 and not closes
        self.expects_continue = self.http11 and b"expect" in noted
        self.authorization = noted.get(b"authorization", b"")
        self.wake = noted.get(b"x-scaler-wake", b"")
        before, name, after = raw.partition(_LENGTH)
        self._before = before + name if name and self.method != b"HEAD" else b""
        self._after = after.lstrip(b"0123456789") + b"\r\n\r\n"

    def again(self, data: bytes, limit: int) -> tuple["RequestHead", int, bytes] | None:
        """Itself, if ``data`` begins with the same head in ``limit`` bytes, but for the number in Content-Length; that; what follows."""
        start = len(self._before)
        end = data.find(b"\r", start, start + _MAX_LENGTH_DIGITS + 1) if start and data.startswith(self._before) else -1
        digits, size = data[start : max(start, end)], end + len(self._after)
        known = digits.isdigit() and size <= limit and data.startswith(self._after, end)
        return (self, int(digits), data[size:]) if known else None


def request_head(raw: bytes) -> tuple[RequestHead, int]:
    """A request's head from its lines, and its Content-Length, 0 where it has none; raises as `RequestHead`.

    With other digits for Content-Length a head means the same but for the length, so it is remembered without them.
    """
    before, name, after = raw.partition(_LENGTH)
    digits, end, rest = after.partition(b"\r\n")
    if not digits.isdigit() or len(digits) > _MAX_LENGTH_DIGITS or len(raw) > MAX_KNOWN_BYTES:
        head = RequestHead(raw)
        return head, head.length
    return _head(before + name + b"0" + end + rest), int(digits)


_head: Final = lru_cache(_MAX_HEADS)(RequestHead)


class ResponseHead:
    """An answer's head that passed every check; interim ones (1xx) end with it.

    lines:      header lines to pass on, each with its end
    reusable:   the upstream will take another request on this connection
    streamed:   server-sent events
    readable:   not compressed
    """

    def __init__(self, raw: bytes) -> None:
        """From its lines; raises ValueError where it cannot be trusted."""
        lines = raw.split(b"\r\n")
        http11, self.status = _status(lines.pop(0))
        passed, noted, closes = _sort(lines, _response_lines)
        content, self.streamed, self.readable = _content(noted.get(b"content-type"), noted.get(b"content-encoding"))
        self.lines = passed + content
        self.framing, self.length = _framing(noted)
        if self.status < 200 or self.status in (204, 304):  # noqa: PLR2004 (interim)
            self.framing, self.length = "none", 0
        elif self.framing == "none":
            self.framing = "eof"
        self.reusable = http11 and self.framing != "eof" and not closes


@lru_cache(maxsize=64)
def _status(line: bytes) -> tuple[bool, int]:
    """Whether it is HTTP/1.1, and the status."""
    match = STATUS_LINE.fullmatch(line)
    if match is None:
        raise ValueError("its first line is malformed")
    version, status = match[1], int(match[2])
    if not 100 <= status <= 599:  # noqa: PLR2004 (the status classes)
        raise ValueError(f"status {status}")
    if version not in (b"1.1", b"1.0"):
        raise ValueError(f"HTTP/{version.decode()}")
    return version == b"1.1", status


@lru_cache(maxsize=64)
def _content(kind: bytes | None, coding: bytes | None) -> tuple[bytes, bool, bool]:
    """Lines that say what the body is; whether it is server-sent events; whether it can be read as it is."""
    named = ((b"content-type", kind), (b"content-encoding", coding))
    lines = b"".join(b"%b: %b\r\n" % (name, value) for name, value in named if value is not None)
    return lines, (kind or b"").lower().startswith(b"text/event-stream"), (coding or b"identity").lower() == b"identity"
