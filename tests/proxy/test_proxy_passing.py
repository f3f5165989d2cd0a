"""What passes, and how it looks on the other side."""

import json

import pytest

from scaler.proxy.routes import Route, RouteTable
from tests.proxy.house import Build, House
from tests.proxy.wire import ANSWER, MODEL, Visit, answer, chunk, request, until


async def test_a_request_takes_its_route_under_our_credential_and_its_answer_comes_back(house: House) -> None:
    client = await house.client()
    got = await client.ask(request(model="alias", fields=b"Authorization: Bearer sk-client\r\nX-Trace: 7\r\nAccept-Encoding: gzip\r\n"))
    assert (got.status, got.body) == (200, ANSWER)
    (sent,) = house.upstream.requests
    assert sent.start == b"POST /base/v1/chat/completions HTTP/1.1"
    assert sent.values(b"host") == [f"127.0.0.1:{house.upstream.port}".encode()]
    assert sent.values(b"authorization") == [b"Bearer sk-ours"]
    assert sent.values(b"x-trace") == [b"7"]
    assert sent.values(b"accept-encoding") == [b"gzip"]
    assert sent.json == {"model": MODEL, "messages": [{"role": "user", "content": "hello"}]}


@pytest.mark.parametrize("path", [b"/v1/chat/completions", b"/v1/completions", b"/v1/embeddings"])
async def test_each_operation_has_its_place_under_the_base_and_no_query_follows_it(house: House, path: bytes) -> None:
    client = await house.client()
    assert (await client.ask(request(path=path + b"?api_base=http://evil"))).status == 200
    assert house.upstream.requests[0].start == b"POST /base%b HTTP/1.1" % path


async def test_a_body_that_names_the_model_as_the_upstream_does_passes_unchanged(house: House) -> None:
    body = b'{ "messages" : [],\r\n\t"model":"%b", "n":1.50 }' % MODEL.encode()
    await (await house.client()).ask(request(body))
    assert house.upstream.requests[0].body == body


async def test_a_chunked_request_goes_upstream_with_its_length(house: House) -> None:
    client = await house.client()
    head = b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTrailer: Authorization\r\n\r\n"
    body = chunk(b'{"model":') + chunk(b'"chat"}') + b"0;ext=1\r\nAuthorization: Bearer sk-evil\r\nX-Late: 1\r\n\r\n"
    assert (await client.ask(head + body)).status == 200
    (sent,) = house.upstream.requests
    assert sent.body == b'{"model":"%b"}' % MODEL.encode()
    assert sent.values(b"content-length") == [str(len(sent.body)).encode()]
    assert sent.values(b"authorization") == [b"Bearer sk-ours"]
    assert not sent.values(b"x-late") + sent.values(b"trailer") + sent.values(b"transfer-encoding")


async def test_what_belongs_to_one_hop_or_claims_to_know_the_client_is_left_behind(house: House) -> None:
    dropped = [
        *(b"Keep-Alive", b"Proxy-Connection", b"TE", b"Trailer", b"Upgrade", b"Proxy-Authorization", b"Proxy-Foo", b"Cookie"),
        *(b"X-Forwarded-For", b"X-Forwarded-Host", b"Forwarded", b"X-Real-IP", b"X-Api-Key", b"Api-Key", b"X-Scaler-Error"),
        *(b"Content_Length", b"X_Under", b"X-Listed", b"HTTP2-Settings"),
    ]
    fields = b"".join(b"%b: 1\r\n" % name for name in dropped) + b"Connection: keep-alive, x-listed\r\nX-Kept: 1\r\n"
    await (await house.client()).ask(request(fields=fields))
    (sent,) = house.upstream.requests
    names = {name for name, _ in sent.fields}
    assert names == {b"host", b"authorization", b"content-length", b"x-kept"}


async def test_connections_are_kept_on_both_sides(house: House) -> None:
    client = await house.client()
    for _ in range(5):
        assert (await client.ask(request())).values(b"connection") == []
    assert len(house.upstream.visits) == 1
    assert house.idle == 1


@pytest.mark.parametrize(
    ("version", "field"),
    [
        (b"1.1", b"Connection: close\r\n"),
        (b"1.0", b""),
        (b"1.0", b"Connection: keep-alive\r\n"),
    ],
)
async def test_a_client_that_wants_no_more_is_closed_after_its_answer(house: House, version: bytes, field: bytes) -> None:
    client = await house.client()
    got = await client.ask(request(version=version, fields=field))
    assert (got.status, got.values(b"connection")) == (200, [b"close"])
    assert await client.rest() == b""


