"""The world's own routes under ``/x/``, which no provider has: look inside, break things, change the speed of time."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from scaler.clock import ScaledClock
from scaler.settings import FaultsSettings, PlatformFaultSettings
from scaler.world.endpoint import Endpoint
from scaler.world.faults import Faults, put_all
from scaler.world.live import World
from scaler.world.refusals import Invalid
from scaler.world.replica import ReplicaState
from scaler.world.wire import read_as

MAX_BODY_BYTES = 64 * 1024


class _Clock(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    speed: Annotated[float, Field(gt=0, le=100_000)]


class Control:
    """The handlers, and the faults they have set."""

    def __init__(self, world: World) -> None:
        """Begins with the faults of the world's settings. Raises `Refused` when these contradict the catalog."""
        self._world = world
        self.faults = Faults(world.settings.seed)
        self._apply(world.settings.faults)
        self.routes = [
            Route("/x/status", self._status, methods=["GET"]),
            Route("/x/faults", self._set_faults, methods=["POST"]),
            Route("/x/clock", self._set_speed, methods=["POST"]),
        ]

    async def _status(self, _: Request) -> Response:
        now = self._world.catch_up()
        total = self._world.platform.total(now)
        return JSONResponse(
            {
                "now": self._world.unix(now),
                "speed": self._world.clock.speed,
                "cost_dollars": total.dollars,
                "replica_hours": total.replica_seconds / 3600,
                "endpoints": [_inside(endpoint, now) for endpoint in self._world.platform.endpoints],
            }
        )

    async def _set_faults(self, request: Request) -> Response:
        wanted = await read_as(FaultsSettings, request.receive, MAX_BODY_BYTES)
        self._apply(wanted)
        return JSONResponse(wanted.model_dump(mode="json", exclude_unset=True))

    def _apply(self, wanted: FaultsSettings) -> None:
        """Faults of the platform first: these can be refused, and then those of the face stay as they were."""
        now = self._world.now()
        self._break_platform(wanted.platform, now)
        put_all(self.faults, wanted, now)

    def _break_platform(self, wanted: PlatformFaultSettings, now: float) -> None:
        platform = self._world.platform
        for hardware_id, replicas in wanted.stock.items():
            platform.set_stock(hardware_id, replicas, now)
        for endpoint_id, count in wanted.fail_starts.items():
            platform.fail_next_starts(endpoint_id, count, now)
        if wanted.slow_starts is not None:
            platform.slow_starts(wanted.slow_starts)
        if wanted.lose_replica is not None:
            platform.lose_replica(wanted.lose_replica, now)
        self._world.poke()

    async def _set_speed(self, request: Request) -> Response:
        wanted = await read_as(_Clock, request.receive, MAX_BODY_BYTES)
        if not isinstance(self._world.clock, ScaledClock):
            raise Invalid("This world lives in real time; its clock has no speed to set")
        self._world.clock.set_speed(wanted.speed)
        return JSONResponse({"speed": wanted.speed})


def _inside(endpoint: Endpoint, now: float) -> dict[str, Any]:
    """Everything that the provider's API does not tell."""
    bill = endpoint.bill(now)
    return {
        "id": endpoint.identity.id,
        "name": endpoint.identity.name,
        "state": endpoint.state,
        "min_replicas": endpoint.bounds.min_replicas,
        "max_replicas": endpoint.bounds.max_replicas,
        "desired_replicas": endpoint.desired,
        "inactive_timeout_minutes": endpoint.inactive_timeout_minutes,
        "ready": endpoint.fleet.count(ReplicaState.READY),
        "starting": endpoint.fleet.count(ReplicaState.STARTING),
        "draining": endpoint.fleet.count(ReplicaState.DRAINING),
        "in_flight": endpoint.in_flight,
        "queued": len(endpoint.queue),
        "requests": endpoint.requests,
        "cost_dollars": bill.dollars,
        "replica_hours": bill.replica_seconds / 3600,
    }
