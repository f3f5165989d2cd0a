"""What the policy has learned of an endpoint: capacity per replica, cold start, service times; a fold over the inputs of each tick.

What is learned stands in for what the settings leave open: `apply` fills it in, so that whoever decides reads plain numbers.
"""

from dataclasses import dataclass, field, replace

from scaler.model import Endpoint, EndpointState, Inputs, Known, Observation, Sample
from scaler.policy import capacity, cold_start, demand, presence
from scaler.policy.capacity import Capacity, Estimate
from scaler.policy.cold_start import PLANNED, ColdStart, Distribution
from scaler.policy.demand import Demand, Load
from scaler.policy.fleet import Fleet
from scaler.policy.presence import Presence
from scaler.settings import EndpointSettings

REFRESH_SECONDS = 300.0
"""Capacity is estimated anew this often; it takes a millisecond or two."""
LOADS_SECONDS = 60.0
"""Loads are kept for this long."""
AFTERMATH = 2.0
"""Times what an answer takes on the mean: hardly one took longer."""


@dataclass(frozen=True, slots=True)
class Learned:
    """All that has been learned, monotonic seconds. A fresh one knows nothing, and the settings' figures stand.

    starts:    how long cold starts take; None before the first tick
    estimate:  capacity as last estimated, at ``estimated_at``; None before the first time
    serving:   replicas that were ready at the last tick, and since when; None if that was not certain
    loads:     of the last minute, oldest first
    """

    capacity: Capacity = field(default_factory=Capacity)
    cold_start: ColdStart = field(default_factory=ColdStart)
    demand: Demand = field(default_factory=Demand)
    presence: Presence = field(default_factory=Presence)
    starts: Distribution | None = None
    estimate: Estimate | None = None
    estimated_at: float = float("-inf")
    serving: int | None = None
    serving_since: float = float("-inf")
    loads: tuple[Load, ...] = ()

    def per_replica(self, settings: EndpointSettings) -> float:
        """Requests in flight that a replica serves well: as configured, or as far as it is known."""
        policy = settings.policy
        return self.estimate.concurrency if policy.target_concurrency == "auto" and self.estimate is not None else policy.per_replica

    def lead(self, settings: EndpointSettings) -> Distribution:
        """How long cold starts take, as far as it is known."""
        return self.starts or cold_start.estimate(self.cold_start, settings.policy.cold_start_seconds)

    def offered(self, since: float) -> float | None:
        """Mean of what was offered in samples that ended after ``since``, in replicas; None without any."""
        recent = [load.offered for load in self.loads if load.end > since]
        return sum(recent) / len(recent) if recent else None


def apply(learned: Learned, settings: EndpointSettings) -> EndpointSettings:
    """The settings with what was learned in place of what they leave to it."""
    known = {"target_concurrency": learned.per_replica(settings), "cold_start_seconds": learned.lead(settings).quantile(PLANNED)}
    filled: dict[str, object] = {"policy": settings.policy.model_copy(update=known)}
    if settings.idle.inactive_timeout_minutes == "auto":
        timer = presence.timer_for(learned.presence, settings)
        filled["idle"] = settings.idle.model_copy(update={"inactive_timeout_minutes": timer})
    return settings.model_copy(update=filled)


def observe(learned: Learned, settings: EndpointSettings, inputs: Inputs, fleet: Fleet | None) -> Learned:
    """Take note of one tick's inputs; ``fleet`` is what was believed to run before it."""
    seen = inputs.endpoint
    serving = _serving(seen, fleet)
    steady, since = (serving, learned.serving_since) if serving == learned.serving else (None, inputs.now)
    known, starts = _observe_starts(learned, settings, inputs)
    ready = isinstance(seen, Known) and seen.value.state is EndpointState.STARTED and (fleet is None or fleet.ready > 0)
    met = presence.observe(learned.presence, settings, inputs, lead_seconds=starts.quantile(PLANNED), ready=ready)
    learned = replace(learned, cold_start=known, starts=starts, presence=met, serving=serving, serving_since=since)
    if not isinstance(inputs.sample, Known) or not isinstance(seen, Known):
        return learned
    return _observe_traffic(learned, settings, inputs.sample.value, Serving(seen.value.hardware, steady, since), inputs.now)


@dataclass(frozen=True, slots=True)
class Serving:
    """What has served a sample: replicas of this hardware; None: their number changed, or is not certain.

    since: monotonic second since which they are so many
    """

    hardware: str
    replicas: int | None
    since: float = float("-inf")

    def all_of(self, sample: Sample) -> int | None:
        """The replicas, if they have served all of the requests that the sample saw the end of.

        A queue that others have left behind says nothing of those that work it off.
        """
        took = AFTERMATH * sample.latency_sum / sample.latency_count if sample.latency_count else 0.0
        return self.replicas if sample.start - took >= self.since else None


def _observe_starts(learned: Learned, settings: EndpointSettings, inputs: Inputs) -> tuple[ColdStart, Distribution]:
    """What was polled, and what the provider has on record; and how long starts take by that."""
    configured = settings.policy.cold_start_seconds
    known = cold_start.observe(learned.cold_start, inputs.endpoint, inputs.now, inputs.at)
    if inputs.starts:
        known = cold_start.recall(known, inputs.starts)
    starts = learned.starts
    if starts is None or starts.configured != configured or known.starts is not learned.cold_start.starts:
        starts = cold_start.estimate(known, configured)
    return known, starts


def _observe_traffic(learned: Learned, settings: EndpointSettings, sample: Sample, by: Serving, now: float) -> Learned:
    """What the sample says of capacity and service times; other hardware starts anew."""
    before = learned.capacity
    found = capacity.observe(before, sample, by.all_of(sample), by.hardware, now)
    moved, deployed = found.hardware != before.hardware, found.deploys > before.deploys
    if deployed and learned.estimate is not None:
        found = replace(found, carried=learned.estimate.concurrency)
    if moved or deployed or now - learned.estimated_at >= REFRESH_SECONDS:
        newest = capacity.estimate(found, settings.objective, settings.policy.per_replica)
        learned = replace(learned, estimate=newest, estimated_at=now)
    per_replica = learned.per_replica(settings)
    known = demand.observe(Demand() if moved else learned.demand, sample, by.replicas, per_replica)
    load = demand.estimate(known, sample, per_replica)
    loads = (*(old for old in learned.loads if old.end > load.end - LOADS_SECONDS), load)
    return replace(learned, capacity=found, demand=known, loads=loads)


def _serving(seen: Observation[Endpoint], fleet: Fleet | None) -> int | None:
    """How many replicas are ready; where the provider does not tell, only while none can be on its way or come unasked."""
    if not isinstance(seen, Known) or seen.value.state is not EndpointState.STARTED:
        return None
    endpoint = seen.value
    if endpoint.ready_replicas is not None:
        return endpoint.ready_replicas
    pinned = endpoint.bounds.min_replicas == endpoint.bounds.max_replicas
    return fleet.ready if fleet is not None and pinned and fleet.total == fleet.ready == endpoint.bounds.min_replicas else None


def at_rest(learned: Learned) -> Learned:
    """What is worth keeping over a restart: all but what hangs on this process's clock."""
    return replace(
        learned,
        capacity=replace(learned.capacity, aged=None, block=None),
        cold_start=replace(learned.cold_start, watch=None),
        demand=replace(learned.demand, settled_at=float("-inf")),
        estimated_at=float("-inf"),
        serving=None,
        loads=(),
    )
