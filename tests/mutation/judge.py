"""A plugin that plays each mutant against the tests that call its function, in a fork of a session that has collected them already.

First every test runs as it is, to see that it passes, how long it takes and what it calls. Then, for each mutant, the quickest tests that
call its function run first, and the first failure kills it. Answers a line a mutant on `VERDICTS`.
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
PATIENCE_SECONDS = 5.0
"""CPU time of the tests that a mutant is played against; slower ones are left out."""
SLACK, SLACK_SECONDS = 4, 10
"""A mutant with which tests take so many times their usual time and so many seconds more hangs."""
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
    if _play(_quickest(trials), {}) is not Verdict.SURVIVED:
        pytest.exit("the tests fail in a fork without any mutant", returncode=1)
    gc.freeze()  # forks share what is there
    with Path(os.environ[VERDICTS]).open("a") as out:
        for mutant in Path(os.environ[MUTANTS]).read_text().split():
            print(json.dumps((mutant, _judge(mutant, trials))), file=out, flush=True)
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


def _judge(mutant: str, trials: Sequence[Trial]) -> Verdict:
    stem, name = mutant.partition("__mutmut_")[0], mutant.rpartition(".")[2]
    callers = [trial for trial in trials if stem in trial.calls]
    return _play(_quickest(callers), {stem: name}) if callers else Verdict.NO_TEST


def _quickest(trials: Sequence[Trial]) -> Sequence[Trial]:
    """As many as `PATIENCE_SECONDS` last for, at least one; ``trials`` begin with the quickest."""
    spent = accumulate(trial.seconds for trial in trials)
    return [trial for trial, seconds in zip(trials, spent, strict=True) if seconds <= PATIENCE_SECONDS] or trials[:1]


def _play(trials: Sequence[Trial], mutants: Mapping[str, str]) -> Verdict:
    """In a fork, ``mutants`` by stem in their functions' places, up to the first failure."""
    seconds = ceil(SLACK * sum(trial.seconds for trial in trials) + SLACK_SECONDS)
    child = os.fork()
    if not child:
        failed = True
        try:
            resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
            resource.setrlimit(resource.RLIMIT_AS, (MAX_BYTES, MAX_BYTES))
            chosen.update(mutants)
            items = [trial.item for trial in trials]
            failed = not all(_passes(item, following) for item, following in zip(items, [*items[1:], None], strict=True))
        finally:
            os._exit(failed)
    _, status = os.waitpid(child, 0)
    if not os.WIFEXITED(status):
        return Verdict.TIMEOUT
    return Verdict.KILLED if os.WEXITSTATUS(status) else Verdict.SURVIVED
