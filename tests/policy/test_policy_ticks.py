"""One tick as a fold: what is learned in it, what is remembered, and what is told to whom. Two replicas serve eight each."""

from dataclasses import dataclass, field, replace

import pytest

from scaler.model import (
    Allowance,
    Bounds,
    Endpoint,
    EndpointState,
    Inputs,
    Known,
    Observation,
    Power,
    ReasonCode,
    Sample,
    Start,
    Unknown,
    Window,
    WindowKind,
)
from scaler.policy import Memory, step
from scaler.policy.capacity import Block, Capacity, Estimate, Tally
from scaler.policy.cold_start import Asked, ColdStart, Distribution, Watch, estimate
from scaler.policy.demand import Demand, Load, Means
from scaler.policy.fleet import Fleet
from scaler.policy.forecast import Forecast, Record
from scaler.policy.history import History
from scaler.policy.idle import NEVER
from scaler.policy.learned import Learned, apply, at_rest, observe
from scaler.policy.outlook import YOUNG_STEPS, Outlook
from scaler.policy.presence import Presence
from scaler.policy.state import PolicyState
from scaler.settings import EndpointSettings, IdleSettings, ObjectiveSettings, PolicySettings
from tests.policy.story import sample

NOW, AT = 1000.0, 50_000.0
SETTINGS = EndpointSettings(
    id="endpoint-1", max_replicas=8, policy=PolicySettings(cold_start_seconds=300), objective=ObjectiveSettings(ttft_seconds=2.0)
)
CHAT = Endpoint("endpoint-1", "n", "m", "gpu", EndpointState.STARTED, Bounds(2, 2), ready_replicas=2, desired_replicas=2)
ESTIMATE = Estimate(4.0, 4.0, 0.9, None, 4.0, "Known.")
BUSY = replace(sample(NOW - 10, 4.0), latency_sum=60.0, latency_count=20, arrivals=20, completions={"2xx": 20})
"""Ten seconds with twenty answers of three seconds each."""


def inputs(
    seen: Observation[Sample] | Sample = BUSY,
    endpoint: Observation[Endpoint] | Endpoint = CHAT,
    *,
    now: float = NOW,
    starts: tuple[Start, ...] = (),
) -> Inputs:
    told = Known(seen, "test", now) if isinstance(seen, Sample) else seen
    shown = Known(endpoint, "test", now) if isinstance(endpoint, Endpoint) else endpoint
    return Inputs(told, shown, now, AT + now - NOW, starts=starts)


def after(known: Learned, given: Inputs | None = None, fleet: Fleet | None = None, settings: EndpointSettings = SETTINGS) -> Learned:
    return observe(known, settings, given or inputs(), fleet)


# What stands in for what the settings leave open.


def test_what_is_offered_is_the_mean_of_the_newest_loads() -> None:
    loads = (Load(0, 10, 1.0, 9.0), Load(10, 20, 2.0, 9.0), Load(20, 30, 4.0, 9.0))
    known = Learned(loads=loads)
    assert [known.offered(since) for since in (-1.0, 9.0, 10.0, 20.0, 30.0)] == [7 / 3, 7 / 3, 3.0, 4.0, None]


def test_capacity_is_learned_unless_it_is_configured() -> None:
    fixed = SETTINGS.model_copy(update={"policy": PolicySettings(target_concurrency=16)})
    assert (Learned().per_replica(SETTINGS), Learned(estimate=ESTIMATE).per_replica(SETTINGS)) == (8.0, 4.0)
    assert Learned(estimate=ESTIMATE).per_replica(fixed) == 16.0


def test_the_lead_is_the_p90_of_starts_that_were_seen_or_the_configured_one() -> None:
    seen = Distribution(((10.0, 1.0), (20.0, 8.0), (90.0, 1.0)), 3, 300.0)
    assert Learned(starts=seen).lead(SETTINGS) is seen
    assert Learned().lead(SETTINGS) == estimate(ColdStart(), 300.0)
    applied = apply(Learned(starts=seen, estimate=ESTIMATE), SETTINGS)
    assert (applied.policy.cold_start_seconds, applied.policy.target_concurrency) == (20.0, 4.0)
    assert applied.policy.stabilization_seconds == SETTINGS.policy.stabilization_seconds


