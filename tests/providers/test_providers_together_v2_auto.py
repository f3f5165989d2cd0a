"""Which generation answers: found out by asking, settled only on proof, and never by a call that changes something."""

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import SecretStr

from scaler.model import Action, ActionKind, Bounds
from scaler.providers import describe, open_reader
from scaler.providers.auto_writer import AutoWriter, open_writer
from scaler.providers.base import OutcomeUnknown, ProviderError, Unreachable
from scaler.providers.probe import CREATE_DISABLED, Answer, AutoReader, judge
from scaler.providers.together_v1 import TogetherV1Reader
from scaler.providers.together_v1_writer import TogetherV1Writer
from scaler.providers.together_v2 import TogetherV2Reader
from scaler.providers.together_v2_writer import TogetherV2Writer
from scaler.settings import ProviderSettings

YES, NO, SILENT = Answer(yes=True, words="answers"), Answer(yes=False, words="says no"), Answer(None, "is silent")
WHOAMI = {"type": "project_api_key", "project": {"id": "proj_1", "name": "acme", "slug": "acme"}}
NONE: dict[str, Any] = {"data": [], "next_cursor": None}
DISABLED = (403, {"error": {"message": "no", "type": "forbidden", "code": CREATE_DISABLED}})


@pytest.mark.parametrize(
    ("v1", "v2", "endpoint_id", "kind"),
    [
        (YES, NO, None, "together_v1"),
        (NO, YES, None, "together_v2"),
        (YES, NO, "dep_1", "together_v1"),
        (YES, YES, "dep_1", "together_v2"),
        (YES, YES, "endpoint-1", "together_v1"),
        (YES, SILENT, "endpoint-1", "together_v1"),
        (SILENT, YES, "dep_1", "together_v2"),
        (YES, YES, None, None),
        (YES, YES, "something", None),
        (YES, SILENT, "dep_1", None),
        (SILENT, YES, "endpoint-1", None),
        (SILENT, YES, None, None),
        (NO, NO, "dep_1", None),
        (SILENT, SILENT, "dep_1", None),
        (NO, SILENT, "dep_1", None),
    ],
)
def test_one_answer_settles_nothing_without_a_definite_no_of_the_other_or_an_id_of_its_kind(
    v1: Answer, v2: Answer, endpoint_id: str | None, kind: str | None
) -> None:
    found = judge(v1, v2, endpoint_id)
    assert (found and found.kind) == kind


class Api:
    """Answers by method and path; what is not there is 404."""

    def __init__(self, kit: SimpleNamespace) -> None:
        self.kit = kit
        self.answers: dict[str, Any] = {}

    async def behave(self, writer: asyncio.StreamWriter) -> None:
        request = self.server.requests[-1]
        answer = self.answers.get(f"{request.method} {request.target.partition('?')[0]}", (404, {"error": {"message": "none"}}))
        status, body = answer if isinstance(answer, tuple) else (200, answer)
        writer.write(self.kit.raw(status, body))
        await writer.drain()

    async def open(self, tail: str) -> None:
        self.server = await self.kit.serve(self.behave)
        root = self.server.origin.removesuffix("/v1")
        self.settings = ProviderSettings(kind="auto", base_url=root + tail, api_key=SecretStr("k" * 20))
        self.reader = AutoReader(self.settings)
        self.writer = AutoWriter(self.settings, self.reader)

    @property
    def calls(self) -> list[str]:
        return [f"{request.method} {request.target.partition('?')[0]}" for request in self.server.requests]


@pytest.fixture(params=["", "/v1"])
async def api(kit: SimpleNamespace, request: pytest.FixtureRequest) -> AsyncIterator[Api]:
    made = Api(kit)
    await made.open(request.param)
    yield made
    await made.writer.close()
    await made.reader.close()


async def test_an_account_of_the_second_generation(api: Api) -> None:
    api.answers = {"GET /v3/whoami": WHOAMI, "GET /v2/projects/proj_1/endpoints": NONE}
    with pytest.raises(ProviderError, match="no deployment dep_1"):
        await api.reader.get("dep_1")
    assert isinstance(await api.reader.resolve(), TogetherV2Reader)
    told = describe(api.reader, api.settings)
    assert told["kind"] == "together_v2"
    assert "v2 answers" in told["why"]
    assert await api.writer.why_stop_is_final() is None
    assert not any(call.startswith("POST") for call in api.calls)


async def test_an_account_of_the_first_generation_has_a_whoami_too(api: Api, kit: SimpleNamespace) -> None:
    api.answers = {"GET /v3/whoami": WHOAMI, "GET /v1/endpoints": {"data": []}, f"GET /v1/endpoints/{kit.id}": kit.endpoint}
    assert (await api.reader.get(kit.id)).id == kit.id
    assert isinstance(await api.reader.resolve(), TogetherV1Reader)
    asked = len(api.calls)
    await api.reader.get(kit.id)
    assert len(api.calls) == asked + 1


