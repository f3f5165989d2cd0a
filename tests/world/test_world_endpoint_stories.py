"""Lives of endpoints, minute by minute, in virtual time."""

from collections.abc import Callable

import pytest

from scaler.model import Bounds, EndpointState
from scaler.settings import ColdStartSettings, NativeAutoscalerSettings, WorldEndpointSettings, WorldSettings
from scaler.world.catalog import HARDWARE
from scaler.world.endpoint import Endpoint
from scaler.world.platform import Change, Platform, Wish
from scaler.world.refusals import Invalid, NotFound, NotRunning, Overloaded
from scaler.world.replica import Job, JobState, ReplicaState

MODEL = "mistralai/Mixtral-8x7B-Instruct-v0.1"
H100 = "2x_nvidia_h100_80gb_sxm"
ONE = "endpoint-one"
MINUTE = 60.0

MakeSettings = Callable[..., WorldSettings]


def replicas(endpoint: Endpoint) -> tuple[int, int, int]:
    """Starting, ready, draining."""
    count = endpoint.fleet.count
    return count(ReplicaState.STARTING), count(ReplicaState.READY), count(ReplicaState.DRAINING)


def state(endpoint: Endpoint) -> EndpointState:
    return endpoint.state


def keep_busy(platform: Platform, now: float, requests: int, *, tokens: int = 100_000) -> list[Job]:
    """Requests that last until somebody gives them up."""
    return [platform.submit(ONE, 0, tokens, now) for _ in range(requests)]


def test_a_new_endpoint_is_pending_then_starting_then_started(make_settings: MakeSettings) -> None:
    platform = Platform(make_settings(None))
    endpoint = platform.create(Wish(MODEL, H100, Bounds(1, 1)), 100.0)
    assert state(endpoint) is EndpointState.PENDING
    assert endpoint.identity.id.startswith("endpoint-")
    assert endpoint.identity.name.startswith(f"tester/{MODEL}-")
    assert endpoint.display_name == endpoint.identity.name
    platform.advance(104.9)
    assert state(endpoint) is EndpointState.PENDING
    platform.advance(105.0)
    assert state(endpoint) is EndpointState.STARTING
    with pytest.raises(NotRunning, match="STARTING"):
        platform.submit(endpoint.identity.name, 1, 1, 200.0)
    platform.advance(284.9)
    assert state(endpoint) is EndpointState.STARTING
    platform.advance(285.1)
    assert state(endpoint) is EndpointState.STARTED
    assert replicas(endpoint) == (0, 1, 0)


def test_a_world_begins_with_its_minimum_ready(make_settings: MakeSettings) -> None:
    platform = Platform(make_settings({"min_replicas": 3, "max_replicas": 5, "display_name": "front"}), now=1000.0)
    endpoint = platform.endpoint(ONE, 1000.0)
    assert state(endpoint) is EndpointState.STARTED
    assert replicas(endpoint) == (0, 3, 0)
    assert endpoint.display_name == "front"


def test_requests_beyond_the_slots_wait_in_line(make_settings: MakeSettings) -> None:
    platform = Platform(make_settings())
    jobs = [platform.submit(ONE, 0, 10, 0.0) for _ in range(6)]
    endpoint = platform.endpoint(ONE, 0.0)
    assert (endpoint.in_flight, len(endpoint.queue)) == (4, 2)
    platform.advance(60.0)
    started = [job.started_at for job in jobs]
    assert started[:4] == [0.0] * 4
    assert started[4:] == pytest.approx([3.2, 3.2])
    assert all(job.state is JobState.DONE for job in jobs)
    assert (endpoint.in_flight, len(endpoint.queue), endpoint.requests) == (0, 0, 6)


