"""Who may ask, and how much: keys of clients, their rates and their seats."""

import asyncio
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.proxy.errors import Refusal
from scaler.proxy.keys import Account, KeyRing
from scaler.settings import ClientKeySettings
from tests.proxy.house import Build, House
from tests.proxy.wire import Message, Visit, answer, request, until

LISTING = b"GET /v1/models HTTP/1.1\r\nHost: x\r\n%b\r\n"


def bearer(key: str) -> bytes:
    return b"Authorization: Bearer %b\r\n" % key.encode()


def client_key(
    key: str, *, requests_per_minute: float | None = None, burst: int | None = None, max_in_flight: int | None = None
) -> ClientKeySettings:
    digest = sha256(key.encode()).hexdigest()
    return ClientKeySettings(sha256=digest, requests_per_minute=requests_per_minute, burst=burst, max_in_flight=max_in_flight)


@pytest.fixture
def locked(house: House) -> House:
    """One that serves Alice and Bob only."""
    house.proxy.set_keys({"alice": client_key("sk-alice"), "bob": client_key("sk-bob")})
    return house


def refused(got: Message) -> bool:
    return (got.status, got.code, got.values(b"www-authenticate")) == (401, "invalid_api_key", [b"Bearer"])


async def test_a_key_opens_and_goes_no_further(locked: House) -> None:
    client = await locked.client()
    assert (await client.ask(request(fields=bearer("sk-alice")))).status == 200
    assert (await client.ask(LISTING % b"authorization: bearer  sk-bob \r\n")).status == 200
    (sent,) = locked.upstream.requests
    assert sent.values(b"authorization") == [b"Bearer sk-ours"]
    assert {name: account.outcomes["admitted"] for name, account in locked.proxy.clients.items()} == {"alice": 1, "bob": 0}


@pytest.mark.parametrize(
    "fields",
    [
        b"",
        b"Authorization:\r\n",
        b"Authorization: Bearer\r\n",
        b"Authorization: Bearer sk-alic\r\n",
        b"Authorization: Bearer sk-alice2\r\n",
        b"Authorization: Bearer SK-ALICE\r\n",
        b"Authorization: Basic sk-alice\r\n",
        b"Authorization: sk-alice\r\n",
        b"Authorization: Bearer sk-alice\r\nAuthorization: Bearer sk-alice\r\n",
        b"Authorization: Bearer sk-alice, Bearer sk-bob\r\n",
        b"Proxy-Authorization: Bearer sk-alice\r\n",
        b"Connection: authorization\r\nX-Authorization: Bearer sk-alice\r\n",
        b"Authorization: Bearer ' OR '1'='1\r\n",
        b"Authorization: Bearer \xff\xfe\r\n",
        b"Authorization: Bearer " + b"x" * 20_000 + b"\r\n",
        b"Authorization: Bearer " + sha256(b"sk-alice").hexdigest().encode() + b"\r\n",
        b"api-key: sk-alice\r\n",
    ],
)
async def test_nothing_else_opens(locked: House, fields: bytes) -> None:
    for raw in (request(fields=fields), LISTING % fields, request(fields=fields, path=b"/v1/nowhere")):
        client = await locked.client()
        assert refused(await client.ask(raw))
        assert await client.rest() == b""
    assert locked.upstream.visits == []
    assert locked.limits_hit == {"unauthorized": 3}


async def test_a_body_without_a_key_is_not_even_read(locked: House) -> None:
    client = await locked.client()
    await client.send(request()[:-10])
    assert refused(await client.answer())
    assert locked.proxy._context.room.taken == 0


async def test_without_keys_anyone_may_ask(house: House) -> None:
    house.proxy.set_keys({})
    client = await house.client()
    assert (await client.ask(request(fields=bearer("whatever")))).status == 200
    assert (await client.ask(request())).status == 200
    assert house.proxy.clients == {}


