"""The words of the second API: where a deployment is, what its answers mean, and what is sent."""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from scaler.model import Action, ActionKind, Bounds, Endpoint, EndpointChange, EndpointState, EndpointWish, Price, Start
from scaler.providers.base import Availability, BadReply, Hardware, NotFound, Refused, Specs, Unreachable
from scaler.providers.together_v2 import NotOffered, TogetherV2Reader, parse_catalog, parse_deployment, parse_starts
from scaler.providers.together_v2_writer import TogetherV2Writer

DEP = "dep_1"
P = "/v1/v2/projects/proj_1"  # the stub's base ends in /v1
DEPLOYMENT: dict[str, Any] = {
    "id": DEP,
    "name": "acme/chat/main",
    "model": "projects/p/models/ml_1/revisions/rv_1",
    "hardware": "2x H100",
    "autoscaling": {"minReplicas": 1, "maxReplicas": 4, "scaleDownWindow": "300s"},
    "status": {"state": "DEPLOYMENT_STATE_READY", "message": "All replicas are ready", "readyReplicas": 2, "scheduledReplicas": 2},
    "desiredReplicas": 2,
    "inactiveTimeout": 60,
    "etag": "e1",
    "createdAt": "2026-01-01T00:00:00Z",
}
WHOAMI = {"type": "project_api_key", "project": {"id": "proj_1", "name": "acme", "slug": "acme"}}
SUMMARY = {"id": DEP, "name": "acme/chat/main", "state": "DEPLOYMENT_STATE_READY", "model": "m", "createdAt": "2026-01-01T00:00:00Z"}


def parent(number: int, *deployments: dict[str, Any]) -> dict[str, Any]:
    return {"id": f"ep_{number}", "name": "acme/chat", "endpointType": "ENDPOINT_TYPE_DEDICATED", "deployments": list(deployments)}


def deployment(**changes: Any) -> dict[str, Any]:  # noqa: ANN401 (any field)
    status = DEPLOYMENT["status"] | changes.pop("status", {})
    return DEPLOYMENT | changes | {"status": status}


class Api:
    """Answers by method and path (query aside); one that is not there is 404. A list of answers is used up."""

    def __init__(self, kit: SimpleNamespace) -> None:
        self.kit = kit
        self.answers: dict[str, Any] = {
            "GET /v1/v3/whoami": WHOAMI,
            f"GET {P}/endpoints": {"data": [parent(1, SUMMARY)], "next_cursor": None},
            f"GET {P}/endpoints/ep_1/deployments/{DEP}": DEPLOYMENT,
        }

    async def open(self) -> None:
        self.server = await self.kit.serve(self.behave)
        self.reader = TogetherV2Reader(self.kit.client(self.server))
        self.writer = TogetherV2Writer(self.kit.client(self.server), self.reader.directory)

    async def behave(self, writer: asyncio.StreamWriter) -> None:
        request = self.server.requests[-1]
        answer = self.answers.get(f"{request.method} {request.target.partition('?')[0]}")
        if isinstance(answer, list):
            answer = answer.pop(0)
        status, body = answer if isinstance(answer, tuple) else (200, answer) if answer is not None else (404, {"error": {"message": "no"}})
        writer.write(self.kit.raw(status, body))
        await writer.drain()

    @property
    def calls(self) -> list[str]:
        return [f"{request.method} {request.target}" for request in self.server.requests]


@pytest.fixture
async def api(kit: SimpleNamespace) -> Api:
    made = Api(kit)
    await made.open()
    return made


async def test_a_deployment_is_found_once_and_then_read_directly(api: Api) -> None:
    for _ in range(2):
        assert await api.reader.get(DEP) == Endpoint(
            id=DEP,
            name="acme/chat",
            model="projects/p/models/ml_1/revisions/rv_1",
            hardware="2x H100",
            state=EndpointState.STARTED,
            bounds=Bounds(1, 4),
            display_name="acme/chat/main",
            ready_replicas=2,
            inactive_timeout_minutes=60,
            created_at="2026-01-01T00:00:00Z",
            etag="e1",
            desired_replicas=2,
            message="All replicas are ready",
        )
    get = f"GET {P}/endpoints/ep_1/deployments/{DEP}"
    assert api.calls == ["GET /v1/v3/whoami", f"GET {P}/endpoints?limit=100", get, get]


