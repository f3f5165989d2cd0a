"""Whole decisions, to the letter: what is done, why in words and figures, what lost. A replica serves 8 at once, 5.6 are planned."""

from dataclasses import dataclass, field, replace

import pytest

from scaler.model import (
    Allowance,
    Alternative,
    Bounds,
    Decision,
    Endpoint,
    EndpointState,
    Known,
    Observation,
    Power,
    Reason,
    ReasonCode,
    Stage,
    Unknown,
    Window,
    WindowKind,
)
from scaler.policy import History, PolicyState, Situation, decide
from scaler.policy.demand import Demand, Load, Means
from scaler.policy.fleet import Fleet
from scaler.policy.forecast import Forecast
from scaler.policy.idle import NEVER
from scaler.policy.learned import Learned
from scaler.policy.outlook import YOUNG_STEPS, Outlook
from scaler.policy.presence import Presence
from scaler.policy.spike import Spike, Spikes
from scaler.settings import EndpointSettings, IdleSettings, ObjectiveSettings, PolicySettings
from tests.policy.story import sample

NOW = 10_000.0
AT = 50_000.0
POLICY = PolicySettings(stabilization_seconds=300, cold_start_seconds=300)
CHAT = Endpoint("endpoint-1", "tester/model", "model", "gpu", EndpointState.STARTED, Bounds(2, 2))


def seen(*loads: float, slow: int = 0, known: bool = True) -> History:
    """Samples of ten seconds up to now, oldest first."""
    first = NOW - 10 * len(loads)
    samples = tuple(sample(first + 10 * number, load, slow=slow) for number, load in enumerate(loads))
    return History(samples, first if known else None)


def steady(load: float, seconds: float = 600, *, slow: int = 0) -> History:
    return seen(*[load] * round(seconds / 10), slow=slow)


@dataclass(frozen=True)
class Case:
    """A situation and what was remembered; by default two replicas serve, and their traffic is known."""

    history: History = field(default_factory=lambda: steady(11.0))
    endpoint: Endpoint = CHAT
    observed: Observation[Endpoint] | None = None
    policy: PolicySettings = POLICY
    idle: IdleSettings = field(default_factory=IdleSettings)
    objective: ObjectiveSettings = field(default_factory=ObjectiveSettings)
    least: int = 1
    most: int = 8
    fleet: Fleet | None = None
    state: PolicyState = field(default_factory=PolicyState)
    stopped_by_us: bool | None = None
    windows: tuple[Window, ...] = ()
    allowance: Allowance | None = None
    calls: int = 0
    learned: Learned = field(default_factory=Learned)
    outlook: Outlook = field(default_factory=Outlook)

    def settings(self) -> EndpointSettings:
        return EndpointSettings(
            id="endpoint-1",
            min_replicas=self.least,
            max_replicas=self.most,
            policy=self.policy,
            idle=self.idle,
            objective=self.objective,
        )

    def judge(self) -> tuple[Decision, PolicyState]:
        ready = self.endpoint.bounds.min_replicas
        before = replace(self.state, fleet=self.fleet if self.fleet is not None else Fleet(ready))
        situation = Situation(
            "chat",
            self.observed or Known(self.endpoint, "story", NOW),
            self.history,
            self.settings(),
            NOW,
            AT,
            stopped_by_us=self.stopped_by_us,
            windows=self.windows,
            allowance=self.allowance,
            calls=self.calls,
            learned=self.learned,
            outlook=self.outlook,
        )
        return decide(situation, before)


def decided(case: Case) -> Decision:
    return case.judge()[0]


def of(replicas: int, upper: int | None = None, **more: object) -> Decision:
    """What is decided: so many replicas, and nothing else."""
    plain = Decision("chat", AT, Bounds(replicas, upper or replicas), 60, Power.KEEP, False, ())
    return replace(plain, **more)  # type: ignore[arg-type]


def held(*reasons: Reason, bounds: Bounds = CHAT.bounds) -> Decision:
    return Decision("chat", AT, bounds, 60, Power.KEEP, True, reasons)


def figures(stable: float, panic: float, needed: int, ready: int, starting: int = 0) -> dict[str, float]:
    return {
        "concurrency_stable": stable,
        "concurrency_panic": panic,
        "per_replica": 8.0,
        "needed": needed,
        "ready": ready,
        "starting": starting,
    }


def on(state: EndpointState, replicas: int = 2) -> Endpoint:
    return replace(CHAT, state=state, bounds=Bounds(replicas, replicas))


STOPPED = on(EndpointState.STOPPED)
BY_OTHERS = Reason(ReasonCode.STOPPED_BY_OTHERS, "It was not scaler that stopped it: the platform's idle timer or a person did.")


# What cannot be known holds.