async def test_keys_are_exchanged_while_it_runs(locked: House) -> None:
    client = await locked.client()
    assert (await client.ask(request(fields=bearer("sk-alice")))).status == 200
    locked.proxy.set_keys({"alice": client_key("sk-alice-2"), "carol": client_key("sk-carol")})
    for key, opens in (("sk-alice-2", True), ("sk-carol", True), ("sk-bob", False), ("sk-alice", False)):
        got = await (await locked.client()).ask(request(fields=bearer(key)))
        assert (got.status == 200) is opens, key
    assert locked.proxy.clients["alice"].outcomes["admitted"] == 2  # the figures of a name that stays go on


async def test_a_client_has_so_many_seats_and_gets_each_one_back(build: Build) -> None:
    hold = asyncio.Event()

    async def script(visit: Visit) -> None:
        while True:
            await visit.request()
            await hold.wait()
            await visit.send(answer())

    house = await build(script)
    house.proxy.set_keys({"alice": client_key("sk-alice", max_in_flight=2), "bob": client_key("sk-bob")})
    alice = [await house.client() for _ in range(3)]
    for client in alice[:2]:
        await client.send(request(fields=bearer("sk-alice")))
    await until(lambda: len(house.upstream.requests) == 2)
    got = await alice[2].ask(request(fields=bearer("sk-alice")))
    assert (got.status, got.code, got.values(b"retry-after")) == (429, "too_many_in_flight", [b"1"])
    bob = await house.client()
    await bob.send(request(fields=bearer("sk-bob")))
    await until(lambda: len(house.upstream.requests) == 3)  # it is no limit of Bob's
    alice[0].abort()
    await until(lambda: house.proxy.clients["alice"].in_flight == 1)
    await alice[2].send(request(fields=bearer("sk-alice")))  # the refused connection is sound
    await until(lambda: len(house.upstream.requests) == 4)
    hold.set()
    assert [(await client.answer()).status for client in (alice[1], alice[2], bob)] == [200] * 3
    account = house.proxy.clients["alice"]
    assert (account.in_flight, account.outcomes) == (0, {"admitted": 3, "rate": 0, "concurrency": 1})


async def test_a_client_may_ask_at_its_rate(house: House) -> None:
    house.proxy.set_keys({"alice": client_key("sk-alice", requests_per_minute=1, burst=3), "bob": client_key("sk-bob")})
    client = await house.client()
    got = [await client.ask(request(fields=bearer("sk-alice"))) for _ in range(5)]
    assert [message.status for message in got] == [200, 200, 200, 429, 429]
    (wait,) = got[-1].values(b"retry-after")
    assert 50 <= int(wait) <= 60
    assert (await client.ask(request(fields=bearer("sk-bob")))).status == 200
    assert len(house.upstream.requests) == 4


def test_a_bucket_fills_with_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("scaler.proxy.keys.monotonic", lambda: now)
    account = Account(client_key("k", requests_per_minute=60, burst=2))
    admitted = 0
    for quarter in range(41):  # ten seconds
        now = quarter / 4
        try:
            account.spend()
            admitted += 1
        except Refusal as refusal:
            assert refusal.retry_after == 1  # noqa: PT017 (what it carries is the point, and it need not come)
    assert admitted == 2 + 10
    now = 1000.0
    account.spend()
    account.spend()
    with pytest.raises(Refusal):
        account.spend()  # a long silence saves no more than a burst


@pytest.mark.parametrize("burst", [2, 50])
def test_a_client_that_is_given_a_rate_begins_with_a_full_bucket(burst: int) -> None:
    account = Account(client_key("sk-alice"))
    for _ in range(100):
        account.spend()
    account.limit(client_key("sk-alice", requests_per_minute=0.001, burst=burst))
    for _ in range(burst):
        account.spend()
    with pytest.raises(Refusal, match="This key may send"):
        account.spend()


@given(st.binary(max_size=60))
def test_only_a_key_is_a_key(guess: bytes) -> None:
    ring = KeyRing({"alice": client_key("sk-alice")})
    with pytest.raises(Refusal):
        ring.find(guess)
    with pytest.raises(Refusal):
        ring.find(b"Bearer " + guess)
    assert ring.find(b"Bearer sk-alice") is ring.accounts["alice"]
