"""Whatever anybody does to a world, in whatever order: what must always hold."""

import contextlib
from collections.abc import Callable

from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, MultipleResults, RuleBasedStateMachine, consumes, invariant, multiple, rule

from scaler.model import Bounds, EndpointState
from scaler.settings import ColdStartSettings, NativeAutoscalerSettings, ReplicaSettings, WorldSettings
from scaler.world.catalog import ZONES
from scaler.world.endpoint import Api
from scaler.world.platform import Change, Platform, Wish
from scaler.world.refusals import Refused
from scaler.world.replica import Job, JobState, ReplicaState

MODEL = "mistralai/Mixtral-8x7B-Instruct-v0.1"
HARDWARE = ("2x_nvidia_h100_80gb_sxm", "4x_nvidia_h100_80gb_sxm")
SLOTS = 3
STOCK = 5
QUEUE = 4
SETTINGS = WorldSettings(
    stock=dict.fromkeys(HARDWARE, STOCK),
    max_queued=QUEUE,
    cold_start=ColdStartSettings(median_seconds=60, sigma=0.5),
    replica=ReplicaSettings(slots=SLOTS, ttft_seconds=1, seconds_per_output_token=0.5),
    native_autoscaler=NativeAutoscalerSettings(target_in_flight=2, up_window_seconds=15, down_window_seconds=30),
)

bounds = st.tuples(st.integers(0, 4), st.integers(1, 8)).filter(lambda pair: pair[0] <= pair[1])


