"""What is learned decides: days of the world in which the policy has its way."""

from dataclasses import replace

import pytest

from scaler.knowledge import Document, read
from scaler.model import Bounds, Inputs, Known, Start, Unknown
from scaler.policy import Memory, step
from scaler.policy.capacity import Estimate
from scaler.policy.learned import Learned, apply, observe
from scaler.pooled import LIVE
from scaler.settings import EndpointSettings, PolicySettings, ReplicaSettings
from scaler.store.codec import encode
from tests.policy.day import EPOCH, Governed, Hook, deploy, govern, office_day, play, reading, world
from tests.policy.story import sample
from tests.policy.telling import Told, hours, tell

HOUR = 3600.0
SETTINGS = EndpointSettings(id="endpoint-one", max_replicas=12)


def live(slots: int, requests: int, settings: EndpointSettings = SETTINGS, *, until: float, hook: Hook | None = None) -> list[Governed]:
    seen = play(world(ReplicaSettings(slots=slots), most=1), office_day(requests), until=until, hook=hook)
    return list(govern(seen, settings))


def on_time(day: list[Governed], since: float) -> float:
    late = [(one.seen.sample.slow, one.seen.sample.ttft_count) for one in day if one.seen.sample.end > since]
    return 1 - sum(slow for slow, _ in late) / sum(answers for _, answers in late)


def replica_hours(day: list[Governed]) -> float:
    return sum(one.seen.desired for one in day) * 10 / HOUR


@pytest.fixture(scope="module")
def learning() -> list[Governed]:
    """The first day on replicas of four slots, until the afternoon."""
    return live(4, 25_000, until=16 * HOUR)


def test_replicas_with_half_the_default_capacity_are_found_out_in_the_first_morning(learning: list[Governed]) -> None:
    believing = live(4, 25_000, replace_policy(PolicySettings(target_concurrency=8.0)), until=16 * HOUR)
    noon, known = (next(one for one in learning if one.seen.sample.end >= at * HOUR).memory.learned.estimate for at in (12, 15.9))
    assert noon is not None
    assert noon.concurrency == pytest.approx(4, rel=0.15)
    assert known is not None
    assert known.knee == pytest.approx(4, rel=0.15)
    assert on_time(learning, 10 * HOUR) > on_time(believing, 10 * HOUR) + 0.1


def test_replicas_with_twice_the_default_capacity_are_used_a_little_more_each_time_until_the_knee_is_seen() -> None:
    day = live(16, 100_000, until=11 * HOUR)
    capacities = [one.memory.learned.estimate.concurrency for one in day if one.memory.learned.estimate is not None]
    assert capacities[0] == 8.0
    assert capacities[-1] == pytest.approx(16, rel=0.3)
    assert on_time(day, 0.0) > 0.98


def test_a_deploy_that_halves_throughput() -> None:
    at = 10 * HOUR
    day = live(8, 50_000, until=at + HOUR, hook=deploy(at, speed=0.5))
    before = next(one for one in day if one.seen.sample.end == at)
    noticed = next(one for one in day if one.memory.learned.capacity.deploys)
    assert 5 * 60 < noticed.seen.sample.end - at < 30 * 60
    known, carried = before.memory.learned.estimate, noticed.memory.learned.capacity.carried
    assert known is not None
    assert known.sentence.startswith("Answers begin to queue at")
    assert carried is not None
    tell(
        """
        clock | comes    | decided | why                          | in words
        09:59 | 0 .. 40  | 3       | steady                       | there: 3
        10:00 | 5 .. 45  | 3 => 7  | traffic_up                   | The traffic of the last minute and what waits keep 3.… replicas busy
              |          |         | traffic_up                   | replicas busy, more than was foreseen; serving: 3, starting:
              |          |         | steady                       |
        10:03 | 10 .. 45 | 7       | steady                       | there: 7
              |          |         | consolidation_refused        | replicas would not do: …% of answers miss the objective already
              |          |         | consolidation_refused        | replicas would not do: the last 60 s saw
              |          |         | consolidation_refused+deploy | as after a deploy: capacity is learned anew, from 7.… requests in flight
        10:27
        """,
        [Told(hours(one.decision.at - EPOCH), one.seen.sample.concurrency, one.decision) for one in day if one.seen.sample.end >= at - 60],
    )
    service = [one.memory.learned.demand.service_seconds or 0.0 for one in (before, day[-1])]
    assert service[1] > 1.5 * service[0]


def test_a_deploy_with_half_the_room_is_learned_within_an_hour() -> None:
    at = 10 * HOUR
    known = live(8, 50_000, until=at + HOUR, hook=deploy(at, slots=4))[-1].memory.learned
    assert known.capacity.deploys == 1
    assert known.estimate is not None
    assert known.estimate.concurrency == pytest.approx(4, rel=0.15)


def replace_policy(policy: PolicySettings) -> EndpointSettings:
    return SETTINGS.model_copy(update={"policy": policy})


def test_what_is_configured_is_not_overruled_but_the_lead_is_learned() -> None:
    known = Learned(estimate=Estimate(3.0, 3.0, 0.9, None, 3.0, "Known."))
    fixed = replace_policy(PolicySettings(target_concurrency=16.0))
    assert apply(known, SETTINGS).policy.per_replica == 3.0
    assert apply(known, fixed).policy.per_replica == 16.0
    starts = tuple(Start(f"r{n}", 1000.0 * n, 1000.0 * n + 45) for n in range(20))
    heard = step("chat", fixed, inputs(1, starts=starts), Memory(), LIVE)[1].learned
    assert apply(heard, fixed).policy.cold_start_seconds == 45.0


def inputs(tick: int, *, hardware: str = "h100", starts: tuple[Start, ...] = ()) -> Inputs:
    """A tick beside two replicas that are told of, each with two requests in flight."""
    now = 10.0 * tick
    one = next(play(world(ReplicaSettings()), [], until=10))
    told = replace(reading(one), ready_replicas=2, bounds=Bounds(2, 2), hardware=hardware)
    return Inputs(Known(sample(now - 10, 4.0), "test", now), Known(told, "test", now), now, EPOCH + now, starts=starts)


def test_other_hardware_starts_anew_at_once_and_is_no_deploy() -> None:
    memory = Memory(learned=Learned(estimate=Estimate(3.0, 3.0, 0.9, None, 3.0, "Known."), estimated_at=1.0))
    memory = replace(memory, learned=replace(memory.learned, capacity=replace(memory.learned.capacity, hardware="a100", deploys=2)))
    learned = step("chat", SETTINGS, inputs(1), memory, LIVE)[1].learned
    assert learned.estimate is not None
    assert learned.estimate.concurrency == 8.0
    assert learned.capacity.carried is None


def test_what_is_not_known_teaches_nothing() -> None:
    known = Learned()
    for tick in range(1, 20):
        known = observe(known, SETTINGS, inputs(tick), None)
    silent = inputs(20)
    for unknown in (replace(silent, sample=Unknown("cut off", 200.0)), replace(silent, endpoint=Unknown("no answer", 200.0))):
        after = observe(known, SETTINGS, unknown, None)
        assert (after.capacity, after.demand, after.loads) == (known.capacity, known.demand, known.loads)


def test_the_night_after_a_restart_knows_what_the_day_has_taught(learning: list[Governed]) -> None:
    memory = learning[-1].memory
    again = read(encode(Document(memory.learned, memory.outlook, 0.0)))
    assert again is not None
    known = step("chat", SETTINGS, inputs(1), Memory(learned=again.learned), LIVE)[1].learned
    assert known.estimate is not None
    assert known.estimate.knee == pytest.approx(4, rel=0.15)