def test_a_provider_that_says_nothing_is_waited_for_with_the_bounds_it_had() -> None:
    why = Reason(ReasonCode.ENDPOINT_UNKNOWN, "The provider has not said how the endpoint is (HTTP 500); whatever runs, keeps running.")
    case = Case(observed=Unknown("HTTP 500", NOW))
    assert decided(case) == held(why, bounds=Bounds(1, 8))
    before = PolicyState(bounds=Bounds(3, 4), called=7.0)
    decision, after = replace(case, state=before).judge()
    assert decision == held(why, bounds=Bounds(3, 4))
    assert after == replace(before, fleet=Fleet(2))


@pytest.mark.parametrize("state", [EndpointState.PENDING, EndpointState.STARTING])
def test_a_start_under_way_is_left_alone(state: EndpointState) -> None:
    why = f"The endpoint is {state}; nothing is decided against a start under way."
    assert decided(Case(endpoint=on(state))) == held(Reason(ReasonCode.WAITING_FOR_START, why))


def test_a_stop_under_way_is_left_alone() -> None:
    why = "The endpoint is STOPPING; nothing is decided before it has stopped."
    assert decided(Case(endpoint=on(EndpointState.STOPPING))) == held(Reason(ReasonCode.WAITING_FOR_STOP, why))


@pytest.mark.parametrize("state", [EndpointState.ERROR, EndpointState.UNKNOWN])
def test_a_state_that_only_a_person_understands_is_left_alone_in_the_providers_words(state: EndpointState) -> None:
    why = f"The endpoint is {state}, a state to wait out or to be looked at by a person."
    assert decided(Case(endpoint=on(state))) == held(Reason(ReasonCode.ENDPOINT_FAULT, why))
    told = decided(Case(endpoint=replace(on(state), message="no such weights")))
    assert told.sentence == f"The endpoint is {state} (no such weights), a state to wait out or to be looked at by a person."


@pytest.mark.parametrize("history", [seen(5.0, known=False), History((), NOW)])
def test_traffic_that_is_not_known_takes_nothing_away(history: History) -> None:
    why = Reason(ReasonCode.NO_DATA, "The traffic is not known; no data is not zero, so whatever runs, keeps running.")
    decision, state = Case(history).judge()
    assert decision == held(why)
    assert (state.fleet, state.bounds) == (Fleet(2), CHAT.bounds)


# What does not run is woken or left.


def test_who_is_not_asked_for_stays_asleep() -> None:
    quiet = Reason(ReasonCode.IDLE_KEPT, "The endpoint is stopped and nobody asks for it.")
    asleep = Case(steady(0.0), STOPPED, stopped_by_us=True)
    assert decided(asleep) == held(quiet)
    assert decided(replace(asleep, stopped_by_us=False)) == held(BY_OTHERS, quiet)
    assert decided(replace(asleep, stopped_by_us=None)) == held(quiet)
    unknown = replace(asleep, history=seen(5.0, known=False))
    assert decided(unknown) == held(quiet), "what was measured before a gap calls nobody"


def test_requests_of_the_last_minute_wake_it() -> None:
    why = "30 requests came in the last 60 s while the endpoint was stopped: start it."
    wake = Reason(ReasonCode.WAKE, why, {"arrivals": 30})
    case = Case(seen(9.0, *[0.0] * 3, 1.0, 2.0, 0.0), STOPPED, stopped_by_us=True, least=2)
    assert decided(case) == of(2, power=Power.RUN, reasons=(wake,))
    assert decided(replace(case, stopped_by_us=False)) == of(2, power=Power.RUN, reasons=(BY_OTHERS, wake))
    assert decided(replace(case, calls=31)).reasons[0].numbers == {"arrivals": 31}
    once = decided(replace(case, calls=1, history=seen(5.0, known=False))).reasons[0]
    assert (once.sentence[:15], once.numbers) == ("1 request came ", {"arrivals": 1})


def test_who_may_not_be_woken_is_called_in_vain_and_that_is_said() -> None:
    why = "The endpoint is stopped and requests come in, but the configuration does not allow to start it (idle.wake)."
    asleep = Case(seen(1.0), STOPPED, stopped_by_us=False, idle=IdleSettings(wake=False))
    assert decided(asleep) == held(BY_OTHERS, Reason(ReasonCode.IDLE_KEPT, why, {"arrivals": 10}))


OFFICE = Window(WindowKind.SCHEDULE, "office", AT - 100, AT + 7200, floor=3)
ASKED = Reason(ReasonCode.FLOOR, "Schedule 'office' (2.0 h more) asks for at least 3 replicas.", {"floor": 3})


