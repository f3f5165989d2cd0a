"""The actuator before a real store and a provider that may do anything."""

import asyncio
from pathlib import Path
from types import SimpleNamespace

import pytest

from scaler.actuator import Skipped, SkipReason
from scaler.model import Action, Bounds, Endpoint, EndpointState, Intent, Outcome, OutcomeStatus, Power
from scaler.settings import EndpointSettings, GuardSettings, IdleSettings
from scaler.store.base import StoreError
from scaler.store.sqlite import SqliteStore

UPDATE = {"autoscaling": {"min_replicas": 2, "max_replicas": 4}, "inactive_timeout": 60}


def reason(result: object) -> SkipReason:
    assert isinstance(result, Skipped), result
    return result.reason


def status(result: object) -> OutcomeStatus:
    assert isinstance(result, Outcome), result
    return result.status


async def test_a_change_is_written_down_sent_once_read_back_and_then_left_alone(house: SimpleNamespace) -> None:
    result = await house.tick("2..4")
    assert result == Outcome(1, 1_000_010.0, OutcomeStatus.CONFIRMED, "read back: STARTED, 2..4 replicas")
    (record,) = await house.store.intents("chat", 5)
    assert (record.intent.why, record.intent.before, record.outcomes) == ("More traffic.", Bounds(1, 2), (result,))
    assert house.platform.calls == ["GET", "PATCH", "GET"]
    assert house.platform.patches == [UPDATE]
    for _ in range(3):
        assert reason(await house.tick("2..4")) is SkipReason.NO_OP
    assert house.platform.calls[3:] == ["GET"] * 3


async def test_the_timeout_is_said_once_even_if_the_bounds_are_right_and_again_when_it_changes(house: SimpleNamespace) -> None:
    said = await house.tick("1..2")
    assert (status(said), said.detail) == (OutcomeStatus.CONFIRMED, "read back: STARTED, 1..2 replicas; sent for its idle timeout, 60 min")
    assert reason(await house.tick("1..2")) is SkipReason.NO_OP
    await house.restart()
    assert reason(await house.tick("1..2")) is SkipReason.NO_OP
    said = await house.tick("1..2", timeout=0)
    assert (status(said), said.detail[35:]) == (OutcomeStatus.CONFIRMED, "sent for its idle timeout, never")
    assert [patch["inactive_timeout"] for patch in house.platform.patches] == [60, 0]


async def test_a_hold_sends_nothing_whatever_else_it_says(house: SimpleNamespace) -> None:
    assert reason(await house.tick("4..4", Power.STOP, hold=True)) is SkipReason.HELD
    assert house.platform.patches == []


async def test_a_stopped_endpoint_is_started_with_everything_said(house: SimpleNamespace) -> None:
    house.platform.endpoint["state"] = "STOPPED"
    assert reason(await house.tick("2..4", Power.KEEP)) is SkipReason.NO_OP
    assert status(await house.tick("2..4", Power.RUN)) is OutcomeStatus.CONFIRMED
    assert house.platform.patches == [{"state": "STARTED", **UPDATE}]
    assert reason(await house.tick("2..4", Power.RUN)) is SkipReason.NO_OP


async def test_an_endpoint_is_stopped_only_where_that_is_allowed(house: SimpleNamespace) -> None:
    endpoint = house.settings.endpoints["chat"]
    await house.set(endpoints={"chat": endpoint.model_copy(update={"idle": IdleSettings(allow_stop=False)})})
    assert reason(await house.tick("1..2", Power.STOP)) is SkipReason.NOT_ALLOWED
    assert house.platform.patches == []
    await house.set(endpoints={"chat": endpoint})
    assert status(await house.tick("1..2", Power.STOP)) is OutcomeStatus.CONFIRMED
    assert house.platform.patches == [{"state": "STOPPED"}]
    assert reason(await house.tick("1..2", Power.STOP)) is SkipReason.NO_OP


