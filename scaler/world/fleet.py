"""The replicas of one endpoint: placed from the stock, booted, drained, and billed."""

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import log

from scaler.settings import WorldSettings
from scaler.world.agenda import Agenda
from scaler.world.billing import Bill, run_bill
from scaler.world.catalog import Hardware
from scaler.world.replica import Performance, Replica, ReplicaState
from scaler.world.stock import Stock

HISTORY = 200
"""Replicas that a fleet remembers, past ones included."""


@dataclass(slots=True)
class Site:
    """What all endpoints of a world share.

    ``released`` is called with the id of hardware that became free, and when; ``cold_start_factor`` multiplies coming cold starts.
    """

    settings: WorldSettings
    agenda: Agenda
    stock: Stock
    released: Callable[[str, float], None]
    cold_start_factor: float = 1.0


class Fleet:
    """Replicas and the events they wait for; what these mean for requests is the endpoint's business."""

    def __init__(
        self,
        hardware: Hardware,
        zones: tuple[str, ...],
        site: Site,
        seed: str,
        *,
        booted: Callable[[Replica, float], None],
        reached: Callable[[Replica, float], None],
    ) -> None:
        """``booted`` hears of the end of each cold start, ``reached`` of each milestone; ``seed`` decides how long cold starts take.

        Replicas stand in ``zones``; none named = anywhere.
        """
        self.replicas: list[Replica] = []
        self.history: deque[Replica] = deque(maxlen=HISTORY)
        self._hardware = hardware
        self._zones = zones
        self._site = site
        self._random = random.Random(seed)
        self._performance = Performance.of(site.settings.replica, hardware)
        self._booted = booted
        self._reached = reached
        self._placed = 0
        self._closed = Bill()

    def count(self, state: ReplicaState) -> int:
        """Replicas in this state."""
        return sum(replica.state is state for replica in self.replicas)

    @property
    def size(self) -> int:
        """Replicas that serve or will: starting and ready."""
        return len(self.replicas) - self.count(ReplicaState.DRAINING)

    @property
    def free(self) -> int:
        """How many more the stock would give."""
        return self._site.stock.free(self._hardware.id, self._zones)

    def least_loaded(self) -> Replica | None:
        """Where the next request goes: the ready replica with the fewest in flight; None when all are full."""
        best: Replica | None = None
        for replica in self.replicas:
            if replica.has_room and (best is None or replica.in_flight < best.in_flight):
                best = replica
        return best

    def bill(self, now: float) -> Bill:
        """What all runs cost up to ``now``, present ones included."""
        return sum((self._run_bill(replica, now) for replica in self.replicas), self._closed)

    def place(self, now: float) -> None:
        """Take one from the stock and let it boot for a log-normal time."""
        cold_start = self._site.settings.cold_start
        seconds = self._site.cold_start_factor * self._random.lognormvariate(log(cold_start.median_seconds), cold_start.sigma)
        zone = self._site.stock.take(self._hardware.id, self._zones)
        self._placed += 1
        replica = Replica(self._placed, self._performance, placed_at=now, ready_at=now + seconds, zone=zone)
        replica.due = self._site.agenda.add(replica.ready_at, partial(self._booted, replica))
        self.replicas.append(replica)
        self.history.append(replica)

    def skip_cold_starts(self, now: float) -> None:
        """Whatever boots is done with it ``now``."""
        for replica in self.replicas:
            if replica.state is ReplicaState.STARTING:
                self._site.agenda.cancel(replica.due)
                replica.ready_at = now
                replica.due = self._site.agenda.add(now, partial(self._booted, replica))

    def shed(self, surplus: int, now: float) -> None:
        """Take replicas away: starting ones first, newest first; then drain the least loaded."""
        starting = [replica for replica in reversed(self.replicas) if replica.state is ReplicaState.STARTING]
        ready = sorted((replica for replica in self.replicas if replica.state is ReplicaState.READY), key=lambda replica: replica.in_flight)
        for replica in [*starting, *ready][:surplus]:
            replica.state = ReplicaState.DRAINING
            if not replica.in_flight:
                self.release(replica, now)

    def release(self, replica: Replica, now: float) -> None:
        """Close its bill and give the hardware back."""
        self._site.agenda.cancel(replica.due)
        self._closed += self._run_bill(replica, now)
        replica.released_at = now
        self.replicas.remove(replica)
        self._site.stock.give(self._hardware.id, replica.zone)
        self._site.released(self._hardware.id, now)

    def plan(self, replica: Replica) -> None:
        """Put the replica's next milestone on the agenda, in place of the one it waited for."""
        self._site.agenda.cancel(replica.due)
        due = replica.next_due()
        replica.due = None if due is None else self._site.agenda.add(due, partial(self._reached, replica))

    def _run_bill(self, replica: Replica, now: float) -> Bill:
        start = replica.ready_at if self._site.settings.billing_from == "ready" else replica.placed_at
        return run_bill(self._hardware.cents_per_minute, start, now)
