"""HTTP/1.1 as bytes: the grammar of a head, a reader that finds heads in what comes in, and the heads that go out.

The grammar is that of RFC 9110 and 9112, written down here as three expressions; what they do not match is no head.
"""

import re
from http import HTTPStatus
from typing import Final, Literal

Framing = Literal["none", "length", "chunked", "eof"]
"""How a body ends."""

REQUEST_LINE: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([!-~]+) HTTP/([0-9]\.[0-9])")
STATUS_LINE: Final = re.compile(rb"HTTP/([0-9]\.[0-9]) ([0-9]{3})(?: [\t -~\x80-\xff]*)?")
FIELD: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):([\t -~\x80-\xff]*)")
_PART_OF_HEAD: Final = re.compile(rb"(?:[\t -~\x80-\xff]++|\r\n)*+\r?")
_EMPTY_LINES: Final = re.compile(rb"(?:\r\n)*+")

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
LAST_CHUNK: Final = b"0\r\n\r\n"
_SIZE_LINES: Final = [b"%x\r\n" % size for size in range(2048)]
"""How chunks of these sizes begin."""
_STATUS_LINES: Final = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}


class TooLargeError(ValueError):
    """More than a head, or what frames a body, may have."""


class HeadReader:
    """Collects a head from what is read, and gives up early on what cannot become one."""

    __slots__ = ("_first", "_limit", "_skipped", "seen")

    def __init__(self, first: re.Pattern[bytes], limit: int) -> None:
        """``first``: what the first line must be; ``limit``: most bytes, the blank line among them."""
        self._first = first
        self._limit = limit
        self.seen = bytearray()
        """The part of a head that has come."""
        self._skipped = 0  # bytes of empty lines before it

    @property
    def second_word(self) -> bytes:
        """Of the part that has come: a request's target, as far as it goes."""
        return bytes(self.seen).partition(b"\r\n")[0].split(b" ", 2)[1] if self.seen.count(b" ", 0, 64) else b""

    def feed(self, data: bytes) -> tuple[bytes, bytes] | None:
        """The head's lines and what follows it; None while it is not whole. Raises ValueError."""
        if not self.seen:
            head, end, rest = data.partition(b"\r\n\r\n")
            if end and 0 < len(head) <= self._limit - len(end) and not head.startswith(b"\r"):
                return head, rest
        return self._collect(data)

    def _collect(self, data: bytes) -> tuple[bytes, bytes] | None:
        seen, before = self.seen, len(self.seen)
        seen += data
        if (empty := _EMPTY_LINES.match(seen)) and empty.end():
            del seen[: empty.end()]
            self._skipped += empty.end()
            before = 0
        end = seen.find(b"\r\n\r\n", max(0, before - 3), self._limit)
        if end >= 0:
            self.seen, self._skipped = bytearray(), 0
            return bytes(seen[:end]), bytes(seen[end + 4 :])
        self._check(max(0, before - seen[:before].endswith(b"\r")))
        return None

    def _check(self, start: int) -> None:
        """What is there, from ``start`` on."""
        seen = self.seen
        if len(seen) + self._skipped >= self._limit:
            raise TooLargeError(f"a head of more than {self._limit} bytes")
        line = seen.find(b"\r\n")
        if not _PART_OF_HEAD.fullmatch(seen, start) or (line >= 0 and not self._first.fullmatch(seen, 0, line)):
            raise ValueError("a line of its head is malformed")


def head_out(status: int, lines: bytes, framing: Framing, length: int, *, keep_alive: bool) -> bytes:
    """Bytes of an answer's head with exactly one way to end its body."""
    start = _STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status
    connection = b"" if keep_alive else b"connection: close\r\n"
    if framing == "length":
        return b"%b%b%bcontent-length: %d\r\n\r\n" % (start, lines, connection, length)
    if framing == "chunked":
        return b"%b%b%btransfer-encoding: chunked\r\n\r\n" % (start, lines, connection)
    return b"%b%b%b\r\n" % (start, lines, connection)


def chunk(data: bytes, before: bytes = b"") -> bytes:
    """A chunk of a body, behind what goes ``before`` it; an empty one would be the last."""
    size = len(data)
    return b"".join([before, _SIZE_LINES[size] if size < len(_SIZE_LINES) else b"%x\r\n" % size, data, b"\r\n"])
