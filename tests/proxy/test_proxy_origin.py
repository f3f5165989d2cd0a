"""Requests go where the configuration says, under our credential, and bring nothing along that others could take for ours."""

import asyncio
import json
import random
import string
from collections.abc import AsyncIterator

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from scaler.observability.metrics import MeterCollector
from scaler.proxy.heads import _head, _request_lines
from tests.proxy.house import Build, House
from tests.proxy.wire import Visit, answer, request


class Trap:
    """A server that nobody should ever connect to."""

    def __init__(self) -> None:
        self.port = 0
        self.caught = 0

    def caught_one(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.caught += 1
        writer.close()


@pytest.fixture
async def trap() -> AsyncIterator[Trap]:
    trap = Trap()
    server = await asyncio.start_server(trap.caught_one, "127.0.0.1", 0)
    trap.port = server.sockets[0].getsockname()[1]
    yield trap
    await asyncio.sleep(0.02)
    server.close()
    assert trap.caught == 0


STEERING_TARGETS = (
    *("http://{trap}/v1/completions", "https://{trap}/v1/completions", "//{trap}/v1/completions", "///{trap}/", "/@{trap}/v1/completions"),
    *("@{trap}", "{trap}", "http://proxy@{trap}/v1/completions", "/v1/completions@{trap}", "/v1//{trap}/completions"),
    *(
        "/\\{trap}/v1/completions",
        "/v1/..%2f{trap}/completions",
        "/v1%2f%2f{trap}",
        "/v1/completions/..//{trap}",
        "/http://{trap}/v1/completions",
    ),
)
STEERING_QUERIES = ("@{trap}", "http://{trap}/", "api_base=http://{trap}", "/../../{trap}", "#@{trap}")
STEERING_FIELDS = (
    *("Host: {trap}", "X-Forwarded-Host: {trap}", "X-Forwarded-Server: {trap}", "Forwarded: host={trap}", "X-Host: {trap}"),
    *("X-Original-URL: http://{trap}/", "X-Rewrite-URL: http://{trap}/", "X-HTTP-Host-Override: {trap}", "Location: http://{trap}/"),
    *("Destination: http://{trap}/", "Referer: http://{trap}/", "Origin: http://{trap}", "X-Api-Base: http://{trap}/v1"),
    *("X-Upstream: http://{trap}/", "Proxy-Connection: {trap}", "Via: 1.1 {trap}", "Alt-Used: {trap}", "X-Forwarded-Proto: http://{trap}/"),
)
STEERING_BODIES = ("api_base", "base_url", "api_url", "url", "host", "endpoint", "proxy", "custom_llm_provider", "webhook")


async def test_nothing_a_client_says_leads_elsewhere(house: House, trap: Trap) -> None:
    there = f"127.0.0.1:{trap.port}"
    plain = request()
    raws = [request(path=target.format(trap=there).encode()) for target in STEERING_TARGETS]
    raws += [request(path=f"/v1/completions?{query.format(trap=there)}".encode()) for query in STEERING_QUERIES]
    for line in STEERING_FIELDS:
        field = line.format(trap=there).encode()
        raws.append(plain.replace(b"Host: proxy", field) if field.startswith(b"Host") else request(fields=field + b"\r\n"))
    raws += [request(json.dumps({"model": "chat", name: f"http://{there}/v1"}).encode()) for name in STEERING_BODIES]
    raws += [request(model=model.format(trap=there)) for model in ("http://{trap}/chat", "openai/http://{trap}", "../{trap}/chat")]
    assert len(raws) >= 50
    for raw in raws:
        client = await house.client()
        assert (await client.ask(raw)).status in (200, 400, 404)
        client.close()
    for sent in house.upstream.requests:
        assert sent.start in (b"POST /base/v1/completions HTTP/1.1", b"POST /base/v1/chat/completions HTTP/1.1")
        assert sent.values(b"host") == [f"127.0.0.1:{house.upstream.port}".encode()]
        assert sent.values(b"authorization") == [b"Bearer sk-ours"]
    assert len(house.upstream.requests) >= 25


@pytest.mark.parametrize(
    "status", [b"300 Choices", b"301 Moved", b"302 Found", b"303 Other", b"307 Temporary", b"308 Permanent", b"201 Created"]
)
@pytest.mark.parametrize("location", ["http://{trap}/v1", "https://{trap}/v1", "//{trap}/v1", "http://u:p@{trap}/", "/elsewhere"])
async def test_a_redirect_is_passed_back_and_never_followed(build: Build, trap: Trap, status: bytes, location: str) -> None:
    place = location.format(trap=f"127.0.0.1:{trap.port}").encode()

    async def script(visit: Visit) -> None:
        while True:
            await visit.request()
            await visit.send(answer(b"", status, b"Location: %b\r\nRefresh: 0; url=%b\r\nContent-Location: %b\r\n" % (place, place, place)))

    house = await build(script)
    client = await house.client()
    for _ in range(2):
        got = await client.ask(request())
        assert (got.status, got.values(b"location")) == (int(status[:3]), [place])
    assert len(house.upstream.requests) == 2


# What a request brings along

NOT_OURS = (
    *("Authorization", "api-key", "X-API-Key", "Cookie", "Proxy-Authorization", "Proxy-Authenticate", "Proxy-Connection", "Proxy-Status"),
    *("X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Port", "X-Forwarded-Prefix", "X-Forwarded-Client-Cert"),
    *("Forwarded", "X-Real-IP", "X-Scaler-Error", "X-Scaler-Wake", "X-Scaler-Anything", "Keep-Alive", "TE", "Trailer", "Upgrade"),
    *("HTTP2-Settings", "X_Forwarded_For", "Content_Length", "Transfer_Encoding", "X_Scaler_Error", "Api_Key"),
)
OURS = ("Accept", "Accept-Language", "Content-Type", "User-Agent", "OpenAI-Organization", "X-Stainless-Lang", "Traceparent", "X-Request-Id")


@pytest.mark.parametrize("letters", [str, str.lower, str.upper], ids=["as it is", "lower", "upper"])
async def test_of_a_clients_fields_only_those_that_are_meant_for_the_upstream_reach_it(house: House, letters: type[str]) -> None:
    client = await house.client()
    for name in NOT_OURS:
        field = letters(name).encode()
        got = await client.ask(request(fields=field + b": hold\r\nConnection: x-named\r\nX-Named: 1\r\n"))
        assert got.status == 200, name
        sent = house.upstream.requests[-1]
        assert [value for _, value in sent.fields if value in (b"hold", b"1")] == [], name
        assert {key for key, _ in sent.fields} == {b"host", b"authorization", b"content-length"}, name
    for name in OURS:
        await client.ask(request(fields=letters(name).encode() + b": v\r\n"))
        assert house.upstream.requests[-1].values(name.lower().encode()) == [b"v"], name


@pytest.mark.parametrize("separator", [b",", b" , ", b",,", b"\t,\t"])
async def test_every_field_that_connection_names_stays_behind(house: House, separator: bytes) -> None:
    client = await house.client()
    names = separator.join([b"x-a", b"X-B", b"keep-alive", b"Accept"])
    await client.ask(request(fields=b"Connection: %b\r\nX-A: 1\r\nx-b: 1\r\nACCEPT: 1\r\nX-C: 2\r\n" % names))
    assert [value for _, value in house.upstream.requests[-1].fields if value in (b"1", b"2")] == [b"2"]


# Names that clients make up


async def test_made_up_names_make_no_series_and_fill_no_memory(house: House) -> None:
    registry = CollectorRegistry()
    registry.register(MeterCollector(house.meter, house.proxy))
    dice = random.Random(7)

    def name() -> str:
        return "".join(dice.choices(string.ascii_letters + string.digits, k=40))

    client = await house.client()
    await client.ask(request(model=name()))
    before = len(generate_latest(registry).splitlines())
    for _ in range(40):
        spray = b"".join(
            request(
                model=name(),
                path=f"/v1/completions?{name()}".encode(),
                fields=f"X-{name()}: {name()}\r\nX-Long: {name() * 20}\r\n".encode(),
            )
            for _ in range(50)
        )
        await client.send(spray)
        for _ in range(50):
            assert (await client.answer()).code == "model_not_found"
    assert len(generate_latest(registry).splitlines()) == before
    assert house.other.completions["4xx"] == 2001
    assert len(_request_lines) <= 1024
    assert sum(len(line) for line in _request_lines) <= 1024 * 256
    assert _head.cache_info().currsize <= 256
    for _ in range(20):
        stray = await house.client()
        assert (await stray.ask(request(path=f"/{name()}".encode()))).status == 404
        stray.close()
    assert len(generate_latest(registry).splitlines()) == before
