"""Whatever an answer says, it is an endpoint, an error of ours, or nothing; it never starts anything by itself."""

import json
from contextlib import suppress
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from scaler.model import Endpoint
from scaler.providers.base import BadReply, ProviderError
from scaler.providers.http import MAX_COMPLAINT_CHARS, MAX_RETRY_AFTER_SECONDS, Redactor, Reply, judge
from scaler.providers.together_v1 import expect_endpoint, parse_endpoint, parse_hardware

ID = "endpoint-1"
VALID: dict[str, Any] = {
    "object": "endpoint",
    "id": ID,
    "name": "o/m-1",
    "display_name": None,
    "model": "m",
    "hardware": "1x_gpu",
    "state": "STARTED",
    "autoscaling": {"min_replicas": 1, "max_replicas": 3},
}

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=10) | st.sampled_from(sorted(VALID)), inner, max_size=8),
    max_leaves=20,
)
MUTATED = st.dictionaries(st.sampled_from([*sorted(VALID), "extra"]), JSON, max_size=3).map(lambda change: VALID | change)
HEADERS = st.dictionaries(st.sampled_from(["retry-after", "date", "content-type"]), st.text(max_size=40))


def told(reply: Reply) -> Endpoint | None:
    """What a reader makes of a reply; an error of the taxonomy is None, any other escapes and fails the test."""
    try:
        return expect_endpoint(judge(reply, Redactor("secret-key"), "GET /x", 1.8e9), ID)
    except ProviderError as caught:
        error = caught
    assert str(error).isprintable()
    assert len(str(error)) < 2 * MAX_COMPLAINT_CHARS
    assert error.retry_after is None or 0 <= error.retry_after <= MAX_RETRY_AFTER_SECONDS
    return None


def sane(endpoint: Endpoint) -> bool:
    low, high = endpoint.bounds.min_replicas, endpoint.bounds.max_replicas
    texts = [endpoint.name, endpoint.model, endpoint.hardware]
    return endpoint.id == ID and 0 <= low <= high and all(text and text.isprintable() for text in texts)


@settings(max_examples=500, deadline=None)
@given(status=st.integers(200, 599), headers=HEADERS, content=st.binary(max_size=200) | JSON.map(lambda v: json.dumps(v).encode()))
def test_any_bytes_under_any_status_end_in_an_endpoint_or_in_an_error_of_ours(status: int, headers: dict[str, str], content: bytes) -> None:
    endpoint = told(Reply(status, headers, content))
    assert endpoint is None or (status == 200 and sane(endpoint))


@settings(max_examples=500, deadline=None)
@given(body=MUTATED)
def test_a_spoilt_endpoint_is_refused_or_still_makes_sense(body: dict[str, Any]) -> None:
    endpoint = told(Reply(200, {}, json.dumps(body).encode()))
    assert endpoint is None or sane(endpoint)
    assert body != VALID or endpoint is not None


@settings(max_examples=300, deadline=None)
@given(body=JSON)
def test_the_parsers_take_any_json(body: object) -> None:
    for parse in (parse_endpoint, parse_hardware):
        with suppress(BadReply):
            parse(body)


@settings(max_examples=300, deadline=None)
@given(position=st.integers(0, 10_000), byte=st.integers(0, 255))
def test_a_flipped_byte_never_gives_nonsense(position: int, byte: int) -> None:
    content = bytearray(json.dumps(VALID).encode())
    content[position % len(content)] = byte
    endpoint = told(Reply(200, {}, bytes(content)))
    assert endpoint is None or sane(endpoint)
