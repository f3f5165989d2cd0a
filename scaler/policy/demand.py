"""Demand in replicas, from what a proxy can see.

What is offered is the work that arrives: requests, each as many seconds in flight as its kind takes on replicas that are not overloaded.
How many that are is learned from answers: a mean of the last half hour, corrected for tokens. The price of a token in seconds is learned
over a day; what the requests of this moment weigh is not known before they are answered, so it is taken from the last minutes' answers.
Rate, input and output move independently of each other.

In units of replicas: seconds in flight per second, over the requests in flight that one replica serves well (Little's law).
"""

from dataclasses import dataclass, replace

from scaler.model import Sample

LEVEL_HALF_LIFE = 1800.0
"""Seconds in which the mean service time forgets half."""
MIX_HALF_LIFE = 300.0
"""Seconds in which the present mix of tokens forgets half."""
PRICE_HALF_LIFE = 86_400.0
"""Seconds in which the prices of tokens forget half."""
MIN_ANSWERS = 5.0
"""Answers below which nothing is known of service times."""
RIDGE_ANSWERS = 20.0
"""Answers that the belief weighs as much as that tokens cost nothing."""
SETTLE_SECONDS, SETTLE_SERVICES = 60.0, 2.0
"""After an overload, answers still tell of the queue for so long, and for so many service times."""
HELD = 0.1
"""Share of requests in flight that may be on their way through the proxy; more are held back by it."""
ROUNDING = 1e-9
"""Of floating point, forgiven at the edge of an overload."""
FAILED = 0.1
"""Share of ends without a good answer with which a sample says nothing: their tokens count, but not their time."""


@dataclass(frozen=True, slots=True)
class Load:
    """What was asked of an endpoint between ``start`` and ``end`` (monotonic seconds), in replicas.

    offered:      kept busy by what arrived
    concurrency:  kept busy by what was in flight, with everything that waited
    """

    start: float
    end: float
    offered: float
    concurrency: float


@dataclass(frozen=True, slots=True)
class Means:
    """Answers, fading with time, and their sums: tokens in and out, seconds of service."""

    answers: float = 0.0
    inputs: float = 0.0
    outputs: float = 0.0
    seconds: float = 0.0

    def plus(self, left: float, answers: float, inputs: float, outputs: float, seconds: float) -> "Means":
        """With more answers, after what was there has faded to ``left``."""
        return Means(
            self.answers * left + answers, self.inputs * left + inputs, self.outputs * left + outputs, self.seconds * left + seconds
        )


@dataclass(frozen=True, slots=True)
class Prices:
    """Weighted products of what deviates from the level: input, output, seconds; what tokens cost can be read off them."""

    answers: float = 0.0
    ii: float = 0.0
    io: float = 0.0
    oo: float = 0.0
    iy: float = 0.0
    oy: float = 0.0

    def plus(self, left: float, weight: float, i: float, o: float, y: float) -> "Prices":
        """With one deviation more, after what was there has faded to ``left``."""
        return Prices(
            self.answers * left + weight,
            self.ii * left + weight * i * i,
            self.io * left + weight * i * o,
            self.oo * left + weight * o * o,
            self.iy * left + weight * i * y,
            self.oy * left + weight * o * y,
        )

    @property
    def per_token(self) -> tuple[float, float]:
        """Seconds per input and per output token, by ridge regression; none is negative."""
        ridge = 1 + RIDGE_ANSWERS / self.answers if self.answers > 0 else 1.0
        ii, oo = self.ii * ridge, self.oo * ridge
        determinant = ii * oo - self.io * self.io
        if determinant > 0:
            inputs = (self.iy * oo - self.oy * self.io) / determinant
            outputs = (self.oy * ii - self.iy * self.io) / determinant
            if inputs >= 0 and outputs >= 0:
                return inputs, outputs
        alone = (max(0.0, self.iy / ii) if ii > 0 else 0.0, max(0.0, self.oy / oo) if oo > 0 else 0.0)
        return (alone[0], 0.0) if alone[0] * self.iy > alone[1] * self.oy else (0.0, alone[1])


@dataclass(frozen=True, slots=True)
class Demand:
    """All that is known of service times.

    level, mix:   of the last half hour and the last minutes
    settled_at:   when the answers to an overload have passed (monotonic seconds)
    """

    level: Means = Means()
    mix: Means = Means()
    prices: Prices = Prices()
    settled_at: float = float("-inf")

    @property
    def service_seconds(self) -> float | None:
        """What a request of this moment takes on a replica that is not overloaded; None while nothing is known."""
        level, mix = self.level, self.mix
        if level.answers < MIN_ANSWERS:
            return None
        usual = level.seconds / level.answers
        if not mix.answers:
            return usual
        inputs, outputs = self.prices.per_token
        more = inputs * (mix.inputs / mix.answers - level.inputs / level.answers)
        more += outputs * (mix.outputs / mix.answers - level.outputs / level.answers)
        return max(usual + more, usual / 10)


def observe(state: Demand, sample: Sample, ready: int | None, capacity: float) -> Demand:
    """Take note of a sample that ``ready`` replicas served, ``capacity`` requests in flight each; None: their number is not known."""
    answers = sample.latency_count
    if answers:
        left = 0.5 ** ((sample.end - sample.start) / MIX_HALF_LIFE)
        state = replace(state, mix=state.mix.plus(left, answers, sample.input_tokens, sample.output_tokens, sample.latency_sum))
    if ready is None:
        return state
    if sample.waiting > HELD * sample.in_flight or sample.concurrency > ready * capacity * (1 + ROUNDING):
        settling = max(SETTLE_SECONDS, SETTLE_SERVICES * (state.service_seconds or 0.0))
        return replace(state, settled_at=sample.end + settling)
    if not answers or sample.end < state.settled_at or sum(sample.completions.values()) > (1 + FAILED) * answers:
        return state
    return _learn(state, sample)


def _learn(state: Demand, sample: Sample) -> Demand:
    """From answers that no queue has delayed."""
    answers, seconds = sample.latency_count, sample.end - sample.start
    level = state.level.plus(0.5 ** (seconds / LEVEL_HALF_LIFE), answers, sample.input_tokens, sample.output_tokens, sample.latency_sum)
    prices = state.prices.plus(
        0.5 ** (seconds / PRICE_HALF_LIFE),
        answers,
        sample.input_tokens / answers - level.inputs / level.answers,
        sample.output_tokens / answers - level.outputs / level.answers,
        sample.latency_sum / answers - level.seconds / level.answers,
    )
    return replace(state, level=level, prices=prices)


def estimate(state: Demand, sample: Sample, capacity: float) -> Load:
    """The load of a sample. While service times are not known, what is in flight stands for what is offered."""
    concurrency = sample.concurrency / capacity
    service = state.service_seconds
    if service is None:
        return Load(sample.start, sample.end, concurrency, concurrency)
    rate = sample.arrivals / (sample.end - sample.start)
    return Load(sample.start, sample.end, rate * service / capacity, concurrency)
