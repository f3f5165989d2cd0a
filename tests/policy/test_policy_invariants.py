"""What holds for every traffic, however it came about."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scaler.model import Power
from tests.policy.story import Story

TRAFFIC = st.lists(st.one_of(st.none(), st.floats(0, 100), st.just(0.0)), min_size=1, max_size=150)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(traffic=TRAFFIC)
def test_bounds_steps_and_proof(story: Story, traffic: list[float | None]) -> None:
    told = Story(story.settings, story.endpoint)
    unknown_until = told.now
    for concurrency in traffic:
        before = told.endpoint
        decision = told.tick(concurrency)
        limits = told.settings
        assert decision.reasons
        assert 0 <= decision.bounds.min_replicas <= decision.bounds.max_replicas
        if concurrency is None:
            unknown_until = told.now
            assert decision.hold
        if decision.hold:
            assert told.endpoint == before
            continue
        assert limits.min_replicas <= decision.bounds.min_replicas <= decision.bounds.max_replicas <= limits.max_replicas
        step = decision.bounds.min_replicas - before.bounds.min_replicas
        assert -limits.policy.max_step_down <= step <= max(limits.policy.max_step_up, before.bounds.min_replicas)
        shrinks = step < 0 or decision.bounds.max_replicas < before.bounds.max_replicas or decision.power is Power.STOP
        assert not (shrinks and told.now - unknown_until < limits.policy.stabilization_seconds)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(traffic=TRAFFIC)
def test_same_inputs_same_decisions(story: Story, traffic: list[float | None]) -> None:
    runs = []
    for _ in range(2):
        told = Story(story.settings, story.endpoint)
        for concurrency in traffic:
            told.tick(concurrency)
        runs.append(told.decisions)
    assert runs[0] == runs[1]


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(load=st.floats(0.1, 40.0))
def test_constant_load_settles_and_never_flaps(story: Story, load: float) -> None:
    told = Story(story.settings, story.endpoint)
    told.minutes(60, load)
    settled = told.endpoint.bounds
    later = told.minutes(120, load)
    assert {decision.bounds for decision in later} == {settled}
    need = load / (told.settings.policy.per_replica * told.settings.policy.target_utilization)
    assert settled.min_replicas >= min(need, told.settings.max_replicas) * (1 - told.settings.policy.tolerance) - 1e-9
