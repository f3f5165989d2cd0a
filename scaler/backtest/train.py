"""Trains the network that ships with the program: ``python -m scaler.backtest.train TRACE... [--clients FILE] [--out FILE]``.

Every trace is an endpoint, scaled as backtests scale it. A ``*_clients_600s`` file adds many more: each client with enough traffic, and
mixtures of them drawn from a seed, with arrivals redrawn inside the ten minutes. They weigh less, as they are one family. Same files, same
machine, same bytes.
"""

import argparse
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from scaler.backtest.demand import demand_series
from scaler.backtest.descent import Schooling, together, train
from scaler.backtest.foreseen import record_of
from scaler.backtest.synthetic import draw_peak, endpoints, scaled
from scaler.policy.forecast import Network
from scaler.policy.forecast.columns import features
from scaler.policy.forecast.model import fitting, steps_of, targets, weights
from scaler.policy.forecast.network import Singles, with_lead
from scaler.policy.forecast.record import DAY
from scaler.policy.forecast.windows import Floats
from scaler.pooled import FILE, write
from scaler.world.workload import read_trace

LEADS = (30.0, 60.0, 120.0, 180.0, 300.0, 600.0, 1200.0)
"""Seconds."""
SEED = 2
SCHOOLING = Schooling()
NETWORKS = 2
"""Trained with dice of their own, and averaged."""
TAUS = (0.8, 0.9, 0.95, 0.98)
ROWS = 600
"""Instants of each endpoint and lead, drawn from its second day on; a trace has `TRACE_ROWS`."""
TRACE_ROWS = 2500
MIXTURES = 60
"""Endpoints mixed from the traces."""
SPAN_DAYS = 14
"""Length of a mixture."""
SYNTHETIC_WEIGHT = 0.1
"""Weight of a synthetic endpoint against a trace."""


@dataclass(frozen=True, slots=True)
class Example:
    """An endpoint to learn from: a record's values, and how much it counts."""

    name: str
    values: Floats
    rows: int = TRACE_ROWS
    weight: float = 1.0


def main(argv: Sequence[str] | None = None) -> int:
    """Train and write."""
    options = argparse.ArgumentParser(prog="python -m scaler.backtest.train", description=__doc__)
    options.add_argument("traces", nargs="+", type=Path, metavar="TRACE")
    options.add_argument("--clients", type=Path, metavar="FILE", help="counts of many clients per 600 s")
    options.add_argument("--out", type=Path, default=FILE, metavar="FILE")
    chosen = options.parse_args(argv)
    given = list(traces(chosen.traces))
    examples = [*given, *mixtures(given), *(synthetic(chosen.clients) if chosen.clients else ())]
    write(pooled(examples), chosen.out)
    sys.stdout.write(f"{chosen.out}: trained on {len(examples)} endpoints\n")
    return 0


def traces(paths: Iterable[Path]) -> Iterator[Example]:
    """An example of each trace."""
    for path in paths:
        yield Example(path.name, record_of(demand_series(read_trace(path))))


def synthetic(path: Path) -> Iterator[Example]:
    """Examples made from a file of clients."""
    for made in endpoints(path):
        yield Example(made.name, made.values, ROWS, SYNTHETIC_WEIGHT)


def mixtures(examples: Sequence[Example], count: int = MIXTURES) -> Iterator[Example]:
    """Endpoints of which two or three traces are parts, each from a day of its own on."""
    dice = np.random.default_rng(SEED)
    span = SPAN_DAYS * DAY
    long = [example.values for example in examples if example.values.size >= span]
    for number in range(count if long else 0):
        members = dice.integers(0, len(long), int(dice.integers(2, 4)))
        shares = dice.dirichlet(np.ones(members.size))
        parts = [long[member][(start := _day(long[member].size - span, dice)) : start + span] for member in members]
        mixed = np.sum([part / part.mean() * share for part, share in zip(parts, shares, strict=True)], axis=0)
        yield Example(f"mixture {number} of traces", scaled(mixed, draw_peak(dice)), ROWS, SYNTHETIC_WEIGHT)


def _day(spare: int, dice: np.random.Generator) -> int:
    return DAY * int(dice.integers(0, spare // DAY + 1))


def pooled(examples: Sequence[Example], *, leads: Sequence[float] = LEADS, how: Schooling = SCHOOLING, count: int = NETWORKS) -> Network:
    """For all examples and leads: ``count`` networks that differ in their dice, taken together."""
    dice = np.random.default_rng(0)
    parts = [_rows(example, steps_of(lead), dice) for example in examples for lead in leads]
    names = features(np.ones(1), np.array([1]), 1).names
    inputs, growths, weight = (np.concatenate(column) for column in zip(*parts, strict=True))
    schools = [replace(how, seed=how.seed + number) for number in range(count)]
    return together([train(inputs, growths, weight, names, taus=TAUS, how=each) for each in schools])


def _rows(example: Example, lead: int, dice: np.random.Generator) -> tuple[Singles, Singles, Singles]:
    """Inputs, growths and weights of one endpoint at one lead."""
    at = np.sort(dice.integers(DAY, fitting(example.values.size, lead)[-1], example.rows))
    seen = features(example.values, at, lead)
    growths = (targets(example.values, at, lead) - seen.level).T
    weight = weights(seen.level) * example.weight / example.rows
    return with_lead(seen.values, lead), growths.astype(np.float32), weight.astype(np.float32)


if __name__ == "__main__":
    sys.exit(main())
