"""What is made of samples, tally by tally, and of tallies, load by load."""

import math
from dataclasses import replace

import pytest

from scaler.model import Sample
from scaler.policy.capacity import (
    KEPT_HARDWARE,
    Block,
    Capacity,
    Estimate,
    Tally,
    estimate,
    observe,
)
from scaler.settings import ObjectiveSettings

LAX = ObjectiveSettings(ttft_seconds=100.0)
NO_LIMIT = ObjectiveSettings(ttft_seconds=None, latency_seconds=None)


def seen(load: float, *, answers: int = 40, ttft: float = 0.5, tpot: float = 0.02, waiting: int = 0, start: float = 0.0) -> Sample:
    """Ten seconds with this much in flight, and this many answers of ten tokens, all of them streamed."""
    return Sample(
        start=start,
        end=start + 10,
        arrivals=answers,
        completions={"2xx": answers},
        concurrency=load,
        in_flight=round(load),
        waiting=waiting,
        slow=0,
        latency_sum=answers * 2.0,
        latency_count=answers,
        ttft_sum=answers * ttft,
        ttft_count=answers,
        input_tokens=0,
        output_tokens=10 * answers,
        tpot_sum=answers * tpot,
        tpot_count=answers,
    )


def learned(state: Capacity, *samples: Sample, ready: int | None = 1, hardware: str = "h100") -> Capacity:
    for one in samples:
        state = observe(state, one, ready, hardware, one.end)
    return state


# What a sample is evidence of.


def test_a_sample_is_kept_by_its_load_per_replica() -> None:
    state = learned(Capacity(), replace(seen(6.0, answers=3), ttft_count=2, ttft_sum=1.5), ready=2)
    bucket = math.floor(math.log(3.0) / math.log(1.1))
    tally = Tally(load=60.0, span=20.0, first=1.5, firsts=2, token=0.06, tokens=3, latency=6.0, latencies=3)
    assert state.evidence == {bucket: tally}
    assert (state.hardware, state.aged, state.block) == ("h100", 10.0, None)
    twice = learned(state, seen(6.2, answers=1, start=10), ready=2)
    assert twice.evidence[bucket].load == 122.0
    assert len(learned(twice, seen(9.0, start=20), ready=2).evidence) == 2


def test_what_says_nothing_of_a_replica_is_no_evidence() -> None:
    for sample, ready in ((seen(6.0), None), (seen(6.0), 0), (seen(20.0, waiting=3), 1), (seen(0.249), 1), (seen(4097.0), 1)):
        assert learned(Capacity(), sample, ready=ready) == Capacity("h100")
    for sample, ready in ((seen(20.0, waiting=2), 1), (seen(0.25), 1), (seen(4096.0), 1), (seen(8192.0), 2)):
        assert len(learned(Capacity(), sample, ready=ready).evidence) == 1


def test_tallies_add_up_by_shares() -> None:
    one, other = Tally(1, 2, 3, 4, 5, 6, 7, 8), Tally(10, 20, 30, 40, 50, 60, 70, 80)
    assert one.plus(other) == Tally(11, 22, 33, 44, 55, 66, 77, 88)
    assert one.plus(other, 0.5) == Tally(6, 12, 18, 24, 30, 36, 42, 48)


def test_evidence_fades_in_steps_of_ten_minutes() -> None:
    state = learned(Capacity(), seen(6.0))
    (before,) = state.evidence.values()
    soon = learned(state, seen(2.0, start=599.0))
    assert before in soon.evidence.values()
    assert soon.aged == 10.0
    later = learned(state, seen(2.0, start=600.0))
    assert Tally().plus(before, 0.5 ** (600 / 86_400)) in later.evidence.values()
    assert later.aged == 610.0


