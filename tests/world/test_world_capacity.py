"""What makes answers faster or slower: hardware, speculative decoding, repeated prompts; and where replicas find room."""

import statistics
from collections.abc import Callable
from itertools import pairwise

import pytest

from scaler.model import Bounds, EndpointState
from scaler.settings import ReplicaSettings, WorldSettings
from scaler.world.catalog import HARDWARE, ZONES
from scaler.world.platform import Change, Platform, Wish
from scaler.world.prompt_cache import PromptCache
from scaler.world.refusals import Invalid
from scaler.world.replica import Performance
from scaler.world.stock import Stock

MODEL = "mistralai/Mixtral-8x7B-Instruct-v0.1"
H100 = "2x_nvidia_h100_80gb_sxm"
ONE = "endpoint-one"

MakeSettings = Callable[..., WorldSettings]


def token_seconds(settings: WorldSettings, requests: int) -> list[float]:
    """Time per output token of requests served one after the other."""
    platform = Platform(settings)
    found = []
    for number in range(requests):
        job = platform.submit(ONE, 0, 100, number * 1000.0)
        platform.advance(number * 1000.0 + 999.0)
        assert job.finished_at is not None
        assert job.first_token_at is not None
        found.append((job.finished_at - job.first_token_at) / 100)
    return found


def test_speculative_decoding_is_faster_on_average_and_now_and_then_much_slower(make_settings: MakeSettings) -> None:
    plain = token_seconds(make_settings(), 20)
    guessed = token_seconds(make_settings({"speculative_decoding": True}), 2000)
    assert plain == pytest.approx([0.1] * 20)
    assert statistics.fmean(guessed) == pytest.approx(0.07, rel=0.08)
    assert statistics.median(guessed) < 0.06
    assert sum(seconds > 0.2 for seconds in guessed) in range(40, 140)
    assert max(guessed) > 0.4


def test_speculation_throws_the_same_dice_every_time(make_settings: MakeSettings) -> None:
    settings = make_settings({"speculative_decoding": True})
    assert token_seconds(settings, 20) == token_seconds(settings, 20)
    assert token_seconds(settings, 20) != token_seconds(settings.model_copy(update={"seed": 2}), 20)


def test_tokens_come_out_at_the_pace_of_their_request(make_settings: MakeSettings) -> None:
    platform = Platform(make_settings({"speculative_decoding": True}))
    job = platform.submit(ONE, 0, 100, 0.0)
    platform.advance(1.0)
    due = job.token_due(51, 1.0)
    assert due == pytest.approx(1.0 + 50 * 0.1 * job.pace)
    assert due is not None
    assert job.tokens_out(due) == 51
    platform.advance(1000.0)
    assert job.finished_at == pytest.approx(1.0 + 100 * 0.1 * job.pace)


@pytest.fixture
def reading(make_settings: MakeSettings) -> Platform:
    """A platform on which a thousand input tokens take ten seconds."""
    replica = ReplicaSettings(slots=4, ttft_seconds=1, seconds_per_input_token=0.01, seconds_per_output_token=0.1)
    return Platform(make_settings(replica=replica))


def first_token(platform: Platform, now: float, prompt: bytes | None) -> float:
    job = platform.submit(ONE, 1000, 1, now, prompt)
    platform.advance(now + 100.0)
    assert job.first_token_at is not None
    return job.first_token_at - now


def test_a_repeated_prompt_is_read_in_a_tenth_of_the_time(reading: Platform) -> None:
    assert first_token(reading, 0.0, b"a") == pytest.approx(11.0)
    assert first_token(reading, 1000.0, b"a") == pytest.approx(2.0)
    assert first_token(reading, 2000.0, b"b") == pytest.approx(11.0)
    assert [first_token(reading, at, None) for at in (3000.0, 4000.0)] == pytest.approx([11.0, 11.0])