async def test_a_project_that_is_configured_is_not_asked_for(api: Api, kit: SimpleNamespace) -> None:
    assert (await TogetherV2Reader(kit.client(api.server), "proj_1").get(DEP)).id == DEP
    assert "GET /v1/v3/whoami" not in api.calls


async def test_it_is_looked_for_on_every_page(api: Api) -> None:
    first, second = [parent(7), parent(8, SUMMARY | {"id": "dep_2"})], [parent(1, SUMMARY)]
    api.answers[f"GET {P}/endpoints"] = [{"data": first, "next_cursor": "a&b"}, {"data": second, "next_cursor": None}]
    assert (await api.reader.get(DEP)).id == DEP
    assert api.calls[2] == f"GET {P}/endpoints?limit=100&after=a%26b"


async def test_pages_without_end_are_a_bad_reply(api: Api) -> None:
    api.answers[f"GET {P}/endpoints"] = {"data": [], "next_cursor": "on"}
    with pytest.raises(BadReply, match="more than 50 pages"):
        await api.reader.get(DEP)


async def test_a_deployment_that_moved_is_looked_for_again_and_one_that_is_gone_is_not_found(api: Api) -> None:
    await api.reader.get(DEP)
    api.answers[f"GET {P}/endpoints"] = {"data": [parent(2, SUMMARY)]}
    api.answers[f"GET {P}/endpoints/ep_2/deployments/{DEP}"] = api.answers.pop(f"GET {P}/endpoints/ep_1/deployments/{DEP}")
    assert (await api.reader.get(DEP)).id == DEP
    api.answers[f"GET {P}/endpoints"] = {"data": []}
    api.answers.pop(f"GET {P}/endpoints/ep_2/deployments/{DEP}")
    with pytest.raises(NotFound, match="no deployment dep_1 in project proj_1"):
        await api.reader.get(DEP)


async def test_a_key_of_no_project_is_told_what_to_set(api: Api) -> None:
    api.answers["GET /v1/v3/whoami"] = {"type": "org_api_key", "organization": {"id": "o", "name": "acme"}}
    with pytest.raises(NotOffered, match=r"set provider\.project"):
        await api.reader.get(DEP)


@pytest.mark.parametrize(
    ("word", "more", "state"),
    [
        ("PROVISIONING", {"scheduledReplicas": 0}, EndpointState.PENDING),
        ("PROVISIONING", {"scheduledReplicas": 1}, EndpointState.STARTING),
        ("SCALING", {}, EndpointState.STARTED),
        ("READY", {}, EndpointState.STARTED),
        ("DEGRADED", {}, EndpointState.STARTED),
        ("STOPPING", {}, EndpointState.STOPPING),
        ("STOPPED", {}, EndpointState.STOPPED),
        ("FAILED", {}, EndpointState.ERROR),
        ("PAUSED", {}, EndpointState.UNKNOWN),
        ("ready", {}, EndpointState.UNKNOWN),
    ],
)
def test_each_state_has_one_of_ours_and_a_new_one_is_unknown(word: str, more: dict[str, Any], state: EndpointState) -> None:
    assert parse_deployment(deployment(status={"state": f"DEPLOYMENT_STATE_{word}", **more})).state is state
    assert parse_deployment(deployment(status={"state": word})).state is EndpointState.UNKNOWN


@pytest.mark.parametrize("word", ["PROVISIONING", "SCALING", "READY", "DEGRADED", "STOPPING"])
def test_bounds_of_zero_are_a_stop_under_way_whatever_the_word(word: str) -> None:
    body = deployment(autoscaling={"minReplicas": 0, "maxReplicas": 0}, status={"state": f"DEPLOYMENT_STATE_{word}"})
    assert parse_deployment(body).state is EndpointState.STOPPING