@pytest.mark.parametrize("state", ["STOPPING", "ERROR", "FAILED", "HIBERNATING"])
async def test_nothing_is_sent_to_an_endpoint_in_a_state_that_is_passing_broken_or_strange(house: SimpleNamespace, state: str) -> None:
    house.platform.endpoint["state"] = state
    for power in Power:
        assert reason(await house.tick("3..4", power)) is SkipReason.NO_OP
    assert house.platform.patches == []


@pytest.mark.parametrize("bounds", ["0..4", "1..5", "3..2", "5..5"])
async def test_bounds_outside_the_settings_are_refused_whoever_decided_them(house: SimpleNamespace, bounds: str) -> None:
    assert reason(await house.tick(bounds)) is SkipReason.OUT_OF_BOUNDS
    assert house.platform.patches == []
    assert await house.ends() == []


async def test_a_dry_run_tells_what_it_would_send_and_sends_nothing(house: SimpleNamespace) -> None:
    await house.set(dry_run=True)
    result = await house.tick("2..4")
    assert reason(result) is SkipReason.DRY_RUN
    assert isinstance(result, Skipped)
    assert result.action is not None
    assert result.action.bounds == Bounds(2, 4)
    assert house.platform.patches == []


async def test_the_pause_file_stops_everything_until_it_is_gone_and_outlives_a_restart(house: SimpleNamespace) -> None:
    house.pause.touch()
    assert reason(await house.tick("2..4")) is SkipReason.PAUSED
    await house.restart()
    assert reason(await house.tick("2..4")) is SkipReason.PAUSED
    assert house.platform.patches == []
    house.pause.unlink()
    assert status(await house.tick("2..4")) is OutcomeStatus.CONFIRMED


async def test_a_pause_in_the_last_instant_still_stops_the_call(house: SimpleNamespace) -> None:
    class PausedMeanwhile(SqliteStore):
        async def add_intent(self, at: float, endpoint: str, action: Action, why: str, before: Bounds | None = None) -> Intent:
            intent = await super().add_intent(at, endpoint, action, why, before)
            house.pause.touch()
            return intent

    await house.restart(PausedMeanwhile)
    assert reason(await house.tick("2..4")) is SkipReason.PAUSED
    assert house.platform.patches == []
    ((outcome,),) = [record.outcomes for record in await house.store.intents("chat", 5)]
    assert outcome.status is OutcomeStatus.REFUSED
    assert outcome.detail == f"not sent: paused: {house.pause} exists"


async def test_a_decision_that_waited_for_a_slow_disk_is_too_old_to_send(house: SimpleNamespace) -> None:
    class Slow(SqliteStore):
        async def add_intent(self, at: float, endpoint: str, action: Action, why: str, before: Bounds | None = None) -> Intent:
            intent = await super().add_intent(at, endpoint, action, why, before)
            house.clock.advance(31)
            return intent

    await house.restart(Slow)
    assert reason(await house.tick("2..4")) is SkipReason.STALE
    assert house.platform.patches == []
    assert await house.ends() == [["refused"]]


@pytest.mark.parametrize(
    ("expected", "update"),
    [
        (SkipReason.OUT_OF_BOUNDS, {"endpoints": {"chat": EndpointSettings(id="endpoint-1", min_replicas=1, max_replicas=3)}}),
        (SkipReason.NOT_ALLOWED, {"endpoints": {"other": EndpointSettings(id="endpoint-1")}}),
        (SkipReason.DRY_RUN, {"dry_run": True}),
    ],
)
async def test_settings_that_are_swapped_in_while_a_call_is_prepared_count_at_once(
    house: SimpleNamespace, expected: SkipReason, update: dict[str, object]
) -> None:
    class Reloaded(SqliteStore):
        async def add_intent(self, at: float, endpoint: str, action: Action, why: str, before: Bounds | None = None) -> Intent:
            intent = await super().add_intent(at, endpoint, action, why, before)
            house.actuator.use(house.settings.model_copy(update=update))
            return intent

    await house.restart(Reloaded)
    assert reason(await house.tick("2..4")) is expected
    assert house.platform.patches == []
    assert await house.ends() == [["refused"]]