def test_the_idle_timer_is_learned_where_it_is_left_open() -> None:
    known = Learned(presence=Presence(timer=120))
    assert apply(known, SETTINGS).idle.inactive_timeout_minutes == 120
    fixed = SETTINGS.model_copy(update={"idle": IdleSettings(inactive_timeout_minutes=45)})
    assert apply(known, fixed).idle == fixed.idle
    stops = SETTINGS.model_copy(update={"idle": IdleSettings(allow_stop=True, keep_at_most_minutes=100)})
    assert (apply(known, stops).idle.inactive_timeout_minutes, apply(known, stops).idle.allow_stop) == (120, True)


# What serves a sample.


def served(endpoint: Endpoint, fleet: Fleet | None) -> int | None:
    return after(Learned(), inputs(endpoint=endpoint), fleet).serving


def test_how_many_serve_is_told_or_certain_or_nobody_knows() -> None:
    silent = replace(CHAT, ready_replicas=None, desired_replicas=None)
    assert served(CHAT, None) == 2
    assert served(silent, Fleet(2)) == 2
    assert served(silent, None) is None
    assert served(silent, Fleet(1, (9.0,))) is None, "one is on its way"
    assert served(silent, Fleet(3)) is None, "it was just given up"
    assert served(replace(silent, bounds=Bounds(2, 3)), Fleet(2)) is None, "the platform may add one unasked"
    assert served(replace(silent, state=EndpointState.STARTING), Fleet(2)) is None
    assert served(replace(CHAT, state=EndpointState.STOPPED), None) is None
    assert after(Learned(serving=2), inputs(endpoint=Unknown("HTTP 500", NOW))).serving is None


def test_a_sample_is_evidence_if_as_many_served_it_at_its_beginning() -> None:
    steady = after(Learned(serving=2))
    (tally,) = steady.capacity.evidence.values()
    assert tally.span == 20.0
    assert steady.demand.level.answers == 20
    for before in (None, 1):
        changed = after(Learned(serving=before))
        assert (changed.capacity.evidence, changed.demand.level.answers, changed.demand.mix.answers) == ({}, 0, 20)


def test_a_call_that_finds_no_replica_ready_was_cold() -> None:
    gap = Presence(runs=((0, 70),), since=0, seen=82, priced=82, worths=(1.0,) * 40)

    def cold(endpoint: Observation[Endpoint] | Endpoint, fleet: Fleet | None) -> bool:
        return after(Learned(presence=gap), inputs(endpoint=endpoint), fleet).presence.returns[-1].cold

    assert not cold(CHAT, None)
    assert not cold(CHAT, Fleet(1))
    assert cold(CHAT, Fleet(0, (9.0,)))
    assert cold(replace(CHAT, state=EndpointState.STARTING), Fleet(1))
    assert cold(Unknown("HTTP 500", NOW), Fleet(1))


# Starts.


def test_starts_are_estimated_anew_when_one_was_seen_or_the_configuration_has_changed() -> None:
    first = after(Learned())
    assert first.starts == estimate(ColdStart("gpu"), 300.0)
    assert after(first).starts is first.starts
    slower = SETTINGS.model_copy(update={"policy": PolicySettings(cold_start_seconds=600)})
    changed = after(first, settings=slower)
    assert changed.starts == estimate(ColdStart("gpu"), 600.0)
    recorded = (Start("r", AT - 500, AT - 400),)
    heard = after(first, inputs(starts=recorded))
    assert heard.cold_start.starts == recorded
    assert heard.starts == estimate(ColdStart("gpu", recorded), 300.0)


def test_a_start_that_was_watched_is_learned_at_the_clock_on_the_wall() -> None:
    watching = Learned(cold_start=ColdStart("gpu", watch=Watch(NOW - 10, 1, (Asked(NOW - 200, NOW - 190),))))
    assert after(watching).cold_start.starts == (Start("", AT - 200, AT),)