async def test_pipelined_requests_are_answered_one_after_another(build: Build) -> None:
    waiting: list[Visit] = []

    async def one_at_a_time(visit: Visit) -> None:
        while True:
            message = await visit.request()
            waiting.append(visit)
            await until(lambda: visit not in waiting)
            await visit.send(answer(message.body))

    house = await build(one_at_a_time)
    client = await house.client()
    await client.send(b"".join(request(model="chat", fields=b"X-Number: %d\r\n" % number) for number in range(5)) + b"GET /v1/models HT")
    await client.send(b"TP/1.1\r\nHost: x\r\n\r\n" + request(model="nobody"))
    for number in range(5):
        await until(lambda: waiting)
        assert [sent.values(b"x-number") for sent in house.upstream.requests][number:] == [[str(number).encode()]]
        waiting.clear()
        assert (await client.answer()).json["model"] == MODEL
    assert (await client.answer()).json["object"] == "list"
    assert (await client.answer()).code == "model_not_found"
    assert len(house.upstream.visits) == 1


async def test_the_list_of_models_is_the_route_table(house: House) -> None:
    client = await house.client()
    get = b"%b /v1/models HTTP/1.1\r\nHost: x\r\n\r\n"
    assert (await client.ask(get % b"GET")).json == {
        "object": "list",
        "data": [{"id": "chat", "object": "model", "created": 0, "owned_by": "scaler"}],
    }
    house.proxy.set_routes(RouteTable.of([Route("a", "x/a", frozenset()), Route("b", "x/b", frozenset())]))
    listed = await client.ask(get % b"GET")
    assert [entry["id"] for entry in json.loads(listed.body)["data"]] == ["a", "b"]
    await client.send(get % b"HEAD")
    head = await client.answer(bodiless=True)
    assert head.values(b"content-length") == listed.values(b"content-length")
    assert (await client.ask(request(model="a"))).status == 200
    assert (await client.ask(request(model="chat"))).code == "model_not_found"


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "invalid_json"),
        (b"{", 400, "invalid_json"),
        (b'"chat"', 400, "invalid_json"),
        (b'{"model":"chat","x":NaN}', 400, "invalid_json"),
        (b'{"model":"ch\xff"}', 400, "invalid_json"),
        ('{"model":"chat"}'.encode("utf-16"), 400, "invalid_json"),
        (b"[" * 100_000, 400, "invalid_json"),
        (b"{}", 400, "model_missing"),
        (b'{"model":null}', 400, "model_missing"),
        (b'{"model":["chat"]}', 400, "model_missing"),
        (b'{"model":"\\u001b[31m gpt \\ud800"}', 404, "model_not_found"),
    ],
)
async def test_a_body_without_a_known_model_goes_nowhere_and_the_connection_stays(
    house: House, body: bytes, status: int, code: str
) -> None:
    client = await house.client()
    got = await client.ask(request(body))
    assert (got.status, got.code) == (status, code)
    assert got.body.isascii()
    assert (await client.ask(request())).status == 200
    assert len(house.upstream.requests) == 1
    assert house.other.completions["4xx"] == 1


@pytest.mark.parametrize(
    ("line", "status", "allow"),
    [
        (b"GET /", 404, []),
        (b"GET /v1/models/chat", 404, []),
        (b"POST /v1/images", 404, []),
        (b"POST //v1/completions", 404, []),
        (b"POST /v1/../v1/completions", 404, []),
        (b"POST /v1%2fcompletions", 404, []),
        (b"POST /v1/completions/", 404, []),
        (b"POST /v1/completions#x", 404, []),
        (b"GET /v1/completions", 405, [b"POST"]),
        (b"OPTIONS /v1/completions", 405, [b"POST"]),
        (b"POST /v1/models", 405, [b"GET, HEAD"]),
        (b"DELETE /v1/models", 405, [b"GET, HEAD"]),
    ],
)
async def test_nothing_else_is_served(house: House, line: bytes, status: int, allow: list[bytes]) -> None:
    client = await house.client()
    got = await client.ask(line + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}")
    assert (got.status, got.values(b"allow")) == (status, allow)
    assert got.code == ("unknown_url" if status == 404 else "method_not_allowed")
    assert house.upstream.visits == []


@pytest.mark.parametrize("target", [b"http://proxy/v1/completions", b"*", b"proxy:80"])
async def test_a_target_that_is_no_path_is_refused_as_such(house: House, target: bytes) -> None:
    got = await (await house.client()).ask(b"%b %b HTTP/1.1\r\nHost: x\r\n\r\n" % (b"CONNECT" if b":80" in target else b"OPTIONS", target))
    assert (got.status, got.code) == (400, "invalid_request")


