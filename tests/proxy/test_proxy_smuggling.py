"""Requests that two servers could read differently: refused and closed, or written anew with one framing.

Every case is one connection's bytes. They are followed by a request of our own; if a case could hide something in its body or swallow what
follows, the upstream would see other requests than the client gets answers for.
"""

import json

import pytest

from tests.proxy.house import House
from tests.proxy.wire import BrokenOffError, Message, chunk, request

BODY = b'{"model":"chat"}'
LAST = b"GET /v1/models HTTP/1.1\r\nHost: last\r\nConnection: close\r\n\r\n"
HIDDEN = b"POST /v1/embeddings HTTP/1.1\r\nHost: x\r\nContent-Length: 16\r\n\r\n" + BODY


def post(*fields: bytes, body: bytes = BODY, line: bytes = b"POST /v1/completions HTTP/1.1") -> bytes:
    """A request whose head has exactly these fields."""
    return b"\r\n".join([line, b"Host: x", *fields, b"", b""]) + body


def length(size: int = len(BODY)) -> bytes:
    return b"Content-Length: %d" % size


CHUNKED = b"Transfer-Encoding: chunked"
IN_CHUNKS = chunk(BODY) + b"0\r\n\r\n"

REFUSED = {
    "length, then coding": post(length(), CHUNKED, body=IN_CHUNKS),
    "coding, then length": post(CHUNKED, length(), body=IN_CHUNKS),
    "coding, length 0, hidden request": post(length(0), CHUNKED, body=b"0\r\n\r\n" + HIDDEN),
    "two lengths that differ": post(length(), length(3)),
    "the same length twice": post(length(), length()),
    "a list of lengths": post(b"Content-Length: 16, 16"),
    "length +": post(b"Content-Length: +16"),
    "length -": post(b"Content-Length: -1"),
    "length in hexadecimal": post(b"Content-Length: 0x10"),
    "length with underscore": post(b"Content-Length: 1_6"),
    "no length": post(b"Content-Length:"),
    "length of 65 bits": post(b"Content-Length: 18446744073709551632"),
    "length of a novel": post(b"Content-Length: " + b"9" * 5000),
    "length with vertical tab": post(b"Content-Length: 16\x0b"),
    "length with a space within": post(b"Content-Length: 1 6"),
    "space before the colon of length": post(b"Content-Length : 16"),
    "space before the colon of coding": post(b"Transfer-Encoding : chunked", body=IN_CHUNKS),
    "coding twice": post(CHUNKED, CHUNKED, body=IN_CHUNKS),
    "coding twice in a list": post(b"Transfer-Encoding: chunked, chunked", body=IN_CHUNKS),
    "coding identity": post(b"Transfer-Encoding: identity", length()),
    "coding identity alone": post(b"Transfer-Encoding: identity"),
    "coding gzip, chunked": post(b"Transfer-Encoding: gzip, chunked", body=IN_CHUNKS),
    "coding chunked, identity": post(b"Transfer-Encoding: chunked, identity", body=IN_CHUNKS),
    "coding xchunked": post(b"Transfer-Encoding: xchunked", body=IN_CHUNKS),
    "coding in quotes": post(b'Transfer-Encoding: "chunked"', body=IN_CHUNKS),
    "coding with parameter": post(b"Transfer-Encoding: chunked;q=1", body=IN_CHUNKS),
    "coding after vertical tab": post(b"Transfer-Encoding: \x0bchunked", body=IN_CHUNKS),
    "coding of nothing": post(b"Transfer-Encoding:", body=IN_CHUNKS),
    "coding of comma": post(b"Transfer-Encoding: ,chunked", body=IN_CHUNKS),
    "coding folded": post(b"Transfer-Encoding:\r\n chunked", body=IN_CHUNKS),
    "coding in HTTP/1.0": post(CHUNKED, body=IN_CHUNKS, line=b"POST /v1/completions HTTP/1.0"),
    "field folded": post(b"X: a\r\n b", length()),
    "first field folded": b"POST /v1/completions HTTP/1.1\r\n Host: x\r\n" + length() + b"\r\n\r\n" + BODY,
    "line feeds alone": post(length()).replace(b"\r\n", b"\n"),
    "one line feed alone": post(b"X: a\nX: b", length()),
    "line feed ends the head": post(length()).replace(b"\r\n\r\n", b"\n\n"),
    "carriage return alone": post(b"X: a\rX: b", length()),
    "carriage return before the end": post(b"X: a\r", length()),
    "NUL in a value": post(b"X: a\x00b", length()),
    "NUL in a name": post(b"X\x00: a", length()),
    "escape in a value": post(b"X: \x1b[2J", length()),
    "space in a name": post(b"X Y: a", length()),
    "no name": post(b": a", length()),
    "no colon": post(b"X", length()),
    "name beyond ASCII": post(b"X\xe9: a", length()),
    "brackets in a name": post(b"X(y): a", length()),
    "no host": b"POST /v1/completions HTTP/1.1\r\n" + length() + b"\r\n\r\n" + BODY,
    "no host in HTTP/1.0": b"POST /v1/completions HTTP/1.0\r\n" + length() + b"\r\n\r\n" + BODY,
    "two hosts": post(b"Host: y", length()),
    "the same host twice": post(b"Host: x", length()),
    "host with path": post(length()).replace(b"Host: x", b"Host: a/?x="),
    "host with user": post(length()).replace(b"Host: x", b"Host: a@b"),
    "host with two ports": post(length()).replace(b"Host: x", b"Host: a:1:2"),
    "host of commas": post(length()).replace(b"Host: x", b"Host: a,b"),
    "empty host": post(length()).replace(b"Host: x", b"Host:"),
    "absolute target": post(length(), line=b"POST http://evil/v1/completions HTTP/1.1"),
    "absolute target elsewhere": post(length(), line=b"POST https://127.0.0.1:1/v1/completions HTTP/1.1"),
    "authority target": post(length(), line=b"POST evil:80 HTTP/1.1"),
    "asterisk target": post(length(), line=b"OPTIONS * HTTP/1.1"),
    "at-sign target": post(length(), line=b"POST @evil HTTP/1.1"),
    "target without slash": post(length(), line=b"POST v1/completions HTTP/1.1"),
    "target with line feed": post(length(), line=b"POST /v1/completions\nX: y HTTP/1.1"),
    "target with space": post(length(), line=b"POST /v1/completions /x HTTP/1.1"),
    "target with NUL": post(length(), line=b"POST /v1/completions\x00 HTTP/1.1"),
    "target beyond ASCII": post(length(), line=b"POST /v1/completions\xe9 HTTP/1.1"),
    "two slashes": post(length(), line=b"POST //v1/completions HTTP/1.1"),
    "dots": post(length(), line=b"POST /v1/../v1/completions HTTP/1.1"),
    "encoded slash": post(length(), line=b"POST /v1%2fcompletions HTTP/1.1"),
    "encoded NUL": post(length(), line=b"POST /v1/completions%00 HTTP/1.1"),
    "semicolon": post(length(), line=b"POST /v1/completions;x HTTP/1.1"),
    "tunnel": post(length(), line=b"CONNECT /v1/completions HTTP/1.1"),
    "tunnel elsewhere": post(line=b"CONNECT evil:443 HTTP/1.1", body=HIDDEN),
    "method in small letters": post(length(), line=b"post /v1/completions HTTP/1.1"),
    "unknown method": post(length(), line=b"POSTED /v1/completions HTTP/1.1"),
    "space before the method": post(length(), line=b" POST /v1/completions HTTP/1.1"),
    "HTTP/0.9": b"POST /v1/completions\r\n\r\n",
    "HTTP/1.2": post(length(), line=b"POST /v1/completions HTTP/1.2"),
    "HTTP/2.0": post(length(), line=b"POST /v1/completions HTTP/2.0"),
    "HTTP/1.10": post(length(), line=b"POST /v1/completions HTTP/1.10"),
    "http/1.1": post(length(), line=b"POST /v1/completions http/1.1"),
    "preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100),
    "chunk size 0x": post(CHUNKED, body=b"0x10\r\n" + BODY + b"\r\n0\r\n\r\n"),
    "chunk size +": post(CHUNKED, body=b"+10\r\n" + BODY + b"\r\n0\r\n\r\n"),
    "chunk size -": post(CHUNKED, body=b"-1\r\n" + BODY + b"\r\n0\r\n\r\n"),
    "chunk size with underscore": post(CHUNKED, body=b"1_0\r\n" + BODY + b"\r\n0\r\n\r\n"),
    "chunk size after space": post(CHUNKED, body=b" 10\r\n" + BODY + b"\r\n0\r\n\r\n"),
    "chunk size before space": post(CHUNKED, body=b"10 \r\n" + BODY + b"\r\n0\r\n\r\n"),
    "chunk size of 68 bits": post(CHUNKED, body=b"10000000000000010\r\n" + BODY + b"\r\n0\r\n\r\n"),
    "no chunk size": post(CHUNKED, body=b"\r\n" + BODY + b"\r\n0\r\n\r\n"),
    "line feed after a chunk size": post(CHUNKED, body=b"10\n" + BODY + b"\r\n0\r\n\r\n"),
    "line feed in a chunk extension": post(CHUNKED, body=b"10;a=\nb\r\n" + BODY + b"\r\n0\r\n\r\n"),
    "carriage return in a chunk extension": post(CHUNKED, body=b"10;a=\rb\r\n" + BODY + b"\r\n0\r\n\r\n"),
    "line feed after chunk data": post(CHUNKED, body=b"10\r\n" + BODY + b"\n0\r\n\r\n"),
    "other bytes after chunk data": post(CHUNKED, body=b"10\r\n" + BODY + b"XX0\r\n\r\n"),
    "chunk longer than its size": post(CHUNKED, body=b"f\r\n" + BODY + b"\r\n0\r\n\r\n"),
    "length in a trailer": post(CHUNKED, body=chunk(BODY) + b"0\r\nContent-Length: 3\r\n\r\n"),
    "coding in a trailer": post(CHUNKED, body=chunk(BODY) + b"0\r\nTransfer-Encoding: chunked\r\n\r\n"),
    "trailer with space before its colon": post(CHUNKED, body=chunk(BODY) + b"0\r\nX : y\r\n\r\n"),
    "expectation nobody knows": post(b"Expect: 200-ok", length()),
    "two expectations": post(b"Expect: 100-continue", b"Expect: 100-continue", length()),
}

