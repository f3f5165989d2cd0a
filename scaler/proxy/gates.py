"""All gates: one for each route, whatever becomes of the table; who probes behind those in doubt; and which of a pool is taken."""

import asyncio
from collections.abc import Callable, Mapping

from scaler.proxy.gate import Gate
from scaler.proxy.meter import Meter
from scaler.proxy.probe import READ_AND_REFUSED, SUCCESS, probe
from scaler.proxy.readings import GateReading
from scaler.proxy.routes import Route, RouteTable, Standing
from scaler.proxy.upstream import Pool


class Gates:
    """Bounded by the configuration, as the meter is."""

    def __init__(
        self, meter: Meter, pool: Pool, request_starts: Mapping[bytes, bytes], *, speed: float, on_call: Callable[[str], None]
    ) -> None:
        """``speed``: seconds of the meter's clock per real second; ``on_call`` is told the key of an endpoint that has to be woken."""
        self.speed = speed
        self._meter = meter
        self._pool = pool
        self._request_starts = request_starts
        self._on_call = on_call
        self._table = RouteTable()
        self.by_key: dict[str, Gate] = {}
        """Those of all routes that some table named."""
        self._probing: dict[str, asyncio.Task[None]] = {}

    def __getitem__(self, key: str) -> Gate:
        """The gate of a route that some table named."""
        return self.by_key[key]

    def __contains__(self, key: object) -> bool:
        """Whether some table named this route."""
        return key in self.by_key

    def use(self, table: RouteTable) -> None:
        """Every gate learns what the table knows; whoever waits at one that is gone is let go to where it led."""
        fresh = {route.key: route for route in table.routes}
        for key, gate in self.by_key.items():
            gate.use(fresh.pop(key) if key in fresh else gate.route.unknown())
        for key, route in fresh.items():
            self.by_key[key] = Gate(route, self._meter.route(key), self._on_call, self._doubt, self._serves)
        self._table = table

    def choose(self, table: RouteTable, pool: str) -> Route | None:
        """The one of a pool's routes that has the most room: ready ones in good health, weighed by capacity; if all look bad, any.

        If none is ready, the one that is nearest to it, the first in the table among equals. None where there is no such pool.
        """
        gates = [self.by_key[route.key] for route in table.pools.get(pool, ())]
        if not gates:
            return None
        ready = [gate for gate in gates if gate.proven]
        if not ready:
            return max(gates, key=_nearness).route
        now = self._meter.other.monotonic()
        return min([gate for gate in ready if gate.health.is_good(now)] or ready, key=lambda gate: gate.load).route

    def find(self, name: str) -> Route | None:
        """The route, or the best of the pool, that is called so; None where it must be a model of the upstream's own."""
        return self._table.find(name) or self.choose(self._table, name)

    def read(self) -> dict[str, GateReading]:
        """The figures of every gate that there ever was."""
        return {key: gate.read() for key, gate in self.by_key.items()}

    def close(self) -> None:
        """Probe no more."""
        for task in tuple(self._probing.values()):
            task.cancel()

    def _serves(self, name: str) -> bool:
        """Whether a request for it can be answered at once, as far as can be known here."""
        route = self.find(name)
        return route is None or self.by_key[route.key].proven

    def _doubt(self, gate: Gate) -> None:
        """Probe until the doubt is gone; one prober for a gate."""
        key = gate.route.key
        if key not in self._probing:
            self._probing[key] = asyncio.get_running_loop().create_task(self._probe(key, gate))

    async def _probe(self, key: str, gate: Gate) -> None:
        """Ask for whatever clients have asked for, one after another: a chat model has no embeddings, and somebody may ask for them."""
        try:
            while gate.in_doubt:
                path = gate.paths[0]
                gate.paths.rotate(-1)
                status = await probe(self._pool, self._request_starts[path], path, gate.route.model)
                if status in SUCCESS or (status in READ_AND_REFUSED and gate.is_said_ready):
                    gate.prove()
                    return
                await asyncio.sleep(gate.route.wake.probe_seconds / self.speed)
        finally:
            del self._probing[key]


def _nearness(gate: Gate) -> Standing:
    """How near an endpoint is that does not serve yet."""
    return gate.route.readiness.standing if gate.route.readiness is not None else Standing.ASLEEP