def test_a_floor_starts_a_stopped_endpoint_once_unless_we_stopped_it_ourselves() -> None:
    case = Case(steady(0.0), STOPPED, windows=(OFFICE,))
    start = of(3, power=Power.RUN, reasons=(ASKED,), inactive_timeout_minutes=127)
    assert decided(case) == start
    assert decided(replace(case, stopped_by_us=False)) == replace(start, reasons=(BY_OTHERS, ASKED))
    again = replace(case, state=PolicyState(called=OFFICE.ends))
    assert decided(again).hold
    assert decided(replace(again, stopped_by_us=True)) == start
    assert decided(replace(case, state=PolicyState(called=OFFICE.ends - 1))) == start
    assert decided(replace(case, windows=(replace(OFFICE, floor=None, ceiling=4),))).hold


def test_a_running_endpoint_remembers_what_it_was_called_for() -> None:
    assert Case(windows=(OFFICE,)).judge()[1].called == OFFICE.ends
    assert Case(windows=(replace(OFFICE, floor=None, ceiling=4),)).judge()[1].called == float("-inf")


def test_a_floor_is_had_even_where_the_traffic_is_not_known() -> None:
    case = Case(seen(5.0, known=False), windows=(OFFICE,))
    assert decided(case) == of(3, reasons=(ASKED,), inactive_timeout_minutes=127)
    wide = replace(case, endpoint=replace(CHAT, bounds=Bounds(2, 5)))
    assert decided(wide).bounds == Bounds(3, 5), "nothing is taken away meanwhile"
    assert decided(replace(case, endpoint=replace(CHAT, bounds=Bounds(3, 3)))).reasons[0].code is ReasonCode.NO_DATA
    ceiling = replace(case, windows=(replace(OFFICE, floor=None, ceiling=4),))
    assert decided(ceiling).reasons[0].code is ReasonCode.NO_DATA


# What idles may sleep.

FIXED = IdleSettings(allow_stop=True, stop_after_minutes=20)


def test_a_request_whose_sample_is_gone_counts_still() -> None:
    """A loop of one second keeps samples of a quarter of an hour."""
    quiet = replace(seen(*[0.0] * 90), known_since=NOW - 3600)
    assert codes(Case(quiet, idle=FIXED)) == [ReasonCode.IDLE_STOP]
    assert codes(Case(replace(quiet, busy_until=NOW - 1190), idle=FIXED)) != [ReasonCode.IDLE_STOP]
    told = decided(Case(replace(quiet, busy_until=NOW - 1320), idle=FIXED))
    assert told.sentence == "No request for 22 minutes, 20 are enough: stop."


def test_idle_for_as_long_as_configured_it_stops() -> None:
    idle = Case(seen(1.0, *[0.0] * 120), idle=FIXED)
    stop = Reason(ReasonCode.IDLE_STOP, "No request for 20 minutes, 20 are enough: stop.", {"idle_seconds": 1200.0})
    awake = replace(CHAT, bounds=Bounds(2, 4))
    assert decided(replace(idle, endpoint=awake)) == of(2, 4, power=Power.STOP, reasons=(stop,))
    assert decided(replace(idle, history=seen(1.0, *[0.0] * 119))).power is Power.KEEP
    assert decided(replace(idle, history=steady(0.0, 1200))).power is Power.STOP
    assert decided(replace(idle, history=steady(0.0, 1190))).power is Power.KEEP, "who was never busy proves it from the first look"
    assert decided(replace(idle, idle=IdleSettings(stop_after_minutes=20))).power is Power.KEEP
    assert decided(replace(idle, history=replace(idle.history, known_since=NOW - 1190))).power is Power.KEEP, "a gap is no proof"


PAST = Presence(
    runs=((0, 72),),
    since=0,
    seen=83,
    chances=(0.5, 0.2, *[0.01] * 6, 0.0, 0.0, 0.5, 0.25, *[0.1] * 30),
    worths=(1.0, NEVER, *[NEVER] * 6, NEVER, NEVER, 2.0, 1.5, *[NEVER] * 30),
    price=3.0,
)
"""Busy until the window that ends at 12:10 (43 800 s); a return is worth being ready for from 14:00 to 14:20."""
AUTO = IdleSettings(allow_stop=True, min_sleep_minutes=10)


def asleep(at: float, **more: object) -> Decision:
    """What is decided at this Unix second about an endpoint that we stopped."""
    case = Case(steady(0.0), STOPPED, idle=AUTO, stopped_by_us=True, learned=Learned(presence=PAST), least=2)
    case = replace(case, **more)  # type: ignore[arg-type]
    situation = Situation(
        "chat",
        Known(case.endpoint, "story", NOW),
        case.history,
        case.settings(),
        NOW,
        at,
        stopped_by_us=case.stopped_by_us,
        allowance=case.allowance,
        calls=case.calls,
        learned=case.learned,
    )
    return replace(decide(situation, PolicyState())[0], at=AT)


WAGER = {"until": 51_600.0, "chance": 0.625, "cold_call_seconds": 1800.0}
WORTH_IT = "the chance of a call by then is 62%, and a cold one would be as bad as 30 minutes of idle running, which outweighs the wait."
BEFORE = 84 * 600.0 - 300
"""One cold start before two o'clock."""


