"""What can go wrong between here and the provider, on real sockets."""

import asyncio
import base64
import gzip
import logging
import time
import traceback
from types import SimpleNamespace
from urllib.parse import quote

import pytest
from pydantic import SecretStr

from scaler.providers.base import BadProviderSettings, BadReply, OutcomeUnknown, ProviderError, RateLimited, Refused, Unreachable
from scaler.providers.http import MAX_COMPLAINT_CHARS, MAX_REPLY_BYTES, JsonClient, retry_after

DATE = "Wed, 21 Oct 2026 07:28:00 GMT"
LATER = "Wed, 21 Oct 2026 07:29:30 GMT"


async def fail(client: JsonClient, method: str = "PATCH") -> ProviderError:
    """The error of one call that must fail, with its whole traceback as text."""
    with pytest.raises(ProviderError) as caught:
        await client.call(method, "/endpoints/e", body={"state": "STOPPED"})
    return caught.value


async def test_nobody_listening_means_nothing_was_sent(kit: SimpleNamespace) -> None:
    error = await fail(kit.client("http://127.0.0.1:1/v1"))
    assert isinstance(error, Unreachable)
    assert str(error) == "PATCH /endpoints/e: no connection (ConnectError)"


async def test_a_handshake_that_never_ends_means_nothing_was_sent(kit: SimpleNamespace) -> None:
    server = await kit.serve(kit.says(b""))  # it waits for a blank line, and a handshake has none
    error = await fail(kit.client(server.origin.replace("http://", "https://"), timeout=0.3))
    assert isinstance(error, Unreachable)
    assert str(error) == "PATCH /endpoints/e: no connection (ConnectTimeout)"
    assert server.connections == 1
    assert kit.key.encode() not in server.heard


async def test_a_server_that_commits_and_hangs_up_leaves_the_outcome_unknown(kit: SimpleNamespace) -> None:
    server = await kit.serve(kit.says(b""))
    error = await fail(kit.client(server))
    assert isinstance(error, OutcomeUnknown)
    assert [request.body for request in server.requests] == [{"state": "STOPPED"}]


