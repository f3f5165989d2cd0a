"""Two readings make a sample; whatever else the meter does makes an Unknown, never a zero."""

import math
from collections.abc import Iterator

import pytest

from scaler.model import Known, Sample, Unknown
from scaler.proxy.meter import Meter
from scaler.proxy.routes import Objective
from scaler.sampling.own_meter import OwnMeter


class Hands:
    """A clock moved by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def hands() -> Hands:
    return Hands()


@pytest.fixture
def meter(hands: Hands) -> Meter:
    meter = Meter(hands)
    meter.route("chat")
    return meter


@pytest.fixture
def source(meter: Meter, hands: Hands) -> OwnMeter:
    return OwnMeter(lambda: meter.read("chat"), hands)


def known(source: OwnMeter) -> Sample:
    observed = source.sample()
    assert isinstance(observed, Known)
    assert observed.source == "own meter"
    return observed.value


def test_the_first_reading_is_no_interval(source: OwnMeter) -> None:
    assert isinstance(source.sample(), Unknown)


def test_concurrency_is_the_time_weighted_mean(source: OwnMeter, meter: Meter, hands: Hands) -> None:
    source.sample()
    hands.now += 4
    request = meter.route("chat").enter(Objective())
    hands.now += 6
    sample = known(source)
    assert (sample.start, sample.end) == (100.0, 110.0)
    assert sample.arrivals == 1
    assert sample.in_flight == 1
    assert sample.concurrency == pytest.approx(0.6)
    request.finish("aborted")
    hands.now += 10
    sample = known(source)
    assert (sample.arrivals, sample.in_flight, sample.concurrency) == (0, 0, 0.0)
    assert sample.completions["aborted"] == 1


def test_no_time_between_two_readings_is_no_sample(source: OwnMeter) -> None:
    source.sample()
    assert isinstance(source.sample(), Unknown)


def test_a_meter_that_fails_is_unknown_and_the_next_interval_starts_afresh(meter: Meter, hands: Hands) -> None:
    faults: Iterator[bool] = iter([False, True, False, False])

    def read() -> object:
        if next(faults):
            raise ConnectionError("cut off")
        return meter.read("chat")

    source = OwnMeter(read, hands)  # type: ignore[arg-type]  # the reading passes through
    source.sample()
    hands.now += 10
    failed = source.sample()
    assert isinstance(failed, Unknown)
    assert "cut off" in failed.why
    hands.now += 10
    assert isinstance(source.sample(), Unknown)  # an interval across the gap would hide it
    hands.now += 10
    assert known(source).start == 120.0


def test_counters_that_go_back_are_unknown(meter: Meter, hands: Hands) -> None:
    meters = [meter, Meter(hands)]
    meters[1].route("chat")
    request = meter.route("chat").enter(Objective())
    request.finish("aborted")
    source = OwnMeter(lambda: meters[0].read("chat"), hands)
    source.sample()
    hands.now += 10
    meters.pop(0)
    observed = source.sample()
    assert isinstance(observed, Unknown)
    assert "went back" in observed.why


def test_a_meter_without_the_route_is_unknown(hands: Hands) -> None:
    source = OwnMeter(lambda: Meter(hands).read("nobody"), hands)
    assert isinstance(source.sample(), Unknown)


def test_not_a_number_is_unknown(meter: Meter, hands: Hands) -> None:
    source = OwnMeter(lambda: meter.read("chat"), hands)
    source.sample()
    hands.now = math.nan
    assert isinstance(source.sample(), Unknown)


def test_what_the_gate_held_back_is_demand_and_no_time_of_the_endpoint(source: OwnMeter, meter: Meter, hands: Hands) -> None:
    source.sample()
    request = meter.route("chat").enter(Objective(ttft_seconds=10))
    hands.now += 300
    request.held(300)
    request.sent()
    request.head(200, streamed=True, readable=True)
    hands.now += 2
    request.body(b"data: x\n\n")
    hands.now += 8
    request.finish("2xx")
    sample = known(source)
    assert sample.concurrency == 1
    assert (sample.ttft_sum, sample.latency_sum, sample.slow) == (2, 10, 1)  # slow for its client all the same
    assert meter.read("chat").ttft.sum == 302
