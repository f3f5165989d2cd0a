"""Two implementations of the same routes, side by side before the same upstream: what one answers and passes on, the other does."""

import asyncio
import json
from collections import Counter
from dataclasses import dataclass

import pytest

from tests.proxy.corpus import ANSWERED, FORWARDED, PASSED
from tests.proxy.house import Build
from tests.proxy.reference import reference
from tests.proxy.wire import Client, Message, Visit, answer, request

UNLIKE = {
    "a value beyond ASCII": "aiohttp sends header values as UTF-8 only; bytes that are not are legal (obs-text) and pass here",
    "offer of HTTP/2 with a hidden request": "uvicorn reads what follows such an offer as a new protocol; here the offer is ignored",
    "an offer of web sockets": "the same",
    "many trailers": "uvicorn adds trailers that came in the same read to the request's fields; here they go nowhere",
    "an announced trailer": "the same",
}
"""Well-formed requests on which the reference is the one that is wrong, and why."""

HOP = {b"host", b"content-length", b"transfer-encoding", b"connection"}


@dataclass(frozen=True)
class Outcome:
    """What a request led to: at the client, and at the upstream."""

    status: int
    fields: Counter[tuple[bytes, bytes]]
    said: object
    passed_on: list[tuple[bytes, Counter[tuple[bytes, bytes]], object]]


def fields_of(message: Message) -> Counter[tuple[bytes, bytes]]:
    return Counter((name, value) for name, value in message.fields if name not in HOP)


def said(message: Message) -> object:
    """The body; of an error that is ours, what does not depend on wording."""
    if not message.values(b"x-scaler-error"):
        return message.body
    error = message.json["error"]
    assert isinstance(error, dict)
    return {name: error[name] for name in ("code", "param")}


async def outcome(port: int, raw: bytes, upstream: list[Message]) -> Outcome:
    """Ask on a connection of its own, and once more after it, to see that the connection is sound."""
    before = len(upstream)
    client = Client(*await asyncio.open_connection("127.0.0.1", port))
    try:
        await client.send(raw)
        got = await client.answer(bodiless=raw.startswith(b"HEAD"))
        if got.status == 100:
            got = await client.answer()
        passed_on = [(sent.start, fields_of(sent), json.loads(sent.body)) for sent in upstream[before:]]
        if not got.values(b"connection"):
            assert (await client.ask(request())).start.startswith(b"HTTP/1.1")
        return Outcome(got.status, fields_of(got), said(got) if not raw.startswith(b"HEAD") else b"", passed_on)
    finally:
        client.close()


async def test_every_well_formed_request_means_the_same_to_both(build: Build) -> None:
    house = await build()
    async with reference(house.upstream.url, "sk-ours", house.proxy.routes) as port:
        for case, raw in (FORWARDED | ANSWERED).items():
            ours = await outcome(house.proxy.addresses[0][1], raw, house.upstream.requests)
            if case not in UNLIKE:
                assert await outcome(port, raw, house.upstream.requests) == ours, case


@pytest.mark.parametrize("case", UNLIKE)
async def test_where_they_differ_is_known(build: Build, case: str) -> None:
    house = await build()
    async with reference(house.upstream.url, "sk-ours", house.proxy.routes) as port:
        ours = await outcome(house.proxy.addresses[0][1], FORWARDED[case], house.upstream.requests)
        assert ours.status == 200
        try:
            theirs = await outcome(port, FORWARDED[case], house.upstream.requests)
        except (EOFError, AssertionError):
            return
        assert theirs != ours


async def test_every_well_formed_answer_means_the_same_to_both(build: Build) -> None:
    case = ""

    async def script(visit: Visit) -> None:
        while True:
            await visit.request()
            await visit.send(PASSED[case] if case else answer())
            if b"until the end" in case.encode():
                visit.writer.close()

    house = await build(script)
    async with reference(house.upstream.url, "sk-ours", house.proxy.routes) as port:
        for case in PASSED:
            ours = await outcome(house.proxy.addresses[0][1], request(), house.upstream.requests)
            theirs = await outcome(port, request(), house.upstream.requests)
            assert theirs == ours, case
            assert f" {ours.status} ".encode() in PASSED[case], case
    assert house.reading.completions["failed"] == 0
