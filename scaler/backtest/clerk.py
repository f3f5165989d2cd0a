"""The update API of a backtest: a platform in a box in the same process, without HTTP between."""

from collections.abc import Callable
from typing import Literal

from scaler.model import Action, ActionKind, EndpointChange, EndpointState, EndpointWish, Price, Start
from scaler.model import Endpoint as Reading
from scaler.providers.base import OWN, Availability, EndpointSummary, Hardware, Listing, NotFound, Refused
from scaler.world.catalog import HARDWARE, ZONES
from scaler.world.endpoint import Endpoint
from scaler.world.platform import Change, Platform
from scaler.world.refusals import Refused as Declined
from scaler.world.replica import ReplicaState

STATES: dict[ActionKind, Literal["STARTED", "STOPPED"]] = {ActionKind.START: "STARTED", ActionKind.STOP: "STOPPED"}


class Clerk:
    """A `Reader` and a `Writer` for endpoints that exist. What a backtest has no use for (create, change, delete) is refused."""

    def __init__(self, platform: Platform, now: Callable[[], float], *, tells: bool) -> None:
        """``tells``: whether it says how many replicas are ready and how long the idle timeout is, as v2 does and v1 does not."""
        self._platform = platform
        self._now = now
        self._tells = tells

    async def get(self, endpoint_id: str) -> Reading:
        """How it is now."""
        try:
            return self._describe(self._platform.endpoint(endpoint_id, self._now()))
        except Declined as error:
            raise NotFound(str(error), status=404, code=None) from error

    async def apply(self, action: Action) -> Reading:
        """Bounds and timeout, and its state if that is to change."""
        change = Change(
            min_replicas=None if action.kind is ActionKind.STOP else action.bounds.min_replicas,
            max_replicas=None if action.kind is ActionKind.STOP else action.bounds.max_replicas,
            inactive_timeout_minutes=None if action.kind is ActionKind.STOP else action.inactive_timeout_minutes,
            state=STATES.get(action.kind),
        )
        try:
            return self._describe(self._platform.update(action.endpoint_id, change, self._now()))
        except Declined as error:
            raise Refused(str(error), status=400, code=None) from error

    async def hardware(self, model: str | None = None) -> tuple[Hardware, ...]:  # noqa: ARG002 (all of it serves everything here)
        """The world's catalog."""
        return tuple(Hardware(one.id, Price(one.cents_per_minute), Availability.AVAILABLE) for one in HARDWARE.values())

    async def list(self, which: Listing = OWN) -> tuple[EndpointSummary, ...]:  # noqa: ARG002 (all are ours)
        """All endpoints."""
        readings = [self._describe(endpoint) for endpoint in self._platform.endpoints]
        return tuple(EndpointSummary(one.id, one.name, one.model, "dedicated", "", one.state, one.created_at) for one in readings)

    async def zones(self) -> tuple[str, ...]:
        """The world's."""
        return ZONES

    async def starts(self, endpoint_id: str) -> tuple[Start, ...]:  # noqa: ARG002 (of no endpoint)
        """None: they are seen as they happen."""
        return ()

    async def create(self, wish: EndpointWish) -> Reading:
        """Refused."""
        raise Refused(f"a backtest creates nothing, and so not {wish.display_name}", status=405, code=None)

    async def change(self, endpoint_id: str, change: EndpointChange) -> Reading:  # noqa: ARG002 (whatever it is)
        """Refused."""
        raise Refused(f"nobody gives orders by hand in a backtest, and so not for {endpoint_id}", status=405, code=None)

    async def delete(self, endpoint_id: str) -> None:
        """Refused."""
        raise Refused(f"a backtest deletes nothing, and so not {endpoint_id}", status=405, code=None)

    async def close(self) -> None:
        """Nothing is open."""

    def _describe(self, endpoint: Endpoint) -> Reading:
        told = self._tells and endpoint.state is EndpointState.STARTED
        return Reading(
            id=endpoint.identity.id,
            name=endpoint.identity.name,
            model=endpoint.identity.model,
            hardware=endpoint.identity.hardware.id,
            state=endpoint.state,
            bounds=endpoint.bounds,
            ready_replicas=endpoint.fleet.count(ReplicaState.READY) if told else None,
            desired_replicas=endpoint.desired if told else None,
            inactive_timeout_minutes=endpoint.inactive_timeout_minutes if self._tells else None,
            missing_replicas=max(0, endpoint.desired - endpoint.fleet.size) if told else 0,
        )
