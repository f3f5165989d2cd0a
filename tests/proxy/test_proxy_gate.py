"""The gate by itself, on a clock of its own: whatever happens in whatever order, what it promises holds."""

from dataclasses import replace

from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from scaler.proxy.budget import DAY, Budget
from scaler.proxy.errors import Refusal
from scaler.proxy.gate import Gate, Way
from scaler.proxy.hold import Hold
from scaler.proxy.meter import InFlight, RouteMeter
from scaler.proxy.routes import Objective, Readiness, Route, Standing
from scaler.settings import FallbackSettings, WakeSettings

MAX_HELD, MAX_BYTES = 5, 40


class Visitor:
    """A request that waits, and passes when it may."""

    def __init__(self, world: "Traffic", record: InFlight, size: int, number: int) -> None:
        self.size = size
        self.number = number
        self.record = record
        self._world = world

    def release(self) -> None:
        self._world.waiting.remove(self)
        self._world.passed(self.record, self.number)


class Traffic(RuleBasedStateMachine):
    """Requests come, pass, wait, give up and end, while the endpoint is told of and probed."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.calls: list[str] = []
        self.doubts = 0
        wake = WakeSettings(saturated="queue", max_held=MAX_HELD, max_held_bytes=MAX_BYTES)
        self.route = Route("chat", "m", frozenset(), wake=wake, readiness=Readiness(Standing.ASLEEP, 0.0, 2.0))
        self.meter = RouteMeter(lambda: self.now)
        self.gate = Gate(self.route, self.meter, self.calls.append, self._doubt, lambda _: True)
        self.waiting: list[Visitor] = []
        self.inside: list[InFlight] = []
        self.order: list[int] = []
        self.count = 0
        self.was = Standing.ASLEEP
        self.unproven = True

    def _doubt(self, _gate: Gate) -> None:
        self.doubts += 1

    def passed(self, record: InFlight, number: int) -> None:
        assert not self.unproven, "passed before a probe"
        record.sent()
        self.inside.append(record)
        self.order.append(number)

    @rule(size=st.integers(0, 15))
    def come(self, size: int) -> None:
        self.now += 1
        self.count += 1
        way = self.gate.admit("", size, streamed=False)
        if way is Way.NOW:
            assert not self.waiting, "overtook who waits"
            self.passed(self.meter.enter(Objective()), self.count)
        elif way is Way.HOLD:
            visitor = Visitor(self, self.meter.enter(Objective()), size, self.count)
            self.waiting.append(visitor)
            self.gate.hold(visitor)
        else:
            assert isinstance(way, Refusal)
            assert way.code == "hold_full"
            assert len(self.waiting) == MAX_HELD or sum(v.size for v in self.waiting) + size > MAX_BYTES

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def give_up(self, data: st.DataObject) -> None:
        visitor = data.draw(st.sampled_from(self.waiting))
        self.waiting.remove(visitor)
        self.gate.give_up(visitor, "aborted")

    @precondition(lambda self: self.inside)
    @rule(data=st.data(), outcome=st.sampled_from(["2xx", "5xx", "aborted", "failed"]))
    def end(self, data: st.DataObject, outcome: str) -> None:
        self.now += 1
        record = data.draw(st.sampled_from(self.inside))
        self.inside.remove(record)
        record.finish(outcome)

    @rule(standing=st.sampled_from(Standing), capacity=st.integers(1, 4))
    def tell(self, standing: Standing, capacity: int) -> None:
        self.now += 1
        if standing < self.was or standing is Standing.ASLEEP:
            self.unproven = True
        self.was = standing
        self.route = replace(self.route, readiness=Readiness(standing, self.now, capacity))
        self.gate.use(self.route)

    @rule()
    def probe(self) -> None:
        self.now += 1
        self.unproven = False
        self.gate.prove()

    @invariant()
    def who_waits_is_counted(self) -> None:
        reading = self.gate.read()
        assert (reading.waiting, reading.waiting_bytes) == (len(self.waiting), sum(v.size for v in self.waiting))
        assert self.meter.in_flight == len(self.waiting) + len(self.inside)

    @invariant()
    def nobody_waits_for_room_that_is_there(self) -> None:
        if not self.unproven and self.waiting:
            assert len(self.inside) >= self.gate.capacity

    @invariant()
    def each_in_turn(self) -> None:
        assert self.order == sorted(self.order)

    @invariant()
    def one_call_for_each_sleep(self) -> None:
        assert len(self.calls) == self.gate.read().wakes

    @invariant()
    def who_waits_in_doubt_is_probed_for(self) -> None:
        assert self.doubts or not self.gate.in_doubt


class Room(Traffic):
    """The same, where capacity only grows: never are more inside than it."""

    @rule(standing=st.sampled_from(Standing), capacity=st.integers(1, 4))
    def tell(self, standing: Standing, capacity: int) -> None:
        super().tell(standing, max(capacity, int(self.gate.capacity)))

    @invariant()
    def never_a_herd(self) -> None:
        assert len(self.inside) <= self.gate.capacity


Traffic.TestCase.settings = Room.TestCase.settings = hypothesis_settings(max_examples=60, stateful_step_count=40, deadline=None)
TestTraffic = Traffic.TestCase
TestRoom = Room.TestCase


def test_one_call_for_each_sleep_however_many_ask() -> None:
    traffic = Traffic()
    for sleep in range(1, 4):
        for _ in range(20):
            traffic.come(1)
        assert traffic.calls == ["chat"] * sleep
        for standing in (Standing.WAKING, Standing.READY, Standing.ASLEEP):
            traffic.tell(standing, 2)


def test_one_that_falls_asleep_again_is_called_again_for_those_who_wait() -> None:
    traffic = Traffic()
    traffic.come(1)
    for standing in (Standing.WAKING, Standing.ASLEEP, Standing.ASLEEP):
        traffic.tell(standing, 2)
    assert traffic.calls == ["chat"] * 2
    assert traffic.gate.calls(60) == 1


def test_a_probe_that_passed_while_it_fell_asleep_does_not_count_for_ever() -> None:
    traffic = Traffic()
    traffic.come(1)
    traffic.probe()  # it is stopping, and still answers
    assert traffic.order == [1]
    traffic.tell(Standing.ASLEEP, 2)  # and is seen stopped afterwards
    traffic.come(1)
    assert traffic.order == [1]
    assert traffic.calls == ["chat"] * 2


def test_a_call_counts_while_somebody_waits_or_traffic_is_recent() -> None:
    traffic = Traffic()
    assert traffic.gate.calls(60) == 0
    traffic.gate.admit("fail", 0, streamed=False)
    traffic.gate.admit("fail", 0, streamed=False)
    traffic.now += 59
    assert traffic.gate.calls(60) == 2
    traffic.now += 1
    assert traffic.gate.calls(60) == 0
    traffic.come(0)
    traffic.now += 1000
    assert traffic.gate.calls(60) == 3
    traffic.tell(Standing.WAKING, 2)
    assert traffic.gate.calls(60) == 0  # it is answered


def test_an_open_gate_costs_nothing_and_hears_of_no_end() -> None:
    meter = RouteMeter(lambda: 0.0)
    known = Route("chat", "m", frozenset(), readiness=Readiness(Standing.READY, 0.0, 1.0))
    gate = Gate(known, meter, lambda _: None, lambda _: None, lambda _: True)
    assert (gate.open, meter.on_leave) == (True, None)
    gate.use(replace(known, readiness=Readiness(Standing.ASLEEP, 0.0, 1.0)))
    assert (gate.open, meter.on_leave is None) == (False, False)


def test_a_budget_fills_evenly_within_a_minute_and_ends_with_the_day() -> None:
    limits = FallbackSettings(model="m", requests_per_minute=6, requests_per_day=10)
    budget = Budget(0.0)
    assert [budget.take(limits, 0.0) for _ in range(7)] == [True] * 6 + [False]
    assert [budget.take(limits, 10.0) for _ in range(2)] == [True, False]
    assert [budget.take(limits, 600.0) for _ in range(4)] == [True] * 3 + [False]
    assert not budget.take(limits, DAY - 1)
    assert budget.take(limits, DAY)


def test_a_queue_gives_up_its_place_from_anywhere() -> None:
    traffic, hold = Traffic(), Hold()
    visitors = [Visitor(traffic, traffic.meter.enter(Objective()), size, size) for size in (1, 2, 3)]
    for visitor in visitors:
        hold.put(visitor)
    hold.drop(visitors[1])
    hold.drop(visitors[1])
    assert (len(hold), hold.bytes) == (2, 4)
    assert [hold.take(), hold.take()] == [visitors[0], visitors[2]]
    assert (len(hold), hold.bytes) == (0, 0)
