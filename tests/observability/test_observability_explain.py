"""Decisions as `scaler explain` tells them."""

from collections.abc import Iterable
from typing import Any

from rich.console import Console

from scaler.model import Alternative, Bounds, Decision, Inputs, Power, Reason, ReasonCode, Unknown
from scaler.observability.report import explanation as record_fields
from scaler.show import explanation
from scaler.store.base import DecisionRecord

NOTHING = Unknown("a story", 0.0)


def at(second: float, replicas: int, *reasons: Reason, **fields: Any) -> Decision:  # noqa: ANN401 (fields of any type)
    return Decision("chat", second, Bounds(replicas, replicas), 60, Power.KEEP, hold=False, reasons=reasons, **fields)


def steady(load: float) -> Reason:
    return Reason(ReasonCode.STEADY, f"{load:g} requests in flight.", {"load": load})


def told(decisions: Iterable[Decision], limit: int = 10) -> str:
    """What a terminal shows; decisions oldest first."""
    records = [DecisionRecord(number, decision, Inputs(NOTHING, NOTHING, 0.0, decision.at)) for number, decision in enumerate(decisions)]
    console = Console(width=160, record=True)
    console.print(explanation({"endpoint": "chat", "decisions": [record_fields(record) for record in reversed(records)]}, limit))
    return console.export_text()


def test_decisions_that_were_made_alike_are_one_with_the_newest_words() -> None:
    more = at(
        300, 2, Reason(ReasonCode.BURST, "A burst."), bound_by="max_replicas", alternatives=(Alternative(3, "limited by max_replicas"),)
    )
    story = [*(at(10.0 * tick, 1, steady(tick)) for tick in range(1, 30)), more]
    assert told(story) == (
        "1970-01-01 00:05:00 UTC  2..2 replicas  [burst]\n"
        "  A burst.\n"
        "  not 3 replicas: limited by max_replicas\n"
        "  bound by max_replicas\n\n"
        "1970-01-01 00:04:50 UTC  1..1 replicas  [steady]\n"
        "  29 requests in flight.\n"
        "  so since 1970-01-01 00:00:10 UTC, 29 decisions\n"
        "  numbers: load 29\n\n"
    )
    assert told(story, limit=1).count("replicas  [") == 1


def test_numbers_are_for_people() -> None:
    text = told([at(0, 1, Reason(ReasonCode.IDLE_KEPT, "Kept.", {"until": 1_774_746_000.0, "cold_call_seconds": 1_234_567.0}))])
    assert "numbers: until 2026-03-29 01:00:00 UTC, cold_call_seconds 1,234,567" in text


def test_nothing_yet() -> None:
    assert told([]) == "No decision about chat has been recorded yet.\n"