def test_it_is_started_ahead_of_calls_that_are_worth_it() -> None:
    why = f"Started ahead of the calls expected from 14:00 to 14:20 UTC: {WORTH_IT}"
    prewarm = Reason(ReasonCode.PREWARM, why, WAGER)
    assert asleep(BEFORE) == of(2, power=Power.RUN, reasons=(prewarm,))
    assert asleep(BEFORE - 1).hold


@pytest.mark.parametrize(
    "against",
    [
        {"idle": AUTO.model_copy(update={"prewarm": False})},
        {"idle": AUTO.model_copy(update={"wake": False})},
        {"idle": AUTO.model_copy(update={"allow_stop": False})},
        {"idle": AUTO.model_copy(update={"stop_after_minutes": 20})},
        {"stopped_by_us": False},
        {"stopped_by_us": None},
        {"allowance": Allowance(Stage.NO_PREWARM, "chat month", 80.0, 100.0)},
        {"learned": Learned()},
    ],
)
def test_nothing_is_started_ahead_where_anything_speaks_against_it(against: dict[str, object]) -> None:
    assert asleep(BEFORE, **against).hold
    assert asleep(BEFORE, allowance=Allowance()).power is Power.RUN


def test_the_window_after_the_last_request_is_no_call_that_is_waited_for() -> None:
    assert asleep(43_800.0).hold


def running(at: float, idle: IdleSettings = AUTO, presence: Presence = PAST, minutes: int = 30) -> Decision:
    case = Case(steady(0.0, 60 * minutes), idle=idle, learned=Learned(presence=presence))
    known = Known(replace(CHAT, bounds=Bounds(1, 1)), "story", NOW)
    situation = Situation("chat", known, case.history, case.settings(), NOW, at, learned=case.learned)
    return replace(decide(situation, PolicyState(fleet=Fleet(1)))[0], at=AT)


def test_it_stops_once_a_cold_call_is_cheaper_than_waiting_for_it() -> None:
    why = "No request for 30 minutes. A cold call is worth 30 minutes of waiting for it, and the next one is not expected that soon: stop."
    stop = Reason(ReasonCode.IDLE_STOP, why, {"idle_seconds": 1800.0, "cold_call_seconds": 1800.0})
    assert running(48_000.0) == of(1, power=Power.STOP, reasons=(stop,))
    assert running(48_000.0, minutes=9).power is Power.KEEP
    assert running(48_000.0, minutes=10).power is Power.STOP


def test_it_is_kept_warm_for_a_call_that_is_worth_it_and_says_so() -> None:
    kept = Reason(ReasonCode.IDLE_KEPT, f"Kept warm until 14:20 UTC: {WORTH_IT}", WAGER)
    decision = running(BEFORE)
    assert decision.power is Power.KEEP
    assert decision.reasons[1:] == (kept,)
    assert decision.reasons[0].code is ReasonCode.STEADY


@pytest.mark.parametrize("idle", [IdleSettings(min_sleep_minutes=10), AUTO.model_copy(update={"stop_after_minutes": 60})])
def test_who_does_not_stop_by_itself_waits_for_nothing(idle: IdleSettings) -> None:
    assert len(running(BEFORE, idle).reasons) == 1
    assert len(running(43_800.0).reasons) == 1, "nor is the window after the last request a wait"


# What runs follows its need: up at once, down with proof.


def running_on(replicas: int, upper: int | None = None) -> Endpoint:
    return replace(CHAT, bounds=Bounds(replicas, upper or replicas))


def test_what_is_needed_is_there() -> None:
    why = Reason(ReasonCode.STEADY, "11.0 requests in flight need 2 replicas; there: 2.", figures(11.0, 11.0, 2, 2))
    assert decided(Case()) == of(2, reasons=(why,))
    idle = Reason(ReasonCode.STEADY, "0.0 requests in flight need 0 replicas; there: 3.", figures(0.0, 0.0, 0, 3))
    assert decided(Case(steady(0.0), running_on(3), least=3)) == of(3, reasons=(idle,), bound_by="min_replicas")


def test_more_traffic_is_followed_at_once() -> None:
    why = "13.7 requests in flight need 3 replicas; serving: 1, starting: 1."
    case = Case(seen(*[18.0] * 4, 5.0, 5.0), fleet=Fleet(1, (NOW + 100,)))
    assert decided(case) == of(3, reasons=(Reason(ReasonCode.TRAFFIC_UP, why, figures(82 / 6, 5.0, 3, 1, 1)),))
    floor = Reason(ReasonCode.BOUNDED, "min_replicas asks for at least 3 replicas.", {"floor": 3})
    assert decided(Case(steady(0.0), least=3)) == of(3, reasons=(floor,), bound_by="min_replicas")