# Traffic.


def test_a_queue_that_fewer_replicas_have_left_behind_says_nothing_of_those_that_work_it_off() -> None:
    """The sample's answers took three seconds on the mean, so hardly one was asked for more than six before it began."""
    known = Learned(Capacity("gpu"), serving=2, serving_since=NOW - 15)
    assert after(known).capacity.evidence == {}
    assert after(known).demand.level.answers == 20, "of what is offered it speaks"
    settled = after(replace(known, serving_since=NOW - 16))
    assert settled.capacity.evidence != {}
    assert settled.serving_since == NOW - 16
    more = after(settled, inputs(endpoint=replace(CHAT, ready_replicas=3)))
    assert (more.serving, more.serving_since, more.capacity.evidence) == (3, NOW, settled.capacity.evidence)


def test_capacity_is_estimated_every_five_minutes() -> None:
    first = after(Learned())
    assert first.estimate is not None
    assert (first.estimate.concurrency, first.estimated_at) == (8.0, NOW)
    known = replace(first, estimate=ESTIMATE)
    assert after(known, inputs(now=NOW + 299)).estimate is ESTIMATE
    later = after(known, inputs(now=NOW + 300))
    assert later.estimate is not None
    assert (later.estimate.concurrency, later.estimated_at) == (8.0, NOW + 300)


def test_other_hardware_is_estimated_at_once_and_its_service_times_anew() -> None:
    known = Learned(
        Capacity("old", deploys=3), estimate=ESTIMATE, estimated_at=NOW - 1, serving=2, demand=Demand(level=Means(50.0, seconds=500.0))
    )
    moved = after(known)
    assert moved.estimate is not None
    assert (moved.estimate.concurrency, moved.estimated_at, moved.capacity.carried) == (8.0, NOW, None)
    assert moved.demand.level == Means(20, 0, 0, 60.0)
    same = after(replace(known, capacity=Capacity("gpu")))
    assert same.estimate is ESTIMATE
    assert same.demand.level.answers == pytest.approx(69.8, abs=0.1)


def deploying() -> Learned:
    """One sample before a deploy is noticed."""
    tally = Tally(40.0, 20.0, 1000.0, 1000.0, 20.0, 1000.0, 3000.0, 1000.0)
    bucket = 7  # two in flight for each replica
    block = Block(NOW - 400, 100.0, 10.0, 5.0, 1.0, 50.0, strikes=1, highest=bucket, struck=bucket)
    capacity = Capacity("gpu", {bucket: tally}, aged=NOW, block=block)
    return Learned(capacity, estimate=ESTIMATE, estimated_at=NOW - 1, serving=2)


def test_after_a_deploy_what_was_known_is_carried_until_there_is_more() -> None:
    noticed = after(deploying())
    assert (noticed.capacity.deploys, noticed.capacity.carried) == (1, 4.0)
    assert noticed.estimate is not None
    assert (noticed.estimate.concurrency, noticed.estimated_at) == (4.0, NOW)
    assert "what held before the last deploy" in noticed.estimate.sentence
    assert after(replace(deploying(), estimate=None)).capacity.carried is None


def test_loads_are_in_replicas_of_what_is_learned_and_kept_for_a_minute() -> None:
    demand = Demand(level=Means(100.0, seconds=300.0))
    known = Learned(Capacity("gpu"), demand=demand, estimate=ESTIMATE, estimated_at=NOW, serving=2)
    old = (Load(NOW - 70, NOW - 60, 1.0, 1.0), Load(NOW - 69, NOW - 59, 2.0, 2.0))
    load = after(replace(known, loads=old)).loads
    assert load == (old[1], Load(NOW - 10, NOW, 2 * 3.0 / 4.0, 4.0 / 4.0))


