"""The real controller ticks by hand against the world's second API over HTTP; only the traffic is made up."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import SecretStr

from scaler.actuator import open_actuator
from scaler.clock import ScaledClock
from scaler.controller import Controller, Tick
from scaler.model import Bounds, EndpointState, Known, Observation, Outcome, OutcomeStatus, ReasonCode, Sample
from scaler.observability.client import get_json, post_json
from scaler.providers import describe, open_reader
from scaler.providers.http import JsonClient
from scaler.providers.probe import AutoReader
from scaler.providers.together_v2 import TogetherV2Reader
from scaler.settings import Settings, WorldSettings
from scaler.store import open_store
from scaler.world.http import bind, serve, url_of
from tests.policy.story import sample
from tests.scenarios.town import Town

SPEED = 300.0
HARDWARE = "2x_nvidia_h100_80gb_sxm"
CONFIG = "projects/proj_public/configs/cr_llama-3.3-70b-instruct_2x-nvidia-h100-80gb-sxm"
MODEL = "projects/proj_public/models/ml_llama-3.3-70b-instruct"
KEY = SecretStr("tgp_v2_canary/0123456789")


@dataclass
class Stage:
    """Everything a test touches: what the traffic is, what a person does, what the ticks came to."""

    clock: ScaledClock
    world: str
    by_hand: JsonClient
    deployment: str = ""
    path: str = ""
    concurrency: float = 0.0
    ticks: list[Tick] = field(default_factory=list)
    last: float = 0.0
    controller: Controller = field(init=False)
    reader: AutoReader = field(init=False)

    def sample(self) -> Observation[Sample]:
        """Traffic of this concurrency since the last tick."""
        now = self.clock.monotonic()
        before, self.last = self.last, now
        return Known(sample(before, self.concurrency, seconds=now - before), "story", now)

    async def tick(self) -> Tick:
        """Ten seconds and a tick."""
        await self.clock.sleep(10)
        return await self.controller.tick()

    async def until(self, condition: Callable[[Tick], bool], *, minutes: float = 60) -> Tick:
        """Tick until it is so."""
        deadline = self.clock.monotonic() + minutes * 60
        while not condition(tick := await self.tick()):
            assert self.clock.monotonic() < deadline, f"never so: {tick}"
        return tick

    async def person(self, **autoscaling: int) -> None:
        """Somebody changes the deployment without asking."""
        await self.by_hand.call("PATCH", self.path, query={"updateMask": "autoscaling"}, body={"autoscaling": autoscaling})

    async def platform(self, **faults: Any) -> None:  # noqa: ANN401 (faults of any type)
        """Something happens behind the API."""
        await asyncio.to_thread(post_json, self.world, "/x/faults", {"platform": faults})

    @property
    def bounds(self) -> list[Bounds]:
        """What each tick saw at the provider."""
        return [tick.endpoint.value.bounds for tick in self.ticks if isinstance(tick.endpoint, Known)]

    @property
    def sent(self) -> list[Outcome]:
        """The ends of all calls that were made."""
        return [tick.result for tick in self.ticks if isinstance(tick.result, Outcome)]


def state(tick: Tick) -> EndpointState | None:
    return tick.endpoint.value.state if isinstance(tick.endpoint, Known) else None


def ready(tick: Tick) -> int:
    return tick.fleet.ready if tick.fleet is not None else 0


def codes(tick: Tick) -> set[ReasonCode]:
    return {reason.code for reason in tick.decision.reasons}


def settings_of(url: str, deployment: str, folder: Path) -> Settings:
    return Settings.model_validate(
        {
            "provider": {"kind": "auto", "base_url": url, "api_key": KEY.get_secret_value()},
            "store": {"path": folder / "scaler.db"},
            "pause_file": folder / "paused",
            "guard": {"max_actions_per_hour": 10_000, "max_decision_age_seconds": 3600},
            "endpoints": {
                "chat": {
                    "id": deployment,
                    "max_replicas": 6,
                    "policy": {"stabilization_seconds": 120, "max_step_up": 8},
                    "idle": {"allow_stop": True, "stop_after_minutes": 5, "inactive_timeout_minutes": 60},
                }
            },
        }
    )


async def deploy(stage: Stage) -> None:
    """What `together endpoints deploy` sends."""
    project = "/v2/projects/" + (await stage.by_hand.call("GET", "/v3/whoami"))["project"]["id"]  # type: ignore[index] # (JSON)
    endpoint = await stage.by_hand.call("POST", f"{project}/endpoints", body={"name": "chat"})
    path = f"{project}/endpoints/{endpoint['id']}"  # type: ignore[index] # (JSON)
    body = {"name": "main", "model": MODEL, "config": CONFIG, "autoscaling": {"minReplicas": 1, "maxReplicas": 1}, "inactiveTimeout": 60}
    made = await stage.by_hand.call("POST", f"{path}/deployments", body=body)
    stage.deployment = made["id"]  # type: ignore[index] # (JSON)
    stage.path = f"{path}/deployments/{stage.deployment}"


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with AsyncExitStack() as stack:
        clock = ScaledClock(SPEED)
        world = WorldSettings.model_validate({"cold_start": {"median_seconds": 60, "sigma": 0.1}, "placement_seconds": 1})
        listener, listening = bind("127.0.0.1:0"), asyncio.Event()
        serving = asyncio.create_task(serve(world, clock, sockets=[listener], ready=lambda _url: listening.set()))

        async def stop() -> None:
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)

        stack.push_async_callback(stop)
        await listening.wait()
        url = url_of(listener)
        made = Stage(clock, url.removeprefix("http://"), JsonClient(url, KEY, 5.0), last=clock.monotonic())
        stack.push_async_callback(made.by_hand.close)
        await deploy(made)
        settings = settings_of(url, made.deployment, tmp_path)
        reader = open_reader(settings.provider)
        assert isinstance(reader, AutoReader)
        made.reader = reader
        stack.push_async_callback(reader.close)
        store = await open_store(settings.store, clock)
        stack.push_async_callback(store.close)
        actuator = open_actuator(settings, reader, store, clock)
        stack.push_async_callback(actuator.close)
        made.controller = Controller(
            "chat",
            settings.endpoints["chat"],
            source=made,
            reader=reader,
            actuator=actuator,
            store=store,
            clock=clock,
            report=made.ticks.append,
        )
        yield made


async def test_a_deployment_is_followed_up_and_down_by_what_it_says_is_ready(stage: Stage) -> None:
    stage.concurrency = 3.0
    await stage.until(lambda tick: ready(tick) == 1)
    assert describe(stage.reader, settings_of("http://127.0.0.1:1", "x", Path()).provider)["kind"] == "together_v2"
    stage.concurrency = 20.0
    await stage.until(lambda tick: ready(tick) == 4)
    stage.concurrency = 3.0
    await stage.until(lambda tick: ready(tick) == 1 and tick.decision.bounds == Bounds(1, 1))
    steps = [later.min_replicas - earlier.min_replicas for earlier, later in pairwise(stage.bounds)]
    assert min(steps) == -1
    assert {outcome.status for outcome in stage.sent} == {OutcomeStatus.CONFIRMED}
    reader = await stage.reader.resolve()
    assert isinstance(reader, TogetherV2Reader)
    starts = await reader.starts(stage.deployment)
    assert len(starts) == 4
    assert all(30 < start.ready_at - start.started_at < 120 for start in starts)


async def test_an_idle_deployment_is_stopped_by_bounds_of_zero_and_woken_by_requests(stage: Stage) -> None:
    await stage.until(lambda tick: ready(tick) == 1)
    await stage.until(lambda tick: state(tick) is EndpointState.STOPPED)
    assert stage.bounds[-1] == Bounds(0, 0)
    still = await stage.tick()
    assert codes(still) == {ReasonCode.IDLE_KEPT}  # and nobody else is suspected
    stage.concurrency = 3.0
    await stage.until(lambda tick: ready(tick) == 1)
    assert {outcome.status for outcome in stage.sent} == {OutcomeStatus.CONFIRMED}
    assert stage.bounds[-1] == Bounds(1, 1)


async def test_a_stop_by_a_person_is_recognised_and_requests_wake_it(stage: Stage) -> None:
    stage.concurrency = 3.0
    await stage.until(lambda tick: ready(tick) == 1)
    stage.concurrency = 0.0
    await stage.person(minReplicas=0, maxReplicas=0)
    tick = await stage.until(lambda tick: state(tick) is EndpointState.STOPPED)
    assert ReasonCode.STOPPED_BY_OTHERS in codes(tick)
    assert "idle timer or a person" in tick.decision.sentence
    stage.concurrency = 3.0
    await stage.until(lambda tick: ready(tick) == 1)


async def test_what_a_person_changes_in_between_is_not_overwritten_unseen(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.concurrency = 3.0
    await stage.until(lambda tick: ready(tick) == 1)
    look = stage.controller._look

    async def look_then_person() -> Any:  # noqa: ANN401 (what it looks at)
        seen = await look()
        await stage.person(minReplicas=2, maxReplicas=5)
        return seen

    monkeypatch.setattr(stage.controller, "_look", look_then_person)
    stage.concurrency = 30.0
    refused = await stage.until(lambda tick: isinstance(tick.result, Outcome))
    assert isinstance(refused.result, Outcome)
    assert refused.result.status is OutcomeStatus.REFUSED
    assert "somebody else has changed the deployment" in refused.result.detail
    monkeypatch.undo()
    after = await stage.tick()
    assert isinstance(after.endpoint, Known)
    assert after.endpoint.value.bounds == Bounds(2, 5)  # read anew, before anything else
    assert isinstance(after.result, Outcome)
    assert after.result.status is OutcomeStatus.CONFIRMED


async def test_a_shortage_is_said_asked_for_once_and_not_fought(stage: Stage) -> None:
    stage.concurrency = 3.0
    await stage.until(lambda tick: ready(tick) == 1)
    await stage.platform(stock={HARDWARE: 2})
    stage.concurrency = 20.0
    seen = await stage.until(lambda tick: tick.fleet is not None and tick.fleet.missing > 0)
    asked = stage.bounds[-1]
    assert seen.fleet is not None
    assert asked.min_replicas == seen.fleet.total > 2
    sent = len(stage.sent)
    stage.concurrency = 60.0  # those who wait pile up
    for _ in range(20):
        tick = await stage.tick()
        assert ReasonCode.SHORTAGE in codes(tick)
        assert tick.decision.bounds == asked
    assert f"{asked.min_replicas - 2} of {asked.min_replicas} replicas asked for have no hardware yet" in tick.decision.sentence
    assert len(stage.sent) == sent
    stage.concurrency = 20.0
    await stage.platform(stock={HARDWARE: 64})
    await stage.until(lambda tick: ready(tick) == 4)


async def test_less_may_be_asked_for_during_a_shortage(stage: Stage) -> None:
    stage.concurrency = 3.0
    await stage.until(lambda tick: ready(tick) == 1)
    await stage.platform(stock={HARDWARE: 2})
    stage.concurrency = 20.0
    await stage.until(lambda tick: tick.fleet is not None and tick.fleet.missing > 0)
    stage.concurrency = 3.0
    await stage.until(lambda tick: tick.decision.bounds == Bounds(1, 1) and ready(tick) == 1)
    steps = [bounds.min_replicas for bounds in stage.bounds]
    down = steps[steps.index(max(steps)) :]
    assert down == sorted(down, reverse=True)


async def test_a_daemon_that_nobody_answers_serves_what_it_remembers_and_asks_again_until_somebody_does(tmp_path: Path) -> None:
    town = Town.found(tmp_path, replicas=2)
    config = yaml.safe_load(town.stage.config.read_text())
    config["provider"]["kind"] = "auto"
    town.stage.config.write_text(yaml.safe_dump(config))

    async def generation() -> dict[str, str]:
        told: dict[str, str] = (await asyncio.to_thread(get_json, town.stage.settings.admin.listen, "/status"))["provider"]
        return told

    async with town.world():
        async with town.daemon():
            await town.until(lambda seen: "state" in seen["provider"])
            assert (await generation())["kind"] == "together_v1"
        await town.break_management({"status": 500})
        async with town.daemon():
            progress = await town.traffic(2, minutes=3)
            assert progress.answers
            assert all(answer.ok for answer in progress.answers)
            assert (await town.seen())["reasons"] == ["endpoint_unknown"]
            told = await generation()
            assert told["kind"] == "unknown"
            assert "500" in told["why"]
            await town.break_management(None)
            await town.until(lambda seen: "state" in seen["provider"])
            assert (await generation())["kind"] == "together_v1"
        assert (await town.provider())["min_replicas"] == 2
    assert "provider generation found" in town.log()
