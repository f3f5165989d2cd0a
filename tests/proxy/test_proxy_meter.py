"""Figures: cumulative, exact in time, bounded, and unable to disturb."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.clock import VirtualClock
from scaler.proxy.meter import OUTCOMES, TTFT_BOUNDS, Meter
from scaler.proxy.routes import Objective
from scaler.proxy.usage import BUFFER_PIECES, SMALL_BYTES, TAIL_BYTES, UsageTap


def test_concurrency_is_integrated_exactly_up_to_the_reading() -> None:
    clock = VirtualClock(10.0)
    route = Meter(clock.monotonic).route("chat")
    first = route.enter(Objective())
    clock.advance(2.0)
    second = route.enter(Objective())
    clock.advance(3.0)
    assert (route.read().in_flight, route.read().waiting, route.read().in_flight_seconds) == (2, 2, 8.0)
    first.sent()
    first.sent()
    assert route.read().waiting == 1
    first.finish("2xx")
    clock.advance(4.0)
    second.finish("failed")
    clock.advance(100.0)
    reading = route.read()
    assert (reading.at, reading.in_flight, reading.waiting, reading.in_flight_seconds) == (119.0, 0, 0, 12.0)
    assert reading.completions == {**dict.fromkeys(OUTCOMES, 0), "2xx": 1, "failed": 1}
    assert (reading.latency.sum, reading.latency.count) == (5.0, 1)


def test_an_end_counts_once() -> None:
    route = Meter(VirtualClock().monotonic).route("chat")
    flight = route.enter(Objective())
    for outcome in ("aborted", "2xx", "failed"):
        flight.finish(outcome)
    assert route.read().in_flight == 0
    assert {name for name, count in route.read().completions.items() if count} == {"aborted"}


@pytest.mark.parametrize(
    ("objective", "streamed", "slow"),
    [
        (Objective(), True, 0),
        (Objective(ttft_seconds=2.0), True, 0),
        (Objective(ttft_seconds=1.9), True, 1),
        (Objective(ttft_seconds=1.9), False, 0),
        (Objective(latency_seconds=5.0), False, 0),
        (Objective(latency_seconds=4.9), False, 1),
        (Objective(latency_seconds=4.9), True, 1),
        (Objective(ttft_seconds=1.0, latency_seconds=1.0), True, 1),
    ],
)
def test_slow_is_what_missed_its_objective(objective: Objective, streamed: bool, slow: int) -> None:  # noqa: FBT001 (a parameter)
    clock = VirtualClock()
    route = Meter(clock.monotonic).route("chat")
    flight = route.enter(objective)
    clock.advance(1.0)
    flight.head(200, streamed=streamed, readable=True)
    clock.advance(1.0)
    flight.body(b"data: x\n\n")
    clock.advance(3.0)
    flight.finish("2xx")
    assert route.read().slow == slow
    assert route.read().ttft.count == streamed


@given(st.lists(st.floats(0, 100), max_size=30))
def test_a_histogram_puts_each_figure_where_it_belongs(seconds: list[float]) -> None:
    clock = VirtualClock()
    route = Meter(clock.monotonic).route("chat")
    taken = []
    for span in seconds:
        flight = route.enter(Objective())
        flight.head(200, streamed=True, readable=True)
        began = clock.monotonic()
        clock.advance(span)
        taken.append(clock.monotonic() - began)
        flight.body(b"x" * 1000)
        flight.finish("2xx")
    reading = route.read().ttft
    assert reading.bounds == TTFT_BOUNDS
    assert len(reading.counts) == len(reading.bounds) + 1
    assert (sum(reading.counts), reading.count) == (len(seconds), len(seconds))
    for index, bound in enumerate(reading.bounds):
        assert sum(reading.counts[: index + 1]) == sum(span <= bound for span in taken)
    assert reading.sum == pytest.approx(sum(taken))


def test_a_reading_is_a_value() -> None:
    meter = Meter(VirtualClock().monotonic)
    before = meter.route("chat").read()
    meter.route("chat").enter(Objective()).finish("2xx")
    assert before.completions["2xx"] == 0
    assert set(meter.read_all()) == {"chat", "other"}
    assert meter.read("chat").completions["2xx"] == 1
    with pytest.raises(KeyError):
        meter.read("unheard-of")
    with pytest.raises(ValueError, match="no route"):
        meter.route("other")


@pytest.mark.interpreted
def test_a_fault_in_looking_at_an_answer_is_counted_and_goes_no_further(monkeypatch: pytest.MonkeyPatch) -> None:
    def explode(*_: object) -> None:
        raise RuntimeError("boom")

    meter = Meter(VirtualClock().monotonic)
    monkeypatch.setattr(UsageTap, "feed", explode)
    flight = meter.route("chat").enter(Objective())
    flight.head(200, streamed=True, readable=True)
    for _ in range(3):
        flight.body(b"x" * 1000)
    flight.finish("2xx")
    assert meter.tap_errors == 1
    monkeypatch.setattr(UsageTap, "usage", explode)
    flight = meter.route("chat").enter(Objective())
    flight.head(200, streamed=True, readable=True)
    flight.finish("2xx")
    assert meter.tap_errors == 2
    assert meter.read("chat").completions["2xx"] == 2


def usage_of(data: bytes, pieces: int, *, streamed: bool = True) -> tuple[int, int]:
    tap = UsageTap(streamed=streamed)
    dice = random.Random(pieces)
    places = sorted(dice.randrange(len(data) + 1) for _ in range(pieces - 1))
    for start, end in zip([0, *places], [*places, len(data)], strict=True):
        tap.feed(data[start:end])
        assert sum(map(len, tap.pieces)) <= TAIL_BYTES + BUFFER_PIECES * SMALL_BYTES
    return tap.usage()


EVENT = b'data: {"choices":[{"delta":{"content":"word"}}]}\n\n'


@pytest.mark.parametrize("pieces", [1, 10, 3000])
@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (EVENT * 1000, (0, 1000)),
        (EVENT * 1000 + b'data: {"usage": {"completion_tokens": 8, "prompt_tokens": 4}}\n\ndata: [DONE]\n\n', (4, 8)),
        (EVENT * 3 + b'data: {"usage":null}\n\n' * 3, (0, 3)),
        (b'data: {"usage":{"prompt_tokens":1,"completion_tokens":1}}\n\n' * 2 + b'data: {"usage":null}\n\n', (1, 1)),
        (b'data: {"text":"a"}\n\ndata: {"text":""}\n\ndata: {"text": "b"}\n\ndata: {"content": ""}\n\n', (0, 2)),
        (b'data: {"content":"\\"usage\\":{\\"prompt_tokens\\":9}"}\n\n', (0, 1)),
        (b"data: " + b"x" * 100_000, (0, 0)),
        (b"", (0, 0)),
    ],
)
def test_tokens_are_found_in_a_stream_however_it_is_cut(data: bytes, expected: tuple[int, int], pieces: int) -> None:
    assert usage_of(data, pieces) == expected


@given(st.binary(max_size=200), st.integers(1, 10), st.booleans())
def test_no_answer_is_too_strange(data: bytes, pieces: int, streamed: bool) -> None:  # noqa: FBT001 (a drawn value)
    usage_of(data, pieces, streamed=streamed)
    usage_of(b'"usage":{"prompt_tokens":' + data, pieces, streamed=streamed)