@pytest.mark.parametrize("age", [31, 3600, -31])
async def test_an_old_decision_is_not_carried_out_nor_one_from_the_future(house: SimpleNamespace, age: float) -> None:
    observed = await house.reader.get("endpoint-1")
    decision = house.decide("2..4")
    house.clock.advance(age)
    assert reason(await house.actuator.carry_out("chat", decision, observed)) is SkipReason.STALE
    assert house.platform.patches == []


async def test_actions_per_hour_are_limited_across_restarts_and_come_back(house: SimpleNamespace) -> None:
    await house.set(guard=GuardSettings(max_actions_per_hour=3))
    for bounds in ("2..4", "3..4", "2..4"):
        assert status(await house.tick(bounds)) is OutcomeStatus.CONFIRMED
        await house.restart()
    assert reason(await house.tick("3..4")) is SkipReason.RATE_LIMITED
    assert len(house.platform.patches) == 3
    house.clock.advance(3600)
    assert status(await house.tick("3..4")) is OutcomeStatus.CONFIRMED


async def test_refusals_use_up_no_actions_so_that_the_way_is_free_when_the_provider_is_back(house: SimpleNamespace) -> None:
    house.platform.faults = ["429"] * 30
    for _ in range(30):
        assert status(await house.tick("2..4")) is OutcomeStatus.REFUSED
    assert status(await house.tick("2..4")) is OutcomeStatus.CONFIRMED


async def test_retry_after_is_honoured_to_the_second(house: SimpleNamespace) -> None:
    house.platform.faults = ["429"]
    house.platform.headers = {"retry-after": "35"}
    assert status(await house.tick("2..4")) is OutcomeStatus.REFUSED
    for _ in range(3):
        assert reason(await house.tick("2..4")) is SkipReason.BACKING_OFF
    assert len(house.platform.patches) == 1
    assert status(await house.tick("2..4")) is OutcomeStatus.CONFIRMED


async def test_a_definite_no_is_asked_again_after_a_minute_at_the_earliest(house: SimpleNamespace) -> None:
    house.platform.faults = ["403"]
    result = await house.tick("2..4")
    assert status(result) is OutcomeStatus.REFUSED
    assert isinstance(result, Outcome)
    assert result.detail == "PATCH /endpoints/endpoint-1: 403: no No. Your key [key] is bad."
    for _ in range(5):
        assert reason(await house.tick("2..4")) is SkipReason.BACKING_OFF
    assert status(await house.tick("2..4")) is OutcomeStatus.CONFIRMED
    await house.store.close()
    assert b"canary" not in b"".join(path.read_bytes() for path in house.path.parent.iterdir())


@pytest.mark.parametrize("fault", ["drop", "hang", "garbage", "500"])
async def test_a_lost_reply_to_a_call_that_worked_is_found_out_and_not_repeated(house: SimpleNamespace, fault: str) -> None:
    await house.set(provider=house.settings.provider.model_copy(update={"timeout_seconds": 1.0}))
    house.platform.faults = [fault]
    assert status(await house.tick("2..4")) is OutcomeStatus.UNKNOWN
    assert len(await house.store.open_intents()) == 1
    assert reason(await house.tick("2..4")) is SkipReason.NO_OP
    (found,) = house.reconciled
    assert found.status is OutcomeStatus.CONFIRMED
    assert found.detail == "found applied on read-back: STARTED, 2..4 replicas"
    assert house.platform.patches == [UPDATE]
    assert await house.ends() == [["unknown", "confirmed"]]


@pytest.mark.parametrize("fault", ["drop-before", "hang-before", "garbage-before", "500-before", "lie"])
async def test_a_call_that_did_not_work_is_found_out_and_made_anew(house: SimpleNamespace, fault: str) -> None:
    await house.set(provider=house.settings.provider.model_copy(update={"timeout_seconds": 1.0}))
    house.platform.faults = [fault]
    assert status(await house.tick("2..4")) is OutcomeStatus.UNKNOWN
    assert status(await house.tick("2..4")) is OutcomeStatus.CONFIRMED
    assert [outcome.detail for outcome in house.reconciled] == ["not applied to endpoint-1: STARTED, 1..2 replicas"]
    assert house.platform.patches == [UPDATE] * 2
    assert await house.ends() == [["unknown", "refused"], ["confirmed"]]


