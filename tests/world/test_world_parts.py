"""The small parts: calendar, bill, stock, catalog."""

from functools import partial

import pytest

from scaler.world.agenda import Agenda
from scaler.world.billing import run_bill
from scaler.world.catalog import HARDWARE, MODELS
from scaler.world.stock import Stock


def _note(seen: list[str], name: str, _: float) -> None:
    seen.append(name)


def test_events_come_in_time_order_and_those_of_one_instant_in_order_of_adding() -> None:
    agenda = Agenda()
    seen: list[str] = []
    for at, name in ((2.0, "c"), (1.0, "a"), (1.0, "b"), (3.0, "d")):
        agenda.add(at, partial(_note, seen, name))
    while agenda.next() is not None:
        event = agenda.pop()
        event.action(event.at)
    assert seen == ["a", "b", "c", "d"]


def test_cancelled_events_do_not_happen_and_do_not_pile_up() -> None:
    agenda = Agenda()
    last = agenda.add(1e9, lambda _: None)
    for number in range(10_000):
        agenda.cancel(agenda.add(float(number), lambda _: None))
    assert agenda.next() == 1e9
    for number in range(10_000):
        agenda.cancel(agenda.add(2e9 + number, lambda _: None))
    assert len(agenda._heap) < 600
    agenda.cancel(last)
    agenda.cancel(last)
    agenda.cancel(None)
    assert agenda.next() is None


def test_a_past_event_cannot_be_cancelled() -> None:
    agenda = Agenda()
    first = agenda.add(1.0, lambda _: None)
    agenda.add(2.0, lambda _: None)
    agenda.pop()
    agenda.cancel(first)
    assert agenda.next() == 2.0


@pytest.mark.parametrize(("seconds", "minutes"), [(-5.0, 0), (0.0, 0), (0.1, 1), (60.0, 1), (60.1, 2), (3600.0, 60)])
def test_started_minutes_are_billed(seconds: float, minutes: int) -> None:
    bill = run_bill(18.0, 1000.0, 1000.0 + seconds)
    assert bill.dollars == pytest.approx(minutes * 0.18)
    assert bill.replica_seconds == pytest.approx(max(0.0, seconds))


def test_rounding_errors_of_an_instant_are_no_started_minute() -> None:
    starts = [number / 7 for number in range(1000)]
    assert any((start + 60.0) - start > 60.0 for start in starts)
    assert {run_bill(100.0, start, start + 60.0).dollars for start in starts} == {1.0}


def test_stock_never_goes_below_nothing() -> None:
    stock = Stock({"rare": 1})
    zone = stock.take("rare")
    with pytest.raises(RuntimeError, match="no rare left"):
        stock.take("rare")
    stock.give("rare", zone)
    assert (stock.free("rare"), stock.total("rare"), stock.free("common")) == (1, 1, 64)


def test_prices_are_linear_in_gpus() -> None:
    assert [HARDWARE[f"{count}x_nvidia_h100_80gb_sxm"].cents_per_minute for count in (1, 2, 4, 8)] == [9.0, 18.0, 36.0, 72.0]


def test_every_model_runs_on_hardware_that_exists() -> None:
    for model, ids in MODELS.items():
        assert ids, model
        assert set(ids) <= set(HARDWARE)