def test_what_is_not_known_teaches_nothing_of_traffic() -> None:
    known = Learned(estimate=ESTIMATE, serving=2, loads=(Load(NOW - 30, NOW - 20, 1.0, 1.0),))
    for given in (inputs(Unknown("cut off", NOW)), inputs(endpoint=Unknown("HTTP 500", NOW))):
        learned = after(known, given)
        assert (learned.capacity, learned.demand, learned.loads, learned.estimate) == (known.capacity, known.demand, known.loads, ESTIMATE)


def test_what_hangs_on_this_process_is_not_kept_over_a_restart() -> None:
    live = Learned(
        capacity=Capacity("gpu", {1: Tally(1.0)}, aged=5.0, carried=3.0, deploys=2, block=Block(1.0)),
        cold_start=ColdStart("gpu", (Start("r", 0.0, 9.0),), watch=Watch(1.0, 2)),
        demand=Demand(level=Means(5.0), settled_at=9.0),
        presence=Presence(timer=90),
        estimate=ESTIMATE,
        estimated_at=7.0,
        serving=2,
        loads=(Load(0, 10, 1.0, 1.0),),
    )
    kept = at_rest(live)
    assert kept == Learned(
        capacity=Capacity("gpu", {1: Tally(1.0)}, carried=3.0, deploys=2),
        cold_start=ColdStart("gpu", live.cold_start.starts),
        demand=Demand(level=Means(5.0)),
        presence=live.presence,
        estimate=ESTIMATE,
    )


# The fold.


@dataclass
class Listener:
    """A foresight that remembers what it was told."""

    loads: tuple[Load, ...] = ()
    now: float = 0.0
    lead: float = 0.0
    before: Outlook | None = None
    answer: Outlook = field(default_factory=Outlook)

    def look(self, before: Outlook, loads: tuple[Load, ...], *, now: float, lead_seconds: float) -> Outlook:
        self.before, self.loads, self.now, self.lead = before, loads, now, lead_seconds
        return self.answer


def test_what_is_expected_is_told_of_the_newest_load_once_and_of_the_lead_that_was_learned() -> None:
    listener, earlier = Listener(), Outlook(Record.empty(), known=7)
    memory = Memory(learned=Learned(starts=Distribution(((77.0, 1.0),), 1, 300.0)), outlook=earlier)
    memory = step("chat", SETTINGS, inputs(), memory, listener)[1]
    assert (listener.loads, listener.now, listener.lead) == (memory.learned.loads, NOW, 77.0)
    assert listener.before is earlier
    assert memory.outlook is listener.answer
    memory = step("chat", SETTINGS, inputs(sample(NOW, 2.0), now=NOW + 10), memory, listener)[1]
    assert listener.loads == memory.learned.loads[1:], "one at a time"
    for given in (inputs(Unknown("cut off", NOW + 10), now=NOW + 10), inputs(endpoint=Unknown("HTTP 500", NOW + 10), now=NOW + 10)):
        memory = step("chat", SETTINGS, given, memory, listener)[1]
        assert listener.loads == (), "no load is told of twice"


@pytest.mark.parametrize(
    ("policy", "idle", "keep"),
    [
        (PolicySettings(stabilization_seconds=400, stable_window_seconds=60), IdleSettings(stop_after_minutes=1), 400),
        (PolicySettings(stabilization_seconds=40, stable_window_seconds=90), IdleSettings(stop_after_minutes=1), 90),
        (PolicySettings(stabilization_seconds=40, stable_window_seconds=90), IdleSettings(stop_after_minutes=5), 300),
    ],
)
def test_samples_are_kept_as_long_as_any_window_needs_them(policy: PolicySettings, idle: IdleSettings, keep: float) -> None:
    settings = SETTINGS.model_copy(update={"policy": policy, "idle": idle})
    memory = Memory()
    for tick in range(60):
        now = NOW + 10 * tick
        memory = step("chat", settings, inputs(sample(now - 10, 1.0), now=now), memory, Listener())[1]
    assert len(memory.history.samples) == keep / 10
    assert memory.history.known_since == NOW - 10


