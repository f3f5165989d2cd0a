"""Requests as they came to a real service: trace files, and arrivals drawn from them.

A trace is a CSV file (plain or .gz) with the columns ``t_seconds,requests,input_tokens,output_tokens``: the start of a bucket, and the
sums over it. Empty buckets are omitted; token columns may be blank. The bucket's width is the file name's suffix (``_30s``), or else
the smallest gap between rows.
"""

import csv
import gzip
import math
import random
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TextIO, cast

MAX_ROWS = 5_000_000
"""A longer file is refused."""
UNREADABLE = (OSError, EOFError, UnicodeDecodeError, csv.Error, zlib.error)
"""What reading a table may raise, whatever is in the file."""
COLUMNS = ["t_seconds", "requests", "input_tokens", "output_tokens"]
OFFICE_DAY = Path(__file__).parent / "traces" / "servegen_office_day_30s.csv.gz"
"""The bundled trace: one day of a client with office hours; see the README beside it."""

DEFAULT_TOKENS = (512.0, 128.0)
"""Mean input and output of a request where the trace has no tokens."""
TOKEN_SPREAD = (0.8, 0.6)
"""Standard deviation of the logarithm of input and output tokens within a bucket."""
TOKEN_CAP = 8.0
"""No request is longer than this many times its bucket's mean."""
STREAMED_SHARE = 0.5
"""Share of requests that are streamed."""


class TraceError(ValueError):
    """The file is no trace; the message names file, line and what was expected."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """``requests`` that came within one bucket from ``at`` seconds on, and their mean tokens."""

    at: float
    requests: int
    mean_input: float
    mean_output: float


@dataclass(frozen=True, slots=True)
class Trace:
    """Buckets of equal width (seconds) in time order; what is missing in between is empty."""

    bucket_seconds: float
    buckets: tuple[Bucket, ...]


@dataclass(frozen=True, slots=True)
class Arrival:
    """One request, ``at`` seconds from the beginning."""

    at: float
    input_tokens: int
    output_tokens: int
    streamed: bool


def read_trace(path: Path) -> Trace:
    """Read a trace file. Raises `TraceError`."""
    try:
        with open_table(path) as file:
            buckets = tuple(_buckets(path, file))
    except UNREADABLE as error:
        raise TraceError(f"{path}: cannot be read: {error}") from error
    if not buckets:
        raise TraceError(f"{path}: expected at least one row")
    gap = min((later.at - earlier.at for earlier, later in pairwise(buckets)), default=0.0)
    named = re.search(r"_(\d+)s\.csv(\.gz)?$", path.name)
    width = float(named[1]) if named else gap
    if width <= 0:
        raise TraceError(f"{path}: expected a bucket width in the file name, such as _30s.csv, or two rows")
    if 0 < gap < width:
        raise TraceError(f"{path}: rows {gap:g} s apart overlap in buckets of {width:g} s")
    return Trace(width, buckets)


def open_table(path: Path) -> TextIO:
    """A CSV file, gzipped if its name ends in ``.gz``; the mark that spreadsheets put at the beginning is passed over."""
    opens = gzip.open if path.suffix == ".gz" else open
    return cast("TextIO", opens(path, "rt", encoding="utf-8-sig", newline=""))


def _buckets(path: Path, file: TextIO) -> Iterator[Bucket]:
    rows = csv.reader(file)
    if next(rows, None) != COLUMNS:
        raise TraceError(f"{path}:1: expected the columns {','.join(COLUMNS)}")
    before = -math.inf
    for line, row in enumerate(rows, start=2):
        bucket = _bucket(f"{path}:{line}", row)
        if bucket.at <= before:
            raise TraceError(f"{path}:{line}: expected t_seconds above {before:g}, got {bucket.at:g}")
        if line > MAX_ROWS:
            raise TraceError(f"{path}:{line}: expected no more than {MAX_ROWS} rows")
        before = bucket.at
        yield bucket


def _bucket(where: str, row: Sequence[str]) -> Bucket:
    try:
        at, requests, input_tokens, output_tokens = row
        count = int(requests)
        start = float(at)
        sums = [None if not text else float(text) for text in (input_tokens, output_tokens)]
    except ValueError as error:
        raise TraceError(f"{where}: expected four numbers, the last two possibly blank, got {','.join(row)!r}") from error
    if count < 0 or not math.isfinite(start) or any(total is not None and not 0 <= total < math.inf for total in sums):
        raise TraceError(f"{where}: expected finite numbers, none negative, got {','.join(row)!r}")
    means = [default if total is None else total / max(1, count) for total, default in zip(sums, DEFAULT_TOKENS, strict=True)]
    return Bucket(start, count, *means)


def arrivals(trace: Trace, *, start: float = 0.0, seconds: float, requests: int, seed: int) -> list[Arrival]:
    """About ``requests`` of those that came from ``start`` on within ``seconds``; all of them if there were no more.

    Each is kept with the same probability, so buckets thin binomially. Within a bucket they are spread evenly at random, and their
    tokens are log-normal around the bucket's mean. ``at`` counts from ``start``.
    """
    window = [bucket for bucket in trace.buckets if start <= bucket.at and bucket.at + trace.bucket_seconds <= start + seconds]
    total = sum(bucket.requests for bucket in window)
    rng = random.Random(seed)
    kept: list[Arrival] = []
    share = requests / max(1, total)
    for bucket in window:
        count = _kept_of(bucket.requests, share, rng)
        times = sorted(bucket.at - start + rng.random() * trace.bucket_seconds for _ in range(count))
        kept.extend(_arrival(at, bucket, rng) for at in times)
    return kept


def _kept_of(requests: int, share: float, rng: random.Random) -> int:
    """How many of a bucket are kept: binomial. Gaps between the kept are geometric, so the cost is that of the kept, not of all."""
    count = 0
    position = _gap(share, rng)
    while position < requests:
        count += 1
        position += 1 + _gap(share, rng)
    return count


def _gap(share: float, rng: random.Random) -> float:
    """How many are left out before the next that is kept: geometric, by inversion."""
    if share >= 1:
        return 0
    if share <= 0:
        return math.inf
    return math.floor(math.log(1 - rng.random()) / math.log1p(-share))


def _arrival(at: float, bucket: Bucket, rng: random.Random) -> Arrival:
    input_tokens, output_tokens = (
        _tokens(mean, sigma, rng) for mean, sigma in zip((bucket.mean_input, bucket.mean_output), TOKEN_SPREAD, strict=True)
    )
    return Arrival(at, input_tokens, output_tokens, rng.random() < STREAMED_SHARE)


def _tokens(mean: float, sigma: float, rng: random.Random) -> int:
    """Log-normal with this mean (before the cap), at least 1."""
    if mean <= 0:
        return 1
    drawn = mean * math.exp(rng.gauss(0.0, sigma) - sigma * sigma / 2)
    return max(1, round(min(drawn, TOKEN_CAP * mean)))