def test_a_burst_is_called_one_and_forbids_the_way_down_for_a_minute() -> None:
    why = "20.0 requests in flight in a burst need 4 replicas; serving: 2, starting: 0."
    decision, state = Case(seen(*[5.0] * 4, 20.0, 20.0)).judge()
    assert decision == of(4, reasons=(Reason(ReasonCode.BURST, why, figures(10.0, 20.0, 4, 2)),))
    assert state.panic_until == NOW + 60
    assert Case(state=PolicyState(panic_until=7.0)).judge()[1].panic_until == 7.0


def test_needs_are_remembered_for_the_stabilization_window() -> None:
    before = PolicyState(needs=((NOW - 300, 9), (NOW - 299, 1)))
    assert Case(state=before).judge()[1].needs == ((NOW - 299, 1), (NOW, 2))


FOUR = Case(steady(8.0), running_on(4))
"""Two would do."""


def test_the_way_down_goes_step_by_step_and_says_what_it_rests_on() -> None:
    why = (
        "8.0 requests in flight need 2 replicas, never more than 3 in the last 300 s, "
        "and 3 replicas are enough for its peak: one step down."
    )
    down = Reason(ReasonCode.TRAFFIC_DOWN, why, figures(8.0, 8.0, 2, 4))
    limited = (Alternative(2, "limited by max_step_down"),)
    case = replace(FOUR, state=PolicyState(needs=((NOW - 100, 3),)))
    assert decided(case) == of(3, reasons=(down,), alternatives=limited, bound_by="max_step_down")
    last = decided(replace(case, history=steady(13.0)))
    assert (last.bounds, last.alternatives, last.bound_by) == (Bounds(3, 3), (), None)
    floor = decided(replace(case, least=3))
    assert (floor.bounds, floor.alternatives) == (Bounds(3, 3), ())
    many = decided(replace(FOUR, policy=POLICY.model_copy(update={"max_step_down": 2})))
    assert (many.bounds, many.bound_by) == (Bounds(2, 2), None)


def objected(case: Case, replicas: int, lost: int) -> Reason:
    """The one reason for which ``replicas`` are kept though ``lost`` might do."""
    decision = decided(case)
    (why,) = decision.reasons
    assert decision.bounds.min_replicas == replicas
    assert decision.alternatives == (Alternative(lost, why.sentence),)
    assert decision.bound_by == why.code
    return why


def test_nothing_is_taken_away_against_a_start_under_way() -> None:
    why = "1 replica still starting; nothing is taken away against a start under way."
    case = replace(FOUR, fleet=Fleet(3, (NOW + 50,)))
    assert objected(case, 4, 3) == Reason(ReasonCode.WAITING_FOR_START, why, {"starting": 1})


def test_nothing_is_taken_away_without_unbroken_evidence() -> None:
    why = "Traffic is known without a gap for 290 s; taking away needs 300."
    young = replace(FOUR, history=steady(8.0, 290))
    assert objected(young, 4, 3) == Reason(ReasonCode.WARMING_UP, why, {"known_seconds": 290.0})
    assert decided(replace(FOUR, history=steady(8.0, 300))).bounds == Bounds(3, 3)


def test_nothing_is_taken_away_within_a_minute_of_a_burst() -> None:
    case = replace(FOUR, state=PolicyState(panic_until=NOW + 20))
    assert objected(case, 4, 3) == Reason(ReasonCode.STABILIZING, "A burst passed 40 s ago.", {"panic_seconds_left": 20.0})
    assert decided(replace(FOUR, state=PolicyState(panic_until=NOW))).bounds == Bounds(3, 3)


def test_nothing_is_taken_away_that_was_needed_a_while_ago() -> None:
    why = "4 replicas needed at some moment of the last 300 s."
    case = replace(FOUR, state=PolicyState(needs=((NOW - 299, 4), (NOW - 200, 1))))
    assert objected(case, 4, 3) == Reason(ReasonCode.STABILIZING, why, {"highest_need": 4})
    assert decided(replace(FOUR, state=PolicyState(needs=((NOW - 300, 4),)))).bounds == Bounds(3, 3)
    above = replace(case, most=3)
    assert decided(above).bounds == Bounds(3, 3), "a need above the ceiling is none that could be met"


def test_nothing_is_taken_away_that_the_peak_would_miss() -> None:
    why = "3 replicas would not do: the last 300 s saw 25.0 requests in flight, 8.3 for each of 3."
    case = replace(FOUR, history=seen(*[8.0] * 30, 25.0, *[8.0] * 29))
    assert objected(case, 4, 3) == Reason(ReasonCode.CONSOLIDATION_REFUSED, why, {"target": 3})
    earlier = replace(FOUR, history=seen(*[8.0] * 29, 25.0, *[8.0] * 30))
    assert decided(earlier).bounds == Bounds(3, 3)
    assert decided(replace(case, most=3)).bounds == Bounds(3, 3), "the ceiling needs no leave"