def test_first_come_first_served(make_settings: MakeSettings) -> None:
    platform = Platform(make_settings())
    keep_busy(platform, 0.0, 4, tokens=100)
    waiting = [platform.submit(ONE, 0, 10, at) for at in (1.0, 2.0, 3.0)]
    platform.advance(600.0)
    starts = [job.started_at for job in waiting]
    assert None not in starts
    assert starts == sorted(starts, key=lambda at: at or 0.0)


def test_time_to_first_token_grows_with_load(make_settings: MakeSettings) -> None:
    ttft = []
    for load in (1, 2, 4, 8):
        platform = Platform(make_settings())
        jobs = [platform.submit(ONE, 0, 50, 0.0) for _ in range(load)]
        platform.advance(100.0)
        ttft.append(max((job.first_token_at or 0.0) - job.arrived_at for job in jobs))
    assert ttft == sorted(ttft)
    assert ttft[0] == pytest.approx(1.0)
    assert ttft[2] == pytest.approx(1.6)
    assert ttft[3] > 8.0


def test_requests_go_to_the_least_loaded_replica(make_settings: MakeSettings) -> None:
    platform = Platform(make_settings({"min_replicas": 3, "max_replicas": 3}))
    keep_busy(platform, 0.0, 6)
    endpoint = platform.endpoint(ONE, 0.0)
    assert [replica.in_flight for replica in endpoint.fleet.replicas] == [2, 2, 2]


def test_a_full_queue_refuses(make_settings: MakeSettings) -> None:
    platform = Platform(make_settings(max_queued=2))
    jobs = keep_busy(platform, 0.0, 6)
    with pytest.raises(Overloaded):
        platform.submit(ONE, 0, 10, 0.0)
    platform.cancel(jobs[5], 1.0)
    assert platform.submit(ONE, 0, 10, 1.0).state is JobState.QUEUED


def test_a_client_that_leaves_frees_its_slot_for_the_next(make_settings: MakeSettings) -> None:
    platform = Platform(make_settings())
    *running, waiting = keep_busy(platform, 0.0, 5)
    platform.advance(10.0)
    platform.cancel(running[0], 10.0)
    assert (running[0].state, running[0].finished_at) == (JobState.CANCELLED, 10.0)
    assert (waiting.state, waiting.started_at) == (JobState.RUNNING, 10.0)
    assert running[0].tokens_out(99.0) == running[0].tokens_at_end > 0
    platform.cancel(running[0], 11.0)
    assert running[0].finished_at == 10.0


def test_the_native_autoscaler_adds_after_a_minute_and_takes_away_after_five(make_settings: MakeSettings) -> None:
    settings = make_settings({"min_replicas": 1, "max_replicas": 3}, native_autoscaler=NativeAutoscalerSettings(target_in_flight=4))
    platform = Platform(settings)
    endpoint = platform.endpoint(ONE, 0.0)
    platform.advance(10 * MINUTE)
    assert replicas(endpoint) == (0, 1, 0)
    jobs = keep_busy(platform, 10 * MINUTE, 10)
    platform.advance(10 * MINUTE + 45)
    assert replicas(endpoint) == (0, 1, 0)
    platform.advance(11 * MINUTE + 15)
    assert replicas(endpoint) == (2, 1, 0)
    platform.advance(14 * MINUTE + 16)
    assert replicas(endpoint) == (0, 3, 0)
    assert endpoint.in_flight == 10
    for job in jobs:
        platform.cancel(job, 20 * MINUTE)
    platform.advance(24 * MINUTE + 59)
    assert replicas(endpoint) == (0, 3, 0)
    platform.advance(25 * MINUTE + 15)
    assert replicas(endpoint) == (0, 1, 0)


def test_a_spike_shorter_than_the_up_window_moves_nothing(make_settings: MakeSettings) -> None:
    platform = Platform(make_settings({"min_replicas": 1, "max_replicas": 3}))
    jobs = keep_busy(platform, 600.0, 40)
    for job in jobs:
        platform.cancel(job, 640.0)
    platform.advance(1200.0)
    assert platform.endpoint(ONE, 1200.0).desired == 1


