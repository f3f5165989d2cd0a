"""How many requests in flight one ready replica serves well: learned from what a proxy sees.

Evidence is kept in buckets of requests in flight per ready replica, each 10 % wide: answers, times to first token, times per output
token, latencies. Up to the knee the time to first token is a gently rising line; beyond it requests queue, and the line turns
upwards. The knee is found where it bends (`curve.bend_of`) and then measured by Little's law: of the requests in flight, those that wait
are the rate of answers times what their first tokens are late by, and the rest is what a full replica has in work.

What is thin, falls where it must rise, or does not bend is refused, and the estimate says so in a sentence. Evidence fades with a
half-life; a deploy that changes speed or room is noticed, and evidence begins anew. Each hardware has its own.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from scaler.model import Sample
from scaler.policy.curve import Bend, Floats, bend_of, first_above, isotonic, slope_of
from scaler.settings import ObjectiveSettings

WIDTH = 1.1
"""Upper edge of a bucket over its lower one."""
LOWEST, HIGHEST = 0.25, 4096.0
"""Requests in flight per replica: below, a replica idles; above, a count is not believed."""
HALF_LIFE_SECONDS = 86_400.0
"""Evidence of yesterday counts half."""
AGEING_SECONDS = 600.0
"""Evidence is aged in steps of this length."""
MIN_ANSWERS = 200.0
"""Answers below which nothing is said of a knee."""
MIN_BUCKETS = 7
"""Buckets with evidence below which no bend is looked for."""
BUCKET_ANSWERS = 5.0
"""Answers below which a bucket is no evidence."""
SURE_ANSWERS = 40.0
"""Answers beyond the knee with which it is believed; likewise at a load that is called served well."""
DOUBT_ANSWERS = 10.0
"""Answers beyond the knee with which the confidence in it is one half."""
STREAMED = 0.05
"""Share of streamed answers below which time to first token is too rare to look at."""
TWICE = 2.0
MISS = "miss the objective"
LATE = 1.5
"""Times what it was before the bend: a delay that queueing explains."""
MIN_GAIN = 12.0
"""F of the bend against the straight line with which it is believed: chance alone passes it less than once in a thousand."""
STEEPER = 3.0
"""Beyond the knee the curve is at least so many times as steep as before it."""
REACH = 3.0
"""Buckets beyond this many knees are the aftermath of a burst and measure nothing."""
FALLING = -3.0
"""A slope of this many standard errors is one that falls."""
PROBE = 1.25
"""Times what was served well that is used while no knee is seen: planned at less than full use, it hardly leaves what is known."""
KEPT_HARDWARE = 8
"""Kinds of hardware whose evidence is kept beside that in use."""

BLOCK_SECONDS, BLOCK_ANSWERS = 300.0, 30.0
"""What was seen is compared with what was learned over blocks that have at least both."""
SLOWER, LATER = 1.35, 2.0
"""A block in which output tokens take so many times, or first tokens come after so many times what was learned speaks of a deploy."""
STRIKES = 2
"""Blocks that make it one."""
NEAR = 2
"""Buckets below a block's highest that are about as much load."""
NO_BUCKET = -1000
"""Below all of them."""


@dataclass(frozen=True, slots=True)
class Tally:
    """Sums over samples of one bucket; times in seconds, counts of answers may be fractions once they have aged.

    load, span:      requests in flight x seconds, ready replicas x seconds: their quotient is the bucket's mean load
    first, firsts:   times to first token and how many; likewise per output token and latency
    """

    load: float = 0.0
    span: float = 0.0
    first: float = 0.0
    firsts: float = 0.0
    token: float = 0.0
    tokens: float = 0.0
    latency: float = 0.0
    latencies: float = 0.0

    def plus(self, other: "Tally", share: float = 1.0) -> "Tally":
        """Both together, ``share`` of the other one."""
        return Tally(
            self.load + share * other.load,
            self.span + share * other.span,
            self.first + share * other.first,
            self.firsts + share * other.firsts,
            self.token + share * other.token,
            self.tokens + share * other.tokens,
            self.latency + share * other.latency,
            self.latencies + share * other.latencies,
        )


Evidence = Mapping[int, Tally]
"""Tallies by bucket number; buckets without any are absent."""