def test_bounds_leave_room_for_the_platforms_own_autoscaler_and_come_down_with_proof() -> None:
    roomy = POLICY.model_copy(update={"burst_replicas": 2})
    assert decided(Case(policy=roomy)).bounds == Bounds(2, 4)
    assert decided(Case(policy=roomy, most=3)).bounds == Bounds(2, 3)
    wide = Case(endpoint=running_on(2, 5))
    assert decided(wide).bounds == Bounds(2, 2)
    assert decided(replace(wide, history=steady(11.0, 290))).bounds == Bounds(2, 5)
    assert decided(replace(wide, history=steady(11.0, 300))).bounds == Bounds(2, 2)
    assert decided(replace(wide, history=steady(11.0, 290), most=4)).bounds == Bounds(2, 4)


def test_more_than_the_ceiling_is_left_alone_until_there_is_proof() -> None:
    six = Case(steady(30.0, 290), running_on(6), most=3)
    assert (decided(six).hold, decided(six).bounds) == (True, Bounds(6, 6))
    proven = decided(replace(six, history=steady(30.0)))
    assert (proven.hold, proven.bounds) == (False, Bounds(3, 3))
    stop = Case(steady(0.0, 1200), running_on(6), idle=FIXED, most=3)
    assert (decided(stop).power, decided(stop).hold) == (Power.STOP, False)


def test_what_only_the_ceiling_takes_away_is_said_to_be_taken_by_it() -> None:
    why = Reason(ReasonCode.BOUNDED, "max_replicas allows 3 replicas; without it there would be 5.", {"allowed": 3})
    lost = (Alternative(5, "limited by max_replicas"),)
    assert decided(Case(steady(27.0), running_on(6), most=3)) == of(3, reasons=(why,), alternatives=lost, bound_by="max_replicas")
    ahead = Case(steady(27.0), running_on(6), most=3, outlook=foreseen(4.5, 4.7))
    assert decided(ahead) == of(3, reasons=(why,), alternatives=lost, bound_by="max_replicas")


def test_what_has_no_hardware_is_not_asked_for_again() -> None:
    missing = replace(running_on(3), ready_replicas=2, desired_replicas=3, missing_replicas=1)
    why = "1 of 3 replicas asked for have no hardware yet; nothing more is asked for until they come."
    case = Case(steady(40.0), missing)
    shortage = Reason(ReasonCode.SHORTAGE, why, figures(40.0, 40.0, 8, 2) | {"missing": 1})
    lost = (Alternative(8, "replicas asked for before have no hardware yet"),)
    assert decided(case) == of(3, reasons=(shortage,), alternatives=lost, bound_by="shortage")
    assert decided(replace(case, history=steady(15.0))).reasons[0].code is ReasonCode.SHORTAGE
    assert decided(replace(case, history=steady(8.0))).bounds == Bounds(2, 2)


# By forecast, where there is one.


def foreseen(up: float, down: float, known: int = YOUNG_STEPS) -> Outlook:
    return Outlook(known=known, forecast=Forecast(up, down, "model"))


def codes(case: Case) -> list[ReasonCode]:
    return [reason.code for reason in decided(case).reasons]


def test_the_peak_ahead_is_started_for() -> None:
    decision, state = Case(outlook=foreseen(3.0, 3.0)).judge()
    assert (decision.bounds, decision.reasons[0].code) == (Bounds(3, 3), ReasonCode.FORECAST)
    assert state.needs == ((NOW, 3),)
    assert state.spikes == Spikes(), "what is foreseen is no spike"


def test_a_tight_budget_starts_nothing_ahead_but_follows_the_load() -> None:
    tight = Allowance(Stage.NO_PREWARM, "chat month", 80.0, 100.0)
    case = Case(outlook=foreseen(3.0, 3.0), allowance=tight)
    assert codes(case) == [ReasonCode.STEADY, ReasonCode.BUDGET_NO_PREWARM]
    assert codes(replace(case, allowance=Allowance())) == [ReasonCode.FORECAST]
    load = replace(case, history=steady(20.0), outlook=foreseen(1.0, 1.0))
    assert codes(load) == [ReasonCode.TRAFFIC_UP, ReasonCode.BUDGET_NO_PREWARM]
    assert decided(load).bounds == Bounds(3, 3)


def test_what_is_not_expected_to_be_needed_is_given_back_at_once_but_not_without_proof() -> None:
    case = replace(FOUR, history=steady(11.0), outlook=foreseen(1.2, 1.2))
    assert (decided(case).bounds, codes(case)) == (Bounds(2, 2), [ReasonCode.TRAFFIC_DOWN])
    assert case.judge()[1].panic_until == float("-inf")
    assert objected(replace(case, history=steady(11.0, 290)), 4, 2).code is ReasonCode.WARMING_UP
    why = "2 replicas would not do: the last 60 s saw 17.0 requests in flight, 8.5 for each of 2."
    assert objected(replace(case, history=seen(*[8.0] * 50, 17.0, *[8.0] * 5)), 4, 2).sentence == why
    assert decided(replace(case, history=seen(*[8.0] * 50, 17.0, *[8.0] * 6))).bounds == Bounds(2, 2)


