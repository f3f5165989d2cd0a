"""A plugin that plays each mutant against the tests that call its function, in a fork of a session that has collected them already.

First every test runs as it is, to see that it passes, how long it takes and what it calls. Then, for each mutant, the tests that call its
function run, first the one that killed the mutant before it, then the quickest; the first failure kills it. `VERDICTS` gets a line each.
"""

import gc
import json
import os
import resource
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import accumulate
from math import ceil
from pathlib import Path
from time import process_time
from typing import Literal

import pytest
from _pytest.runner import runtestprotocol
from hypothesis import Phase, settings

from tests.mutation.trampoline import chosen, touched

VERDICTS = "MUTATION_VERDICTS"
"""Environment: the file that takes the answers."""
MUTANTS = "MUTATION_MUTANTS"
"""Environment: a file with one mutant a line, ``module.x_function__mutmut_number``."""
PATIENCE_SECONDS = 2.0
"""CPU time of the tests that a mutant is played against, all together; the slowest are left out."""
SLACK, SLACK_SECONDS = 4, 5
"""A mutant with which tests take so many times their usual time and so many seconds more hangs."""
LAST_CODE = 255
"""Exit codes are bytes."""
MAX_BYTES = 4 << 30
"""Address space of a fork; a mutant may ask for the moon."""

settings.register_profile("mutation", deadline=None, database=None, derandomize=True, phases=(Phase.explicit, Phase.generate))
settings.load_profile("mutation")


class Verdict(StrEnum):
    """What became of a mutant."""

    KILLED = "killed"
    TIMEOUT = "timeout"
    SURVIVED = "survived"
    NO_TEST = "no test"

    @property
    def caught(self) -> bool:
        """Whether the tests have noticed."""
        return self in {Verdict.KILLED, Verdict.TIMEOUT}


@dataclass(frozen=True, slots=True)
class Trial:
    """A test, the CPU seconds that it takes, and the functions that it calls."""

    item: pytest.Item
    seconds: float
    calls: frozenset[str]


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool:
    """Instead of the tests alone."""
    trials = sorted((_try(item) for item in session.items), key=lambda trial: trial.seconds)
    if _play(_quickest(trials), {})[0] is not Verdict.SURVIVED:
        pytest.exit("the tests fail in a fork without any mutant", returncode=1)
    gc.freeze()  # forks share what is there
    killers: dict[str, Trial] = {}
    with Path(os.environ[VERDICTS]).open("a") as out:
        for mutant in Path(os.environ[MUTANTS]).read_text().split():
            print(json.dumps((mutant, _judge(mutant, trials, killers))), file=out, flush=True)
    return True


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> pytest.TestReport:
    """No more than the outcome: to explain a failure takes longer than the test."""
    assert call.when != "collect"
    error = call.excinfo.value if call.excinfo is not None else None
    outcome: Literal["passed", "failed", "skipped"] = "passed" if error is None else "failed"
    if isinstance(error, pytest.skip.Exception):
        outcome = "skipped"
    return pytest.TestReport(item.nodeid, item.location, {}, outcome, None, call.when)


def _try(item: pytest.Item) -> Trial:
    """Run a test with the originals."""
    touched.clear()
    begun = process_time()
    if not _passes(item, None):
        pytest.exit(f"{item.nodeid} fails without any mutant", returncode=1)
    return Trial(item, process_time() - begun, frozenset(touched))


def _passes(item: pytest.Item, following: pytest.Item | None) -> bool:
    return not any(report.failed for report in runtestprotocol(item, log=False, nextitem=following))


def _judge(mutant: str, trials: Sequence[Trial], killers: dict[str, Trial]) -> Verdict:
    """``killers``: by function, the test that killed its last mutant; kept up to date."""
    stem, name = mutant.partition("__mutmut_")[0], mutant.rpartition(".")[2]
    callers = [trial for trial in trials if stem in trial.calls]
    if not callers:
        return Verdict.NO_TEST
    verdict, killer = _play(sorted(_quickest(callers), key=lambda trial: trial is not killers.get(stem)), {stem: name})
    if killer is not None:
        killers[stem] = killer
    return verdict


def _quickest(trials: Sequence[Trial]) -> Sequence[Trial]:
    """As many as `PATIENCE_SECONDS` last for, at least one; ``trials`` begin with the quickest."""
    spent = accumulate(trial.seconds for trial in trials)
    return [trial for trial, seconds in zip(trials, spent, strict=True) if seconds <= PATIENCE_SECONDS] or trials[:1]


def _play(trials: Sequence[Trial], mutants: Mapping[str, str]) -> tuple[Verdict, Trial | None]:
    """In a fork, ``mutants`` by stem in their functions' places, up to the first failure; and the test that failed."""
    seconds = ceil(SLACK * sum(trial.seconds for trial in trials) + SLACK_SECONDS)
    child = os.fork()
    if not child:
        failed = 1
        try:
            resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
            resource.setrlimit(resource.RLIMIT_AS, (MAX_BYTES, MAX_BYTES))
            chosen.update(mutants)
            failed = _first_failure([trial.item for trial in trials])
        finally:
            os._exit(min(failed, LAST_CODE))
    _, status = os.waitpid(child, 0)
    if not os.WIFEXITED(status):
        return Verdict.TIMEOUT, None
    failed = os.WEXITSTATUS(status)
    return (Verdict.KILLED, trials[failed - 1]) if failed else (Verdict.SURVIVED, None)


def _first_failure(items: Sequence[pytest.Item]) -> int:
    """Its number, counted from 1; 0 if there is none."""
    each = enumerate(zip(items, [*items[1:], None], strict=True), 1)
    return next((number for number, (item, following) in each if not _passes(item, following)), 0)