def test_each_hardware_has_its_own_and_comes_back_to_it() -> None:
    state = learned(Capacity(carried=5.0, deploys=2, block=Block(0.0)), seen(6.0), hardware="a")
    other = learned(state, seen(3.0, start=10), hardware="b")
    assert (other.hardware, other.former, other.carried, other.deploys, other.block) == ("b", {"a": state.evidence}, None, 0, None)
    assert other.aged == 20.0
    back = observe(other, seen(0.1), 1, "a", 30.0)
    assert (back.evidence, back.former) == (state.evidence, {"b": other.evidence})
    assert observe(Capacity("a"), seen(0.1), 1, "b", 0.0).former == {}, "what was never seen is not kept"


def test_so_many_kinds_of_hardware_are_remembered() -> None:
    state = Capacity()
    for number in range(KEPT_HARDWARE + 2):
        state = learned(state, seen(6.0, start=10 * number), hardware=f"gpu-{number}")
    assert list(state.former) == [f"gpu-{number}" for number in range(1, KEPT_HARDWARE + 1)]


# Deploys.

BUCKET, ONE = next(iter(learned(Capacity(), seen(6.0)).evidence.items()))
USUAL = Capacity("h100", {BUCKET: Tally().plus(ONE, 10_000)}, aged=1e9)
"""So much was learned that a few minutes change nothing in it."""


def after(
    state: Capacity, seconds: int, *, begin: float, load: float = 6.0, answers: int = 40, ttft: float = 0.5, tpot: float = 0.02
) -> Capacity:
    """After so many seconds of these samples."""
    starts = (begin + number for number in range(0, seconds, 10))
    return learned(state, *(seen(load, answers=answers, start=start, ttft=ttft, tpot=tpot) for start in starts))


@pytest.mark.parametrize(("ttft", "tpot"), [(0.5, 0.028), (1.01, 0.02), (0.5, 0.0146), (0.245, 0.02)])
def test_two_blocks_that_are_unlike_what_was_learned_are_a_deploy(ttft: float, tpot: float) -> None:
    first = after(USUAL, 310, begin=1000.0, ttft=ttft, tpot=tpot)
    assert first.block is not None
    assert (first.block.strikes, first.deploys) == (1, 0)
    second = after(first, 300, begin=1310.0, ttft=ttft, tpot=tpot)
    assert (second.deploys, second.block) == (1, None)
    (tally,) = second.evidence.values()
    assert tally.firsts == 61 * 40, "of the past is all but what was seen since"


@pytest.mark.parametrize(("ttft", "tpot"), [(0.5, 0.026), (0.95, 0.02), (0.5, 0.0155), (0.27, 0.02)])
def test_what_is_a_little_slower_or_faster_is_none(ttft: float, tpot: float) -> None:
    assert after(USUAL, 1500, begin=1000.0, ttft=ttft, tpot=tpot).deploys == 0


def test_a_block_has_five_minutes_and_thirty_answers() -> None:
    short = after(USUAL, 300, begin=1000.0, tpot=0.04)
    assert short.block is not None
    assert (short.block.since, short.block.strikes, short.block.answers) == (1010.0, 0, 1200)
    assert after(USUAL, 310, begin=1000.0, tpot=0.04).block == Block(
        1310.0,
        strikes=1,
        struck=BUCKET - 2,
        fresh=after(USUAL, 310, begin=1000.0, tpot=0.04).block.fresh,  # type: ignore[union-attr]
    )
    few = after(USUAL, 310, begin=1000.0, answers=0)
    assert few.block is not None
    assert few.block.since == 1010.0
    thin = after(USUAL, 310, begin=1000.0, answers=1, tpot=0.04)
    assert thin.block is not None
    assert thin.block.strikes == 1


def test_what_was_hardly_seen_is_compared_with_nothing() -> None:
    thin = Capacity("h100", {BUCKET: Tally(60, 10, 6.5, 13, 0.26, 13, 26, 13)}, aged=1e9)
    assert learned(thin, seen(6.0)).block is None
    enough = replace(thin, evidence={BUCKET: Tally(60, 10, 6.5, 13, 0.26, 13, 28, 14)})
    assert learned(enough, seen(6.0)).block is not None