class WorldMachine(RuleBasedStateMachine):
    endpoints: Bundle[str] = Bundle("endpoints")
    jobs: Bundle[Job] = Bundle("jobs")

    def __init__(self) -> None:
        super().__init__()
        self.platform = Platform(SETTINGS)
        self.now = 0.0
        self.cost = 0.0
        self.accepted: list[Job] = []
        self.ends: dict[int, int] = {}
        self.stock = dict.fromkeys(HARDWARE, STOCK)

    @rule(
        target=endpoints,
        hardware=st.sampled_from(HARDWARE),
        pair=bounds,
        timeout=st.sampled_from((0, 1, 5)),
        zones=st.sampled_from(((), ZONES[:1], ZONES[2:4])),
        api=st.sampled_from(("v1", "v2")),
        start=st.booleans(),
        speculation=st.booleans(),
    )
    def create(
        self, hardware: str, pair: tuple[int, int], timeout: int, zones: tuple[str, ...], api: Api, *, start: bool, speculation: bool
    ) -> str:
        bounds = Bounds(*pair)
        wish = Wish(MODEL, hardware, bounds, None, timeout, zones, start=start, speculation=speculation, api=api)
        return self.platform.create(wish, self.now).identity.id

    @rule(seconds=st.floats(0, 400))
    def wait(self, seconds: float) -> None:
        """Let time pass event by event: each is later than, or at, the one before, and none is left behind."""
        end = self.now + seconds
        while (due := self.platform.next_event()) is not None and due <= end:
            assert due >= self.now
            self.now = due
            self.platform.advance(due)
            self.bounded()
        self.now = end
        self.platform.advance(end)
        later = self.platform.next_event()
        assert later is None or later > end

    @rule(target=jobs, endpoint=endpoints, tokens=st.integers(0, 60), count=st.integers(1, 6))
    def submit(self, endpoint: str, tokens: int, count: int) -> MultipleResults[Job]:
        accepted = []
        for _ in range(count):
            try:
                job = self.platform.submit(endpoint, 10, tokens, self.now, b"key")
            except Refused:
                break
            job.notify = lambda job=job: self._heard(job)
            accepted.append(job)
        self.accepted += accepted
        return multiple(*accepted)

    def _heard(self, job: Job) -> None:
        if job.ended:
            self.ends[id(job)] = self.ends.get(id(job), 0) + 1

    @rule(job=consumes(jobs))
    def cancel(self, job: Job) -> None:
        self.platform.cancel(job, self.now)
        assert job.ended

    @rule(endpoint=endpoints, pair=bounds)
    def update(self, endpoint: str, pair: tuple[int, int]) -> None:
        self._quietly(lambda: self.platform.update(endpoint, Change(*pair), self.now))

    @rule(endpoint=endpoints, state=st.sampled_from(("STARTED", "STOPPED")))
    def power(self, endpoint: str, state: str) -> None:
        change = Change(state="STARTED" if state == "STARTED" else "STOPPED")
        self._quietly(lambda: self.platform.update(endpoint, change, self.now))

    @rule(endpoint=endpoints, minutes=st.sampled_from((0, 1, 3)))
    def set_timeout(self, endpoint: str, minutes: int) -> None:
        self._quietly(lambda: self.platform.update(endpoint, Change(inactive_timeout_minutes=minutes), self.now))

    @rule(endpoint=endpoints)
    def break_down(self, endpoint: str) -> None:
        self._quietly(lambda: self.platform.fail(endpoint, self.now))

    @rule(endpoint=endpoints)
    def lose_replica(self, endpoint: str) -> None:
        self._quietly(lambda: self.platform.lose_replica(endpoint, self.now))

    @rule(endpoint=endpoints, count=st.integers(0, 2))
    def fail_next_starts(self, endpoint: str, count: int) -> None:
        self._quietly(lambda: self.platform.fail_next_starts(endpoint, count, self.now))

    @rule(factor=st.sampled_from((0.5, 1.0, 4.0)))
    def slow_starts(self, factor: float) -> None:
        self.platform.slow_starts(factor)

    @rule(hardware=st.sampled_from(HARDWARE), replicas=st.integers(0, STOCK))
    def set_stock(self, hardware: str, replicas: int) -> None:
        self.platform.set_stock(hardware, replicas, self.now)
        self.stock[hardware] = replicas

    @rule(endpoint=consumes(endpoints))
    def delete(self, endpoint: str) -> None:
        self._quietly(lambda: self.platform.delete(endpoint, self.now))

    def _quietly(self, call: Callable[[], object]) -> None:
        """The endpoint may have been deleted under another name of the bundle."""
        with contextlib.suppress(Refused):
            call()

    @invariant()
    def bounded(self) -> None:
        placed = dict.fromkeys(HARDWARE, 0)
        for endpoint in self.platform.endpoints:
            fleet = endpoint.fleet
            placed[endpoint.identity.hardware.id] += len(fleet.replicas)
            assert fleet.size <= endpoint.bounds.max_replicas
            assert all(0 <= replica.in_flight <= replica.performance.slots for replica in fleet.replicas)
            assert len(endpoint.queue) <= QUEUE
            assert endpoint.in_flight == sum(replica.in_flight for replica in fleet.replicas)
            if endpoint.state in (EndpointState.STOPPED, EndpointState.ERROR, EndpointState.PENDING):
                assert fleet.count(ReplicaState.READY) == fleet.count(ReplicaState.STARTING) == 0
        for hardware, count in placed.items():
            assert count <= STOCK
            assert self.platform.free(hardware) == max(0, self.stock[hardware] - count)

    @invariant()
    def nobody_waits_beside_a_free_slot(self) -> None:
        for endpoint in self.platform.endpoints:
            if endpoint.queue:
                assert not any(replica.has_room for replica in endpoint.fleet.replicas)

    @invariant()
    def cost_never_decreases(self) -> None:
        cost = self.platform.total(self.now).dollars
        assert cost >= self.cost - 1e-9
        self.cost = cost

    @invariant()
    def tokens_never_exceed_the_answer(self) -> None:
        for job in self.accepted:
            assert 0 <= job.tokens_out(self.now) <= job.output_tokens

    def teardown(self) -> None:
        """In the end every request has ended exactly once, in one of the three ways."""
        self.wait(100_000)
        for endpoint in list(self.platform.endpoints):
            self.platform.delete(endpoint.identity.id, self.now)
        for job in self.accepted:
            assert job.state in (JobState.DONE, JobState.CANCELLED, JobState.FAILED)
            assert self.ends[id(job)] == 1
        assert [self.platform.free(hardware) for hardware in HARDWARE] == list(self.stock.values())


WorldMachine.TestCase.settings = hypothesis_settings(max_examples=40, stateful_step_count=30, deadline=None)
TestWorldMachine = WorldMachine.TestCase