def test_zeros_that_are_left_out_are_zeros_only_where_nothing_runs() -> None:
    stopped = deployment(autoscaling={}, status={"state": "DEPLOYMENT_STATE_STOPPED"})
    assert parse_deployment(stopped).bounds == Bounds(0, 0)
    with pytest.raises(BadReply, match="autoscaling"):
        parse_deployment(deployment(autoscaling={}))


def test_counts_that_are_not_told_are_unknown_and_a_timer_that_is_not_told_is_off() -> None:
    body = deployment(status={"readyReplicas": None})
    del body["desiredReplicas"], body["inactiveTimeout"], body["etag"]
    endpoint = parse_deployment(body)
    assert (endpoint.ready_replicas, endpoint.desired_replicas, endpoint.etag) == (None, None, None)
    assert endpoint.inactive_timeout_minutes == 0


def test_replicas_without_hardware_are_missing_only_where_the_platform_calls_it_degraded() -> None:
    short = {"readyReplicas": 1, "scheduledReplicas": 2, "message": "insufficient GPU capacity"}
    degraded = parse_deployment(deployment(desiredReplicas=5, status=short | {"state": "DEPLOYMENT_STATE_DEGRADED"}))
    assert (degraded.missing_replicas, degraded.message) == (3, "insufficient GPU capacity")
    scaling = parse_deployment(deployment(desiredReplicas=5, status=short | {"state": "DEPLOYMENT_STATE_SCALING"}))
    assert scaling.missing_replicas == 0


@pytest.mark.parametrize("field", ["id", "name", "model", "hardware", "autoscaling", "status"])
@pytest.mark.parametrize("spoil", [lambda _: None, lambda _: 7, lambda _: "", lambda _: [], lambda _: "a\nb", lambda _: "x" * 501])
def test_a_field_that_matters_must_be_there_and_be_right(field: str, spoil: Callable[[Any], Any]) -> None:
    with pytest.raises(BadReply, match=rf"deployment: {field}"):
        parse_deployment(DEPLOYMENT | {field: spoil({})})
    with pytest.raises(BadReply, match=rf"deployment: {field}"):
        parse_deployment({key: value for key, value in DEPLOYMENT.items() if key != field})


@pytest.mark.parametrize("name", ["chat", "acme/chat", "a/b/c/d", "/chat/main", "acme//main"])
def test_a_name_that_does_not_lead_to_an_endpoint_is_no_name(name: str) -> None:
    with pytest.raises(BadReply, match="name"):
        parse_deployment(deployment(name=name))


@pytest.mark.parametrize("bounds", [(2, 1), (-1, 1), (1, None), (True, 1), ("1", 1), (1.0, 1)])
def test_bounds_that_make_no_sense_are_no_bounds(bounds: tuple[Any, Any]) -> None:
    with pytest.raises(BadReply, match="autoscaling"):
        parse_deployment(deployment(autoscaling={"minReplicas": bounds[0], "maxReplicas": bounds[1]}))


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a?b", "a%2Fb", "a b", "é", "a\n"])
async def test_an_id_cannot_lead_to_another_path(api: Api, name: str) -> None:
    with pytest.raises(ValueError, match="not a deployment id"):
        await api.reader.get(name)


async def test_an_endpoint_id_from_outside_cannot_lead_to_another_path(api: Api) -> None:
    api.answers[f"GET {P}/endpoints"] = {"data": [parent(1, SUMMARY) | {"id": "../x"}]}
    with pytest.raises(BadReply, match="endpoint: id"):
        await api.reader.get(DEP)


INSTANCE = {
    "id": "it_1",
    "name": "2x H100",
    "gpuType": "H100",
    "gpuCount": 2,
    "gpuMemoryGib": 80,
    "priceCentsPerHour": 1098,
    "regions": [{"name": "us-east", "headroom": {"relation": "RELATION_EQ", "value": 0}}],
}