def test_a_comparison_sums_up_what_was_seen_and_what_was_expected() -> None:
    evidence = {BUCKET: Tally(60, 10, 20.0, 40, 0.0, 0, 80, 40)}
    state = learned(Capacity("h100", evidence, aged=1e9), replace(seen(6.0, answers=10, ttft=0.7), latency_count=12))
    block = state.block
    assert block is not None
    assert (block.first, block.expected_first, block.answers, block.highest) == (7.0, 5.0, 12, BUCKET)
    assert (block.token, block.expected_token) == (0.0, 0.0), "nothing is known of output tokens"
    assert block.fresh[BUCKET].firsts == 10


def test_a_strike_is_taken_back_by_as_much_load_that_fits() -> None:
    struck = after(USUAL, 310, begin=1000.0, tpot=0.04)
    fits = after(struck, 300, begin=1310.0)
    assert fits.block is not None
    assert (fits.block.strikes, fits.block.fresh) == (0, {})
    light = replace(struck, evidence={**struck.evidence, BUCKET - 3: USUAL.evidence[BUCKET]})
    calm = after(light, 300, begin=1310.0, load=6.0 / 1.1**3)
    assert calm.block is not None
    assert (calm.block.strikes, calm.block.struck) == (1, BUCKET - 2)
    assert calm.block.fresh, "what was seen since the first strike is kept"
    near = replace(struck, evidence={**struck.evidence, BUCKET - 2: USUAL.evidence[BUCKET]})
    nearly = after(near, 300, begin=1310.0, load=6.0 / 1.1**2)
    assert nearly.block is not None
    assert nearly.block.strikes == 0


# Estimates.

RATE = 4.0
"""Answers a second of a full replica."""
LOADS = (1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 6.0, 7.0, 8.0, 9.0)


def first_token(load: float, knee: float = 4.0) -> float:
    """Half a second, a little more with load, and beyond the knee the time that queueing adds (Little's law)."""
    return 0.4 + 0.02 * min(load, knee) + max(0.0, load - knee) / RATE


def evidence(
    *loads: float,
    knee: float = 4.0,
    answers: float = 100.0,
    streamed: float = 1.0,
    token: float = 0.02,
    slow_from: float = math.inf,
) -> dict[int, Tally]:
    """A replica with this knee, seen for 100 seconds at each of these loads; output tokens slow down from ``slow_from`` on."""
    found = {}
    for number, load in enumerate(loads or LOADS):
        count = min(answers, RATE * 100.0) * streamed
        tpot = token * (1 + 0.01 * load + 2 * max(0.0, load - slow_from))
        found[number] = Tally(
            load=load * 100.0,
            span=100.0,
            first=count * first_token(load, knee),
            firsts=count,
            token=answers * tpot,
            tokens=answers,
            latency=answers * (1.0 + first_token(load, knee)),
            latencies=answers,
        )
    return found


def judged(known: dict[int, Tally], objective: ObjectiveSettings = LAX, *, default: float = 8.0, carried: float | None = None) -> Estimate:
    return estimate(Capacity("h100", known, carried=carried), objective, default)


def full(*loads: float, **more: float) -> dict[int, Tally]:
    """All that a full replica answers is seen, so Little's law gives the knee to the digit."""
    return evidence(*loads, answers=RATE * 100.0, **more)


def test_beyond_the_bend_what_waits_is_told_by_littles_law() -> None:
    found = judged(full())
    assert (found.concurrency, found.knee, found.served) == pytest.approx((4.0, 4.0, 4.0))
    assert (found.confidence, found.limit) == (2400 / 2410, None)
    assert found.sentence == "Answers begin to queue at 4.0 requests in flight per replica (2400 answers seen beyond)."
    between = judged(full(knee=4.2))
    assert between.knee == pytest.approx(4.2, rel=0.02), "though the curve was seen to bend at 4.0 or 4.5 only"