def test_a_young_forecast_gives_nothing_back_that_was_needed_three_minutes_ago() -> None:
    needs = PolicyState(needs=((NOW - 179, 3),))
    young = replace(FOUR, outlook=foreseen(1.0, 1.0, known=YOUNG_STEPS - 1), state=needs)
    assert objected(young, 4, 2) == Reason(
        ReasonCode.STABILIZING, "3 replicas needed at some moment of the last 180 s.", {"highest_need": 3}
    )
    assert objected(replace(young, history=steady(8.0, 290)), 4, 2).code is ReasonCode.WARMING_UP
    assert decided(replace(young, state=PolicyState(needs=((NOW - 180, 3),)))).bounds == Bounds(2, 2)
    assert decided(replace(young, outlook=foreseen(0.9, 0.9))).bounds == Bounds(1, 1)


# A spike starts nothing.

SHORT = Spikes(tuple(Spike(20.0, NOW - 5000) for _ in range(8)), since=NOW - 10, level=2)
"""Eight spikes of twenty seconds, long ago, and one that began ten seconds ago."""
RUSH = Case(steady(15.0), state=PolicyState(spikes=SHORT))


def test_a_spike_like_those_that_were_soon_over_starts_nothing() -> None:
    why = (
        "A spike starts nothing: 8 of 8 such spikes were over before a replica could have served, which takes 300 s; this one is 10 s old."
    )
    spike = Reason(ReasonCode.SPIKE, why, {"lead_seconds": 300.0})
    assert decided(RUSH) == of(2, reasons=(spike,), alternatives=(Alternative(3, why),), bound_by="spike")
    assert decided(replace(RUSH, history=steady(17.0), outlook=foreseen(3.0, 3.0))).reasons == (spike,)


def test_a_spike_does_not_keep_the_floor_or_the_first_replica_from_starting() -> None:
    assert decided(replace(RUSH, least=3)).bounds == Bounds(3, 3)
    none = replace(CHAT, ready_replicas=0, desired_replicas=2)
    assert decided(replace(RUSH, endpoint=none)).bounds == Bounds(3, 3)


def test_spikes_are_told_by_what_is_needed_above_what_runs() -> None:
    assert Case(steady(15.0)).judge()[1].spikes == Spikes(since=NOW, level=2)
    assert Case(steady(15.0), most=2).judge()[1].spikes == Spikes(), "what may not be had is no spike"
    assert Case(state=PolicyState(spikes=SHORT)).judge()[1].spikes.past[-1] == Spike(10.0, NOW)
    load = Case(steady(17.0), outlook=foreseen(1.0, 1.0))
    assert load.judge()[1].spikes == Spikes(since=NOW, level=2)
    assert load.judge()[1].panic_until == float("-inf"), "where it is foreseen there is no burst"
    assert replace(load, history=steady(16.0)).judge()[1].spikes == Spikes()


def rush(offered: float, *, ended: float = NOW - 10, seconds: float = 20.0) -> list[ReasonCode]:
    """Three replicas' worth is in flight, two serve; this much arrives, and a request takes two seconds."""
    loads = (Load(ended - 20, ended - 10, 9.0 if ended < NOW - 20 else 0.1, 1.0), Load(ended - 10, ended, offered, 3.0))
    learned = Learned(loads=loads, demand=Demand(level=Means(answers=10.0, seconds=seconds)))
    return codes(Case(steady(15.0), learned=learned))


def test_a_rush_that_has_passed_is_worked_off_by_what_runs() -> None:
    assert rush(0.7) == [ReasonCode.SPIKE]
    loads = (Load(NOW - 60, NOW - 30, 9.0, 9.0), Load(NOW - 30, NOW - 20, 0.3, 9.0), Load(NOW - 20, NOW - 10, 0.7, 3.0))
    learned = Learned(loads=loads, demand=Demand(level=Means(answers=10.0, seconds=20.0)))
    why = "what arrives now fits what runs; what waits is worked off in 4 s, a replica would serve in 300"
    assert decided(Case(steady(15.0), learned=learned)).reasons[0].sentence == f"A spike starts nothing: {why}."
    assert rush(0.5, seconds=20_000.0) == [ReasonCode.TRAFFIC_UP], "it takes longer than a start"
    assert rush(2.0) == [ReasonCode.TRAFFIC_UP], "more comes than what is planned with half of"
    assert codes(Case(steady(15.0), learned=replace(learned, demand=Demand()))) == [ReasonCode.TRAFFIC_UP]
    assert codes(Case(steady(15.0), learned=replace(learned, loads=loads[:1]))) == [ReasonCode.TRAFFIC_UP]