def test_the_native_autoscaler_watches_for_a_full_window_before_its_first_step(make_settings: MakeSettings) -> None:
    platform = Platform(make_settings({"min_replicas": 1, "max_replicas": 3}))
    endpoint = platform.endpoint(ONE, 0.0)
    keep_busy(platform, 0.0, 40)
    platform.advance(59.0)
    assert endpoint.desired == 1
    platform.advance(61.0)
    assert endpoint.desired == 3


def test_with_a_minimum_of_zero_the_platform_goes_to_zero_and_comes_back_for_a_request(make_settings: MakeSettings) -> None:
    platform = Platform(make_settings({"min_replicas": 0, "max_replicas": 2}))
    endpoint = platform.endpoint(ONE, 0.0)
    assert replicas(endpoint) == (0, 1, 0)
    platform.advance(6 * MINUTE)
    assert (state(endpoint), replicas(endpoint)) == (EndpointState.STARTED, (0, 0, 0))
    job = platform.submit(ONE, 0, 10, 10 * MINUTE)
    platform.advance(15 * MINUTE)
    assert job.state is JobState.DONE
    assert job.started_at == pytest.approx(10 * MINUTE + 15 + 180)


def test_raising_the_minimum_starts_replicas_at_once_and_lowering_it_drops_the_starting_ones_first(make_settings: MakeSettings) -> None:
    platform = Platform(make_settings({"min_replicas": 1, "max_replicas": 1}))
    endpoint = platform.update(ONE, Change(min_replicas=4, max_replicas=4), 0.0)
    assert replicas(endpoint) == (3, 1, 0)
    platform.update(ONE, Change(min_replicas=2, max_replicas=2), 10.0)
    assert replicas(endpoint) == (1, 1, 0)
    platform.advance(180.1)
    assert replicas(endpoint) == (0, 2, 0)


def test_scaling_down_drains_the_least_loaded_and_lets_it_finish(make_settings: MakeSettings) -> None:
    platform = Platform(make_settings({"min_replicas": 2, "max_replicas": 2}))
    endpoint = platform.endpoint(ONE, 0.0)
    long, short, also_long = (platform.submit(ONE, 0, tokens, 0.0) for tokens in (1000, 100, 1000))
    assert [replica.in_flight for replica in endpoint.fleet.replicas] == [2, 1]
    platform.update(ONE, Change(min_replicas=1, max_replicas=1), 1.0)
    assert replicas(endpoint) == (0, 1, 1)
    platform.submit(ONE, 0, 1000, 1.0)
    assert sorted(replica.in_flight for replica in endpoint.fleet.replicas) == [1, 3]
    platform.advance(11.5)
    assert short.state is JobState.DONE
    assert replicas(endpoint) == (0, 1, 0)
    assert long.state is also_long.state is JobState.RUNNING


def test_an_idle_endpoint_stops_and_does_not_wake(make_settings: MakeSettings) -> None:
    platform = Platform(make_settings({"inactive_timeout_minutes": 30}))
    endpoint = platform.endpoint(ONE, 0.0)
    job = platform.submit(ONE, 0, 590, 10 * MINUTE)
    platform.advance(20 * MINUTE)
    assert job.finished_at == pytest.approx(11 * MINUTE)
    platform.advance(41 * MINUTE - 1)
    assert state(endpoint) is EndpointState.STARTED
    platform.advance(41 * MINUTE + 1)
    assert state(endpoint) is EndpointState.STOPPING
    platform.advance(41 * MINUTE + 11)
    assert state(endpoint) is EndpointState.STOPPED
    with pytest.raises(NotRunning, match="STOPPED"):
        platform.submit(ONE, 0, 10, 42 * MINUTE)
    platform.advance(60 * MINUTE)
    assert state(endpoint) is EndpointState.STOPPED


