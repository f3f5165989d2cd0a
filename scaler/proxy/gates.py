"""All gates: one for each route, whatever becomes of the table; who probes behind those in doubt; and which of a pool is taken."""

import asyncio
from collections.abc import Callable, Mapping

from scaler.proxy.gate import Gate
from scaler.proxy.meter import Meter
from scaler.proxy.probe import READ_AND_REFUSED, SUCCESS, probe
from scaler.proxy.readings import GateReading
from scaler.proxy.routes import RouteTable, Standing
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
        self.table = RouteTable()
        """The one in force."""
        self._gates: dict[str, Gate] = {}  # by key, of all routes that some table named
        self._by_name: dict[str, Gate] = {}
        self._probing: dict[str, asyncio.Task[None]] = {}

    def __getitem__(self, key: str) -> Gate:
        """The gate of a route that some table named."""
        return self._gates[key]

    def __contains__(self, key: object) -> bool:
        """Whether some table named this route."""
        return key in self._gates

    def use(self, table: RouteTable) -> None:
        """Every gate learns what the table knows; whoever waits at one that is gone is let go to where it led."""
        fresh = {route.key: route for route in table.routes}
        for key, gate in self._gates.items():
            gate.use(fresh.pop(key) if key in fresh else gate.route.unknown())
        for key, route in fresh.items():
            self._gates[key] = Gate(route, self._meter.route(key), self._on_call, self._doubt, self._serves)
        self.table = table
        self._by_name = {name: self._gates[route.key] for name, route in table.by_name.items()}

    @property
    def retries_refused(self) -> int:
        """Retries that were not affordable."""
        return sum(gate.retry_budget.refused for gate in self._gates.values())

    def find(self, name: str) -> Gate | None:
        """The gate of the route, or of the best of the pool, that is called so; None where there is none."""
        return self._by_name.get(name) or self._choose(name)

    def read(self) -> dict[str, GateReading]:
        """The figures of every gate that there ever was."""
        return {key: gate.read() for key, gate in self._gates.items()}

    def close(self) -> None:
        """Probe no more."""
        for task in tuple(self._probing.values()):
            task.cancel()

    def _choose(self, pool: str) -> Gate | None:
        """The one of a pool's that has the most room: ready ones in good health, weighed by capacity; if all look bad, any.

        If none is ready, the one that is nearest to it, the first in the table among equals. None where there is no such pool.
        """
        gates = [self._gates[route.key] for route in self.table.pools.get(pool, ())]
        if not gates:
            return None
        ready = [gate for gate in gates if gate.proven]
        if not ready:
            return max(gates, key=_nearness)
        now = self._meter.other.monotonic()
        return min([gate for gate in ready if gate.health.is_good(now)] or ready, key=lambda gate: gate.load)

    def _serves(self, name: str) -> bool:
        """Whether a request for it can be answered at once, as far as can be known here; a name not known is the upstream's own model."""
        gate = self.find(name)
        return gate is None or gate.proven

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