async def test_a_head_request_gets_no_body_even_when_refused(house: House) -> None:
    client = await house.client()
    await client.send(b"HEAD /nowhere HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (await client.answer(bodiless=True)).status == 404
    assert await client.rest() == b""


async def test_a_client_that_waits_for_permission_gets_it_from_here(house: House) -> None:
    client = await house.client()
    head, separator, body = request(fields=b"Expect: 100-Continue\r\n").partition(b"\r\n\r\n")
    got = await client.ask(head + separator)
    assert (got.status, got.fields) == (100, [])
    assert (await client.ask(body)).status == 200
    assert house.upstream.requests[0].values(b"expect") == []


async def test_an_offer_of_another_protocol_is_ignored(house: House) -> None:
    client = await house.client()
    offer = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"
    whole = request(fields=offer)
    assert (await client.ask(whole)).status == 200
    await client.send(whole * 3)
    assert [(await client.answer()).status for _ in range(3)] == [200] * 3
    for position in range(1, len(whole), 7):
        await client.send(whole[:position])
        assert (await client.ask(whole[position:])).status == 200
    assert all(sent.json["model"] == MODEL and not sent.values(b"upgrade") for sent in house.upstream.requests)


@pytest.mark.parametrize(
    ("raw", "status", "body", "framing"),
    [
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b"", []),
        (b"HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n", 304, b"", []),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", 200, b"", [b"0"]),
        (b"HTTP/1.1 307 Temporary Redirect\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 1\r\n\r\nx", 307, b"x", [b"1"]),
        (b"HTTP/1.1 429 Slow\r\nretry-after: 3\r\ncontent-length: 2\r\n\r\n{}", 429, b"{}", [b"2"]),
        (b"HTTP/1.1 599 \r\ncontent-length: 0\r\n\r\n", 599, b"", [b"0"]),
        (
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nx: y\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nab",
            200,
            b"ab",
            [b"2"],
        ),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n1;e\r\nc\r\n0\r\nx-late: 1\r\n\r\n", 200, b"abc", [b"chunked"]),
    ],
)
async def test_answers_of_every_shape_pass_and_leave_the_connection_usable(
    build: Build, raw: bytes, status: int, body: bytes, framing: list[bytes]
) -> None:
    async def script(visit: Visit) -> None:
        while True:
            await visit.request()
            await visit.send(raw)

    house = await build(script)
    client = await house.client()
    for _ in range(2):
        got = await client.ask(request())
        assert (got.status, got.body) == (status, body)
        assert got.values(b"content-length") + got.values(b"transfer-encoding") == framing
        assert not got.values(b"x-late")
    assert len(house.upstream.visits) == 1
    assert house.reading.completions[f"{status // 100}xx"] == 2


@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
async def test_an_answer_that_ends_with_its_connection(build: Build, version: bytes) -> None:
    async def script(visit: Visit) -> None:
        await visit.request()
        await visit.send(b"HTTP/1.0 200 OK\r\ncontent-type: text/plain\r\n\r\nab", b"cd")

    house = await build(script)
    client = await house.client()
    got = await client.ask(request(version=version))
    assert got.body == b"abcd"
    assert got.values(b"transfer-encoding") == ([b"chunked"] if version == b"1.1" else [])
    assert got.values(b"connection") == ([] if version == b"1.1" else [b"close"])
    assert house.reading.completions["2xx"] == 1
    assert house.idle == 0


async def test_a_chunked_answer_reaches_an_old_client_without_chunks(build: Build) -> None:
    async def script(visit: Visit) -> None:
        await visit.request()
        await visit.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + chunk(b"ab"), chunk(b"cd"), b"0\r\n\r\n")
        await visit.gone()

    house = await build(script)
    client = await house.client()
    got = await client.ask(request(version=b"1.0"))
    assert (got.body, got.values(b"connection"), got.values(b"transfer-encoding")) == (b"abcd", [b"close"], [])


async def test_what_the_upstream_says_of_its_own_hop_and_origin_is_left_behind(build: Build) -> None:
    async def script(visit: Visit) -> None:
        await visit.request()
        fields = b"".join(
            b"%b: 1\r\n" % name
            for name in (b"Keep-Alive", b"Alt-Svc", b"Set-Cookie", b"Strict-Transport-Security", b"X-Scaler-Error", b"Trailer", b"X-Hop")
        )
        await visit.send(answer(b"{}", fields=fields + b"Connection: X-Hop\r\nX-Request-Id: 7\r\nContent-Encoding: identity\r\n"))

    house = await build(script)
    got = await (await house.client()).ask(request())
    assert got.fields == [(b"x-request-id", b"7"), (b"content-encoding", b"identity"), (b"content-length", b"2")]


async def test_a_compressed_answer_is_not_touched(build: Build) -> None:
    async def script(visit: Visit) -> None:
        await visit.request()
        await visit.send(answer(bytes(range(256)), fields=b"Content-Encoding: gzip\r\nContent-Type: application/json\r\n"))

    house = await build(script)
    got = await (await house.client()).ask(request())
    assert (got.body, got.values(b"content-encoding")) == (bytes(range(256)), [b"gzip"])
    assert house.reading.output_tokens == 0
