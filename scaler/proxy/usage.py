"""Token counts, read from an answer while its bytes pass by.

Guarantees: bounded memory (the last 4 KiB), bytes are neither changed nor held. Not guaranteed: figures for an answer without
``usage`` that is not a stream, or for one that is compressed.
"""

import re
from typing import NamedTuple

TAIL_BYTES = 4096
BUFFER_BYTES = 4 * TAIL_BYTES
BUFFER_PIECES = 128
"""What passed by is looked at in batches of this size, or of so many pieces."""

_USAGE = re.compile(
    rb'"usage"\s*:\s*\{(?:\s*"prompt_tokens"\s*:\s*(\d{1,12})\s*,(?:\s*"total_tokens"\s*:\s*\d{1,12}\s*,)?\s*"completion_tokens"\s*:\s*(\d{1,12}))?'
)
"""With both figures where they stand first, as they mostly do."""
_INPUT, _OUTPUT = (re.compile(rb'"%b"\s*:\s*(\d{1,12})' % name) for name in (b"prompt_tokens", b"completion_tokens"))
_TEXTS = (b'content":"', b'content": "', b'text":"', b'text": "')
"""How a field of text begins, ``reasoning_content`` among them."""


class Usage(NamedTuple):
    """Tokens of one answer."""

    input_tokens: int = 0
    output_tokens: int = 0


NO_USAGE = Usage()


class UsageTap:
    """Sees the bytes of one answer."""

    __slots__ = ("_events", "_pieces", "_size", "_streamed")

    def __init__(self, *, streamed: bool) -> None:
        """``streamed``: the answer is server-sent events."""
        self._streamed = streamed
        self._pieces: list[bytes] = []  # what passed by lately, joined when it is looked at
        self._size = 0
        self._events = 0

    def feed(self, data: bytes) -> None:
        """Bytes passed by."""
        self._pieces.append(data)
        self._size += len(data)
        if self._size > BUFFER_BYTES or len(self._pieces) > BUFFER_PIECES:
            self._trim()

    def usage(self) -> Usage:
        """What the answer's last ``usage`` says; without one, a stream's events that carried text count as output tokens."""
        tail = b"".join(self._pieces)
        at = len(tail)
        while (at := tail.rfind(b'"usage"', 0, at)) >= 0:
            found = _USAGE.match(tail, at)
            if found is not None and found[1]:
                return Usage(int(found[1]), int(found[2]))
            if found is not None:
                return Usage(_tokens(_INPUT.search(tail, at)), _tokens(_OUTPUT.search(tail, at)))
        return Usage(0, self._events + _texts(tail) if self._streamed else 0)

    def _trim(self) -> None:
        """Forget all but the tail, cut between events where that can be."""
        tail = b"".join(self._pieces)
        cut = max(0, tail.rfind(b"\n", 0, -TAIL_BYTES) + 1 or len(tail) - TAIL_BYTES)
        if self._streamed:
            self._events += _texts(tail[:cut])
        self._pieces = [tail[cut:]]
        self._size = len(tail) - cut


def _texts(events: bytes) -> int:
    """Fields that carry text, and not an empty one."""
    return sum(events.count(text) - events.count(text + b'"') for text in _TEXTS)


def _tokens(found: re.Match[bytes] | None) -> int:
    return int(found[1]) if found else 0
