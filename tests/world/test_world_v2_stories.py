"""Lives of v2's endpoints and deployments, in virtual time."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from scaler.settings import WorldSettings
from scaler.world.platform import Platform
from scaler.world.refusals import Conflict, Invalid, NotFound, Unroutable
from scaler.world.replica import JobState
from scaler.world.v2.autoscaling import Autoscaling
from scaler.world.v2.events import feed
from scaler.world.v2.offers import CONFIGS, MODELS_BY_ID, Config, default_config
from scaler.world.v2.registry import Deployment, Edit, Endpoint, Plan, Registry

MODEL = MODELS_BY_ID["ml_mixtral-8x7b-instruct-v0.1"]
CONFIG = default_config(MODEL)
H100 = "2x_nvidia_h100_80gb_sxm"
MINUTE = 60.0

MakeSettings = Callable[..., WorldSettings]


def autoscaling(low: int, high: int, **more: Any) -> Autoscaling:  # noqa: ANN401 (any field)
    return Autoscaling.model_validate({"minReplicas": low, "maxReplicas": high, **more})


class Town:
    """A platform with v2 in front of it and one endpoint ``front``."""

    def __init__(self, settings: WorldSettings) -> None:
        self.platform = Platform(settings)
        self.registry = Registry(self.platform, settings)
        self.front: Endpoint = self.registry.create_endpoint("front", 0.0)

    def deploy(self, low: int = 1, high: int = 1, name: str = "one", config: Config = CONFIG, **more: Any) -> Deployment:  # noqa: ANN401 (any field)
        deployment = self.registry.deploy(self.front.id, Plan(name, config, autoscaling(low, high), **more), self.platform.now)
        assert deployment is not None
        return deployment

    def weigh(self, **weights: float) -> None:
        ids = {deployment.name: deployment.id for deployment in self.front.deployments.values()}
        split = [(ids[name], weight) for name, weight in weights.items()]
        self.registry.split_traffic(self.front.id, split, None, self.platform.now)

    def update(self, deployment: Deployment, low: int, high: int, **more: Any) -> None:  # noqa: ANN401 (any field)
        edit = Edit(("autoscaling",), autoscaling(low, high, **more))
        self.registry.update(self.front.id, deployment.id, edit, None, self.platform.now)

    def load(self, deployment: Deployment, requests: int) -> None:
        """Requests that last until the end."""
        for _ in range(requests):
            self.platform.submit(deployment.id, 0, 1_000_000, self.platform.now)


@pytest.fixture
def make_town(make_settings: MakeSettings) -> Callable[..., Town]:
    return lambda **world: Town(make_settings(None, **world))


def counts(deployment: Deployment) -> tuple[str, int, int, int]:
    """State, desired, scheduled and ready replicas."""
    return deployment.state, deployment.workload.desired, deployment.workload.fleet.size, deployment.ready


def test_a_deployment_is_provisioned_serves_scales_and_stops(make_town: Callable[..., Town]) -> None:
    town = make_town()
    deployment = town.deploy(1, 3)
    assert counts(deployment) == ("PROVISIONING", 1, 0, 0)
    town.platform.advance(10.0)
    assert counts(deployment) == ("PROVISIONING", 1, 1, 0)
    town.platform.advance(200.0)
    assert counts(deployment) == ("READY", 1, 1, 1)
    town.update(deployment, 2, 3)
    assert counts(deployment) == ("SCALING", 2, 2, 1)
    town.platform.advance(400.0)
    assert counts(deployment) == ("READY", 2, 2, 2)
    town.update(deployment, 0, 0)
    assert counts(deployment) == ("STOPPING", 0, 0, 0)
    town.platform.advance(420.0)
    assert counts(deployment) == ("STOPPED", 0, 0, 0)
    town.update(deployment, 1, 1)
    town.platform.advance(700.0)
    assert counts(deployment) == ("READY", 1, 1, 1)


def test_missing_capacity_degrades_and_what_there_is_serves(make_town: Callable[..., Town]) -> None:
    town = make_town(stock={H100: 2})
    deployment = town.deploy(3, 3)
    town.weigh(one=1.0)
    town.platform.advance(10.0)
    assert counts(deployment) == ("DEGRADED", 3, 2, 0)
    town.platform.advance(200.0)
    assert counts(deployment) == ("DEGRADED", 3, 2, 2)
    assert town.registry.route("tester/front", 200.0) == deployment.id
    town.platform.set_stock(H100, 3, 300.0)
    assert counts(deployment) == ("SCALING", 3, 3, 2)
    town.platform.advance(500.0)
    assert counts(deployment) == ("READY", 3, 3, 3)


def test_a_failing_start_is_a_failed_deployment_and_new_bounds_start_it_again(make_town: Callable[..., Town]) -> None:
    town = make_town()
    deployment = town.deploy()
    town.platform.fail_next_starts(deployment.id, 1, 0.0)
    town.platform.advance(200.0)
    assert counts(deployment) == ("FAILED", 0, 0, 0)
    ends = [event for event in feed(town.front, 200.0) if event.level == "LEVEL_ERROR"]
    assert [event.message for event in ends] == [f"Replica {deployment.id}-1 failed to start"]
    town.update(deployment, 1, 1)
    town.platform.advance(400.0)
    assert deployment.state == "READY"


def test_traffic_goes_by_weight_times_ready_replicas(make_town: Callable[..., Town]) -> None:
    town = make_town()
    town.deploy(1, 1, "one")
    town.deploy(3, 3, "three")
    town.deploy(1, 1, "none")
    town.weigh(one=3.0, three=1.0, none=0.0)
    town.platform.advance(200.0)
    shares = {deployment.name: town.front.share(deployment) for deployment in town.front.deployments.values()}
    assert shares == {"one": 0.5, "three": 0.5, "none": 0.0}
    names = {deployment.id: deployment.name for deployment in town.front.deployments.values()}
    drawn = Counter(names[town.registry.route("tester/front", 200.0)] for _ in range(1000))
    assert set(drawn) == {"one", "three"}
    assert drawn["one"] == pytest.approx(500, abs=60)


def test_nothing_ready_or_no_weight_is_a_routing_error(make_town: Callable[..., Town]) -> None:
    town = make_town()
    deployment = town.deploy()
    for model in ("tester/front", "tester/front/one"):
        with pytest.raises(Unroutable):
            town.registry.route(model, 0.0)
    town.platform.advance(200.0)
    with pytest.raises(Unroutable):
        town.registry.route("tester/front", 200.0)
    assert town.registry.route("tester/front/one", 200.0) == deployment.id
    town.weigh(one=1.0)
    assert town.registry.route("tester/front", 200.0) == deployment.id
    town.platform.lose_replica(deployment.id, 200.0)
    with pytest.raises(Unroutable):
        town.registry.route("tester/front", 200.0)
    with pytest.raises(NotFound):
        town.registry.route("tester/front/two", 200.0)
    assert town.registry.route("tester/back", 200.0) == "tester/back"


def test_it_steers_to_its_own_target_in_its_own_windows(make_town: Callable[..., Town]) -> None:
    town = make_town()
    metric = {"name": "inflight_requests", "type": "METRIC_TARGET_TYPE_AVERAGE_VALUE", "target": 2}
    deployment = town.deploy()
    town.update(deployment, 1, 4, scalingMetrics=[metric], scaleUpWindow="30s", scaleDownWindow="2m")
    town.platform.advance(10 * MINUTE)
    town.load(deployment, 6)
    town.platform.advance(10 * MINUTE + 25)
    assert deployment.workload.desired == 1
    town.platform.advance(10 * MINUTE + 50)
    assert deployment.workload.desired == 3
    for replica in list(deployment.workload.fleet.replicas):
        for job in replica.jobs():
            town.platform.cancel(job, 20 * MINUTE)
    town.platform.advance(21 * MINUTE + 50)
    assert deployment.workload.desired == 3
    town.platform.advance(22 * MINUTE + 20)
    assert deployment.workload.desired == 1


def test_policies_and_bounds_limit_its_steps(make_town: Callable[..., Town]) -> None:
    town = make_town()
    policy = {"type": "SCALING_POLICY_TYPE_PODS", "value": 1, "periodSeconds": 60}
    deployment = town.deploy()
    town.update(deployment, 1, 3, scaleUpWindow="0s", scaleUp={"policies": [policy]})
    town.platform.advance(10 * MINUTE)
    town.load(deployment, 80)
    found = []
    for minute in range(1, 5):
        town.platform.advance(10 * MINUTE + minute * MINUTE)
        found.append(deployment.workload.desired)
    assert found == [2, 3, 3, 3]


def test_an_idle_deployment_stops_only_where_that_is_wished(make_town: Callable[..., Town]) -> None:
    town = make_town()
    forever, short = town.deploy(name="forever"), town.deploy(name="short", inactive_timeout=30)
    town.platform.advance(40 * MINUTE)
    assert (forever.state, short.state) == ("READY", "STOPPED")
    for minutes in (1, 29, 1441):
        with pytest.raises(Invalid, match="inactiveTimeout"):
            town.deploy(name="x", inactive_timeout=minutes)


def test_a_config_with_a_draft_model_speculates(make_town: Callable[..., Town]) -> None:
    town = make_town()
    deployment = town.deploy(config=CONFIGS[f"{CONFIG.id}_spec"])
    town.platform.advance(200.0)
    jobs = [town.platform.submit(deployment.id, 0, 10, 200.0 + 100 * number) for number in range(5)]
    town.platform.advance(1000.0)
    assert all(job.state is JobState.DONE for job in jobs)
    assert len({job.pace for job in jobs}) == 5


def test_a_stale_etag_is_refused_and_changes_nothing(make_town: Callable[..., Town]) -> None:
    town = make_town()
    deployment = town.deploy()
    stale, empty = deployment.etag, town.front.etag
    town.update(deployment, 1, 2)
    town.weigh(one=1.0)
    with pytest.raises(Conflict, match="stale"):
        town.registry.update(town.front.id, deployment.id, Edit(("autoscaling",), autoscaling(5, 5)), stale, 0.0)
    with pytest.raises(Conflict, match="stale"):
        town.registry.split_traffic(town.front.id, [], empty, 0.0)
    with pytest.raises(Conflict, match="stale"):
        town.registry.delete_endpoint(town.front.id, empty)
    assert (deployment.autoscaling["maxReplicas"], town.front.split) == (2, {deployment.id: 1.0})
    town.registry.update(town.front.id, deployment.id, Edit(("autoscaling",), autoscaling(1, 5)), deployment.etag, 0.0)
    assert deployment.autoscaling["maxReplicas"] == 5


def test_only_what_is_stopped_and_empty_can_be_deleted(make_town: Callable[..., Town]) -> None:
    town = make_town()
    deployment = town.deploy()
    town.weigh(one=1.0)
    town.platform.advance(200.0)
    with pytest.raises(Conflict, match="still has deployments"):
        town.registry.delete_endpoint(town.front.id, None)
    with pytest.raises(Conflict, match="is running"):
        town.registry.delete_deployment(town.front.id, deployment.id, None, 200.0)
    town.update(deployment, 0, 0)
    town.platform.advance(220.0)
    cost = town.platform.total(220.0).dollars
    town.registry.delete_deployment(town.front.id, deployment.id, None, 220.0)
    assert town.front.split == {}
    town.registry.delete_endpoint(town.front.id, None)
    assert town.registry.endpoints == {}
    assert town.platform.total(220.0).dollars == cost > 0
    assert town.registry.create_endpoint("front", 221.0).id != town.front.id


def test_a_cold_start_passes_its_phases(make_town: Callable[..., Town]) -> None:
    town = make_town()
    deployment = town.deploy()

    def phases(now: float) -> list[str]:
        town.platform.advance(now)
        return [event.more["reason"] for event in reversed(feed(town.front, now)) if event.type == "pod.startup_phase_changed"]

    assert phases(4.0) == []
    assert phases(5.0) == ["PullingImage"]
    assert phases(60.0) == ["PullingImage", "Starting"]
    assert phases(100.0) == ["PullingImage", "Starting", "LoadingWeights"]
    assert phases(186.0) == ["PullingImage", "Starting", "LoadingWeights", "StartupComplete"]
    town.update(deployment, 2, 2)
    town.platform.advance(200.0)
    town.update(deployment, 1, 1)
    (end,) = (event for event in feed(town.front, 200.0) if event.type == "pod.terminated")
    assert (end.message, end.level) == (f"Replica {deployment.id}-2 terminated", "LEVEL_INFO")
    assert [event.more["newReplicas"] for event in feed(town.front, 300.0) if event.type == "deployment.scaled"] == [1, 2, 1]


def test_the_memory_of_writes_is_bounded(make_town: Callable[..., Town]) -> None:
    town = make_town()
    town.deploy()
    for _ in range(1000):
        town.weigh(one=1.0)
    assert len(town.front.notes) == 500


@pytest.mark.parametrize(("low", "high"), [(0, 3), (3, 0), (2, 1)])
def test_impossible_bounds_are_refused(make_town: Callable[..., Town], low: int, high: int) -> None:
    town = make_town()
    with pytest.raises(Invalid, match="minReplicas"):
        town.deploy(low, high)
    assert town.front.deployments == {}