def test_a_restarted_endpoint_has_forgotten_all_prompts(reading: Platform) -> None:
    first_token(reading, 0.0, b"a")
    reading.update(ONE, Change(state="STOPPED"), 1000.0)
    reading.advance(1100.0)
    reading.update(ONE, Change(state="STARTED"), 1100.0)
    reading.advance(2000.0)
    assert first_token(reading, 2000.0, b"a") == pytest.approx(11.0)


def test_the_cache_forgets_what_was_not_used_for_longest() -> None:
    cache = PromptCache(capacity=2)
    assert [cache.cached_tokens(key, 10) for key in (b"a", b"b", b"a", b"c", b"a", b"b")] == [0, 0, 9, 0, 9, 0]


def test_more_and_better_gpus_do_everything_better() -> None:
    settings = ReplicaSettings(slots=8)
    for better in (
        [f"{count}x_nvidia_h100_80gb_sxm" for count in (1, 2, 4, 8)],
        [f"2x_nvidia_{gpu}_sxm" for gpu in ("a100_80gb", "h100_80gb", "h200_140gb", "b200_180gb")],
    ):
        steps = [Performance.of(settings, HARDWARE[hardware]) for hardware in better]
        for worse, step in pairwise(steps):
            assert step.prefill < worse.prefill
            assert step.per_input_token < worse.per_input_token
            assert step.per_output_token < worse.per_output_token
            assert step.slots >= worse.slots
        assert steps[-1].slots > steps[0].slots
    assert Performance.of(settings, HARDWARE[H100]).slots == 8
    assert Performance.of(ReplicaSettings(slots=1), HARDWARE["1x_nvidia_h100_80gb_sxm"]).slots == 1


def test_each_zone_has_its_share_of_the_stock() -> None:
    stock = Stock({"rare": 7})
    assert [stock.free("rare", (zone,)) for zone in ZONES] == [2, 2, 1, 1, 1]
    assert stock.free("rare", ZONES[1:3]) == 3
    for _ in range(2):
        stock.take("rare", (ZONES[0],))
    assert stock.free("rare", (ZONES[0],)) == 0
    with pytest.raises(RuntimeError, match="no rare left"):
        stock.take("rare", (ZONES[0],))
    assert stock.free("rare") == 5
    assert stock.take("rare") == ZONES[1]


def test_less_stock_than_is_placed_leaves_no_room_in_any_zone() -> None:
    stock = Stock({"rare": 5})
    zones = [stock.take("rare") for _ in range(4)]
    assert sorted(zones) == sorted(ZONES[:4])
    stock.set_total("rare", 2)
    assert [stock.free("rare", (zone,)) for zone in ZONES] == [0] * 5
    for zone in zones[:3]:
        stock.give("rare", zone)
    assert stock.free("rare") == 1


def test_an_endpoint_in_a_zone_grows_as_far_as_its_zone(make_settings: MakeSettings) -> None:
    platform = Platform(make_settings(None, stock={H100: 10}))
    bound = platform.create(Wish(MODEL, H100, Bounds(2, 5), zones=("us-east-1a",)), 0.0)
    platform.advance(600.0)
    assert bound.state is EndpointState.STARTED
    platform.update(bound.identity.id, Change(min_replicas=5), 600.0)
    assert bound.fleet.size == 2
    assert {replica.zone for replica in bound.fleet.replicas} == {"us-east-1a"}
    free = platform.create(Wish(MODEL, H100, Bounds(8, 8)), 700.0)
    platform.advance(1300.0)
    assert free.fleet.size == 8
    assert platform.free(H100) == 0


def test_a_zone_without_room_keeps_an_endpoint_pending(make_settings: MakeSettings) -> None:
    platform = Platform(make_settings(None, stock={H100: 4}))
    endpoint = platform.create(Wish(MODEL, H100, Bounds(1, 1), zones=(ZONES[4],)), 0.0)
    platform.advance(600.0)
    assert endpoint.state is EndpointState.PENDING
    with pytest.raises(Invalid, match="availability zone"):
        platform.create(Wish(MODEL, H100, Bounds(1, 1), zones=("mars-1a",)), 600.0)
