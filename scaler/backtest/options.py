"""What was asked for, checked before anything is played."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from scaler.backtest.activity import SUFFIX, is_activity
from scaler.backtest.live import Native
from scaler.backtest.policies import CLAIRVOYANT, NAMES, OURS
from scaler.policy.baselines import BASELINES

UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
ALL = "all"
"""Stands for every policy that the model at hand has a use for."""
IDLE = tuple(name for name in BASELINES if name.startswith("idle_"))
"""Timers that put an endpoint to sleep; of use only where one may sleep."""
AWAKE = (OURS, *(name for name in BASELINES if name not in IDLE), *CLAIRVOYANT)
"""All the others."""

Mode = Literal["fluid", "requests"]
"""How finely a trace is played: as work that flows, or request by request on the platform in a box."""


class BadUsage(ValueError):  # noqa: N818 (reads as a sentence: "except BadUsage")
    """An option or a file that cannot be used as it is; the message names it and says what was expected."""


@dataclass(frozen=True, slots=True)
class Options:
    """A backtest. Raises `BadUsage` where the figures contradict each other.

    cold_starts:     seconds
    peak_replicas:   what the peak is scaled to; None: `PEAK_REPLICAS`, and what a store has recorded as it was
    warm_up_seconds: history that is played but not scored
    objective:       share of work that should be on time; what the oracle and tuned targets have to attain
    price:           dollars of a replica for an hour
    tune:            whether each baseline is also shown with the target that would have been best
    native, burst_replicas: what stands between scaler's bounds, and how far apart these are
    begin_seconds, length_seconds: of request mode, what part of a trace is played
    from_store:      whether ``traces`` are stores of the daemon
    warm_share:      share of calls that should find their endpoint awake, where it may sleep
    """

    traces: tuple[Path, ...]
    policies: tuple[str, ...] = (OURS,)
    cold_starts: tuple[float, ...] = (60.0, 180.0, 600.0)
    peak_replicas: float | None = None
    max_replicas: int = 24
    objective: float = 0.99
    warm_up_seconds: float = 7 * 86400.0
    price: float = 10.8
    tune: bool = False
    native: Native = "pinned"
    burst_replicas: int = 0
    mode: Mode = "fluid"
    begin_seconds: float = 0.0
    length_seconds: float = math.inf
    from_store: bool = False
    warm_share: float | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be played."""
        _require(
            self.peak_replicas is None or 0 < self.peak_replicas < math.inf, "--peak-replicas", "a positive number", self.peak_replicas
        )
        _require(1 <= self.max_replicas < MOST_REPLICAS, "--max-replicas", f"a number from 1 to {MOST_REPLICAS - 1}", self.max_replicas)
        _require(0 < self.objective < 1, "--objective", "a share between 0 and 1", self.objective)
        _require(0 <= self.price < math.inf, "--price", "dollars, not negative", self.price)
        _require(self.burst_replicas >= 0, "--burst-replicas", "0 or more", self.burst_replicas)
        _require(self.warm_share is None or 0 < self.warm_share < 1, "--warm-share", "a share between 0 and 1", self.warm_share)
        self._require_use()
        _require(not (self.tune and self.mode == "requests"), "--tune", "--mode fluid", "--mode requests")
        _require(not (self.from_store and self.mode == "requests"), "--from-store", "--mode fluid", "--mode requests")
        whole = self.begin_seconds == 0 and self.length_seconds == math.inf
        _require(whole or self.mode == "requests", "--begin and --for", "--mode requests", f"--mode {self.mode}")
        names = [trace_name(path) for path in self.traces]
        _require(len(set(names)) == len(names), "TRACE", "files of different names", ", ".join(names))

    def _require_use(self) -> None:
        """Refuse what would change nothing: whoever asks for it means something else."""
        clients = [path.name for path in self.traces if is_activity(path) and not self.from_store]
        named = ", ".join(clients) or "none"
        _require(self.warm_share is None or bool(clients), "--warm-share", f"a file of clients (*{SUFFIX}.csv)", named)
        stays_up = len(clients) < len(self.traces) or not (self.tune or self.mode == "requests" or self.native != "pinned")
        _require(stays_up, "--tune, --mode and --native", "traces of an endpoint that stays up", named)
        fixed = self.mode == "fluid" and self.native == "pinned"
        _require(not (fixed and self.burst_replicas), "--burst-replicas", "--native v1 or v2", f"--native {self.native}")


MOST_REPLICAS = 60
"""From here on the fluid model does not cover it."""


def _require(holds: bool, option: str, expected: str, got: object) -> None:  # noqa: FBT001 (the condition itself)
    if not holds:
        raise BadUsage(f"{option}: expected {expected}, got {got}")


def trace_name(path: Path) -> str:
    """What a trace is called in the results: the file's name without what it ends in."""
    return path.name.removesuffix(".gz").removesuffix(".csv")


def seconds_of(text: str, option: str) -> float:
    """``7d``, ``12h``, ``30m``, ``90s`` or ``90`` as seconds. Raises `BadUsage`."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", text.strip())
    if not found:
        raise BadUsage(f"{option}: expected a time such as 7d, 12h, 30m or 90s, got {text!r}")
    return float(found[1]) * UNITS[found[2]]


def cold_starts_of(text: str) -> tuple[float, ...]:
    """Times between commas, all above zero, each once. Raises `BadUsage`."""
    times = tuple(seconds_of(part, "--cold-start") for part in text.split(","))
    _require(min(times) > 0 and len(set(times)) == len(times), "--cold-start", "different times above 0", text)
    return times


def policies_of(text: str) -> tuple[str, ...]:
    """Names between commas, `ALL` possibly among them. Raises `BadUsage`."""
    names = tuple(part.strip() for part in text.split(","))
    unknown = [name for name in names if name not in (ALL, *NAMES)]
    _require(not unknown, "--policy", f"names out of {ALL}, {', '.join(NAMES)}", ", ".join(unknown))
    return names


def named(policies: Sequence[str], everybody: Sequence[str] = AWAKE) -> tuple[str, ...]:
    """Each policy once; `ALL` stands for ``everybody``."""
    return tuple(dict.fromkeys(each for name in policies for each in (everybody if name == ALL else (name,))))


def without_repeats(paths: Sequence[Path]) -> tuple[Path, ...]:
    """The same file twice is one."""
    return tuple(dict.fromkeys(paths))