def test_where_only_some_answers_are_streamed_they_stand_for_all() -> None:
    assert judged(full(streamed=0.25)).knee == pytest.approx(4.0)
    assert judged(full(streamed=0.05)).knee == pytest.approx(4.0)


def test_output_tokens_that_slow_down_first_are_a_knee_too() -> None:
    found = judged(full(slow_from=2.5))
    assert found.knee == pytest.approx(2.5)
    assert found.confidence == pytest.approx(3600 / 3610)


def test_the_objective_may_be_missed_before_the_knee() -> None:
    limit = 1.8
    found = judged(full(), ObjectiveSettings(ttft_seconds=0.436))
    assert (found.concurrency, found.limit, found.served, found.knee) == pytest.approx((limit, limit, limit, 4.0))
    assert found.sentence == (
        "Answers begin to queue at 4.0 requests in flight per replica (2400 answers seen beyond), and miss the objective from 1.8 on."
    )
    latency = judged(full(), ObjectiveSettings(ttft_seconds=100.0, latency_seconds=1.436))
    assert latency.limit == pytest.approx(limit)
    assert judged(full(), ObjectiveSettings(ttft_seconds=0.436, latency_seconds=1.45)).limit == pytest.approx(limit)
    late = judged(full(), ObjectiveSettings(ttft_seconds=0.98))
    assert late.limit == pytest.approx(6.0)
    assert late.concurrency == pytest.approx(4.0)
    assert late.sentence.endswith("seen beyond).")
    assert judged(full(), NO_LIMIT).limit is None


def test_where_hardly_anything_is_streamed_latency_stands_in() -> None:
    found = judged(full(*LOADS, 10.0, 12.0, streamed=0.04))
    assert found.knee == pytest.approx(4.0)
    assert found.limit == pytest.approx(4.0 + (2 * 1.4 - 1.48) * RATE), "twice as long as alone"
    assert found.concurrency == pytest.approx(4.0)
    straight = evidence(*(1.0 + number / 2 for number in range(9)), knee=99.0, answers=100.0, streamed=0.0)
    lone = judged(straight, NO_LIMIT)
    assert (lone.knee, lone.limit) == (None, None)


def test_too_few_answers_say_nothing() -> None:
    thin = judged(evidence(answers=15.0))
    assert thin.sentence == "Only 195 answers seen, 200 are needed: the default, 8 in flight per replica, stands."
    assert thin == Estimate(8.0, None, 0.0, None, 0.0, thin.sentence)
    assert judged(evidence(answers=16.0)).sentence.startswith("No knee") or judged(evidence(answers=16.0)).knee
    carried = judged(evidence(answers=15.0), carried=5.25)
    assert (carried.concurrency, carried.sentence.partition(": ")[2]) == (
        5.25,
        "what held before the last deploy, 5.25 in flight per replica, stands.",
    )


def test_too_few_loads_say_nothing() -> None:
    assert (
        judged(evidence(*LOADS[:6])).sentence == "Only 6 different loads seen, 7 are needed: the default, 8 in flight per replica, stands."
    )
    assert judged(evidence(*LOADS[:7])).sentence.startswith("No knee up to")
    sparse = full() | {20: Tally(1000.0, 100.0, 900.0, 4.9, 100.0, 4.9, 900.0, 4.9)}
    assert judged(sparse) == judged(full()), "four answers are no evidence"