FORWARDED = {
    "plain": post(length()),
    "coding in capitals": post(b"TRANSFER-ENCODING: CHUNKED", body=IN_CHUNKS),
    "empty lines first": b"\r\n\r\n" + post(length()),
    "length with leading zeros": post(b"Content-Length: 0016"),
    "length with spaces around": post(b"Content-Length: \t 16 \t"),
    "chunk size with leading zeros": post(CHUNKED, body=b"000010\r\n" + BODY + b"\r\n000\r\n\r\n"),
    "chunk extension": post(CHUNKED, body=b'10;a=b;c="d e"\r\n' + BODY + b"\r\n0\r\n\r\n"),
    "host in a trailer": post(CHUNKED, body=chunk(BODY) + b"0\r\nHost: evil\r\nX_Y: z\r\n\r\n"),
    "credential in a trailer": post(CHUNKED, body=chunk(BODY) + b"0\r\nAuthorization: Bearer evil\r\n\r\n"),
    "Connection lists the framing": post(b"Connection: content-length, host, authorization", length()),
    "length with underscore in its name": post(b"Content_Length: 3", length()),
    "coding with underscore in its name": post(b"Transfer_Encoding: chunked", length()),
    "host with underscore in its name": post(b"X_Forwarded_Host: evil", length()),
    "a value beyond ASCII": post(b"X: \xe9", length()),
    "a query that looks like a URL": post(length(), line=b"POST /v1/completions?http://evil/@x HTTP/1.1"),
    "offer of HTTP/2 with a hidden request": post(b"Connection: Upgrade", b"Upgrade: h2c", length(), body=BODY),
}


