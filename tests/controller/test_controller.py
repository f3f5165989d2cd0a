"""The order of one tick, and that nothing outside can make it raise."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from scaler.actuator import Actuator, Skipped, SkipReason
from scaler.clock import VirtualClock
from scaler.controller import Controller, Tick, tick_all
from scaler.model import Bounds, Decision, Endpoint, EndpointState, Inputs, Known, Observation, ReasonCode, Sample, Unknown
from scaler.providers.base import OutcomeUnknown, Reader
from scaler.settings import EndpointSettings
from scaler.store.base import Checkpoint, Store, StoreError, StoreFault

RUNNING = Endpoint("endpoint-1", "tester/model", "model", "2x_gpu", EndpointState.STARTED, Bounds(2, 2))


@dataclass
class Stage:
    """All the controller's partners at once; each step is written down, and any of them can be made to fail."""

    steps: list[str] = field(default_factory=list)
    fail: dict[str, Exception] = field(default_factory=dict)
    ticks: list[Tick] = field(default_factory=list)

    def _step(self, name: str) -> None:
        self.steps.append(name)
        if name in self.fail:
            raise self.fail[name]

    def sample(self) -> Observation[Sample]:
        self.steps.append("sample")
        return Unknown("no traffic in this story", 0.0)

    async def get(self, endpoint_id: str) -> Endpoint:
        self._step("look")
        return RUNNING

    async def record_decision(self, decision: Decision, inputs: Inputs, checkpoint: Checkpoint | None) -> int:
        self._step("record")
        return 1

    async def reconcile(self, key: str, observed: Endpoint) -> tuple[()]:
        self._step("reconcile")
        return ()

    async def carry_out(self, key: str, decision: Decision, observed: Endpoint) -> Skipped:
        self._step("act")
        return Skipped(SkipReason.HELD, "story")

    def report(self, tick: Tick) -> None:
        self.steps.append("report")
        self.ticks.append(tick)


@pytest.fixture
def stage() -> Stage:
    return Stage()


@pytest.fixture
def controller(stage: Stage) -> Controller:
    return Controller(
        "chat",
        EndpointSettings(id="endpoint-1", max_replicas=4),
        source=stage,
        reader=cast(Reader, stage),
        actuator=cast(Actuator, stage),
        store=cast(Store, stage),
        clock=VirtualClock(100.0),
        report=stage.report,
    )


async def test_a_decision_is_in_the_journal_before_anything_is_done(stage: Stage, controller: Controller) -> None:
    tick = await controller.tick()
    assert stage.steps == ["sample", "look", "record", "reconcile", "act", "report"]
    assert tick.endpoint == Known(RUNNING, "provider", 100.0)
    assert [reason.code for reason in tick.decision.reasons] == [ReasonCode.NO_DATA]


async def test_a_silent_provider_is_unknown_and_nothing_is_done(stage: Stage, controller: Controller) -> None:
    stage.fail["look"] = OutcomeUnknown("HTTP 500")
    tick = await controller.tick()
    assert isinstance(tick.endpoint, Unknown)
    assert tick.decision.hold
    assert stage.steps == ["sample", "look", "record", "report"]
    assert tick.result == Skipped(SkipReason.HELD, "HTTP 500")


@pytest.mark.parametrize(("step", "check"), [("record", lambda tick: tick.journal_error), ("reconcile", lambda tick: tick.result.detail)])
async def test_a_failing_store_is_told_and_does_not_stop_the_tick(
    stage: Stage, controller: Controller, step: str, check: Callable[[Any], str]
) -> None:
    stage.fail[step] = StoreError(StoreFault.FULL, "disk full")
    assert check(await controller.tick()) == "disk full"
    assert stage.steps[-1] == "report"


async def test_a_fault_of_ours_in_one_endpoint_does_not_touch_the_others(stage: Stage, controller: Controller) -> None:
    broken = Stage(fail={"look": ZeroDivisionError("bug")})
    other = Controller(
        "other",
        EndpointSettings(id="endpoint-2"),
        source=broken,
        reader=cast(Reader, broken),
        actuator=cast(Actuator, broken),
        store=cast(Store, broken),
        clock=VirtualClock(),
        report=broken.report,
    )
    ticks, faults = await tick_all([other, controller])
    assert [tick.key for tick in ticks] == ["chat"]
    assert [type(fault) for fault in faults] == [ZeroDivisionError]