def test_a_request_in_flight_is_activity(make_settings: MakeSettings) -> None:
    platform = Platform(make_settings({"inactive_timeout_minutes": 30}))
    (job,) = keep_busy(platform, 0.0, 1)
    platform.advance(100 * MINUTE)
    assert platform.endpoint(ONE, 100 * MINUTE).state is EndpointState.STARTED
    platform.cancel(job, 100 * MINUTE)
    platform.advance(131 * MINUTE)
    assert platform.endpoint(ONE, 131 * MINUTE).state is EndpointState.STOPPED


def test_the_idle_limit_can_be_changed_and_switched_off(make_settings: MakeSettings) -> None:
    platform = Platform(make_settings({"inactive_timeout_minutes": 30}))
    platform.update(ONE, Change(inactive_timeout_minutes=0), 10 * MINUTE)
    platform.advance(300 * MINUTE)
    assert platform.endpoint(ONE, 300 * MINUTE).state is EndpointState.STARTED
    endpoint = platform.update(ONE, Change(inactive_timeout_minutes=20), 300 * MINUTE)
    assert state(endpoint) is EndpointState.STOPPING


def test_every_started_minute_of_every_replica_is_billed_from_ready(make_settings: MakeSettings) -> None:
    platform = Platform(make_settings({"min_replicas": 1, "max_replicas": 3}))
    cents = HARDWARE[H100].cents_per_minute
    assert cents == 18.0

    def minutes(now: float) -> float:
        return platform.cost(ONE, now) * 100 / cents

    assert minutes(0.0) == 0
    assert minutes(0.5) == pytest.approx(1)
    assert minutes(60.0) == pytest.approx(1)
    assert minutes(60.5) == pytest.approx(2)
    platform.update(ONE, Change(min_replicas=3), 60.5)
    assert minutes(240.4) == pytest.approx(5)
    assert minutes(241.0) == pytest.approx(5 + 2)
    platform.update(ONE, Change(state="STOPPED"), 250.0)
    assert minutes(250.0) == minutes(9999.0) == pytest.approx(5 + 2)
    assert platform.replica_seconds(ONE, 9999.0) == pytest.approx(250 + 2 * (250 - 240.5))


def test_the_cold_start_is_billed_where_the_settings_say_so(make_settings: MakeSettings) -> None:
    platform = Platform(make_settings({"state": "STOPPED"}, billing_from="start"))
    platform.update(ONE, Change(state="STARTED"), 0.0)
    assert platform.cost(ONE, 120.0) == pytest.approx(2 * 0.18)


def test_a_start_that_is_called_off_costs_nothing(make_settings: MakeSettings) -> None:
    platform = Platform(make_settings({"state": "STOPPED"}))
    assert platform.update(ONE, Change(state="STARTED"), 0.0).state is EndpointState.STARTING
    assert platform.update(ONE, Change(state="STOPPED"), 170.0).state is EndpointState.STOPPING
    platform.advance(1000.0)
    assert platform.endpoint(ONE, 1000.0).state is EndpointState.STOPPED
    assert platform.cost(ONE, 1000.0) == 0
    assert platform.free(H100) == 64


def test_stopping_lets_requests_in_flight_finish_and_fails_the_waiting_ones(make_settings: MakeSettings) -> None:
    platform = Platform(make_settings())
    *running, waiting = (platform.submit(ONE, 0, 100, 0.0) for _ in range(5))
    endpoint = platform.update(ONE, Change(state="STOPPED"), 5.0)
    assert state(endpoint) is EndpointState.STOPPING
    assert waiting.state is JobState.FAILED
    assert [job.state for job in running] == [JobState.RUNNING] * 4
    with pytest.raises(NotRunning):
        platform.submit(ONE, 0, 1, 6.0)
    platform.advance(17.5)
    assert [job.state for job in running] == [JobState.RUNNING] * 4
    platform.advance(17.7)
    assert [job.state for job in running] == [JobState.DONE] * 4
    assert (state(endpoint), replicas(endpoint)) == (EndpointState.STOPPING, (0, 0, 0))
    platform.advance(27.5)
    assert state(endpoint) is EndpointState.STOPPING
    platform.advance(27.7)
    assert state(endpoint) is EndpointState.STOPPED