async def test_a_server_that_commits_and_resets_leaves_the_outcome_unknown(kit: SimpleNamespace) -> None:
    async def behave(writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    assert isinstance(await fail(kit.client(await kit.serve(behave))), OutcomeUnknown)


@pytest.mark.parametrize(
    "head", [b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n64\r\n"]
)
async def test_half_a_body_is_no_answer(kit: SimpleNamespace, head: bytes) -> None:
    assert isinstance(await fail(kit.client(await kit.serve(kit.says(head + b'{"id":')))), OutcomeUnknown)


async def test_a_server_that_says_nothing_is_given_up_at_the_deadline(kit: SimpleNamespace) -> None:
    async def behave(writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    began = time.monotonic()
    error = await fail(kit.client(await kit.serve(behave), timeout=1))
    assert isinstance(error, OutcomeUnknown)
    assert str(error) == "PATCH /endpoints/e: sent, but no complete answer within 1 s"
    assert 0.9 < time.monotonic() - began < 4


async def test_a_server_that_trickles_is_given_up_at_the_same_deadline(kit: SimpleNamespace) -> None:
    async def behave(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 10000\r\n\r\n")
        while True:
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.02)

    server = await kit.serve(behave)
    began = time.monotonic()
    assert isinstance(await fail(kit.client(server, timeout=1)), OutcomeUnknown)
    assert 0.9 < time.monotonic() - began < 4
    async with asyncio.timeout(5):
        await server.gone.wait()


async def test_bytes_that_are_no_http_leave_the_outcome_unknown(kit: SimpleNamespace) -> None:
    assert isinstance(await fail(kit.client(await kit.serve(kit.says(b"SSH-2.0-OpenSSH_9.9\r\n\r\n")))), OutcomeUnknown)


@pytest.mark.parametrize("status", [500, 502, 503, 504, 599])
async def test_a_server_error_leaves_the_outcome_unknown(kit: SimpleNamespace, status: int) -> None:
    error = await fail(kit.client(await kit.serve(kit.answers(status, b"<html>Bad gateway</html>", retry_after="7"))))
    assert isinstance(error, OutcomeUnknown)
    assert str(error) == f"PATCH /endpoints/e: {status}: <html>Bad gateway</html>"
    assert error.retry_after == 7


@pytest.mark.parametrize("status", [400, 401, 403, 409, 415, 422])
async def test_a_client_error_is_a_no(kit: SimpleNamespace, status: int) -> None:
    error = await fail(kit.client(await kit.serve(kit.answers(status, b""))))
    assert isinstance(error, Refused)
    assert (error.status, error.code, str(error)) == (status, None, f"PATCH /endpoints/e: {status}")


@pytest.mark.parametrize("status", [201, 202, 204, 206, 304])
async def test_an_answer_that_the_contract_does_not_know_is_a_bad_reply(kit: SimpleNamespace, status: int) -> None:
    body = b"" if status in {204, 304} else b"{}"
    assert isinstance(await fail(kit.client(await kit.serve(kit.answers(status, body)))), BadReply)


async def test_too_many_calls_say_how_long_to_wait(kit: SimpleNamespace) -> None:
    error = await fail(kit.client(await kit.serve(kit.answers(429, {"error": {"message": "slow down", "code": 5}}, retry_after="30"))))
    assert isinstance(error, RateLimited)
    assert (error.retry_after, error.code) == (30, None)
    assert str(error) == "PATCH /endpoints/e: 429: slow down"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "0"}, 0),
        ({"retry-after": " 12 "}, 12),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after": "999999999999"}, 3600),
        ({"retry-after": "9" * 5000}, 3600),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "1e9"}, None),
        ({"retry-after": LATER, "date": DATE}, 90),
        ({"retry-after": DATE, "date": LATER}, 0),
        ({"retry-after": DATE}, 80),
        ({"retry-after": "Wed, 21 Oct 9999 07:28:00 GMT"}, 3600),
        ({"retry-after": "Wed, 21 Oct 99999999 07:28:00 GMT"}, None),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:00"}, None),
        ({"retry-after": LATER, "date": "yesterday"}, 170),
    ],
)
def test_retry_after_in_seconds_or_as_a_date_is_bounded_and_never_trusted(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers, now=1792567600.0) == seconds


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"not json",
        b"\xff\xfe",
        b'{"a": NaN}',
        b"[Infinity]",
        b"[" * 10_000 + b"]" * 10_000,
        b"9" * 5_000,
        b'"\\ud800"',
        b"{} {}",
    ],
)
async def test_garbage_in_a_200_is_a_bad_reply(kit: SimpleNamespace, body: bytes) -> None:
    error = await fail(kit.client(await kit.serve(kit.answers(200, body))))
    assert isinstance(error, BadReply)
    assert "not JSON" in str(error)


async def test_compressed_bytes_are_not_inflated(kit: SimpleNamespace) -> None:
    server = await kit.serve(kit.answers(200, gzip.compress(b" " * 100_000_000), content_encoding="gzip"))
    assert isinstance(await fail(kit.client(server)), BadReply)
    assert server.requests[0].headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("extra", [-1, 0, 1])
async def test_a_reply_may_have_four_mebibytes_and_not_a_byte_more(kit: SimpleNamespace, extra: int) -> None:
    server = await kit.serve(kit.answers(200, b"{}".ljust(MAX_REPLY_BYTES + extra)))
    if extra > 0:
        assert "more than 4194304 bytes" in str(await fail(kit.client(server)))
    else:
        assert await kit.client(server).call("GET", "/x") == {}


async def test_an_endless_reply_is_cut_off(kit: SimpleNamespace) -> None:
    async def behave(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b" " * 65536)
            await writer.drain()

    server = await kit.serve(behave)
    assert isinstance(await fail(kit.client(server)), BadReply)
    async with asyncio.timeout(5):
        await server.gone.wait()


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_redirect_is_not_followed_and_the_key_stays_here(kit: SimpleNamespace, status: int) -> None:
    trap = await kit.serve(kit.answers(200, {}))
    server = await kit.serve(kit.answers(status, b"", location=f"{trap.origin}/endpoints/e"))
    assert isinstance(await fail(kit.client(server)), BadReply)
    assert (len(server.requests), trap.connections) == (1, 0)


