"""What v2's readings and replies mean to the actuator, and stops that could not be taken back."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest

from scaler.actuator import Skipped, SkipReason
from scaler.actuator.actions import plan, satisfied
from scaler.model import Action, ActionKind, Bounds, Decision, Endpoint, EndpointState, Outcome, OutcomeStatus, Power
from scaler.providers.probe import CREATE_DISABLED
from scaler.providers.together_v2 import parse_deployment
from scaler.settings import IdleSettings


def reading(state: str, low: int, high: int) -> Endpoint:
    return parse_deployment(
        {
            "id": "dep_1",
            "name": "acme/chat/main",
            "model": "m",
            "hardware": "h",
            "autoscaling": {"minReplicas": low, "maxReplicas": high},
            "status": {"state": f"DEPLOYMENT_STATE_{state}", "message": "", "readyReplicas": low},
            "etag": "e7",
        }
    )


def wants(power: Power, bounds: Bounds = Bounds(1, 2)) -> Decision:  # noqa: B008 (frozen)
    return Decision("chat", 0.0, bounds, 0, power, False, ())


STOP = Action(ActionKind.STOP, "dep_1", Bounds(1, 2), 0)
START = Action(ActionKind.START, "dep_1", Bounds(1, 2), 0)


@pytest.mark.parametrize("word", ["READY", "SCALING", "DEGRADED", "PROVISIONING", "STOPPING", "STOPPED"])
def test_a_stop_is_done_as_soon_as_the_bounds_are_zero(word: str) -> None:
    assert satisfied(STOP, reading(word, 0, 0)) is True
    assert plan(wants(Power.STOP), reading(word, 0, 0), None) is None
    assert plan(wants(Power.KEEP), reading(word, 0, 0), None) is None  # nobody fights a stop under way


def test_a_stop_is_not_done_while_it_has_bounds_and_runs() -> None:
    assert satisfied(STOP, reading("READY", 1, 2)) is False
    assert plan(wants(Power.STOP), reading("READY", 1, 2), None) == replace(STOP, etag="e7")


def test_a_start_is_done_when_it_has_its_bounds_and_is_on_its_way() -> None:
    assert plan(wants(Power.RUN), reading("STOPPED", 0, 0), None) == replace(START, etag="e7")
    assert satisfied(START, reading("PROVISIONING", 1, 2)) is True
    assert satisfied(START, reading("STOPPED", 1, 2)) is False
    assert satisfied(START, reading("READY", 2, 2)) is False


def test_an_update_goes_by_bounds_and_timer_not_by_what_is_ready() -> None:
    short = replace(reading("DEGRADED", 1, 2), ready_replicas=0, desired_replicas=2, missing_replicas=2)
    assert plan(wants(Power.KEEP), short, None) is None
    assert plan(wants(Power.KEEP), replace(short, state=EndpointState.STARTED, inactive_timeout_minutes=60), None) is not None


def reason(result: object) -> SkipReason:
    assert isinstance(result, Skipped), result
    return result.reason


def status(result: object) -> OutcomeStatus:
    assert isinstance(result, Outcome), result
    return result.status


async def refuse_to_start(house: SimpleNamespace, code: str) -> None:
    """The last start was refused with this code; then somebody else got the endpoint to run."""
    house.platform.endpoint["state"] = "STOPPED"
    house.platform.faults = ["403"]
    house.platform.code = code
    assert status(await house.tick("1..2", Power.RUN)) is OutcomeStatus.REFUSED
    house.platform.endpoint["state"] = "STARTED"
    house.clock.advance(100)


async def test_where_the_last_start_was_not_allowed_a_stop_is_for_good_and_not_sent_even_after_a_restart(house: SimpleNamespace) -> None:
    await refuse_to_start(house, CREATE_DISABLED)
    await house.restart()
    result = await house.tick("1..2", Power.STOP)
    assert reason(result) is SkipReason.IRREVERSIBLE
    assert result.detail == f"a stop might be for good: the last start was refused ({CREATE_DISABLED}) (idle.allow_irreversible_stop)"
    assert status(await house.tick("2..2")) is OutcomeStatus.CONFIRMED  # everything else goes on
    assert reason(await house.tick("1..2", Power.STOP)) is SkipReason.IRREVERSIBLE
    house.platform.endpoint["state"] = "STOPPED"
    assert status(await house.tick("1..2", Power.RUN)) is OutcomeStatus.CONFIRMED  # it could be started after all
    assert status(await house.tick("1..2", Power.STOP)) is OutcomeStatus.CONFIRMED


async def test_a_start_that_was_refused_for_another_reason_says_nothing_about_stops(house: SimpleNamespace) -> None:
    await refuse_to_start(house, "no")
    assert status(await house.tick("1..2", Power.STOP)) is OutcomeStatus.CONFIRMED


async def test_whoever_says_so_may_stop_for_good(house: SimpleNamespace) -> None:
    endpoint = house.settings.endpoints["chat"]
    await refuse_to_start(house, CREATE_DISABLED)
    allowed = endpoint.model_copy(update={"idle": IdleSettings(allow_stop=True, allow_irreversible_stop=True)})
    await house.set(endpoints={"chat": allowed})
    assert status(await house.tick("1..2", Power.STOP)) is OutcomeStatus.CONFIRMED


EMPTY_ORDER = "POST /v1/endpoints"
LIST = "GET /v1/endpoints?mine=true&type=dedicated"


async def as_auto(house: SimpleNamespace, empty_order: tuple[int, str]) -> None:
    status, code = empty_order
    house.platform.aside = {
        LIST: (200, b'{"data": []}'),
        "GET /v3/whoami": (404, b"{}"),
        EMPTY_ORDER: (status, json.dumps({"error": {"message": "no", "code": code}}).encode()),
    }
    await house.set(provider=house.settings.provider.model_copy(update={"kind": "auto"}))


async def test_auto_asks_before_the_first_stop_and_not_before_anything_else(house: SimpleNamespace) -> None:
    await as_auto(house, (403, CREATE_DISABLED))
    assert status(await house.tick("2..4")) is OutcomeStatus.CONFIRMED
    house.pause.touch()
    assert reason(await house.tick("2..4", Power.STOP)) is SkipReason.PAUSED
    house.pause.unlink()
    await house.set(dry_run=True)
    assert reason(await house.tick("2..4", Power.STOP)) is SkipReason.DRY_RUN
    assert EMPTY_ORDER not in house.platform.asked
    await house.set(dry_run=False)
    for _ in range(3):
        result = await house.tick("2..4", Power.STOP)
        assert reason(result) is SkipReason.IRREVERSIBLE
        assert CREATE_DISABLED in result.detail
    assert house.platform.asked.count(EMPTY_ORDER) == 1
    assert len(house.platform.patches) == 1


async def test_auto_stops_what_can_be_started_again(house: SimpleNamespace) -> None:
    await as_auto(house, (400, "invalid_request"))
    assert status(await house.tick("2..4", Power.STOP)) is OutcomeStatus.CONFIRMED
    assert house.platform.patches == [{"state": "STOPPED"}]


async def test_auto_does_not_stop_while_nobody_can_tell_and_asks_again(house: SimpleNamespace) -> None:
    await as_auto(house, (500, "oops"))
    assert reason(await house.tick("2..4", Power.STOP)) is SkipReason.IRREVERSIBLE
    await as_auto(house, (400, "invalid_request"))
    assert status(await house.tick("2..4", Power.STOP)) is OutcomeStatus.CONFIRMED
