"""The world's own routes under ``/x/``, which no provider has: look inside, break things, change the speed of time."""

import math
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from scaler.clock import ScaledClock
from scaler.world.endpoint import Endpoint
from scaler.world.live import World
from scaler.world.refusals import Invalid
from scaler.world.replica import ReplicaState
from scaler.world.wire import read_as

MAX_BODY_BYTES = 64 * 1024
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ManagementFault(_Body):
    """What is wrong with the management API: slow, then an error or nonsense instead of an answer. The call is not carried out."""

    status: Annotated[int, Field(ge=400, le=599)] | None = None
    garbage: bool = False
    delay_seconds: Annotated[float, Field(gt=0, le=86_400)] | None = None

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if self.status is None and not self.garbage and self.delay_seconds is None:
            raise ValueError("expected status, garbage or delay_seconds")
        return self


class Faults(_Body):
    """The faults in force, and for how many clock seconds (default: until replaced)."""

    management: ManagementFault | None = None
    seconds: Positive | None = None


class _Clock(_Body):
    speed: Annotated[float, Field(gt=0, le=100_000)]


class Control:
    """The handlers, and the faults they have set."""

    def __init__(self, world: World) -> None:
        """No faults."""
        self._world = world
        self._faults = Faults()
        self._faults_end = math.inf
        self.routes = [
            Route("/x/status", self._status, methods=["GET"]),
            Route("/x/faults", self._set_faults, methods=["POST"]),
            Route("/x/clock", self._set_speed, methods=["POST"]),
        ]

    @property
    def management_fault(self) -> ManagementFault | None:
        """What is wrong with the management API at this moment."""
        return self._faults.management if self._world.now() < self._faults_end else None

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
        self._faults = await read_as(Faults, request.receive, MAX_BODY_BYTES)
        self._faults_end = math.inf if self._faults.seconds is None else self._world.now() + self._faults.seconds
        return JSONResponse(self._faults.model_dump())

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
