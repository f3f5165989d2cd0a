import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.policy.forecast import Forecast, Quantiles
from scaler.policy.plan import ANCHORS, RISKS, Plan, Standing, Term, Tuning, plan, tuning

CALM = Tuning(0.9, 0.9, 1.0)


def planned(up: float, down: float, load: float, running: int, starting: int = 0, *, settings: Tuning = CALM) -> Plan:
    return plan(Forecast(up, down, "model"), Standing(load, running, starting, 1, 10), settings)


def test_a_peak_ahead_starts_replicas_before_the_load_is_there() -> None:
    told = planned(up=4.2, down=4.5, load=1.5, running=2)
    assert (told.wanted, told.term) == (5, Term.AHEAD)
    assert (told.ahead, told.keep, told.load) == (4.2, 4.5, 1.5)


def test_what_is_starting_already_counts() -> None:
    assert planned(up=4.2, down=4.5, load=1.5, running=2, starting=3).term is Term.HOLD


def test_a_peak_that_hardly_exceeds_what_is_there_starts_nothing() -> None:
    assert planned(up=3.1, down=3.2, load=2.0, running=3).term is Term.HOLD
    assert planned(up=3.2, down=3.2, load=2.0, running=3).wanted == 4


def test_a_queue_starts_replicas_that_no_forecast_asked_for() -> None:
    told = planned(up=2.0, down=2.5, load=6.2, running=3)
    assert (told.wanted, told.term) == (7, Term.LOAD)


def test_a_replica_that_is_needed_again_within_two_leads_is_kept() -> None:
    told = planned(up=1.5, down=3.8, load=1.4, running=4)
    assert (told.wanted, told.term) == (4, Term.HOLD)


def test_what_nobody_needs_for_two_leads_stops() -> None:
    told = planned(up=1.5, down=1.8, load=1.4, running=4, starting=1)
    assert (told.wanted, told.term, told.needed) == (2, Term.SURPLUS, 2)


def test_headroom_stands_on_both_and_the_floor_on_neither() -> None:
    told = planned(up=2.0, down=3.0, load=2.0, running=1, settings=Tuning(0.9, 0.9, 1.1, floor=0.8))
    assert (told.ahead, told.keep, told.load) == pytest.approx((2.2, 3.3, 2.5))


def test_a_margin_is_headroom_on_both_and_none_on_the_load() -> None:
    told = plan(Forecast(2.0, 3.0, "model"), Standing(2.0, 1, 0, 1, 10), Tuning(0.9, 0.9, 1.1), margin=1.2)
    assert (told.ahead, told.keep, told.load) == pytest.approx((2.64, 3.96, 2.0))


def test_without_a_forecast_the_load_decides_with_room_to_spare() -> None:
    told = plan(None, Standing(2.0, 1, 0, 1, 10), CALM)
    assert (told.wanted, told.term) == (3, Term.LOAD)  # 2.0 / 0.7


def test_bounds_hold_and_what_was_needed_is_told() -> None:
    assert planned(up=14.0, down=14.0, load=1.0, running=2).wanted == 10
    assert planned(up=14.0, down=14.0, load=1.0, running=2).needed == 14
    assert planned(up=0.0, down=0.0, load=0.0, running=2).wanted == 1


LOADS = st.floats(0, 50)


@given(LOADS, LOADS, LOADS, st.integers(0, 12), st.integers(0, 12))
def test_after_a_plan_is_carried_out_the_next_one_keeps_it(up: float, down: float, load: float, running: int, starting: int) -> None:
    first = planned(up, down, load, running, starting)
    again = planned(up, down, load, min(running, first.wanted), max(0, first.wanted - running))
    assert again.wanted == first.wanted


@given(st.floats(1, 5000))
def test_settings_lie_between_the_anchors(lead: float) -> None:
    found = tuning(lead)
    for name in ("start", "keep", "headroom"):
        values = [getattr(anchor, name) for _, anchor in ANCHORS]
        assert min(values) - 1e-12 <= getattr(found, name) <= max(values) + 1e-12


def test_settings_at_the_anchors_are_the_anchors() -> None:
    for lead, anchor in ANCHORS:
        found = tuning(lead)
        assert (found.start, found.keep, found.headroom) == pytest.approx((anchor.start, anchor.keep, anchor.headroom))


def test_the_fuller_an_endpoint_the_likelier_must_one_more_replica_be_needed() -> None:
    half, full = (Tuning(0.2, 0.1, 1.0).aims(utilization) for utilization in (0.5, 0.9))
    assert (half.up, half.down) == pytest.approx((0.9, 0.95))
    assert (full.up, full.down) == pytest.approx((0.82, 0.91))


@pytest.mark.parametrize(("utilization", "risk"), [(0.0, RISKS[0]), (0.01, RISKS[0]), (0.9, RISKS[1])])
def test_no_quantile_is_asked_for_that_nobody_knows(utilization: float, risk: float) -> None:
    assert Tuning(0.5, 0.5, 1.0).aims(utilization) == Quantiles(1 - risk, 1 - risk)


def test_at_the_quantile_one_more_replica_buys_just_what_its_price_says() -> None:
    """Of 200 replica-hours paid for 80 are used: one more for two is 1 % of the bill, and must put 0.1 % more of the work on time."""
    risk = 1 - Tuning(0.1, 0.1, 1.0).aims(80 / 200).up
    assert risk * 2 / 80 == pytest.approx(0.001)
