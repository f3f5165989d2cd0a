"""Whatever an answer of v2 says, it is a deployment that makes sense, or a bad reply."""

from contextlib import suppress
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from scaler.model import Endpoint, EndpointState
from scaler.providers.base import BadReply
from scaler.providers.together_v2 import STATES, parse_catalog, parse_deployment, parse_starts

VALID: dict[str, Any] = {
    "id": "dep_1",
    "name": "acme/chat/main",
    "model": "m",
    "hardware": "h",
    "autoscaling": {"minReplicas": 1, "maxReplicas": 3},
    "status": {"state": "DEPLOYMENT_STATE_READY", "message": "", "readyReplicas": 1, "scheduledReplicas": 1},
    "desiredReplicas": 1,
    "inactiveTimeout": 30,
    "etag": "e",
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(sorted(STATES)),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=10) | st.sampled_from(sorted(VALID)), inner, max_size=8),
    max_leaves=20,
)
COUNTS = st.none() | st.integers(-2, 6)
DEPLOYMENTS = st.builds(
    lambda state, low, high, ready, scheduled, desired: (
        VALID
        | {
            "autoscaling": {"minReplicas": low, "maxReplicas": high},
            "status": {"state": state, "readyReplicas": ready, "scheduledReplicas": scheduled},
            "desiredReplicas": desired,
        }
    ),
    st.sampled_from([*STATES, "DEPLOYMENT_STATE_NEW"]),
    COUNTS,
    COUNTS,
    COUNTS,
    COUNTS,
    COUNTS,
)
MUTATED = st.dictionaries(st.sampled_from([*sorted(VALID), "extra"]), JSON, max_size=3).map(lambda change: VALID | change)


def makes_sense(endpoint: Endpoint) -> None:
    bounds = endpoint.bounds
    assert 0 <= bounds.min_replicas <= bounds.max_replicas
    assert endpoint.name.count("/") == 1
    assert endpoint.missing_replicas >= 0
    assert (endpoint.ready_replicas or 0) >= 0
    if bounds.max_replicas == 0:
        assert endpoint.state in {EndpointState.STOPPING, EndpointState.STOPPED, EndpointState.ERROR, EndpointState.UNKNOWN}


@settings(max_examples=500)
@given(JSON | MUTATED | DEPLOYMENTS)
def test_any_json_is_a_deployment_that_makes_sense_or_a_bad_reply(body: object) -> None:
    with suppress(BadReply):
        makes_sense(parse_deployment(body))


@settings(max_examples=300)
@given(JSON | st.lists(JSON, max_size=3).map(lambda rows: {"data": rows}))
def test_any_json_is_a_catalog_and_events_or_a_bad_reply(body: object) -> None:
    with suppress(BadReply):
        assert all(item.price.cents_per_minute >= 0 for item in parse_catalog(body))
    with suppress(BadReply):
        assert all(start.ready_at > start.started_at for start in parse_starts(body, "dep_1"))