def test_second_starts_and_stops_are_harmless(make_settings: MakeSettings) -> None:
    platform = Platform(make_settings())
    endpoint = platform.update(ONE, Change(state="STARTED"), 0.0)
    assert (state(endpoint), replicas(endpoint)) == (EndpointState.STARTED, (0, 1, 0))
    for at in (1.0, 2.0, 20.0, 21.0):
        platform.update(ONE, Change(state="STOPPED"), at)
    assert state(endpoint) is EndpointState.STOPPED


def test_a_start_while_stopping_wins(make_settings: MakeSettings) -> None:
    platform = Platform(make_settings())
    keep_busy(platform, 0.0, 1, tokens=100)
    platform.update(ONE, Change(state="STOPPED"), 1.0)
    endpoint = platform.update(ONE, Change(state="STARTED"), 2.0)
    assert (state(endpoint), replicas(endpoint)) == (EndpointState.STARTING, (1, 0, 1))
    platform.advance(300.0)
    assert (state(endpoint), replicas(endpoint)) == (EndpointState.STARTED, (0, 1, 0))


def test_a_start_called_while_the_end_is_a_matter_of_time_is_not_stopped_by_it(make_settings: MakeSettings) -> None:
    platform = Platform(make_settings())
    platform.update(ONE, Change(state="STOPPED"), 0.0)
    endpoint = platform.update(ONE, Change(state="STARTED"), 5.0)
    platform.advance(60.0)
    assert state(endpoint) is EndpointState.STARTING


def test_the_idle_limit_of_a_former_life_does_not_stop_a_new_one(make_settings: MakeSettings) -> None:
    platform = Platform(make_settings({"inactive_timeout_minutes": 30}))
    platform.update(ONE, Change(state="STOPPED"), 20 * MINUTE)
    endpoint = platform.update(ONE, Change(state="STARTED"), 29 * MINUTE)
    platform.advance(31 * MINUTE)
    assert state(endpoint) is EndpointState.STARTING
    platform.advance(61 * MINUTE)
    assert state(endpoint) is EndpointState.STARTED
    platform.advance(63 * MINUTE)
    assert state(endpoint) is EndpointState.STOPPED


def test_without_stock_a_start_stays_pending_until_something_is_released(make_settings: MakeSettings) -> None:
    other = WorldEndpointSettings(id="endpoint-two", model=MODEL, hardware=H100, min_replicas=2, max_replicas=2)
    first = WorldEndpointSettings(id=ONE, model=MODEL, hardware=H100, state="STOPPED", min_replicas=2, max_replicas=2)
    platform = Platform(make_settings(None, stock={H100: 3}, endpoints=(first, other)))
    assert platform.availability(H100) == "available"
    endpoint = platform.update(ONE, Change(state="STARTED"), 0.0)
    platform.advance(1000.0)
    assert (state(endpoint), platform.free(H100)) == (EndpointState.PENDING, 1)
    platform.update("endpoint-two", Change(state="STOPPED"), 1000.0)
    assert (state(endpoint), replicas(endpoint)) == (EndpointState.STARTING, (2, 0, 0))


def test_a_minimum_that_fits_ends_the_wait(make_settings: MakeSettings) -> None:
    platform = Platform(make_settings({"state": "STOPPED", "min_replicas": 3, "max_replicas": 3}, stock={H100: 2}))
    endpoint = platform.update(ONE, Change(state="STARTED"), 0.0)
    assert state(endpoint) is EndpointState.PENDING
    platform.update(ONE, Change(min_replicas=2), 60.0)
    assert (state(endpoint), replicas(endpoint)) == (EndpointState.STARTING, (2, 0, 0))
    assert platform.availability(H100) == "insufficient"