async def answers(house: House, data: bytes) -> list[Message]:
    """Everything that comes back until the proxy closes."""
    client = await house.client()
    client.writer.write(data)
    found: list[Message] = []
    while True:
        try:
            found.append(await client.answer())
        except (EOFError, ConnectionResetError):
            return found


@pytest.mark.parametrize("case", REFUSED)
async def test_what_is_in_doubt_is_refused_and_nothing_after_it_is_heard(house: House, case: str) -> None:
    found = await answers(house, REFUSED[case] + HIDDEN + LAST)
    (refusal,) = found
    assert 400 <= refusal.status < 600
    assert refusal.values(b"connection") == [b"close"]
    assert refusal.code
    assert house.upstream.visits == []
    assert house.other.arrivals == 1


@pytest.mark.parametrize("case", REFUSED)
async def test_what_came_before_it_is_answered_first(house: House, case: str) -> None:
    found = await answers(house, request() + REFUSED[case] + HIDDEN + LAST)
    assert [message.status for message in found][:1] == [200]
    assert len(found) == 2
    assert len(house.upstream.requests) == 1


@pytest.mark.parametrize("case", FORWARDED)
async def test_what_is_clear_is_written_anew(house: House, case: str) -> None:
    found = await answers(house, FORWARDED[case] + request() + LAST)
    assert [message.status for message in found] == [200] * 3
    sent, last = house.upstream.requests
    for message in (sent, last):
        assert message.values(b"content-length") == [str(len(message.body)).encode()]
        assert message.values(b"transfer-encoding") == []
        assert message.values(b"authorization") == [b"Bearer sk-ours"]
        assert len(message.values(b"host")) == 1
        assert not any(b"_" in name or name.startswith(b"x-forwarded") for name, _ in message.fields)
    assert sent.start == b"POST /base/v1/completions HTTP/1.1"
    assert json.loads(sent.body) == {"model": last.json["model"]}


async def test_the_corpus_split_at_every_byte_means_the_same(house: House) -> None:
    for case, raw in FORWARDED.items():
        before = len(house.upstream.requests)
        client = await house.client()
        for start in range(len(raw)):
            await client.send(raw[start : start + 1])
        assert (await client.answer()).status == 200, case
        assert len(house.upstream.requests) == before + 1, case
        client.close()
    for case, raw in REFUSED.items():
        if len(raw) > 1000:
            continue
        client = await house.client()
        for start in range(len(raw)):
            await client.send(raw[start : start + 1])
        try:
            assert (await client.answer()).status >= 400, case
        except (EOFError, BrokenOffError) as error:
            raise AssertionError(case) from error
        client.close()
    assert len(house.upstream.requests) == len(FORWARDED)