@pytest.mark.parametrize(
    ("headrooms", "availability"),
    [
        ([("EQ", 0), ("EQ", 0)], Availability.UNAVAILABLE),
        ([("EQ", 0), ("GTE", 3)], Availability.AVAILABLE),
        ([("GTE", 0)], Availability.UNKNOWN),
        ([("EQ", None)], Availability.UNKNOWN),
        ([], Availability.UNKNOWN),
    ],
)
def test_prices_come_per_hour_and_room_is_room_in_any_region(headrooms: list[tuple[str, int]], availability: Availability) -> None:
    regions = [{"name": "r", "headroom": {"relation": f"RELATION_{word}", "value": value}} for word, value in headrooms]
    wanted = [Hardware(word, Price(18.3), availability, Specs("H100", "", 80, 2)) for word in ("it_1", "2x H100")]
    assert list(parse_catalog({"data": [INSTANCE | {"regions": regions}]})) == wanted


def event(at: str, phase: str, replica: str = "r1", **more: Any) -> dict[str, Any]:  # noqa: ANN401 (any field)
    kind = {"type": "pod.startup_phase_changed", "deploymentId": DEP, "replicaId": replica, "reason": phase}
    return kind | {"createdAt": f"2026-01-01T00:{at}Z"} | more


def test_a_start_is_from_the_first_phase_to_the_last_of_one_replica() -> None:
    zero = 1767225600.0
    events = [
        event("09:00", "StartupComplete"),
        event("07:00", "PullingImage"),  # started anew
        event("05:00", "StartupComplete"),
        event("04:00", "StartupComplete", "other", deploymentId="dep_2"),
        event("03:00", "PullingImage", "r2"),  # not ready yet
        event("02:30", "LoadingWeights", type="pod.log"),
        event("02:00", "LoadingWeights"),
        event("01:00", "PullingImage"),
        event("00:30", "StartupComplete", "r3"),  # whose beginning nobody remembers
    ]
    assert parse_starts({"data": events}, DEP) == (Start("r1", zero + 60, zero + 300), Start("r1", zero + 420, zero + 540))


@pytest.mark.parametrize("at", ["yesterday", 5, None, "2026-01-01T00:00:00"])
def test_a_time_that_is_none_spoils_the_events(at: object) -> None:
    with pytest.raises(BadReply, match="createdAt"):
        parse_starts({"data": [event("00:00", "x") | {"createdAt": at}]}, DEP)


async def test_starts_are_asked_for_by_type_and_deployment(api: Api) -> None:
    api.answers[f"GET {P}/endpoints/ep_1/events"] = {"data": [event("05:00", "StartupComplete"), event("01:00", "PullingImage")]}
    (start,) = await api.reader.starts(DEP)
    assert start.ready_at - start.started_at == 240
    assert api.calls[-1] == f"GET {P}/endpoints/ep_1/events?deploymentIds=dep_1&types=pod.startup_phase_changed&limit=1000"


async def test_lists_have_deployments_and_say_no_to_what_v2_does_not_have(api: Api) -> None:
    (line,) = await api.reader.list()
    assert (line.id, line.name, line.owner, line.state, line.display_name) == (
        DEP,
        "acme/chat",
        "acme",
        EndpointState.STARTED,
        "acme/chat/main",
    )
    with pytest.raises(NotOffered, match="configs"):
        await api.reader.hardware("some/model")
    with pytest.raises(NotOffered, match="together endpoints deploy"):
        await api.writer.create(EndpointWish("x", "some/model", "h", Bounds(1, 1), 0))
    with pytest.raises(NotOffered, match="by its bounds"):
        await api.writer.change(DEP, EndpointChange(run=True))


async def test_zones_are_regions(api: Api) -> None:
    api.answers["GET /v1/v2/public/inference-instance-types"] = {"data": [INSTANCE, INSTANCE | {"id": "it_2"}]}
    assert await api.reader.zones() == ("us-east",)
    assert [hardware.id for hardware in await api.reader.hardware()] == ["it_1", "2x H100", "it_2", "2x H100"]


BOTH = "autoscaling.minReplicas%2Cautoscaling.maxReplicas"


