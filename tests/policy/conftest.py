import pytest

from scaler.model import Bounds, Endpoint, EndpointState
from scaler.settings import EndpointSettings, PolicySettings
from tests.policy.story import Story


@pytest.fixture
def story() -> Story:
    """One replica runs, up to eight may; a replica serves 8 at once, 5.6 are planned; a start takes five minutes."""
    policy = PolicySettings(stabilization_seconds=300)
    settings = EndpointSettings(id="endpoint-1", min_replicas=1, max_replicas=8, policy=policy)
    endpoint = Endpoint("endpoint-1", "tester/model-1", "model", "2x_gpu", EndpointState.STARTED, Bounds(1, 1))
    return Story(settings, endpoint)