@pytest.mark.parametrize("power", [Power.RUN, Power.STOP])
@pytest.mark.parametrize("fault", ["drop", "drop-before"])
async def test_lost_replies_to_starts_and_stops_make_no_second_one_that_is_not_needed(
    house: SimpleNamespace, power: Power, fault: str
) -> None:
    house.platform.endpoint["state"] = "STOPPED" if power is Power.RUN else "STARTED"
    house.platform.faults = [fault]
    assert status(await house.tick("1..2", power)) is OutcomeStatus.UNKNOWN
    for _ in range(3):
        await house.tick("1..2", power)
    assert len(house.platform.patches) == (1 if fault == "drop" else 2)


async def test_a_timeout_cannot_be_read_back_so_a_lost_reply_to_it_is_sent_again(house: SimpleNamespace) -> None:
    house.platform.faults = ["drop"]
    assert status(await house.tick("1..2")) is OutcomeStatus.UNKNOWN
    assert status(await house.tick("1..2")) is OutcomeStatus.CONFIRMED
    assert reason(await house.tick("1..2")) is SkipReason.NO_OP
    assert await house.ends() == [["unknown", "refused"], ["confirmed"]]


async def test_nothing_is_sent_while_an_earlier_call_is_unresolved(house: SimpleNamespace) -> None:
    house.platform.faults = ["drop"]
    assert status(await house.tick("2..4")) is OutcomeStatus.UNKNOWN
    old = Endpoint("endpoint-1", "o/m-1", "m", "1x_gpu", EndpointState.STARTED, Bounds(1, 2))
    strange = Endpoint("endpoint-1", "o/m-1", "m", "1x_gpu", EndpointState.UNKNOWN, Bounds(1, 2))
    assert await house.actuator.reconcile("chat", strange) == ()
    for _ in range(3):
        assert reason(await house.actuator.carry_out("chat", house.decide("3..4"), old)) is SkipReason.OPEN_INTENT
    await house.restart()
    assert reason(await house.actuator.carry_out("chat", house.decide("3..4"), old)) is SkipReason.OPEN_INTENT
    assert house.platform.patches == [UPDATE]


async def test_a_call_that_was_accepted_but_not_read_back_is_confirmed_by_the_next_reading(house: SimpleNamespace) -> None:
    async def go_deaf() -> None:
        house.platform.deaf = 1

    house.platform.on_patch = go_deaf
    result = await house.tick("2..4")
    assert status(result) is OutcomeStatus.UNKNOWN
    assert isinstance(result, Outcome)
    assert result.detail == "accepted, but not read back: GET /endpoints/endpoint-1: 500: deaf"
    assert reason(await house.tick("2..4")) is SkipReason.NO_OP
    assert await house.ends() == [["unknown", "confirmed"]]


async def test_nobody_listening_is_a_refusal_and_the_next_tick_tries_again(house: SimpleNamespace) -> None:
    observed = await house.reader.get("endpoint-1")
    provider = house.settings.provider
    await house.set(provider=provider.model_copy(update={"base_url": "http://127.0.0.1:1/v1"}))
    for _ in range(2):
        result = await house.actuator.carry_out("chat", house.decide("2..4"), observed)
        assert status(result) is OutcomeStatus.REFUSED
        assert "no connection" in result.detail
    await house.set(provider=provider)
    assert status(await house.tick("2..4")) is OutcomeStatus.CONFIRMED


async def test_without_a_durable_intent_nothing_is_sent_until_there_is_room_again(house: SimpleNamespace) -> None:
    await house.store._run(lambda: house.store._connection.execute("PRAGMA query_only = ON"))
    for power in (Power.RUN, Power.STOP):
        assert reason(await house.tick("2..4", power)) is SkipReason.STORE_FAILED
    assert house.platform.patches == []
    await house.store._run(lambda: house.store._connection.execute("PRAGMA query_only = OFF"))
    assert status(await house.tick("2..4")) is OutcomeStatus.CONFIRMED


