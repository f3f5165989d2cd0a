"""Requests that wait at a gate: first in, first out, bounded by count and by bytes. Their time is bounded by whoever waits."""

from collections import OrderedDict
from typing import Protocol

from scaler.proxy.meter import InFlight


class Held(Protocol):
    """A request that waits."""

    size: int
    """Bytes that it keeps in memory."""
    record: InFlight

    def release(self) -> None:
        """Its turn has come."""


class Hold:
    """The queue. Taking from its head and leaving from anywhere cost the same, however long it is."""

    def __init__(self) -> None:
        """Empty."""
        self.bytes = 0
        self._queue: OrderedDict[Held, None] = OrderedDict()

    def __len__(self) -> int:
        """Requests that wait."""
        return len(self._queue)

    def put(self, held: Held) -> None:
        """To the end; the caller has looked whether there is room."""
        self._queue[held] = None
        self.bytes += held.size

    def take(self) -> Held:
        """The one that has waited longest; KeyError where nobody waits."""
        held, _ = self._queue.popitem(last=False)
        self.bytes -= held.size
        return held

    def drop(self, held: Held) -> None:
        """It gave up; harmless when it does not wait."""
        if held in self._queue:
            del self._queue[held]
            self.bytes -= held.size