def test_a_decision_hears_of_everything_that_came_in() -> None:
    asleep = replace(CHAT, state=EndpointState.STOPPED, ready_replicas=0)
    given = replace(inputs(sample(NOW - 10, 0.0), asleep), stopped_by_us=False)
    decision, memory = step("chat", SETTINGS, given, Memory(), Listener())
    assert (decision.endpoint, decision.at) == ("chat", AT)
    assert [reason.code for reason in decision.reasons] == [ReasonCode.STOPPED_BY_OTHERS, ReasonCode.IDLE_KEPT]
    assert memory.state.bounds == CHAT.bounds
    called = step("chat", SETTINGS, replace(given, calls=3), memory, Listener())[0]
    assert called.reasons[-1].numbers == {"arrivals": 3}
    office = Window(WindowKind.SCHEDULE, "office", AT - 1, AT + 100, floor=3)
    assert step("chat", SETTINGS, replace(given, windows=(office,)), memory, Listener())[0].bounds == Bounds(3, 3)
    tight = Allowance(ceiling=2, ceiling_by="total hour")
    busy = step("chat", SETTINGS, replace(inputs(sample(NOW - 10, 40.0)), allowance=tight), Memory(), Listener())[0]
    assert busy.bounds == Bounds(2, 2)
    assert busy.reasons[-1].code is ReasonCode.BUDGET_BURN


def test_a_decision_goes_by_what_was_learned_and_what_was_believed_before() -> None:
    memory = Memory(learned=Learned(Capacity("gpu"), estimate=ESTIMATE, estimated_at=NOW), state=PolicyState(fleet=Fleet(1, (NOW + 50,))))
    silent = replace(CHAT, ready_replicas=None, desired_replicas=None)
    decision, after_it = step("chat", SETTINGS, inputs(sample(NOW - 10, 8.0), silent), memory, Listener())
    assert decision.reasons[0].numbers["per_replica"] == 4.0
    assert decision.bounds.min_replicas == 3  # 8 / (4 x 0.7)
    assert after_it.state.fleet == Fleet(1, (NOW + 50,))
    assert after_it.learned.serving is None, "one was on its way before this tick"
    certain = replace(memory, state=PolicyState(fleet=Fleet(2)))
    assert step("chat", SETTINGS, inputs(BUSY, silent), certain, Listener())[1].learned.serving == 2


def test_a_decision_goes_by_what_is_expected() -> None:
    foreseen = Listener(answer=Outlook(known=YOUNG_STEPS, forecast=Forecast(5.0, 5.0, "model")))
    decision = step("chat", SETTINGS, inputs(), Memory(), foreseen)[0]
    assert decision.reasons[0].code is ReasonCode.FORECAST


def test_a_decision_goes_by_what_was_learned_of_the_gaps() -> None:
    window = int(AT // 600)
    presence = Presence(runs=((0, 70),), seen=window, priced=window, price=3.0, chances=(0.1,) * 40, worths=(NEVER,) * 40)
    quiet = tuple(sample(NOW - 10 * number, 0.0) for number in range(90, 1, -1))
    memory = Memory(history=History(quiet, NOW - 900), learned=Learned(presence=presence))
    settings = SETTINGS.model_copy(update={"idle": IdleSettings(allow_stop=True)})
    decision = step("chat", settings, inputs(sample(NOW - 10, 0.0)), memory, Listener())[0]
    assert decision.power is Power.STOP
    assert decision.reasons[0].numbers["cold_call_seconds"] == 1800.0


def test_a_deploy_that_was_noticed_is_said() -> None:
    decision = step("chat", SETTINGS, inputs(), Memory(learned=deploying()), Listener())[0]
    sentence, numbers = decision.reasons[-1].sentence, decision.reasons[-1].numbers
    assert sentence == (
        "Answers take other times than they did at as much load, as after a deploy: "
        "capacity is learned anew, from 4.0 requests in flight per replica."
    )
    assert numbers == {"deploys": 1}
    assert decision.reasons[-1].code is ReasonCode.DEPLOY
    unknown = step("chat", SETTINGS, inputs(), Memory(learned=replace(deploying(), estimate=None)), Listener())[0]
    assert unknown.reasons[-1].sentence.endswith("from the default per replica.")