async def test_a_proxy_in_the_environment_is_not_used(kit: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    trap = await kit.serve(kit.answers(200, {}))
    server = await kit.serve(kit.answers(200, {"here": 1}))
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, trap.origin)
    assert await kit.client(server).call("GET", "/x") == {"here": 1}
    assert trap.connections == 0


@pytest.mark.parametrize("connections", [1, 2])
async def test_readers_reuse_a_connection_and_writers_do_not(kit: SimpleNamespace, connections: int) -> None:
    async def behave(writer: asyncio.StreamWriter) -> None:
        writer.write(kit.raw(200, {}))

    server = await kit.serve(behave)
    client = kit.client(server, reuse_connections=connections == 1)
    assert [await client.call("GET", "/x") for _ in range(2)] == [{}, {}]
    assert server.connections == connections


async def test_cancelling_a_call_lets_go_of_the_connection(kit: SimpleNamespace) -> None:
    arrived = asyncio.Event()

    async def behave(writer: asyncio.StreamWriter) -> None:
        arrived.set()
        while True:
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            await writer.drain()
            await asyncio.sleep(0.02)

    server = await kit.serve(behave)
    call = asyncio.create_task(kit.client(server, timeout=30).call("PATCH", "/x", body={}))
    async with asyncio.timeout(5):
        await arrived.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await server.gone.wait()


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:99999/v1", "http://127.0.0.1:0/v1", "http://a:b:c/v1", "http://[::/v1", "http://[]/v1", "http://xn--/v1"]
)
def test_a_url_that_cannot_be_called_is_refused_at_once(url: str) -> None:
    with pytest.raises(BadProviderSettings, match=r"^provider\.base_url: "):
        JsonClient(url, SecretStr("secret"), 1.0)


@pytest.mark.parametrize("key", ["", "two words", "line\nbreak", "tab\t", "clé"])
def test_a_key_that_cannot_stand_in_a_header_is_refused_without_showing_it(key: str) -> None:
    with pytest.raises(BadProviderSettings) as caught:
        JsonClient("http://127.0.0.1:9/v1", SecretStr(key), 1.0)
    assert str(caught.value) == "provider.api_key: expected printable ASCII without spaces"


async def test_the_key_is_in_no_error_no_traceback_and_no_log(kit: SimpleNamespace, caplog: pytest.LogCaptureFixture) -> None:
    for library in (None, "httpx", "httpcore"):  # quieted where logging was configured before
        caplog.set_level(logging.DEBUG, logger=library)
    forms = [kit.key, quote(kit.key, safe=""), base64.b64encode(kit.key.encode()).decode(), kit.key[:12]]
    told = " ".join(forms)

    behaviours = [
        kit.answers(401, {"error": {"message": f"Incorrect API key: {told}", "code": kit.key}}),
        kit.answers(500, f"trace: Authorization: Bearer {told}".encode()),
        kit.answers(429, told.encode()),
        kit.answers(302, told.encode(), location="http://127.0.0.1:1/"),
        kit.answers(200, told.encode()),
        kit.says(b""),
    ]
    texts = []
    for behave in behaviours:
        error = await fail(kit.client(await kit.serve(behave)))
        logging.getLogger("test").error("call failed", exc_info=error)
        texts += [str(error), repr(error), "".join(traceback.format_exception(error))]
    printed = "\n".join([*texts, caplog.text])
    assert "[key]" in printed
    assert "HTTP Request: PATCH" in printed
    assert [form for form in forms if form in printed] == []


async def test_what_a_server_says_is_one_short_printable_line(kit: SimpleNamespace) -> None:
    nasty = "\x1b[31mred\r\n\u2028fake: line\x00" + "x" * 100_000
    for body in ({"error": {"message": nasty, "code": nasty}}, {"error": nasty}, nasty):
        error = await fail(kit.client(await kit.serve(kit.answers(400, body))))
        assert isinstance(error, Refused)
        assert str(error).isprintable()
        assert len(str(error)) < MAX_COMPLAINT_CHARS + 50
        assert error.code is None or (error.code.isprintable() and len(error.code) <= MAX_COMPLAINT_CHARS)
