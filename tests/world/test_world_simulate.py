"""A day in virtual time."""

from collections.abc import Callable

import pytest

from scaler.model import Bounds
from scaler.settings import ObjectiveSettings, WorldEndpointSettings, WorldSettings
from scaler.world.simulate import Result, run_day
from scaler.world.workload import OFFICE_DAY, Arrival, arrivals, read_trace

MakeSettings = Callable[..., WorldSettings]
DAY = 86400.0
ENDPOINT = WorldEndpointSettings(
    model="mistralai/Mixtral-8x7B-Instruct-v0.1", hardware="2x_nvidia_h100_80gb_sxm", inactive_timeout_minutes=0
)


@pytest.fixture(scope="module")
def office_day() -> list[Arrival]:
    return arrivals(read_trace(OFFICE_DAY), seconds=DAY, requests=5_000, seed=1)


def run(day: list[Arrival], bounds: Bounds) -> Result:
    settings = WorldSettings(endpoints=(ENDPOINT,))
    return run_day(settings, day, bounds=bounds, until=DAY, objective=ObjectiveSettings(ttft_seconds=2.0))


def test_fixed_replicas_cost_their_hours(office_day: list[Arrival]) -> None:
    two = run(office_day, Bounds(2, 2))
    assert two.replica_hours == pytest.approx(48.0)
    assert two.cost_dollars == pytest.approx(48 * 60 * 0.18)
    assert two.requests == len(office_day)
    assert two.refused == 0


def test_more_replicas_cost_more_and_serve_better() -> None:
    day = arrivals(read_trace(OFFICE_DAY), seconds=DAY, requests=25_000, seed=1)
    one, native, six = run(day, Bounds(1, 1)), run(day, Bounds(1, 6)), run(day, Bounds(6, 6))
    assert one.cost_dollars < native.cost_dollars < six.cost_dollars
    assert one.attainment < native.attainment < six.attainment
    assert max(six.latency_seconds) < max(one.latency_seconds)
    assert six.attainment > 0.99


def test_the_same_day_twice_is_the_same(office_day: list[Arrival]) -> None:
    assert run(office_day, Bounds(1, 4)) == run(office_day, Bounds(1, 4))


def test_attainment_judges_streams_by_their_first_token_and_all_by_their_end(make_settings: MakeSettings) -> None:
    # Four slots: the first four answer after 1.6 s and end after 17.6 s, the fifth waits for a slot.
    day = [Arrival(0.0, 0, 100, streamed=index % 2 == 0) for index in range(5)]

    def attainment(objective: ObjectiveSettings) -> float:
        return run_day(make_settings(), day, bounds=Bounds(1, 1), until=600.0, objective=objective).attainment

    assert attainment(ObjectiveSettings(ttft_seconds=2.0)) == pytest.approx(4 / 5)
    assert attainment(ObjectiveSettings(ttft_seconds=1.5)) == pytest.approx(2 / 5)
    assert attainment(ObjectiveSettings(ttft_seconds=None, latency_seconds=18.0)) == pytest.approx(4 / 5)
    assert attainment(ObjectiveSettings(ttft_seconds=None)) == 1.0


def test_refused_and_unfinished_requests_miss(make_settings: MakeSettings) -> None:
    day = [Arrival(0.0, 0, 100, streamed=False)] * 6
    result = run_day(make_settings(max_queued=1), day, bounds=Bounds(1, 1), until=18.0, objective=ObjectiveSettings())
    assert (result.requests, result.refused) == (6, 1)
    assert len(result.latency_seconds) == 4
    assert result.attainment == pytest.approx(4 / 6)


def test_arrivals_after_the_end_do_not_count(make_settings: MakeSettings) -> None:
    day = [Arrival(at, 0, 1, streamed=False) for at in (1.0, 2.0, 700.0)]
    assert run_day(make_settings(), day, bounds=Bounds(1, 1), until=600.0, objective=ObjectiveSettings()).requests == 2


def test_a_world_without_endpoints_cannot_be_run(make_settings: MakeSettings) -> None:
    with pytest.raises(ValueError, match="expected an endpoint"):
        run_day(make_settings(None), [], bounds=Bounds(1, 1), until=1.0, objective=ObjectiveSettings())