async def test_while_nobody_answers_every_call_asks_anew_and_nothing_is_sent(api: Api, kit: SimpleNamespace) -> None:
    assert describe(api.reader, api.settings) == {"kind": "unknown", "why": "nobody has been asked yet"}
    api.answers = {"GET /v3/whoami": (503, {}), "GET /v1/endpoints": (429, {})}
    for _ in range(2):
        with pytest.raises(OutcomeUnknown, match=r"not known yet: v1 says .*429.*; v2 says .*503"):
            await api.reader.get(kit.id)
    with pytest.raises(Unreachable, match="nothing was sent"):
        await api.writer.apply(Action(ActionKind.UPDATE, kit.id, Bounds(1, 1), 0))
    assert "503" in describe(api.reader, api.settings)["why"]
    assert not any(call.startswith(("POST", "PATCH")) for call in api.calls)
    api.answers = {
        "GET /v1/endpoints": {"data": []},
        f"GET /v1/endpoints/{kit.id}": kit.endpoint,
        f"PATCH /v1/endpoints/{kit.id}": kit.endpoint,
    }
    assert (await api.reader.get(kit.id)).id == kit.id
    assert (await api.writer.apply(Action(ActionKind.UPDATE, kit.id, Bounds(1, 1), 0))).id == kit.id


async def test_where_both_answer_the_id_of_an_endpoint_of_ours_tells(api: Api) -> None:
    api.answers = {"GET /v3/whoami": WHOAMI, "GET /v2/projects/proj_1/endpoints": NONE, "GET /v1/endpoints": {"data": []}}
    with pytest.raises(OutcomeUnknown, match=r"v1 answers; v2 answers; both are there, so set provider\.kind"):
        await api.reader.hardware()
    hinted = open_reader(api.settings, "dep_1")
    with pytest.raises(ProviderError, match="GET /v2/public/inference-instance-types: 404"):
        await hinted.hardware()
    await hinted.close()


async def test_two_endpoints_that_are_asked_for_at_once_ask_once_who_answers(api: Api, kit: SimpleNamespace) -> None:
    api.answers = {"GET /v1/endpoints": {"data": []}, f"GET /v1/endpoints/{kit.id}": kit.endpoint}
    await asyncio.gather(*(api.reader.get(kit.id) for _ in range(5)))
    assert api.calls.count("GET /v1/endpoints") == 1


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (DISABLED, f"may not start v1 endpoints again ({CREATE_DISABLED})"),
        ((400, {"error": {"message": "model is required"}}), None),
        ((422, {"error": {"message": "model is required"}}), None),
        ((403, {"error": {"message": "no"}}), "nobody can tell"),
        ((500, {}), "nobody can tell"),
        ((200, {"id": "endpoint-new"}), "not refused"),
    ],
)
async def test_an_empty_order_tells_whether_a_stop_could_be_taken_back(
    api: Api, kit: SimpleNamespace, answer: object, words: str | None
) -> None:
    api.answers = {"GET /v1/endpoints": {"data": []}, f"GET /v1/endpoints/{kit.id}": kit.endpoint, "POST /v1/endpoints": answer}
    await api.reader.get(kit.id)
    for _ in range(2):
        why = await api.writer.why_stop_is_final()
        assert why is None if words is None else words in (why or "")
    posts = [request for request in api.server.requests if request.method == "POST"]
    assert [request.body for request in posts] in ([{}], [{}, {}])
    assert len(posts) == (1 if words is None or "may not" in words else 2)


async def test_who_cannot_be_asked_might_be_for_good(api: Api) -> None:
    api.answers = {"GET /v1/endpoints": (500, {})}
    assert "not known yet" in (await api.writer.why_stop_is_final() or "")


async def test_settings_open_the_halves_that_belong_together() -> None:
    made: list[tuple[type, type]] = []
    for kind in ("together_v1", "together_v2", "auto"):
        settings = ProviderSettings.model_validate({"kind": kind, "base_url": "http://127.0.0.1:9/v1", "api_key": "k" * 20})
        reader = open_reader(settings)
        writer = open_writer(settings, reader)
        made.append((type(reader), type(writer)))
        expected = "unknown" if kind == "auto" else kind
        assert describe(reader, settings)["kind"] == expected
        await writer.close()
        await reader.close()
    assert made == [(TogetherV1Reader, TogetherV1Writer), (TogetherV2Reader, TogetherV2Writer), (AutoReader, AutoWriter)]
