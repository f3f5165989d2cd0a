"""The request's ``model``: found as any JSON parser would find it, replaced without touching anything else."""

import contextlib
import json
import time
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.proxy.errand import is_streamed
from scaler.proxy.errors import Refusal
from scaler.proxy.model_field import PATIENT_BYTES, asked, parse, rewrite

OURS = 'acme/llama "3" \\ €'


def rewritten(body: bytes, model: str = OURS) -> bytes:
    return bytes(rewrite(body, asked(body), model))


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"chat","n":1.0}',
        b'{ "n" : 1.0 ,\r\n\t"model" \n:\t"chat" }',
        b'{"n":[1e5,-0.0,12345678901234567890123],"model":"chat","s":"\\n \\ud83d\\ude00 \xe2\x82\xac"}',
    ],
)
def test_only_the_value_changes_where_its_place_is_certain(body: bytes) -> None:
    assert rewritten(body) == body.replace(b'"chat"', json.dumps(OURS, ensure_ascii=False).encode())


def test_nothing_changes_where_the_value_is_right_already() -> None:
    body = bytearray(b'{ "model" :\t"chat" }')
    assert rewrite(body, asked(body), "chat") is body


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"evil","model":"chat"}',
        b'{"mode\\u006c":"evil","model":"chat"}',
        b'{"model":"evil","\\u006dodel":"chat"}',
        b'{"metadata":{"model":"evil"},"model":"chat"}',
        b'{"model":"chat","metadata":{"model":"evil"}}',
        b'{"messages":[{"role":"model"}],"model":"chat"}',
        b'{"model":"ch\\u0061t"}',
        b'{"model":"\\u0063hat","x":"\\\\"}',
        b'{"x":"\\"model\\":\\"evil\\"","model":"chat"}',
        b'{"model":"c\\/hat"}',
    ],
)
@pytest.mark.parametrize("model", [OURS, "chat"])
def test_no_other_place_can_be_taken_for_the_field(body: bytes, model: str) -> None:
    expected = json.loads(body) | {"model": model}
    pairs: list[list[tuple[str, Any]]] = []
    sent = rewritten(body, model)
    json.loads(sent, object_pairs_hook=pairs.append)
    assert [value for key, value in pairs[-1] if key == "model"] == [model]
    assert json.loads(sent) == expected


KEYS = st.sampled_from(["model", "mode", "models", 'model"', "\\", "m\u00f6del"]) | st.text(max_size=3)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text() | st.just("model"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(KEYS, VALUES, max_size=5), st.text(), st.text(), st.booleans(), st.sampled_from([None, 1]))
def test_any_request_means_the_same_afterwards(fields: dict[str, Any], theirs: str, ours: str, escape: bool, indent: int | None) -> None:  # noqa: FBT001 (a drawn value)
    body = json.dumps({**fields, "model": theirs}, ensure_ascii=escape, indent=indent).encode(errors="replace")
    found, name = parse(body)
    sent = rewritten(body, ours)
    assert asked(body) == name == found["model"] == json.loads(body)["model"]
    assert json.loads(sent) == found | {"model": ours}


@given(st.binary(max_size=60) | st.text(alphabet='{}[]":,\\umodel0123eE+-. \n', max_size=60).map(str.encode))
def test_whatever_comes_is_understood_or_refused(body: bytes) -> None:
    try:
        found, name = parse(body)
    except Refusal:
        with pytest.raises(Refusal):
            asked(body)
        return
    assert asked(body) == name
    assert json.loads(rewrite(body, name, name)) == found


@pytest.mark.parametrize("value", [b"1e999", b"1.50", b"12345678901234567890", b"-0", b'"\\u00e9"', b'{"model":1,"model":2}', b"[ 1 ]"])
def test_values_are_copied_as_they_stand(value: bytes) -> None:
    assert rewrite(b'{"model":"chat", "x":%b, "model":"chat"}' % value, "chat", "ours") == b'{"model":"ours","x":%b}' % value


BIG = 1_300_000
"""Bytes of a body that is made to be slow."""


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"chat","model":"chat","x":[' + b"1.5," * (BIG // 4) + b"1]}",
        b'{"model":"chat","x":[' + b'{"model":1},' * (BIG // 12) + b"1]}",
        b'{"model":"chat","x":[' + b"[]," * (BIG // 3) + b'"\\u00e9"]}',
        b'{"model":"chat","x":[' + b"1.5," * (BIG // 4) + b"1}",
        b'{"model":"chat","\\ud800":[' + b"1.5," * (BIG // 4) + b"1]}",
        b'{"x":[' + b"[]," * (BIG // 3) + b'1],"model":3}',
        b'{"model":"chat","model":"chat",%b}' % b",".join(b'"%d":1' % number for number in range(1_000_000)),
        b'{"model":"chat","model":"chat",%b}' % b",".join(b'"%d"\n:1' % number for number in range(1_000_000)),
        b'{"model":"chat","x":"\\u00e9",%b}' % b",".join(b'"%0300d":1' % number for number in range(49_000)),
    ],
    ids=["twice", "below", "escaped", "broken", "half a pair", "no text", "keys", "spaced keys", "just few enough keys"],
)
def test_a_large_body_holds_nobody_up_however_it_is_made(body: bytes) -> None:
    try:
        sent = rewrite(body, asked(body), OURS)
    except Refusal as refusal:
        assert refusal.status == 400  # noqa: PT017 (either may happen)
    else:
        assert json.loads(sent) == json.loads(body) | {"model": OURS}
    assert len(body) > PATIENT_BYTES
    assert took(body) < a_moment()


@pytest.mark.parametrize("stream", [b"true", b"false", b"null", b"1", b'"true"'])
def test_whether_a_stream_is_asked_for_is_seen_without_reading_all_of_a_body(stream: bytes) -> None:
    body = b'{"model":"a","x":[%b[]],"stream":%b}' % (b"[]," * 5_000_000, stream)
    assert is_streamed(body) == (stream == b"true")
    assert took(body, is_streamed) < a_moment()


def passed_on(body: bytes) -> None:
    with contextlib.suppress(Refusal):
        rewrite(body, asked(body), OURS)


def a_moment() -> float:
    """About 100 ms on the machine that these bodies were made for: twice what msgspec takes to see that 15 MB of small things are JSON."""
    return 2 * took(b"[%b1]" % (b"[]," * 5_000_000), msgspec.json.Decoder(msgspec.Raw).decode)


def took(body: bytes, read: Callable[[bytes], object] = passed_on) -> float:
    """Seconds of processor time, at best, for one body."""
    best = 1.0
    for _ in range(5):
        began = time.process_time()
        read(body)
        best = min(best, time.process_time() - began)
    return best