def test_a_running_endpoint_takes_what_is_left_and_the_rest_when_it_comes_free(make_settings: MakeSettings) -> None:
    endpoints = tuple(WorldEndpointSettings(id=f"endpoint-{name}", model=MODEL, hardware=H100, max_replicas=4) for name in ("one", "two"))
    platform = Platform(make_settings(None, stock={H100: 3}, endpoints=endpoints))
    endpoint = platform.update(ONE, Change(min_replicas=4), 0.0)
    assert replicas(endpoint) == (1, 1, 0)
    platform.delete("endpoint-two", 100.0)
    assert replicas(endpoint) == (2, 1, 0)


def test_hardware_that_is_not_there_at_all_is_unavailable(make_settings: MakeSettings) -> None:
    platform = Platform(make_settings(None, stock={H100: 0}))
    assert platform.availability(H100) == "unavailable"
    assert platform.availability("4x_nvidia_h100_80gb_sxm") == "available"


def test_a_broken_endpoint_loses_its_requests_stops_billing_and_can_be_started_again(make_settings: MakeSettings) -> None:
    platform = Platform(make_settings())
    jobs = keep_busy(platform, 0.0, 6)
    platform.fail(ONE, 90.0)
    endpoint = platform.endpoint(ONE, 90.0)
    assert state(endpoint) is EndpointState.ERROR
    assert {job.state for job in jobs} == {JobState.FAILED}
    assert platform.cost(ONE, 9000.0) == pytest.approx(2 * 0.18)
    assert platform.free(H100) == 64
    platform.update(ONE, Change(state="STARTED"), 9000.0)
    platform.advance(9181.0)
    assert state(endpoint) is EndpointState.STARTED


def test_a_deleted_endpoint_is_gone_but_not_its_bill(make_settings: MakeSettings) -> None:
    platform = Platform(make_settings())
    (job,) = keep_busy(platform, 0.0, 1)
    name = platform.endpoint(ONE, 0.0).identity.name
    platform.delete(ONE, 30.0)
    assert job.state is JobState.FAILED
    for call in (lambda: platform.endpoint(ONE, 31.0), lambda: platform.submit(name, 0, 1, 31.0), lambda: platform.delete(ONE, 31.0)):
        with pytest.raises(NotFound, match="not found"):
            call()
    platform.cancel(job, 31.0)
    assert platform.total(9999.0).dollars == pytest.approx(0.18)


@pytest.mark.parametrize(
    ("change", "state"),
    [
        (Change(min_replicas=3), "STARTED"),
        (Change(min_replicas=-1), "STARTED"),
        (Change(max_replicas=0, min_replicas=0), "STARTED"),
        (Change(max_replicas=2**31), "STARTED"),
        (Change(max_replicas=0, min_replicas=0, state="STARTED"), "STOPPED"),
    ],
)
def test_contradictory_bounds_are_refused_and_nothing_changes(make_settings: MakeSettings, change: Change, state: str) -> None:
    platform = Platform(make_settings({"min_replicas": 1, "max_replicas": 2, "state": state}))
    with pytest.raises(Invalid, match="min_replicas"):
        platform.update(ONE, Change(change.min_replicas, change.max_replicas, "new name", 5, change.state), 0.0)
    endpoint = platform.endpoint(ONE, 0.0)
    assert endpoint.bounds == Bounds(1, 2)
    assert endpoint.display_name != "new name"
    assert endpoint.inactive_timeout_minutes == 0


def test_zero_bounds_may_come_with_a_stop(make_settings: MakeSettings) -> None:
    platform = Platform(make_settings())
    endpoint = platform.update(ONE, Change(0, 0, state="STOPPED"), 0.0)
    assert (state(endpoint), endpoint.bounds) == (EndpointState.STOPPING, Bounds(0, 0))


