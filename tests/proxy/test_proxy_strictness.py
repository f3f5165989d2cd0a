"""Our own reading of HTTP/1.1 is at least as strict as llhttp's, and reads the same where both understand."""

from dataclasses import dataclass, field

import pytest
from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser, HttpResponseParser
from hypothesis import example, given, settings
from hypothesis import strategies as st

from scaler.proxy.bodies import Body, Chunked, Sized, Unsized
from scaler.proxy.errors import Refusal
from scaler.proxy.heads import RequestHead, ResponseHead, request_head
from scaler.proxy.http1 import FIELD, REQUEST_LINE, STATUS_LINE, HeadReader
from tests.proxy.corpus import FORWARDED, REFUSED

LIMIT = 4096


@dataclass
class Heard:
    """What a parser made of one message."""

    first: tuple[bytes, ...] = ()
    fields: list[tuple[bytes, bytes]] = field(default_factory=list[tuple[bytes, bytes]])
    body: bytes = b""
    whole: bool = False


class Oracle:
    """llhttp's reading of the first message."""

    def __init__(self, parser: type[HttpRequestParser] | type[HttpResponseParser]) -> None:
        self.heard = Heard()
        self.headers_done = False
        self.parser = parser(self)

    def on_url(self, url: bytes) -> None:
        if not self.heard.whole:
            self.heard.first = (*self.heard.first, url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.headers_done:
            self.heard.fields.append((name.lower(), value.strip()))

    def on_headers_complete(self) -> None:
        if not self.headers_done and isinstance(self.parser, HttpResponseParser):
            self.headers_done = self.parser.get_status_code() >= 200
            self.heard.first = (b"%d" % self.parser.get_status_code(),)
            if not self.headers_done:
                self.heard.fields = []
        self.headers_done = self.headers_done or isinstance(self.parser, HttpRequestParser)

    def on_body(self, body: bytes) -> None:
        if not self.heard.whole:
            self.heard.body += body

    def on_message_complete(self) -> None:
        self.heard.whole = self.headers_done


def oracle(data: bytes, parser: type[HttpRequestParser] | type[HttpResponseParser]) -> Heard | None:
    """None: refused. What follows the first message may be anything."""
    told = Oracle(parser)
    try:
        told.parser.feed_data(data)
    except HttpParserUpgrade:
        return None
    except HttpParserError:
        return told.heard if told.heard.whole else None
    return told.heard


def fields_of(raw: bytes) -> list[tuple[bytes, bytes]]:
    """Of a head that was accepted."""
    matches = [FIELD.fullmatch(line) for line in raw.split(b"\r\n")[1:]]
    return [(match[1].lower(), match[2].strip(b" \t")) for match in matches if match]


def ours_of_request(data: bytes) -> Heard | None:
    """Our reading; None: refused, or not whole yet."""
    try:
        found = HeadReader(REQUEST_LINE, LIMIT).feed(data)
        if found is None:
            return None
        head, length = request_head(found[0])
    except (Refusal, ValueError):
        return None
    if head.method not in (b"POST", b"GET", b"HEAD"):  # no other is served
        return None
    body = Chunked(LIMIT) if head.framing == "chunked" else Sized(length)
    payload = body.feed(found[1])
    if body.fault or not body.complete:
        return None
    start = REQUEST_LINE.fullmatch(found[0].partition(b"\r\n")[0])
    assert start
    return Heard((start[2],), fields_of(found[0]), payload, whole=True)


def ours_of_response(data: bytes) -> Heard | None:
    try:
        found = HeadReader(STATUS_LINE, LIMIT).feed(data)
        if found is None:
            return None
        head = ResponseHead(found[0])
    except ValueError:
        return None
    if head.status < 200 or head.framing == "none":
        return None
    body: Body = Unsized() if head.framing == "eof" else Sized(head.length)
    if head.framing == "chunked":
        body = Chunked(LIMIT)
    payload = body.feed(found[1])
    if body.fault or not (body.complete or head.framing == "eof"):
        return None
    return Heard((b"%d" % head.status,), fields_of(found[0]), payload, whole=body.complete)


PIECES = [
    *(b"\r\n", b"\n", b"\r", b" ", b"\t", b":", b"\0", b"\x0b", b"\x7f", b"\xe9", b",", b";", b"=", b'"', b"\\"),
    *(b"/", b"#", b"?", b"_", b"-", b"+", b"0", b"1", b"9", b"a", b"F", b"x", b"HTTP/1.0", b"chunked"),
    *(b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n", b"Host: y\r\n", b"Connection: close\r\n"),
    *(b"Expect: 100-continue\r\n", b"Upgrade: h2c\r\n"),
]
MUTATION = st.tuples(st.integers(0, 400), st.integers(0, 3), st.sampled_from(PIECES))


def mutated(data: bytes, mutations: list[tuple[int, int, bytes]]) -> bytes:
    """With some bytes cut out, and others put in their place."""
    for at, cut, piece in mutations:
        place = at % (len(data) + 1)
        data = data[:place] + piece + data[place + cut :]
    return data


REQUESTS = [raw for raw in {**REFUSED, **FORWARDED}.values() if len(raw) < 1000]
RESPONSES = [
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n3;a=b\r\n...\r\n0\r\nX: y\r\n\r\n",
    b"HTTP/1.1 404 Not Found\r\ncontent-length: 3\r\nx-y: z\r\n\r\nabc",
    b"HTTP/1.0 200\r\nx: y\r\n\r\nuntil the end",
]


@settings(max_examples=800, deadline=None)
@given(st.sampled_from(REQUESTS), st.lists(MUTATION, max_size=4))
@example(FORWARDED["plain"], [])
def test_a_request_that_we_understand_llhttp_understands_alike(raw: bytes, mutations: list[tuple[int, int, bytes]]) -> None:
    data = mutated(raw, mutations)
    ours = ours_of_request(data)
    if ours is None or b"upgrade" in data.lower():
        return
    assert ours == oracle(data, HttpRequestParser), data


@settings(max_examples=600, deadline=None)
@given(st.sampled_from(RESPONSES), st.lists(MUTATION, max_size=4))
def test_an_answer_that_we_understand_llhttp_understands_alike(raw: bytes, mutations: list[tuple[int, int, bytes]]) -> None:
    data = mutated(raw, mutations)
    ours = ours_of_response(data)
    if ours is None or b"upgrade" in data.lower():
        return
    assert ours == oracle(data, HttpResponseParser), data


@pytest.mark.parametrize("case", FORWARDED)
def test_the_comparison_compares_something(case: str) -> None:
    assert ours_of_request(FORWARDED[case]) is not None


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(REQUESTS + RESPONSES), st.lists(MUTATION, max_size=2), st.lists(st.integers(1, 30), min_size=1))
def test_how_it_is_cut_changes_nothing(raw: bytes, mutations: list[tuple[int, int, bytes]], lengths: list[int]) -> None:
    data = mutated(raw, mutations)
    first = STATUS_LINE if raw in RESPONSES else REQUEST_LINE
    try:
        whole = HeadReader(first, LIMIT).feed(data)
        if whole is not None and not first.fullmatch(whole[0].partition(b"\r\n")[0]):
            return
    except ValueError:
        return
    reader, at, found = HeadReader(first, LIMIT), 0, None
    try:
        for number in range(len(data)):
            length = lengths[number % len(lengths)]
            found = reader.feed(data[at : at + length])
            at += length
            if found is not None or at >= len(data):
                break
    except ValueError:  # earlier than at once: what came would never have become a head
        if whole is not None:
            with pytest.raises((Refusal, ValueError)):
                (ResponseHead if first is STATUS_LINE else request_head)(whole[0])
        return
    assert (found[0] if found else None) == (whole[0] if whole else None)


def as_after_nothing(data: bytes, limit: int) -> tuple[dict[str, object], int, bytes] | None:
    """The head that ``data`` begins with, its Content-Length, and the rest; None where there is none."""
    try:
        found = HeadReader(REQUEST_LINE, limit).feed(data)
        if found is None:
            return None
        head, length = request_head(found[0])
    except (Refusal, ValueError):
        return None
    return noted(head), length, found[1]


def noted(head: RequestHead) -> dict[str, object]:
    """What it says, but for the number in Content-Length."""
    names = ("method", "target", "path", "lines", "framing", "http11", "keep_alive", "expects_continue", "authorization", "wake")
    return {name: getattr(head, name) for name in names}


@settings(max_examples=500, deadline=None)
@given(
    st.sampled_from(
        [b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %b\r\nX: 1\r\n\r\n", b"POST /v1 HTTP/1.1\r\nHost: a\r\nContent-Length: %b\r\n\r\n"]
    ),
    st.integers(0, 10**6),
    st.one_of(st.integers(0, 10**6).map(lambda number: b"%d" % number), st.binary(max_size=20)),
    st.lists(MUTATION, max_size=2),
)
@example(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %b\r\n\r\n", 4, b"4\r\nContent-Length: 5", [])
@example(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %b\r\n\r\n", 4, b"4\r\nTransfer-Encoding: chunked", [])
@example(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %b\r\n\r\n", 4, b"0" * 18 + b"4", [])
@example(b"HEAD / HTTP/1.1\r\nHost: a\r\nContent-Length: %b\r\n\r\n", 4, b"5", [])
def test_a_head_that_is_known_again_says_what_it_would_say_to_a_stranger(
    form: bytes, before: int, then: bytes, mutations: list[tuple[int, int, bytes]]
) -> None:
    head = request_head((form % (b"%d" % before)).removesuffix(b"\r\n\r\n"))[0]
    data = mutated(form % then, mutations) + b"body"
    limit = data.find(b"\r\n\r\n") + 4
    known = head.again(data, limit)
    assert head.again(data, limit - 1) is None
    if known is not None:
        assert (noted(known[0]), *known[1:]) == as_after_nothing(data, limit)
    else:  # it is not the same head, or one that is never known
        assert mutations or not then.isdigit() or len(then) > 18 or head.method == b"HEAD"


@settings(max_examples=300, deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=40), max_size=5), st.lists(MUTATION, max_size=1), st.lists(st.integers(1, 9), min_size=1))
def test_a_chunked_body_may_be_cut_anywhere(pieces: list[bytes], mutations: list[tuple[int, int, bytes]], lengths: list[int]) -> None:
    data = mutated(b"".join(b"%x;a\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\nX: y\r\n\r\nrest", mutations)
    at_once = Chunked(LIMIT)
    payload = at_once.feed(data)
    in_pieces, got, at, number = Chunked(LIMIT), b"", 0, 0
    while at < len(data) and not in_pieces.complete and not in_pieces.fault:
        length = lengths[number % len(lengths)]
        got += in_pieces.feed(data[at : at + length])
        at, number = at + length, number + 1
    assert (got, in_pieces.complete, bool(in_pieces.fault)) == (payload, at_once.complete, bool(at_once.fault))
    if not mutations:
        assert got == b"".join(pieces)
