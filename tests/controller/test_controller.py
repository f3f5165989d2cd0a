"""The order of one tick, and that nothing outside can make it raise."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from scaler.actuator import Actuator, Skipped, SkipReason
from scaler.clock import VirtualClock
from scaler.controller import Controller, Tick, tick_all
from scaler.model import Bounds, Decision, Endpoint, EndpointState, Inputs, Known, Observation, ReasonCode, Sample, Start, Unknown
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
    recorded: tuple[Start, ...] = ()
    asked: int = 0
    document: str | None = None

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

    async def starts(self, endpoint_id: str) -> tuple[Start, ...]:
        if self.asked:
            raise OutcomeUnknown("asked before")
        self.asked += 1
        return self.recorded

    async def learned(self, key: str) -> str | None:
        if "recall" in self.fail:
            raise self.fail["recall"]
        return self.document

    async def keep_learned(self, key: str, document: str) -> None:
        self.document = document

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


async def test_the_providers_record_of_starts_is_asked_for_once_and_gives_the_lead(stage: Stage, controller: Controller) -> None:
    stage.recorded = tuple(Start(f"replica-{n}", 1000.0 * n, 1000.0 * n + 90) for n in range(8))
    ticks = [await controller.tick() for _ in range(3)]
    assert stage.asked == 1
    starts = ticks[-1].learned.starts
    assert starts is not None
    assert (starts.starts, starts.quantile(0.9)) == (8, 90.0)


async def test_a_restart_does_not_forget_what_was_learned(stage: Stage, controller: Controller) -> None:
    stage.recorded = (Start("replica-1", 0.0, 90.0),)
    before = (await controller.tick()).learned
    again = await make(stage).tick()
    assert again.learned.cold_start.starts == before.cold_start.starts == stage.recorded


async def test_what_was_kept_is_not_written_over_before_it_could_be_read(stage: Stage) -> None:
    stage.document = "kept"
    stage.fail["recall"] = StoreError(StoreFault.LOCKED, "busy")
    await make(stage).tick()
    assert stage.document == "kept"


async def test_a_document_of_another_version_counts_as_none(stage: Stage) -> None:
    stage.document = '{"capacity": 8}'
    assert (await make(stage).tick()).learned.estimate is None


def make(stage: Stage) -> Controller:
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