# Calendar and budget narrow what may be decided.


def test_a_floor_lifts_and_says_so() -> None:
    decision, state = Case(windows=(OFFICE,)).judge()
    assert [reason.code for reason in decision.reasons] == [ReasonCode.FLOOR]
    assert (decision.bounds, decision.bound_by) == (Bounds(3, 3), "schedule 'office'")
    assert state.needs == ((NOW, 2),)
    assert codes(Case(steady(15.0), windows=(OFFICE,))) == [ReasonCode.TRAFFIC_UP], "the traffic needs as many"


def test_a_ceiling_lowers_and_says_so() -> None:
    night = replace(OFFICE, name="night", floor=None, ceiling=2)
    assert codes(Case(steady(15.0), windows=(night,))) == [ReasonCode.STEADY, ReasonCode.CEILING]
    assert codes(Case(endpoint=running_on(3), windows=(night,)))[-1] is ReasonCode.CEILING
    assert codes(Case(windows=(night,))) == [ReasonCode.STEADY]


LAUNCH = Window(WindowKind.EVENT, "launch", AT + 200, AT + 7200, multiplier=3.0)


def multiple(history: History, replicas: int = 1) -> int:
    """What is kept ready for the launch."""
    return Case(history, running_on(replicas), windows=(LAUNCH,)).judge()[1].usual[0].replicas


def test_a_multiple_of_the_load_is_ready_when_its_event_begins() -> None:
    assert decided(Case(steady(8.0), windows=(LAUNCH,))).bounds == Bounds(5, 5)  # three times 8 / 5.6
    assert multiple(steady(8.0)) == 5
    assert multiple(seen(90.0, *[8.0] * 6)) == 5, "the last minute is what counts"
    assert multiple(seen(8.0, known=False)) == 3, "what runs stands for traffic that nobody knows"
    assert multiple(History((), NOW), replicas=2) == 6


def test_a_tight_budget_waits_for_the_event_to_begin() -> None:
    tight = Allowance(Stage.NO_PREWARM, "chat month", 80.0, 100.0)
    assert Case(windows=(LAUNCH,), allowance=tight).judge()[1].usual == ()
    soon = replace(LAUNCH, begins=AT + 30)
    assert Case(windows=(soon,), allowance=tight).judge()[1].usual == ()
    assert Case(windows=(LAUNCH,), allowance=Allowance()).judge()[1].usual != ()


SPENT = {"spent_dollars": 100.0, "budget_dollars": 100.0}
FLOOR_ONLY = "Budget 'chat month' (6.0 days more): $100.00 of $100.00 are spent; only min_replicas goes on, whatever the traffic."
EXHAUSTED = Reason(ReasonCode.BUDGET_EXHAUSTED, FLOOR_ONLY, SPENT)
STOPS = (
    "Budget 'chat month' (6.0 days more): $100.00 of $100.00 are spent; it is stopped, whatever the traffic, until there is money again."
)
STOPPING = Reason(ReasonCode.BUDGET_EXHAUSTED, STOPS, SPENT)
USED_UP = Allowance(Stage.EXHAUSTED, "chat month", 100.0, 100.0, 1, "chat month", hours=144)


def test_a_budget_that_is_used_up_takes_all_but_the_floor_at_once() -> None:
    ceiling = Reason(ReasonCode.CEILING, "Budget 'chat month' pays for at most 1 replica now.", {"ceiling": 1})
    case = Case(seen(40.0, known=False), running_on(3, 4), allowance=USED_UP)
    assert decided(case) == of(1, reasons=(ceiling, EXHAUSTED))
    assert codes(replace(case, endpoint=running_on(1), history=steady(3.0))) == [ReasonCode.STEADY, ReasonCode.BUDGET_EXHAUSTED]
    assert codes(replace(case, endpoint=on(EndpointState.STARTING)))[0] is ReasonCode.WAITING_FOR_START
    early = replace(USED_UP, stage=Stage.STOP_EXPENDABLE)
    assert codes(replace(case, allowance=early))[0] is ReasonCode.NO_DATA, "only the end comes at once"


def test_what_the_budget_stops_stops_whatever_the_traffic_and_stays_so() -> None:
    stop = replace(USED_UP, ceiling=None, ceiling_by="", stop=True)
    case = Case(seen(40.0, known=False), running_on(1, 2), idle=FIXED, allowance=stop)
    assert decided(case) == of(1, 2, power=Power.STOP, reasons=(STOPPING,))
    assert decided(replace(case, endpoint=on(EndpointState.STARTING, 1))).power is Power.STOP
    asleep = replace(case, history=steady(5.0), endpoint=on(EndpointState.STOPPED, 1))
    assert decided(asleep) == held(STOPPING, bounds=Bounds(1, 1))
    assert codes(replace(case, endpoint=on(EndpointState.ERROR, 1)))[0] is ReasonCode.ENDPOINT_FAULT