@dataclass(frozen=True, slots=True)
class Block:
    """What was seen since ``since`` beside what was expected of it: first tokens, output tokens, answers.

    strikes:  blocks before it that did not fit what was learned; only one of as much load that fits takes them back
    highest:  highest bucket in it; ``struck``: what it has to reach to take strikes back
    fresh:    the evidence since the first strike
    """

    since: float
    first: float = 0.0
    expected_first: float = 0.0
    token: float = 0.0
    expected_token: float = 0.0
    answers: float = 0.0
    strikes: int = 0
    highest: int = NO_BUCKET
    struck: int = NO_BUCKET
    fresh: Evidence = field(default_factory=dict[int, Tally])

    @property
    def unlike(self) -> bool:
        """Whether it speaks of another deploy than the one that was learned."""
        return _differ(self.token, self.expected_token, SLOWER) or _differ(self.first, self.expected_first, LATER)


@dataclass(frozen=True, slots=True)
class Capacity:
    """All that is known; monotonic seconds.

    hardware:   id of the hardware that `evidence` is about
    aged:       when the evidence was last aged; None before any came
    carried:    the estimate before the last deploy, used until there is a new one; None = there was none
    deploys:    changes of speed or room noticed
    former:     evidence about other hardware
    block:      the comparison under way
    """

    hardware: str = ""
    evidence: Evidence = field(default_factory=dict[int, Tally])
    aged: float | None = None
    carried: float | None = None
    deploys: int = 0
    former: Mapping[str, Evidence] = field(default_factory=dict[str, Evidence])
    block: Block | None = None


@dataclass(frozen=True, slots=True)
class Estimate:
    """Requests in flight that a ready replica serves well, and why this many.

    concurrency: the figure to use
    knee:        where queues begin, None while unknown; ``confidence`` in it: 0 unknown, towards 1 with the answers seen beyond it
    limit:       where the mean time to first token (or latency) passes the objective; None if it never did
    served:      highest load that was seen to be served well
    """

    concurrency: float
    knee: float | None
    confidence: float
    limit: float | None
    served: float
    sentence: str


def observe(state: Capacity, sample: Sample, ready: int | None, hardware: str, now: float) -> Capacity:
    """Take note of a sample that ``ready`` replicas served all the while; None: their number changed or is not known."""
    state = _of_hardware(state, hardware)
    if not ready or sample.waiting > sample.in_flight / 10:
        return state  # what the proxy holds back says nothing of a replica
    load = sample.concurrency / ready
    if not LOWEST <= load <= HIGHEST:
        return state
    bucket = math.floor(math.log(load) / math.log(WIDTH))
    seconds = sample.end - sample.start
    tally = Tally(
        sample.concurrency * seconds,
        ready * seconds,
        sample.ttft_sum,
        sample.ttft_count,
        sample.tpot_sum,
        sample.tpot_count,
        sample.latency_sum,
        sample.latency_count,
    )
    state = _watch(_age(state, now), bucket, tally, now)
    return replace(state, evidence=_add(state.evidence, bucket, tally))


def estimate(state: Capacity, objective: ObjectiveSettings, default: float) -> Estimate:
    """What the evidence says; ``default`` where it says nothing."""
    fallback, word = (default, "the default") if state.carried is None else (state.carried, "what held before the last deploy")
    waits, share = _waits(state.evidence)
    if refusal := waits.refusal():
        return Estimate(fallback, None, 0.0, None, 0.0, f"{refusal}: {word}, {fallback:.3g} in flight per replica, stands.")
    limit, fault = _limit(state.evidence, waits, share, objective)
    found = _knee(waits, _tokens(state.evidence), share)
    if found is None:
        return _straight(waits.highest(), limit, fault, fallback, word)
    knee, answers = found
    served = min(knee, limit)
    sentence = f"Answers begin to queue at {knee:.1f} requests in flight per replica ({answers:.0f} answers seen beyond)"
    sentence += "." if served == knee else f", and {fault} from {served:.1f} on."
    return Estimate(served, knee, answers / (answers + DOUBT_ANSWERS), _finite(limit), served, sentence)


def _straight(highest: float, limit: float, fault: str, fallback: float, word: str) -> Estimate:
    """No knee was seen: what was served well is what is known, and a little more may be tried."""
    served = min(highest, limit)
    if limit <= max(fallback, PROBE * served):
        sentence = f"Answers {fault} from {limit:.1f} requests in flight per replica on; no knee is seen."
        return Estimate(limit, None, 0.0, limit, served, sentence)
    tried = PROBE * served
    stands = f"{word}, {fallback:.3g}, stands" if tried <= fallback else f"{tried:.1f} may be tried"
    stands += f", answers {fault} from {limit:.1f} on" if limit < math.inf else ""
    sentence = f"No knee up to {served:.1f} requests in flight per replica: {stands}."
    return Estimate(max(tried, fallback), None, 0.0, _finite(limit), served, sentence)


