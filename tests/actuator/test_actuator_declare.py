"""Declared endpoints: created once whatever the provider does, adopted where they exist, and never created again by themselves."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from scaler.actuator import open_actuator
from scaler.actuator.declare import SETTLE_SECONDS, Adopt, Course, Finding, Standing, open_declarer, plan, wish_of
from scaler.clock import VirtualClock
from scaler.model import ActionKind, Bounds, Endpoint, EndpointState, OutcomeStatus
from scaler.providers import open_reader
from scaler.settings import EndpointSettings, GuardSettings, Settings
from scaler.store.sqlite import SqliteStore, declared_id, forget_declared
from tests.endpoints.served import HARDWARE, LOST, MODEL, Platform, platform_of
from tests.store.letting_go import let_go

DECLARED = EndpointSettings(create=True, model=MODEL, hardware=HARDWARE, min_replicas=1, max_replicas=3)
VANISHED: dict[str, Any] = {"drop_request": True, "methods": ["POST"]}


@pytest.fixture
async def served() -> AsyncIterator[Platform]:
    async with platform_of() as platform:
        yield platform


@pytest.fixture
async def home(served: Platform, tmp_path: Path) -> AsyncIterator[SimpleNamespace]:
    """``tick`` is one round ten seconds later; ``restart`` forgets all but the store."""
    async with AsyncExitStack() as stack:
        clock = VirtualClock(1_000_000.0)
        settings = Settings(
            provider=served.provider,
            endpoints={"chat": DECLARED},
            guard=GuardSettings(max_actions_per_hour=5),
            pause_file=tmp_path / "paused",
        )
        house = SimpleNamespace(clock=clock, settings=settings, path=tmp_path / "scaler.db", told=[])

        async def restart(**change: object) -> None:
            if hasattr(house, "store"):
                await house.store.close()
            house.settings = house.settings.model_copy(update=change)
            house.store = await SqliteStore.open(house.path, clock.now())
            stack.callback(let_go, house.store)
            house.reader = open_reader(served.provider)
            stack.push_async_callback(house.reader.close)
            house.declarer = open_declarer(
                house.settings, house.reader, house.store, clock, report=lambda key, finding: house.told.append((key, finding.standing))
            )
            stack.push_async_callback(house.declarer.close)
            await house.declarer.recall()

        async def tick(seconds: float = 10.0, *, unseen: tuple[str, ...] = ()) -> Standing:
            clock.advance(seconds)
            await house.declarer.round(unseen)
            finding: Finding = house.declarer.findings["chat"]
            return finding.standing

        def settled() -> str | None:
            endpoints = house.declarer.settled(house.settings).endpoints
            return endpoints["chat"].id if "chat" in endpoints else None

        house.restart, house.tick, house.settled = restart, tick, settled
        await restart()
        yield house


async def ends(home: SimpleNamespace) -> list[list[OutcomeStatus]]:
    return [[outcome.status for outcome in record.outcomes] for record in reversed(await home.store.intents("chat", 1000))]


async def test_what_does_not_exist_is_created_once_and_found_again_after_a_restart(home: SimpleNamespace, served: Platform) -> None:
    assert await home.tick() is Standing.SETTLED
    (created,) = await served.endpoints()
    assert (created["min_replicas"], created["max_replicas"], created["inactive_timeout_minutes"]) == (1, 1, 60)
    described = await served.described(created["id"])
    assert (described["display_name"], described["model"], described["hardware"]) == ("scaler-chat", MODEL, HARDWARE)
    assert home.settled() == created["id"]
    await home.restart()
    await served.break_({"status": 500})
    assert home.settled() == created["id"]
    assert await home.tick() is Standing.SETTLED
    assert await ends(home) == [[OutcomeStatus.CONFIRMED]]
    (record,) = await home.store.intents("chat", 10)
    assert (record.intent.action.kind, record.intent.action.wish) == (ActionKind.CREATE, wish_of("chat", DECLARED))


async def test_two_hundred_creates_with_lost_answers_create_two_hundred(home: SimpleNamespace, served: Platform) -> None:
    await home.restart(guard=GuardSettings(max_actions_per_hour=1000))
    await served.break_(LOST)
    created: set[str] = set()
    for _ in range(200):
        assert await home.tick() is Standing.CREATING
        if len(created) % 20 == 0:
            await home.restart()
        assert await home.tick() is Standing.SETTLED
        (endpoint,) = await served.endpoints()
        assert home.settled() == endpoint["id"]
        created.add(endpoint["id"])
        await served.delete(endpoint["id"])
        forget_declared(home.path, "chat", endpoint["id"])
        await home.declarer.recall()
    assert len(created) == 200
    assert await ends(home) == [[OutcomeStatus.UNKNOWN, OutcomeStatus.CONFIRMED]] * 200


async def test_a_create_that_vanished_is_repeated_only_after_a_long_search(home: SimpleNamespace, served: Platform) -> None:
    await served.break_(VANISHED)
    assert await home.tick() is Standing.CREATING
    await served.break_(None)
    for _ in range(int(SETTLE_SECONDS // 10) - 1):
        assert await home.tick() is Standing.CREATING
        assert await served.endpoints() == []
    assert await home.tick() is Standing.LOOKING
    assert await home.tick() is Standing.SETTLED
    assert len(await served.endpoints()) == 1
    assert await ends(home) == [[OutcomeStatus.UNKNOWN, OutcomeStatus.REFUSED], [OutcomeStatus.CONFIRMED]]


BROKEN: dict[str, dict[str, Any]] = {
    "list fails": {"status": 500, "methods": ["GET"]},
    "garbage": {"garbage": True, "methods": ["GET"]},
    "prices fail": {"status": 500, "path_prefix": "/v1/hardware"},
}


@pytest.mark.parametrize("fault", BROKEN.values(), ids=BROKEN.keys())
async def test_nothing_is_created_while_the_provider_does_not_tell(home: SimpleNamespace, served: Platform, fault: dict[str, Any]) -> None:
    await served.break_(fault)
    assert await home.tick() is Standing.LOOKING
    assert await served.endpoints() == []
    assert await ends(home) == []
    await served.break_(None)
    assert await home.tick() is Standing.SETTLED


async def test_a_read_back_that_fails_leaves_it_to_be_found(home: SimpleNamespace, served: Platform) -> None:
    await served.break_({"status": 500, "methods": ["GET"], "path_prefix": "/v1/endpoints/"})
    assert await home.tick() is Standing.CREATING
    assert await home.tick() is Standing.LOOKING
    await served.break_(None)
    assert await home.tick() is Standing.SETTLED
    assert len(await served.endpoints()) == 1
    assert await ends(home) == [[OutcomeStatus.UNKNOWN, OutcomeStatus.CONFIRMED]]


async def test_a_refusal_is_left_alone_for_a_while(home: SimpleNamespace, served: Platform) -> None:
    await served.break_({"status": 403, "methods": ["POST"]})
    assert [await home.tick() for _ in range(3)] == [Standing.REFUSED, Standing.HELD, Standing.HELD]
    await served.break_(None)
    assert await home.tick(60) is Standing.SETTLED
    assert await ends(home) == [[OutcomeStatus.REFUSED], [OutcomeStatus.CONFIRMED]]


async def test_pause_and_dry_run_hold_for_creates_too(home: SimpleNamespace, served: Platform) -> None:
    button = home.settings.pause_file
    button.touch()
    assert await home.tick() is Standing.HELD
    assert "paused" in home.declarer.findings["chat"].detail
    button.unlink()
    await home.restart(dry_run=True)
    assert await home.tick() is Standing.HELD
    assert await served.endpoints() == []
    assert await ends(home) == []


async def test_an_hourly_limit_ends_a_row_of_creates(home: SimpleNamespace, served: Platform) -> None:
    for _ in range(5):
        assert await home.tick() is Standing.SETTLED
        (endpoint,) = await served.endpoints()
        await served.delete(endpoint["id"])
        forget_declared(home.path, "chat", endpoint["id"])
        await home.restart()
    assert await home.tick() is Standing.HELD
    assert "5 actions in the last hour" in home.declarer.findings["chat"].detail
    assert await served.endpoints() == []


async def test_without_a_price_nothing_is_created(home: SimpleNamespace, served: Platform) -> None:
    await home.restart(endpoints={"chat": DECLARED.model_copy(update={"hardware": "1x_nvidia_h100_80gb_sxm"})})
    assert await home.tick() is Standing.HELD
    assert "has no price" in home.declarer.findings["chat"].detail
    await home.restart(endpoints={"chat": DECLARED})
    await served.break_(None, stock={HARDWARE: 0})
    assert await home.tick() is Standing.HELD
    assert "unavailable" in home.declarer.findings["chat"].detail
    assert await served.endpoints() == []


async def test_what_is_gone_is_not_created_again_until_somebody_says_so(home: SimpleNamespace, served: Platform) -> None:
    assert await home.tick() is Standing.SETTLED
    old = home.settled()
    await served.delete(old)
    assert await home.tick(unseen=("chat",)) is Standing.SETTLED  # one 404 is no proof
    assert await home.tick(5, unseen=("chat",)) is Standing.SETTLED  # nor are two in one tick
    assert await home.tick(unseen=("chat",)) is Standing.GONE
    await home.restart()
    for _ in range(5):
        await home.tick(unseen=("chat",))
    assert home.declarer.findings["chat"].standing is Standing.GONE
    assert await served.endpoints() == []
    assert declared_id(home.path, "chat") == old
    forget_declared(home.path, "chat", old)
    assert await home.tick(unseen=("chat",)) is Standing.LOOKING
    assert await home.tick() is Standing.SETTLED
    assert home.settled() not in {None, old}
    assert [standing for _, standing in home.told].count(Standing.GONE) == 2  # once in each life


async def test_a_death_between_memory_and_outcome_leaves_an_intent_that_the_first_reading_closes(
    home: SimpleNamespace, served: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def die(_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(home.store, "add_outcome", die)
        with pytest.raises(KeyboardInterrupt):
            await home.declarer._see_to("chat", DECLARED, missing=False)
    await home.restart()
    assert await home.tick() is Standing.SETTLED
    assert len(await served.endpoints()) == 1
    assert len(await home.store.open_intents()) == 1
    actuator = open_actuator(home.settings, home.reader, home.store, home.clock)
    (outcome,) = await actuator.reconcile("chat", await home.reader.get(home.settled()))
    await actuator.close()
    assert outcome.status is OutcomeStatus.CONFIRMED


async def test_a_404_that_was_a_mistake_is_forgotten(home: SimpleNamespace, served: Platform) -> None:
    assert await home.tick() is Standing.SETTLED
    await served.break_({"status": 404, "methods": ["GET"]})
    for _ in range(3):
        await home.tick(unseen=("chat",))
    assert home.declarer.findings["chat"].standing is Standing.GONE
    await served.break_(None)
    assert await home.tick() is Standing.SETTLED


async def test_one_of_the_same_display_name_is_adopted_unless_it_is_something_else(home: SimpleNamespace, served: Platform) -> None:
    body = {"model": MODEL, "hardware": HARDWARE, "display_name": "scaler-chat", "autoscaling": {"min_replicas": 1, "max_replicas": 2}}
    twin = (await served.client.post("/v1/endpoints", json=body)).json()["id"]
    await home.restart(endpoints={"chat": DECLARED.model_copy(update={"hardware": "4x_nvidia_h100_80gb_sxm"})})
    assert await home.tick() is Standing.CONFLICT
    await home.restart(endpoints={"chat": DECLARED, "other": EndpointSettings(id=twin)})
    assert await home.tick() is Standing.CONFLICT
    await home.restart(endpoints={"chat": DECLARED})
    assert await home.tick() is Standing.SETTLED
    assert home.settled() == twin
    assert await ends(home) == []
    assert len(await served.endpoints()) == 1


def found(number: int = 1, **change: Any) -> Endpoint:  # noqa: ANN401 (fields of any type)
    fields = {"model": MODEL, "hardware": HARDWARE, "display_name": "scaler-chat"} | change
    return Endpoint(id=f"endpoint-{number}", name=f"o/m-{number}", state=EndpointState.STARTED, bounds=Bounds(1, 1), **fields)


def test_the_plan_knows_every_case() -> None:
    wish = wish_of("chat", DECLARED)
    assert plan(wish, [], None, ()) is Course.CREATE
    assert plan(wish, [], SETTLE_SECONDS, ()) is Course.GIVE_UP
    assert plan(wish, [found()], None, ()) == Adopt(found())
    assert plan(wish, [found(model="m2")], 5.0, ()) == Adopt(found(model="m2"))  # ours: the provider words it differently
    for step in (
        plan(wish, [], 0.0, ()),
        plan(wish, [], -3600.0, ()),  # the clock was set back
        plan(wish, [found(1), found(2)], None, ()),
        plan(wish, [found(1), found(2)], 1e9, ()),
        plan(wish, [found()], 5.0, ("endpoint-1",)),
    ):
        assert isinstance(step, Finding)
