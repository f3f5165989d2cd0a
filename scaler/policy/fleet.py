"""How many replicas serve, how many are on their way, and how many do not come.

A provider that tells is believed: of the replicas it wants, those that are not ready are starting, but for the ones it says it has no
hardware for. Together v1 does not tell, so the count is tracked: replicas follow the lower bound, an added one
serves after the cold start, a removed one is gone at once. STARTED proves one ready replica, no more.
"""

from dataclasses import dataclass

from scaler.model import Endpoint, EndpointState

RUNNING = frozenset({EndpointState.PENDING, EndpointState.STARTING, EndpointState.STARTED})


@dataclass(frozen=True, slots=True)
class Fleet:
    """Replicas ready, and for each one on its way the monotonic second at which it should serve (earliest first).

    ``missing``: asked for, but without hardware; they come when the provider finds some, nobody knows when.
    """

    ready: int = 0
    due: tuple[float, ...] = ()
    missing: int = 0

    @property
    def starting(self) -> int:
        """Replicas on their way."""
        return len(self.due)

    @property
    def total(self) -> int:
        """Replicas asked for: ready, starting and missing."""
        return self.ready + self.starting + self.missing


def track(before: Fleet | None, endpoint: Endpoint, *, cold_start: float, now: float) -> Fleet:
    """The fleet behind ``endpoint`` at ``now``, given what it was. ``before`` None: first sight, what runs is taken as ready."""
    if endpoint.state not in RUNNING:
        return Fleet()
    wanted = endpoint.bounds.min_replicas
    if endpoint.ready_replicas is not None:
        return _told(before, endpoint, endpoint.ready_replicas, latest=now + cold_start)
    if before is None:
        return Fleet(wanted) if endpoint.state is EndpointState.STARTED else Fleet(0, (now + cold_start,) * wanted)
    if endpoint.state is not EndpointState.STARTED:
        return Fleet(0, _due(before, wanted, now + cold_start))
    ready = before.ready + sum(1 for due in before.due if due <= now)
    ready = min(wanted, max(1, ready))
    late = Fleet(ready, tuple(due for due in before.due if due > now))
    return Fleet(ready, _due(late, wanted - ready, now + cold_start))


def _told(before: Fleet | None, endpoint: Endpoint, ready: int, *, latest: float) -> Fleet:
    """As the provider says. Its own wish may lag behind the bounds that it was just given; it will come to lie between them."""
    low, high = endpoint.bounds.min_replicas, endpoint.bounds.max_replicas
    desired = low if endpoint.desired_replicas is None else min(max(endpoint.desired_replicas, low), high)
    short = max(0, desired - ready)
    missing = min(endpoint.missing_replicas, short)
    return Fleet(ready, _due(before, short - missing, latest), missing)


def _due(before: Fleet | None, starting: int, latest: float) -> tuple[float, ...]:
    """``starting`` due times: those known already, new ones due at ``latest``; the newest are cancelled first."""
    known = before.due if before else ()
    return known[:starting] + (latest,) * (starting - len(known))