def _finite(limit: float) -> float | None:
    return limit if limit < math.inf else None


def _waits(evidence: Evidence) -> tuple["_Signal", float]:
    """The delay in which queueing shows, and the share of answers that it is seen in; 0 where it is not time to first token but latency.

    That stands in where hardly anything is streamed.
    """
    tallies = evidence.values()
    firsts, latencies = sum(tally.firsts for tally in tallies), sum(tally.latencies for tally in tallies)
    if firsts < STREAMED * latencies:
        return _latencies(evidence), 0.0
    return _Signal.of((tally, tally.firsts, tally.first) for tally in tallies), min(1.0, firsts / latencies) if latencies else 1.0


def _tokens(evidence: Evidence) -> "_Signal":
    return _Signal.of((tally, tally.tokens, tally.token) for tally in evidence.values())


def _latencies(evidence: Evidence) -> "_Signal":
    return _Signal.of((tally, tally.latencies, tally.latency) for tally in evidence.values())


def _limit(evidence: Evidence, waits: "_Signal", share: float, objective: ObjectiveSettings) -> tuple[float, str]:
    """Load from which on the mean answer is not good, infinite where it was always good; and what is wrong with it."""
    limits = []
    if not share:  # in a latency, queueing cannot be told from sharing: bound it
        limits.append((waits.crosses(TWICE * waits.alone), "take twice as long as alone"))
    elif objective.ttft_seconds is not None:
        limits.append((waits.crosses(objective.ttft_seconds), MISS))
    if objective.latency_seconds is not None:
        limits.append((_latencies(evidence).crosses(objective.latency_seconds), MISS))
    return min(limits, default=(math.inf, ""))


def _knee(waits: "_Signal", tokens: "_Signal", share: float) -> tuple[float, float] | None:
    """The first load at which answers queue or slow down out of proportion, and the answers seen beyond; None if there is none."""
    found = []
    if (bend := waits.bend()) is not None:
        found.append(waits.in_work(bend, share) if share else waits.beyond(bend))
    if not tokens.falls and (bend := tokens.bend()) is not None:
        found.append(tokens.beyond(bend))
    return min(found, default=None)


@dataclass(frozen=True, slots=True)
class _Signal:
    """One kind of delay over the buckets that have enough of it: mean load, replica-seconds seen, answers, mean delay."""

    load: Floats
    span: Floats
    answers: Floats
    delay: Floats

    @classmethod
    def of(cls, rows: Iterable[tuple[Tally, float, float]]) -> "_Signal":
        """``rows``: a tally, the count and the sum of its delays."""
        enough = sorted(
            (tally.load / tally.span, tally.span, count, total / count) for tally, count, total in rows if count >= BUCKET_ANSWERS
        )
        return cls(*np.array(enough).reshape(-1, 4).T)

    @property
    def weight(self) -> Floats:
        """Means of delays are as uncertain as they are long."""
        weight: Floats = self.answers / np.maximum(self.delay, 1e-9) ** 2
        return weight

    @property
    def monotone(self) -> Floats:
        """The delay, never falling with load."""
        return isotonic(self.delay, self.answers)

    @property
    def falls(self) -> bool:
        """Whether the delay gets shorter the more is in flight, beyond chance."""
        slope, error = slope_of(self.load, self.delay, self.weight)
        return bool(slope < FALLING * error)

    def refusal(self) -> str:
        """Why nothing can be said of a knee; empty when something can."""
        if self.answers.sum() < MIN_ANSWERS:
            return f"Only {self.answers.sum():.0f} answers seen, {MIN_ANSWERS:.0f} are needed"
        if self.load.size < MIN_BUCKETS:
            return f"Only {self.load.size} different loads seen, {MIN_BUCKETS} are needed"
        return "Answers come sooner the more is in flight, so something else moves them" if self.falls else ""

    def bend(self) -> Bend | None:
        """Where it turns upwards, if that is sure enough."""
        bend = bend_of(self.load, self.monotone, self.weight)
        if bend is None or bend.gain < MIN_GAIN or bend.bend < (STEEPER - 1) * bend.slope:
            return None
        late = (self.load > bend.at) & (self.monotone > LATE * bend.before(bend.at))
        return bend if self.answers[late].sum() >= SURE_ANSWERS else None

    def beyond(self, bend: Bend) -> tuple[float, float]:
        """Where it bends, and the answers seen beyond."""
        return bend.at, float(self.answers[self.load > bend.at].sum())

    def in_work(self, bend: Bend, share: float) -> tuple[float, float]:
        """Requests in work on a full replica, and the answers seen beyond; ``share`` of all answers are seen in this signal.

        Beyond the bend it is what is in flight - rate x lateness (Little's law), each bucket weighing as long as it was seen.
        """
        at, answers = self.beyond(bend)
        full = (self.load > WIDTH * at) & (self.load < REACH * at)
        if self.answers[full].sum() < SURE_ANSWERS:
            return at, answers
        late = self.answers * np.maximum(0.0, self.delay - bend.before(at)) / share
        return max(at, float((self.load * self.span - late)[full].sum() / self.span[full].sum())), answers

    @property
    def alone(self) -> float:
        """What an answer takes on an idle replica."""
        bend = bend_of(self.load, self.monotone, self.weight)
        return bend.level if bend is not None else float(self.monotone[0])

    def crosses(self, limit: float) -> float:
        """The load at which the mean passes ``limit``; infinite if it was not seen to."""
        found = first_above(self.load, self.monotone, limit) if self.load.size else None
        return math.inf if found is None else found

    def highest(self) -> float:
        """The highest load at or above which enough answers were seen."""
        seen = np.cumsum(self.answers[::-1])[::-1] >= SURE_ANSWERS
        return float(self.load[seen].max())