@pytest.mark.parametrize(
    ("wish", "refusal", "message"),
    [
        (Wish("no/such", H100, Bounds(1, 1)), NotFound, "no/such"),
        (Wish(MODEL, "9x_abacus", Bounds(1, 1)), Invalid, "check the hardware API"),
        (Wish(MODEL, "1x_nvidia_a100_80gb_pcie", Bounds(1, 1)), NotFound, "not available for this model"),
        (Wish(MODEL, H100, Bounds(1, 1), zones=("mars-1a",)), Invalid, "us-central-4b"),
        (Wish(MODEL, H100, Bounds(2, 1)), Invalid, "min_replicas"),
    ],
)
def test_impossible_wishes_are_refused(make_settings: MakeSettings, wish: Wish, refusal: type[Exception], message: str) -> None:
    platform = Platform(make_settings(None))
    with pytest.raises(refusal, match=message):
        platform.create(wish, 0.0)
    assert list(platform.endpoints) == []


def test_two_endpoints_cannot_share_an_id(make_settings: MakeSettings) -> None:
    twin = WorldEndpointSettings(id=ONE, model=MODEL, hardware=H100)
    with pytest.raises(Invalid, match="twice"):
        Platform(make_settings(None, endpoints=(twin, twin)))


def test_the_same_seed_tells_the_same_story(make_settings: MakeSettings) -> None:
    def story(seed: int) -> tuple[list[str], list[float]]:
        platform = Platform(make_settings(None, seed=seed, cold_start=ColdStartSettings(median_seconds=180, sigma=0.4)))
        endpoints = [platform.create(Wish(MODEL, H100, Bounds(2, 2)), 0.0) for _ in range(2)]
        times = []
        while (due := platform.next_event()) is not None and due < 2000:
            platform.advance(due)
            times.append(due)
        return [endpoint.identity.id for endpoint in endpoints], times

    assert story(1) == story(1)
    assert story(1) != story(2)


def test_cold_starts_of_one_endpoint_do_not_depend_on_another(make_settings: MakeSettings) -> None:
    def second_start(bounds_of_first: Bounds) -> float:
        platform = Platform(make_settings(None, cold_start=ColdStartSettings(median_seconds=180, sigma=0.4)))
        platform.create(Wish(MODEL, H100, bounds_of_first), 0.0)
        second = platform.create(Wish(MODEL, H100, Bounds(1, 1)), 0.0)
        platform.advance(10.0)
        return second.fleet.replicas[0].ready_at

    assert second_start(Bounds(1, 1)) == second_start(Bounds(5, 5))


def test_endpoints_differ_in_their_cold_starts(make_settings: MakeSettings) -> None:
    platform = Platform(make_settings(None, cold_start=ColdStartSettings(median_seconds=180, sigma=0.4)))
    endpoints = [platform.create(Wish(MODEL, H100, Bounds(1, 1)), 0.0) for _ in range(3)]
    platform.advance(10.0)
    assert len({endpoint.fleet.replicas[0].ready_at for endpoint in endpoints}) == 3


def test_cold_starts_are_log_normal_around_the_median(make_settings: MakeSettings) -> None:
    stock = {H100: 2001}
    settings = make_settings(
        {"min_replicas": 1, "max_replicas": 2001}, stock=stock, cold_start=ColdStartSettings(median_seconds=100, sigma=0.5)
    )
    platform = Platform(settings)
    endpoint = platform.update(ONE, Change(min_replicas=2001), 0.0)
    seconds = sorted(replica.ready_at for replica in endpoint.fleet.replicas[1:])
    assert seconds[1000] == pytest.approx(100, rel=0.08)
    assert seconds[round(2000 * 0.8413)] == pytest.approx(100 * 2.718281828**0.5, rel=0.1)


def test_time_does_not_go_back(make_settings: MakeSettings) -> None:
    platform = Platform(make_settings(), now=50.0)
    platform.advance(60.0)
    with pytest.raises(ValueError, match="cannot go back"):
        platform.advance(59.0)