@pytest.mark.parametrize(
    ("action", "mask", "body"),
    [
        (
            Action(ActionKind.UPDATE, DEP, Bounds(2, 4), 0, "e1"),
            f"{BOTH}%2CinactiveTimeout",
            {"autoscaling": {"minReplicas": 2, "maxReplicas": 4}, "inactiveTimeout": 0, "etag": "e1"},
        ),
        (
            Action(ActionKind.START, DEP, Bounds(1, 1), 60),
            f"{BOTH}%2CinactiveTimeout",
            {"autoscaling": {"minReplicas": 1, "maxReplicas": 1}, "inactiveTimeout": 60},
        ),
        (
            Action(ActionKind.STOP, DEP, Bounds(2, 4), 60, "e1"),
            BOTH,
            {"autoscaling": {"minReplicas": 0, "maxReplicas": 0}, "etag": "e1"},
        ),
    ],
)
async def test_each_action_is_one_patch_that_masks_what_it_says(api: Api, action: Action, mask: str, body: dict[str, Any]) -> None:
    path = f"{P}/endpoints/ep_1/deployments/{DEP}"
    api.answers[f"PATCH {path}"] = DEPLOYMENT
    assert await api.writer.apply(action) == parse_deployment(DEPLOYMENT)
    assert api.calls[-1] == f"PATCH {path}?updateMask={mask}"
    assert api.server.requests[-1].body == body


@pytest.mark.parametrize("status", [409, 412])
async def test_a_stale_etag_is_somebody_else_and_the_next_tick_may_try_at_once(api: Api, status: int) -> None:
    api.answers[f"PATCH {P}/endpoints/ep_1/deployments/{DEP}"] = (status, {"error": {"message": "stale", "code": "conflict"}})
    with pytest.raises(Refused, match=r"somebody else has changed the deployment since it was read: .*stale") as caught:
        await api.writer.apply(Action(ActionKind.UPDATE, DEP, Bounds(2, 4), 0, "e0"))
    assert (caught.value.status, caught.value.code, caught.value.retry_after) == (status, "conflict", 0.0)


async def test_a_no_of_another_kind_stays_what_it_is(api: Api) -> None:
    api.answers[f"PATCH {P}/endpoints/ep_1/deployments/{DEP}"] = (403, {"error": {"message": "not yours"}})
    with pytest.raises(Refused, match="not yours") as caught:
        await api.writer.apply(Action(ActionKind.UPDATE, DEP, Bounds(2, 4), 0, "e1"))
    assert caught.value.retry_after is None


@pytest.mark.parametrize("trouble", [(500, {}), {"data": 5}])
async def test_nothing_is_sent_while_nobody_can_tell_where(api: Api, trouble: object) -> None:
    api.answers[f"GET {P}/endpoints"] = trouble
    with pytest.raises(Unreachable, match="nothing was sent"):
        await api.writer.apply(Action(ActionKind.UPDATE, DEP, Bounds(2, 4), 0, "e1"))
    assert not any(call.startswith("PATCH") for call in api.calls)


async def test_a_deployment_that_is_gone_when_it_is_written_to_is_looked_for_at_the_next_write(api: Api) -> None:
    await api.reader.get(DEP)
    for _ in range(2):
        with pytest.raises(NotFound):
            await api.writer.apply(Action(ActionKind.UPDATE, DEP, Bounds(2, 4), 0, "e1"))
    assert api.calls.count(f"GET {P}/endpoints?limit=100") == 2


async def test_a_person_changes_only_what_they_say_and_removes_for_good(api: Api) -> None:
    path = f"{P}/endpoints/ep_1/deployments/{DEP}"
    api.answers |= {f"PATCH {path}": DEPLOYMENT, f"DELETE {path}": {}}
    await api.writer.change(DEP, EndpointChange(inactive_timeout_minutes=30))
    await api.writer.change(DEP, EndpointChange(run=False))
    await api.writer.delete(DEP)
    sent = [request.body for request in api.server.requests if request.method == "PATCH"]
    assert sent == [{"inactiveTimeout": 30}, {"autoscaling": {"minReplicas": 0, "maxReplicas": 0}}]
    assert api.calls[-1] == f"DELETE {path}"
