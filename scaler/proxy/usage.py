"""Token counts, read from an answer while its bytes pass by.

Guarantees: bounded memory (the last 4 KiB), bytes are neither changed nor held. Not guaranteed: figures for an answer without
``usage`` that is not a stream, or for one that is compressed.
"""

import re
from typing import Final

TAIL_BYTES: Final = 4096
SMALL_BYTES: Final = 512
BUFFER_PIECES: Final = 32
"""What passed by is looked at in batches of so many pieces, or when one is larger than this; so 20 KiB are held at most."""

_USAGE: Final = re.compile(
    rb'"usage"\s*+:\s*+\{(?:\s*+"prompt_tokens"\s*+:\s*+(\d{1,12}+)\s*+,(?:\s*+"total_tokens"\s*+:\s*+\d{1,12}+\s*+,)?\s*+"completion_tokens"\s*+:\s*+(\d{1,12}+))?'
)
"""With both figures where they stand first, as they mostly do."""
_INPUT, _OUTPUT = (re.compile(rb'"%b"\s*:\s*(\d{1,12})' % name) for name in (b"prompt_tokens", b"completion_tokens"))
_TEXTS: Final = (b'content":', b'text":')
"""How a field of text begins, ``reasoning_content`` among them."""


class UsageTap:
    """Sees the bytes of one answer."""

    __slots__ = ("_events", "_streamed", "pieces")

    def __init__(self, *, streamed: bool) -> None:
        """``streamed``: the answer is server-sent events."""
        self._streamed = streamed
        self.pieces: list[bytes] = []
        """What passed by lately. Up to `BUFFER_PIECES` of up to `SMALL_BYTES` may be put here directly."""
        self._events = 0

    def feed(self, data: bytes) -> None:
        """Bytes passed by."""
        pieces = self.pieces
        pieces.append(data)
        if len(data) > TAIL_BYTES or (len(pieces) > 1 and len(data) > SMALL_BYTES) or len(pieces) > BUFFER_PIECES:
            self._trim()

    def usage(self) -> tuple[int, int]:
        """Input and output tokens, as the last ``usage`` says; without one, a stream's events that carried text count as output."""
        tail = b"".join(self.pieces)
        at = len(tail)
        while (at := tail.rfind(b'"usage"', 0, at)) >= 0:
            found = _USAGE.match(tail, at)
            if found is None:
                continue
            asked, answered = found.groups()
            if asked is None:
                return _tokens(_INPUT.search(tail, at)), _tokens(_OUTPUT.search(tail, at))
            return int(asked), int(answered)
        return 0, self._events + _texts(tail) if self._streamed else 0

    def _trim(self) -> None:
        """Forget all but the tail, cut between events where that can be."""
        tail = b"".join(self.pieces)
        cut = max(0, tail.rfind(b"\n", 0, -TAIL_BYTES) + 1 or len(tail) - TAIL_BYTES)
        if self._streamed:
            self._events += _texts(tail[:cut])
        self.pieces = [tail[cut:]]


def _texts(events: bytes) -> int:
    """Fields that carry text, and not an empty one."""
    count = 0
    for name in _TEXTS:
        fields = events.count(name)
        for text in (name + b'"', name + b' "') if fields else ():
            found = events.count(text)
            count += found - events.count(text + b'"') if found else 0
            fields -= found
            if not fields:
                break
    return count


def _tokens(found: re.Match[bytes] | None) -> int:
    return int(found[1]) if found else 0
