"""Sleeping and waking, told minute by minute; what days before were like is told in a line. Windows of ten minutes from the Unix epoch."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from scaler.model import (
    Allowance,
    Bounds,
    Decision,
    Endpoint,
    EndpointState,
    Inputs,
    Known,
    Observation,
    Power,
    ReasonCode,
    Sample,
    Stage,
    Unknown,
)
from scaler.policy import Memory, step
from scaler.policy.learned import Learned
from scaler.policy.presence import TIMERS, Presence, Return, busy_runs, kept, observe
from scaler.pooled import LIVE
from scaler.settings import EndpointSettings, IdleSettings, PolicySettings
from scaler.store.codec import encode
from tests.policy.story import sample

DAY = 86400.0
MONDAY = 20_000 * DAY
NINE, FIVE = 9 * 6, 17 * 6  # windows of a day


def sleeper(**idle: object) -> EndpointSettings:
    """An endpoint that may sleep; a start takes five minutes."""
    own = IdleSettings.model_validate({"allow_stop": True, "warm_share": 0.92} | idle)
    policy = PolicySettings(cold_start_seconds=300, target_concurrency=8)
    return EndpointSettings(id="endpoint-1", min_replicas=1, max_replicas=1, idle=own, policy=policy)


def remembered(days: int, busy: Callable[[int, int], bool]) -> Memory:
    """So many days up to Monday, 00:00; ``busy`` by day and window of the day."""
    first = round(MONDAY / 600) - days * 144
    windows = [first + day * 144 + window for day in range(days) for window in range(144) if busy(day, window)]
    presence = Presence(runs=busy_runs(windows), since=first, seen=round(MONDAY / 600) - 1)
    return Memory(learned=Learned(presence=presence))


@dataclass
class Night:
    """A minute a tick; the platform starts within five minutes and stops at once. ``price``: dollars of a replica-hour."""

    settings: EndpointSettings
    memory: Memory = field(default_factory=Memory)
    at: float = MONDAY
    now: float = 5000.0
    price: float | None = None
    allowance: Allowance | None = None
    state: EndpointState = EndpointState.STARTED
    stopped_by_us: bool | None = None
    ready_at: float = 0.0
    told: list[tuple[float, Decision]] = field(default_factory=list)

    def minute(self, concurrency: float | None) -> Decision:
        """One tick; None: the traffic is not known."""
        seen: Observation[Sample] = Unknown("cut off", self.now + 60)
        if concurrency is not None:
            seen = Known(sample(self.now, concurrency, seconds=60), "story", self.now + 60)
        self.now, self.at = self.now + 60, self.at + 60
        if self.state is EndpointState.STARTING and self.at >= self.ready_at:
            self.state = EndpointState.STARTED
        endpoint = Endpoint("endpoint-1", "tester/model", "model", "gpu", self.state, Bounds(1, 1))
        stopped_by_us = self.stopped_by_us if self.state is EndpointState.STOPPED else None
        inputs = Inputs(
            seen, Known(endpoint, "story", self.now), self.now, self.at, stopped_by_us, allowance=self.allowance, price=self.price
        )
        decision, self.memory = step("chat", self.settings, inputs, self.memory, LIVE)
        self.told.append((self.at, decision))
        if not decision.hold and decision.power is Power.STOP:
            self.state, self.stopped_by_us = EndpointState.STOPPED, True
        if not decision.hold and decision.power is Power.RUN:
            self.state, self.ready_at = EndpointState.STARTING, self.at + 300
        return decision

    def until(self, hour: float, busy: Callable[[int], float | None] = lambda _: 0.0) -> None:
        """Go on to this hour after Monday, 00:00; ``busy`` by minute of the week."""
        while self.at < MONDAY + hour * 3600:
            self.minute(busy(round((self.at - MONDAY) / 60)))

    def when(self, power: Power) -> list[float]:
        """Hours after Monday, 00:00, of these decisions."""
        return [round((at - MONDAY) / 3600, 2) for at, decision in self.told if decision.power is power and not decision.hold]

    def of(self, code: ReasonCode) -> list[str]:
        """Sentences of this reason."""
        return [reason.sentence for _, decision in self.told for reason in decision.reasons if reason.code is code]


def office(minute: int) -> float:
    return 2.0 if 9 * 60 <= minute % 1440 < 17 * 60 else 0.0


def test_an_office_sleeps_at_night_and_is_awake_before_the_first_call_in_the_morning() -> None:
    days = remembered(9, lambda _, window: NINE <= window < FIVE)
    story = Night(sleeper(warm_share=0.99), days)
    story.until(33, office)  # Tuesday, 9:00
    asleep, woken = story.when(Power.STOP), story.when(Power.RUN)
    assert [hour for hour in asleep if hour >= 9] == [pytest.approx(18, abs=1)]
    assert [hour for hour in woken if hour < 9] == [pytest.approx(8.6, abs=0.4)]
    assert [hour for hour in woken if hour >= 9] == [pytest.approx(32.6, abs=0.4)]
    assert story.state is EndpointState.STARTED
    assert ReasonCode.WAKE not in {reason.code for _, decision in story.told for reason in decision.reasons}
    (ahead, *_) = story.of(ReasonCode.PREWARM)
    assert "Started ahead of the calls expected from" in ahead
    assert "%" in ahead
    assert any("Kept warm until" in sentence for sentence in story.of(ReasonCode.IDLE_KEPT))
    assert all(back.cold is False for back in story.memory.learned.presence.returns)


def test_summer_time_shifts_the_office_by_an_hour_and_it_is_followed_within_days() -> None:
    def shifted(day: int, window: int) -> bool:
        hour_earlier = 6 if day >= 5 else 0
        return NINE - hour_earlier <= window < FIVE - hour_earlier

    story = Night(sleeper(warm_share=0.99), remembered(9, shifted))
    story.until(8, lambda _: 0.0)
    assert [hour for hour in story.when(Power.RUN) if hour >= 5] == [pytest.approx(7.6, abs=0.4)]


def test_who_calls_at_random_is_kept_for_a_while_and_woken_by_the_call() -> None:
    dice = [7 * k % 23 for k in range(40)]
    story = Night(sleeper(), remembered(9, lambda day, window: window % 29 == dice[day]))
    story.minute(2.0)
    story.until(5)
    (to_bed,) = story.when(Power.STOP)
    assert to_bed >= 10 / 60
    assert story.when(Power.RUN) == []
    story.minute(1.0)
    assert story.told[-1][1].power is Power.RUN
    assert story.told[-1][1].reasons[0].code is ReasonCode.WAKE
    assert story.memory.learned.presence.returns[-1].cold


def test_who_never_returns_is_not_waited_for_again() -> None:
    story = Night(sleeper(), remembered(9, lambda day, window: day < 2 and NINE <= window < FIVE))
    story.until(2 * 24)
    assert len(story.when(Power.STOP)) == 1
    assert story.when(Power.STOP)[0] <= 4.5
    assert story.when(Power.RUN) == []
    assert story.state is EndpointState.STOPPED


def test_nothing_is_started_ahead_of_need_where_it_is_not_wanted_or_a_person_stopped_it() -> None:
    days = remembered(9, lambda _, window: NINE <= window < FIVE)
    unwanted = Night(sleeper(prewarm=False), days)
    unwanted.until(9)
    assert unwanted.when(Power.RUN) == []
    stopped = Night(sleeper(), days, state=EndpointState.STOPPED, stopped_by_us=False)
    stopped.until(9)
    assert stopped.when(Power.RUN) == []


def test_a_tight_budget_starts_nothing_ahead_of_need() -> None:
    days = remembered(9, lambda _, window: NINE <= window < FIVE)
    for stage, starts in ((Stage.OPEN, 1), (Stage.NO_PREWARM, 0)):
        allowance = Allowance(stage=stage, by="chat month", spent=90, cap=100)
        story = Night(sleeper(warm_share=0.99), days, allowance=allowance)
        story.until(9)
        assert len([hour for hour in story.when(Power.RUN) if hour > 7]) == starts


def test_what_is_not_known_puts_nobody_to_sleep() -> None:
    story = Night(sleeper(), remembered(9, lambda _, window: window < 3))
    story.until(12, lambda minute: None if minute % 7 == 0 else 0.0)
    assert story.when(Power.STOP) == []
    story.until(18)
    assert len(story.when(Power.STOP)) == 1


def test_a_night_without_the_daemon_is_no_busy_night() -> None:
    story = Night(sleeper(), remembered(9, lambda _, window: NINE <= window < FIVE))
    story.at += 7 * 3600
    story.minute(0.0)
    assert story.memory.learned.presence.runs[-1][1] < MONDAY / 600


def test_a_clock_that_is_set_back_changes_nothing() -> None:
    story = Night(sleeper(), remembered(9, lambda _, window: NINE <= window < FIVE))
    story.until(1)
    before = story.memory.learned.presence
    story.at -= 1800
    story.minute(3.0)
    assert story.memory.learned.presence == before


def test_a_dear_call_in_dollars_is_waited_for_longer() -> None:
    def stop_hour(dollars: float) -> float:
        story = Night(sleeper(cold_request_dollars=dollars), remembered(9, lambda _, window: window % 12 == 0), price=10.0)
        story.minute(2.0)
        story.until(8)
        return story.when(Power.STOP)[0] if story.when(Power.STOP) else 99.0

    hours = [stop_hour(dollars) for dollars in (0.5, 5.0, 200.0)]
    assert hours == sorted(hours)
    assert hours[0] < 1
    assert hours[-1] > hours[0]


def test_the_bounds_hold_however_dear_or_cheap_a_call_is() -> None:
    for dollars, low, high in ((0.01, 0.5, 0.75), (10_000.0, 1.5, 1.75)):
        bounds = {"keep_at_least_minutes": 30, "keep_at_most_minutes": 90}
        story = Night(sleeper(cold_request_dollars=dollars, prewarm=False, **bounds), price=10.0)
        story.minute(2.0)
        story.until(8)
        (hour,) = story.when(Power.STOP)
        assert low <= hour <= high


def test_the_platforms_timer_follows_the_gaps_where_scaler_may_not_stop() -> None:
    settings = EndpointSettings(id="endpoint-1", idle=IdleSettings(warm_share=0.9))
    story = Night(settings, remembered(9, lambda _, window: window % 24 == 0))
    story.minute(0.0)
    assert story.told[-1][1].inactive_timeout_minutes == 30  # four hours are not worth waiting
    fresh = Night(settings)
    fresh.minute(0.0)
    assert fresh.told[-1][1].inactive_timeout_minutes == 60


def test_the_platforms_timer_is_a_net_where_scaler_stops() -> None:
    story = Night(sleeper(keep_at_most_minutes=100))
    story.minute(0.0)
    assert story.told[-1][1].inactive_timeout_minutes == 120


def test_bounds_the_wrong_way_round_are_refused() -> None:
    with pytest.raises(ValueError, match="keep_at_least_minutes <= keep_at_most_minutes"):
        IdleSettings(keep_at_least_minutes=60, keep_at_most_minutes=30)


def test_a_fixed_time_stays_possible() -> None:
    story = Night(
        sleeper(warm_share=None, stop_after_minutes=30, inactive_timeout_minutes=45), remembered(9, lambda _, window: NINE <= window < FIVE)
    )
    story.minute(1.0)
    story.until(8.9)
    assert story.when(Power.STOP) == [pytest.approx(0.52, abs=0.02)]
    assert story.when(Power.RUN) == []
    assert {decision.inactive_timeout_minutes for _, decision in story.told} == {45}


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from([0.0, 0.0, 0.0, 1.0, None]), max_size=300))
def test_what_is_remembered_is_in_order_bounded_and_reads_back_as_it_was(traffic: list[float | None]) -> None:
    story = Night(sleeper())
    for concurrency in traffic:
        for _ in range(7):
            story.minute(concurrency)
    presence = story.memory.learned.presence
    flat = [window for run in presence.runs for window in run]
    assert flat == sorted(flat)
    assert all(later[0] - earlier[1] > 1 for earlier, later in zip(presence.runs, presence.runs[1:], strict=False))
    assert TypeAdapter(Presence).validate_json(encode(presence)) == presence
    assert presence.timer in TIMERS


def test_memory_is_bounded_for_who_calls_every_other_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scaler.policy.presence.MAX_GAPS", 20)
    presence, own = Presence(), sleeper()
    endpoint = Known(Endpoint("e", "n", "m", "gpu", EndpointState.STARTED, Bounds(1, 1)), "story", 0.0)
    for tick in range(70):
        at = MONDAY + tick * 600
        seen = Known(sample(at, float(tick % 2), seconds=1), "story", at)
        presence = observe(presence, own, Inputs(seen, endpoint, at + 1, at + 1), lead_seconds=own.policy.cold_start_seconds, ready=True)
    assert len(presence.runs) == 21
    assert len(presence.returns) == 20
    assert kept(presence, own, MONDAY + 70 * 600) is not None


def test_returns_tell_what_would_have_been_enough() -> None:
    story = Night(sleeper(), remembered(9, lambda _, window: window % 12 == 0))
    story.minute(2.0)
    story.until(2)
    story.minute(2.0)
    back = story.memory.learned.presence.returns[-1]
    assert isinstance(back, Return)
    assert back.window == MONDAY / 600 + 12
    assert replace(back, cold=False).worth > 0