async def test_a_store_that_is_gone_sends_nothing(house: SimpleNamespace) -> None:
    observed = await house.reader.get("endpoint-1")
    await house.store.close()
    assert reason(await house.actuator.carry_out("chat", house.decide("2..4"), observed)) is SkipReason.STORE_FAILED
    with pytest.raises(StoreError):
        await house.actuator.reconcile("chat", observed)
    assert house.platform.patches == []


async def test_an_end_that_cannot_be_written_down_is_unknown_and_found_out_later(house: SimpleNamespace) -> None:
    def lock(word: str) -> object:
        return house.store._run(lambda: house.store._connection.execute(f"PRAGMA query_only = {word}"))

    house.platform.on_patch = lambda: lock("ON")
    result = await house.tick("2..4")
    assert status(result) is OutcomeStatus.UNKNOWN
    assert isinstance(result, Outcome)
    assert result.detail.startswith("confirmed (read back: STARTED, 2..4 replicas), but not written down: ")
    await house.store._run(lambda: house.store._connection.execute("PRAGMA query_only = OFF"))
    assert reason(await house.tick("2..4")) is SkipReason.NO_OP
    assert house.platform.patches == [UPDATE]
    assert await house.ends() == [["confirmed"]]


async def test_a_shutdown_in_the_middle_of_a_call_leaves_the_intent_open_for_the_next_life(house: SimpleNamespace) -> None:
    house.platform.faults = ["hang"]
    task = asyncio.create_task(house.tick("2..4"))
    async with asyncio.timeout(5):
        await house.platform.committed.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await house.ends() == [[]]
    await house.restart()
    assert reason(await house.tick("2..4")) is SkipReason.NO_OP
    assert await house.ends() == [["confirmed"]]
    assert house.platform.patches == [UPDATE]


async def test_two_hands_at_once_do_not_overtake_each_other(house: SimpleNamespace) -> None:
    observed = await house.reader.get("endpoint-1")
    house.platform.faults = ["drop"]
    results = await asyncio.gather(*(house.actuator.carry_out("chat", house.decide(bounds), observed) for bounds in ("2..4", "3..4")))
    assert status(results[0]) is OutcomeStatus.UNKNOWN
    assert reason(results[1]) is SkipReason.OPEN_INTENT
    assert house.platform.patches == [UPDATE]


async def test_another_endpoint_than_the_configured_one_is_never_touched(house: SimpleNamespace) -> None:
    stranger = Endpoint("endpoint-2", "o/m-2", "m", "1x_gpu", EndpointState.STARTED, Bounds(1, 2))
    assert reason(await house.actuator.carry_out("chat", house.decide("2..4"), stranger)) is SkipReason.NOT_ALLOWED
    assert house.platform.calls == []


async def test_a_new_endpoint_under_an_old_name_inherits_neither_open_calls_nor_trust(house: SimpleNamespace) -> None:
    assert status(await house.tick("1..2")) is OutcomeStatus.CONFIRMED
    house.platform.faults = ["drop"]
    assert status(await house.tick("2..4")) is OutcomeStatus.UNKNOWN
    house.platform.endpoint |= {"id": "endpoint-2", "autoscaling": {"min_replicas": 2, "max_replicas": 4}}
    await house.set(endpoints={"chat": EndpointSettings(id="endpoint-2", min_replicas=1, max_replicas=4)})
    observed = await house.reader.get("endpoint-2")
    (ended,) = await house.actuator.reconcile("chat", observed)
    assert (ended.status, ended.detail) == (OutcomeStatus.REFUSED, "not applied to endpoint-2: STARTED, 2..4 replicas")
    assert status(await house.actuator.carry_out("chat", house.decide("2..4"), observed)) is OutcomeStatus.CONFIRMED
    assert house.platform.patches[-1] == UPDATE


def test_there_is_one_place_that_calls_the_writer() -> None:
    package = Path(__file__).parents[2] / "scaler"
    callers = [path.name for path in package.rglob("*.py") for line in path.read_text().splitlines() if ".apply(" in line]
    assert sorted(callers) == ["actuator.py", "auto_writer.py"]  # the latter is a writer itself, and hands on
