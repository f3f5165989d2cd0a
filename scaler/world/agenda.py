"""What is going to happen, in time order: the calendar of events that the whole world shares."""

import heapq
import itertools
from collections.abc import Callable

Action = Callable[[float], None]
"""What an event does; its argument is the event's own time in seconds."""

COMPACT_FROM = 256
"""In a shorter calendar nobody cares how many entries are dead."""


class Event:
    """A promise to act at ``at`` seconds; `Agenda.cancel` takes it back."""

    __slots__ = ("action", "at", "live")

    def __init__(self, at: float, action: Action) -> None:
        """Made by `Agenda.add` only."""
        self.at = at
        self.action = action
        self.live = True


class Agenda:
    """Events in time order; those of one instant in the order in which they were added."""

    def __init__(self) -> None:
        """Nothing is planned."""
        self._heap: list[tuple[float, int, Event]] = []
        self._order = itertools.count()
        self._dead = 0

    def add(self, at: float, action: Action) -> Event:
        """Plan ``action`` for ``at`` seconds."""
        event = Event(at, action)
        heapq.heappush(self._heap, (at, next(self._order), event))
        return event

    def cancel(self, event: Event | None) -> None:
        """Take an event back; harmless for None and for one that has happened or was cancelled before."""
        if event is None or not event.live:
            return
        event.live = False
        self._dead += 1
        if len(self._heap) >= COMPACT_FROM and self._dead * 2 > len(self._heap):
            self._heap = [entry for entry in self._heap if entry[2].live]
            heapq.heapify(self._heap)
            self._dead = 0

    def next(self) -> float | None:
        """When the next event is due, in seconds; None = never."""
        heap = self._heap
        while heap and not heap[0][2].live:
            heapq.heappop(heap)
            self._dead -= 1
        return heap[0][0] if heap else None

    def pop(self) -> Event:
        """Take the next event off; `next` must have said that there is one."""
        _, _, event = heapq.heappop(self._heap)
        event.live = False
        return event
