"""A day of the world in virtual time, seen as the proxy sees it: samples every ten seconds, and the replicas that were ready."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from scaler.model import Bounds, Decision, EndpointState, Inputs, Known, Sample
from scaler.model import Endpoint as Reading
from scaler.policy import Memory, step
from scaler.policy.learned import Learned, observe
from scaler.pooled import LIVE
from scaler.proxy.meter import RouteMeter
from scaler.proxy.routes import Objective
from scaler.sampling.own_meter import between
from scaler.settings import EndpointSettings, NativeAutoscalerSettings, ReplicaSettings, WorldEndpointSettings, WorldSettings
from scaler.world.endpoint import Endpoint
from scaler.world.platform import Change, Platform
from scaler.world.refusals import Refused
from scaler.world.replica import Job, JobState, Performance, ReplicaState
from scaler.world.workload import OFFICE_DAY, Arrival, arrivals, read_trace

STEP = 10.0
EPOCH = 1_700_000_000.0
DAY = 86_400.0
OBJECTIVE = Objective(2.0, None)

Hook = Callable[[Endpoint, float], None]


@dataclass(frozen=True, slots=True)
class Seen:
    """A sample, and the replicas that were ready all the while; None: their number changed. At its end: ready, and wanted."""

    sample: Sample
    ready: int | None
    serving: int
    desired: int
    platform: Platform


def office_day(requests: int, seed: int = 1) -> list[Arrival]:
    """About so many requests of the bundled day."""
    return arrivals(read_trace(OFFICE_DAY), seconds=DAY, requests=requests, seed=seed)


def world(replica: ReplicaSettings, *, seed: int = 1, least: int = 1, most: int = 8) -> WorldSettings:
    """One endpoint that the platform's autoscaler keeps just below its knee."""
    endpoint = WorldEndpointSettings(
        id="endpoint-one",
        model="mistralai/Mixtral-8x7B-Instruct-v0.1",
        hardware="2x_nvidia_h100_80gb_sxm",
        inactive_timeout_minutes=0,
        min_replicas=least,
        max_replicas=most,
    )
    native = NativeAutoscalerSettings(target_in_flight=0.9 * replica.slots)
    return WorldSettings(seed=seed, endpoints=(endpoint,), replica=replica, native_autoscaler=native)


def play(settings: WorldSettings, day: Sequence[Arrival], *, until: float = DAY, hook: Hook | None = None) -> Iterator[Seen]:
    """Live through the day; ``hook`` is called after each step."""
    platform = Platform(settings)
    (endpoint,) = platform.endpoints
    route = RouteMeter(lambda: platform.now)
    before, was = route.read(), endpoint.fleet.count(ReplicaState.READY)
    coming = iter([*day, Arrival(float("inf"), 0, 0, streamed=False)])
    arrival = next(coming)
    for number in range(1, round(until / STEP) + 1):
        while arrival.at < number * STEP:
            platform.advance(arrival.at)
            _send(platform, endpoint, route, arrival)
            arrival = next(coming)
        platform.advance(number * STEP)
        if hook is not None:
            hook(endpoint, platform.now)
        after, ready = route.read(), endpoint.fleet.count(ReplicaState.READY)
        yield Seen(between(before, after), ready if ready == was else None, ready, endpoint.desired, platform)
        before, was = after, ready


@dataclass(frozen=True, slots=True)
class Governed:
    """A tick in which the policy decided: what it saw, what it decided, and what it knew."""

    seen: Seen
    decision: Decision
    memory: Memory


def govern(seen: Iterable[Seen], settings: EndpointSettings, *, tells: bool = True) -> Iterator[Governed]:
    """The policy in place of the platform's autoscaler; ``tells``: whether the provider says how many are ready."""
    memory = Memory()
    for one in seen:
        now = one.sample.end
        told = replace(reading(one, tells=tells), bounds=next(iter(one.platform.endpoints)).bounds)
        inputs = Inputs(Known(one.sample, "day", now), Known(told, "day", now), now, EPOCH + now)
        decision, memory = step("chat", settings, inputs, memory, LIVE)
        if not decision.hold:
            bounds = decision.bounds
            one.platform.update("endpoint-one", Change(bounds.min_replicas, bounds.max_replicas), now)
        yield Governed(one, decision, memory)


def reading(seen: Seen, *, tells: bool = True) -> Reading:
    """The endpoint as the provider shows it."""
    endpoint = Reading("endpoint-one", "tester/m", "m", "h100", EndpointState.STARTED, Bounds(1, 8))
    return replace(endpoint, ready_replicas=seen.serving, desired_replicas=seen.desired) if tells else endpoint


def _send(platform: Platform, endpoint: Endpoint, route: RouteMeter, arrival: Arrival) -> None:
    flight = route.enter(OBJECTIVE)
    flight.sent()
    try:
        job = platform.submit(endpoint.identity.id, arrival.input_tokens, arrival.output_tokens, arrival.at)
    except Refused:
        flight.finish("5xx")
        return
    job.notify = lambda: _notice(platform.now, job, route, streamed=arrival.streamed)


def _notice(now: float, job: Job, route: RouteMeter, *, streamed: bool) -> None:
    """The first token of a job, or its end."""
    if job.state is JobState.DONE:
        assert job.first_token_at is not None
        first = job.first_token_at - job.arrived_at
        tpot = (now - job.first_token_at) / (job.output_tokens - 1) if streamed and job.output_tokens > 1 else None
        route.leave(now, "2xx", job.input_tokens, job.output_tokens)
        route.served(now - job.arrived_at, tpot, slow=streamed and first > 2.0)
    elif job.ended:
        route.leave(now, "failed", 0, 0)
    elif streamed:
        route.first_byte(now - job.arrived_at)


def deploy(at: float, *, speed: float = 1.0, slots: int | None = None) -> Hook:
    """A hook that at this second makes each replica, and those to come, so many times as fast, or gives them other slots."""
    done: list[float] = []

    def change(endpoint: Endpoint, now: float) -> None:
        if now < at or done:
            return
        done.append(now)
        fleet = endpoint.fleet
        old = fleet._performance
        new = Performance.of(ReplicaSettings(slots=slots or old.slots), endpoint.identity.hardware)
        new = replace(new, **{name: getattr(old, name) / speed for name in ("prefill", "per_input_token", "per_output_token")})
        fleet._performance = new
        for replica in fleet.replicas:
            replica._settle(now)
            full = (new.speeds[-1],) * max(0, replica.in_flight + 1 - len(new.speeds))
            replica.performance = replace(new, speeds=(*new.speeds, *full))
            fleet.plan(replica)

    return change


def learn(seen: Iterable[Seen], settings: EndpointSettings, learned: Learned | None = None) -> Learned:
    """What the policy learns of a day that the provider tells it of."""
    learned = learned or Learned()
    for one in seen:
        now = one.sample.end
        inputs = Inputs(Known(one.sample, "day", now), Known(reading(one), "day", now), now, EPOCH + now)
        learned = observe(learned, settings, inputs, None)
    return learned