def _of_hardware(state: Capacity, hardware: str) -> Capacity:
    """The same, or what is known of other hardware; what is known of the present one is kept."""
    if hardware == state.hardware:
        return state
    former = dict(state.former)
    if state.evidence:
        former[state.hardware] = state.evidence
    found = former.pop(hardware, {})
    kept = list(former.items())[-KEPT_HARDWARE:]
    return Capacity(hardware, found, None, former=dict(kept))


def _age(state: Capacity, now: float) -> Capacity:
    """Old evidence fades, in steps."""
    if state.aged is None:
        return replace(state, aged=now)
    if now - state.aged < AGEING_SECONDS:
        return state
    left = 0.5 ** ((now - state.aged) / HALF_LIFE_SECONDS)
    faded = {bucket: Tally().plus(tally, left) for bucket, tally in state.evidence.items()}
    return replace(state, evidence=faded, aged=now)


def _add(evidence: Evidence, bucket: int, tally: Tally) -> Evidence:
    return {**evidence, bucket: evidence.get(bucket, Tally()).plus(tally)}


def _watch(state: Capacity, bucket: int, tally: Tally, now: float) -> Capacity:
    """Compare with what was learned; after `STRIKES` blocks that do not fit, all but what they hold is of the past."""
    known = state.evidence.get(bucket, Tally())
    if known.firsts + known.tokens + known.latencies < SURE_ANSWERS:
        return state  # nothing to compare with
    before = state.block or Block(now)
    block = _compare(before, bucket, tally, known)
    if now - block.since < BLOCK_SECONDS or block.answers < BLOCK_ANSWERS:
        return replace(state, block=block)
    if not block.unlike:
        refuted = block.highest >= block.struck
        return replace(state, block=Block(now) if refuted else Block(now, strikes=block.strikes, struck=block.struck, fresh=block.fresh))
    if block.strikes + 1 < STRIKES:
        return replace(state, block=Block(now, strikes=block.strikes + 1, struck=block.highest - NEAR, fresh=block.fresh))
    return replace(state, evidence=before.fresh, deploys=state.deploys + 1, block=None)


def _compare(block: Block, bucket: int, tally: Tally, known: Tally) -> Block:
    """The block with one sample more, and what was to be expected of it."""
    return Block(
        block.since,
        block.first + tally.first * bool(known.firsts),
        block.expected_first + _times(tally.firsts, known.first, known.firsts),
        block.token + tally.token * bool(known.tokens),
        block.expected_token + _times(tally.tokens, known.token, known.tokens),
        block.answers + max(tally.firsts, tally.latencies),
        block.strikes,
        max(block.highest, bucket),
        block.struck,
        _add(block.fresh, bucket, tally),
    )


def _times(count: float, total: float, of: float) -> float:
    """``count`` times the mean of a total of ``of``; 0 without one."""
    return count * total / of if of else 0.0


def _differ(seen: float, expected: float, times: float) -> bool:
    return min(seen, expected) > 0 and not 1 / times <= seen / expected <= times