def test_without_a_knee_a_little_more_than_was_served_well_may_be_tried() -> None:
    found = judged(evidence(*(2.0 * number for number in range(1, 9)), knee=99.0))
    assert (found.concurrency, found.knee, found.confidence, found.limit, found.served) == (20.0, None, 0.0, None, 16.0)
    assert found.sentence == "No knee up to 16.0 requests in flight per replica: 20.0 may be tried."
    few = judged(evidence(*LOADS[:7], knee=99.0))
    assert few.concurrency == 8.0
    assert few.sentence == "No knee up to 4.0 requests in flight per replica: the default, 8, stands."
    rare = evidence(*(2.0 * number for number in range(1, 8)), knee=99.0) | {9: Tally(4000.0, 100.0, 20.0, 39.0, 1.0, 39.0, 60.0, 39.0)}
    assert judged(rare).served == 14.0, "too few answers above"


def test_what_misses_the_objective_is_not_tried() -> None:
    loads = [2.0 * number for number in range(1, 9)]
    known = evidence(*loads, knee=99.0)  # 0.44 s at 2 to 0.72 s at 16
    within = judged(known, ObjectiveSettings(ttft_seconds=0.62))
    assert (within.concurrency, within.limit, within.served) == pytest.approx((11.0, 11.0, 11.0))
    assert within.sentence == "Answers miss the objective from 11.0 requests in flight per replica on; no knee is seen."
    below = judged(known, ObjectiveSettings(ttft_seconds=0.5))
    assert (below.concurrency, below.limit, below.served) == pytest.approx((5.0, 5.0, 5.0))
    assert (below.knee, below.confidence) == (None, 0.0)
    assert below.sentence == "Answers miss the objective from 5.0 requests in flight per replica on; no knee is seen."
    just = judged(known, ObjectiveSettings(ttft_seconds=0.56), default=8.0)
    assert just.concurrency == pytest.approx(8.0)


def test_answers_that_come_sooner_under_load_are_moved_by_something_else() -> None:
    known = {number: replace(tally, first=tally.firsts * (2.0 - 0.1 * number)) for number, tally in evidence(*LOADS[:8]).items()}
    assert judged(known).sentence.startswith("Answers come sooner the more is in flight, so something else moves them: the default")


def test_a_bend_is_believed_if_it_is_steep_late_and_was_seen_often_enough() -> None:
    assert judged(full(), NO_LIMIT).knee is not None
    gentle = {
        number: replace(tally, first=tally.firsts * (0.4 + 0.1 * load + 0.15 * max(0.0, load - 4)))
        for (number, tally), load in zip(full().items(), LOADS, strict=True)
    }
    assert judged(gentle, NO_LIMIT).knee is None, "less than three times as steep"
    steep = {
        number: replace(tally, first=tally.firsts * (0.4 + 0.1 * load + 0.25 * max(0.0, load - 4)))
        for (number, tally), load in zip(full().items(), LOADS, strict=True)
    }
    assert judged(steep, NO_LIMIT).knee is not None


def test_a_bend_is_believed_with_forty_late_answers_beyond_it() -> None:
    def rarely_full(share: float) -> Estimate:
        """Of the loads beyond the knee only a share was seen; answers are late, half as long again, from 5 in flight on."""
        shares = {4.5: share, 5.0: share, 6.0: share, 7.0: 0.0, 8.0: 0.0, 9.0: 0.0}
        return judged(
            {
                number: Tally().plus(tally, shares.get(LOADS[number], 1.0))
                for number, tally in full().items()
                if shares.get(LOADS[number], 1.0)
            },
            NO_LIMIT,
        )

    assert rarely_full(0.05).knee == pytest.approx(4.0)
    assert rarely_full(0.049).knee is None


def test_without_streaming_twice_as_long_as_alone_is_too_long() -> None:
    found = judged(evidence(*(8.0 * number for number in range(1, 17)), knee=999.0, streamed=0.0), NO_LIMIT)
    assert found.limit is not None
    assert found.concurrency == pytest.approx(found.limit)
    assert 69 < found.limit < 87  # 1.4 s alone, 1.56 s at the lowest load that was seen
    assert found.sentence.startswith(f"Answers take twice as long as alone from {found.limit:.1f} requests in flight per replica on;")
