"""Bodies as they come in, one decoder for each way to end them.

A decoder is fed what was read and gives back the payload in it; `complete` says that the body has ended, `excess` what came after it, and
`fault` why it cannot be read, if so. What came before a fault is payload still. A chunk's framing must be exactly as RFC 9112 writes it:
no bare line feed, no space, no size that overflows; trailers are checked and dropped.
"""

import re
from string import hexdigits
from typing import Final

from scaler.proxy.http1 import FIELD, Framing, TooLargeError

_EXTENSION = rb";[!#$%&'*+.^_`|~0-9A-Za-z-]+(?:=(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+|\"(?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*\"))?"
_SIZE: Final = re.compile(rb"0*([0-9A-Fa-f]{1,15})(?:%b)*" % _EXTENSION)
_PART_OF_SIZE: Final = re.compile(rb"[0-9A-Fa-f]*(?:;[\t -~\x80-\xff]*)?\r?")
_PART_OF_TRAILER: Final = re.compile(rb"[\t -~\x80-\xff]*\r?")
_DIGITS: Final = [int(chr(byte), 16) if chr(byte) in hexdigits else -1 for byte in range(256)]
"""What a byte is worth in a size."""
_MOST_DIGITS: Final = 8
"""Of a size that is read without ado."""
_CR: Final = 13
_LF: Final = 10
_FRAMING: Final = frozenset({b"content-length", b"transfer-encoding"})


class Sized:
    """A body of known length."""

    __slots__ = ("_left", "complete", "excess", "fault")

    def __init__(self, length: int) -> None:
        """``length`` in bytes."""
        self._left = length
        self.complete = length == 0
        self.excess = b""
        self.fault: ValueError | None = None

    def feed(self, data: bytes) -> bytes:
        """The payload in what was read."""
        piece, self.excess = data[: self._left], data[self._left :]
        self._left -= len(piece)
        self.complete = not self._left
        return piece


class Unsized:
    """A body that ends with its connection."""

    __slots__ = ()
    complete = False
    excess = b""
    fault = None

    def feed(self, data: bytes) -> bytes:
        """All of it."""
        return data


class Chunked:
    """A body in chunks."""

    __slots__ = ("_at_end", "_left", "_limit", "_overhead", "_rest", "complete", "excess", "fault")

    def __init__(self, limit: int) -> None:
        """``limit``: most bytes of one chunk's framing, and of all trailers together."""
        self._limit = limit
        self._left = 0  # bytes of the chunk that are to come; -1: its line end
        self._rest = b""  # of a line that is not whole yet
        self._overhead = 0  # bytes of trailers
        self._at_end = False  # the last chunk has come
        self.complete = False
        self.excess = b""
        self.fault: ValueError | None = None

    def feed(self, data: bytes) -> bytes:
        """The payload in what was read."""
        if self._rest:
            data, self._rest = self._rest + data, b""
        pieces: list[bytes] = []
        at, length = 0, len(data)
        while at < length and not self.complete and not self.fault:
            begin, end = (0, 0) if self._left or self._at_end else _whole(data, at, length)
            if not end:
                at = self._data(data, at, pieces) if self._left else self._line(data, at)
                continue
            if not at and end + 2 == length:
                return data[begin:end]
            pieces.append(data[begin:end])
            at = end + 2
        if self.complete:
            self.excess = data[at:]
        return b"".join(pieces)

    def _data(self, data: bytes, at: int, pieces: list[bytes]) -> int:
        """Bytes of a chunk, and the line end behind them; returns where it stopped."""
        if self._left > 0:
            piece = data[at : at + self._left]
            pieces.append(piece)
            self._left -= len(piece) if len(piece) < self._left else self._left + 1
            return at + len(piece)
        end = data[at : at + 2]
        if end == b"\r\n":
            self._left = 0
        elif end == b"\r":
            self._rest = end
        else:
            self.fault = ValueError("a chunk is not as long as it says")
        return at + 2

    def _line(self, data: bytes, at: int) -> int:
        """A chunk's size, or a trailer; returns where it stopped."""
        end = data.find(b"\r\n", at)
        length = (end if end >= 0 else len(data)) - at
        if length + self._overhead > self._limit:
            self.fault = TooLargeError(f"a body framed by more than {self._limit} bytes")
        elif end < 0:
            self._rest = data[at:]
            if not (_PART_OF_TRAILER if self._at_end else _PART_OF_SIZE).fullmatch(self._rest):
                self.fault = ValueError("the framing of its body is malformed")
            return len(data)
        elif self._at_end:
            self._trailer(data[at:end])
        elif (size := _size(data[at:end])) is None:
            self.fault = ValueError("a chunk's size cannot be read")
        else:
            self._left, self._at_end = size, size == 0
        return end + 2

    def _trailer(self, line: bytes) -> None:
        self._overhead += len(line) + 2
        if not line:
            self.complete = True
            return
        field = FIELD.fullmatch(line)
        if field is None or field[1].lower() in _FRAMING:
            self.fault = ValueError("its trailers cannot be trusted")


Body = Sized | Unsized | Chunked


def body_of(framing: Framing, length: int, limit: int) -> Body:
    """The decoder for a body of this framing; ``limit`` as of `Chunked`."""
    if framing == "chunked":
        return Chunked(limit)
    return Unsized() if framing == "eof" else Sized(length)


def _whole(data: bytes, at: int, length: int) -> tuple[int, int]:
    """Where the payload begins and ends of the chunk at ``at``, if all of it is here and its size is written plainly, as mostly; or (0, 0).

    Byte by byte, which is next to nothing where it is compiled.
    """
    begin, size = at, 0
    while begin < length and begin - at < _MOST_DIGITS and (digit := _DIGITS[data[begin]]) >= 0:
        size = 16 * size + digit
        begin += 1
    end = begin + 2 + size
    if size and end + 2 <= length and data[begin] == _CR and data[begin + 1] == _LF and data[end] == _CR and data[end + 1] == _LF:
        return begin + 2, end
    return 0, 0


def _size(line: bytes) -> int | None:
    """Of a chunk; None if the line is none that begins a chunk."""
    match = _SIZE.fullmatch(line)
    return int(match[1], 16) if match is not None else None
