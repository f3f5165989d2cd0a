"""Mutation testing: mutmut writes the mutants, `tests.mutation.judge` plays them against the tests, and this counts.

What is mutated and which tests play stands in pyproject.toml under ``tool.mutmut``. The mutants live in ``mutants/``, a copy of the project
whose functions are trampolines to the original or to one of its mutants.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from difflib import ndiff
from fnmatch import fnmatch
from pathlib import Path
from time import sleep

from mutmut.configuration import config
from mutmut.mutation.file_mutation import MutatedFile, mutate_file_contents
from mutmut.utils.file_utils import walk_mutatable_files
from mutmut.utils.format_utils import get_mutant_name
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress
from rich.table import Table

from tests.mutation.judge import MUTANTS, VERDICTS, Verdict

ROOT = Path(__file__).parents[2]
PLACE = ROOT / "mutants"
GOAL = 0.85
"""Of all mutants, so many are to be found by a test."""

say = Console(highlight=False, markup=False, soft_wrap=True, width=120).print


def main() -> int:
    """Exit code 0 if the goal is reached."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("mutants", nargs="*", default=["*"], help="patterns such as scaler.policy.plan.*; all by default")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="mutants at a time")
    parser.add_argument("--tests", nargs="+", default=config().pytest_add_cli_args_test_selection, help="play these tests alone")
    options = parser.parse_args()
    os.chdir(ROOT)
    files = _mutate()
    wanted = [mutant for mutant in _all(files) if any(fnmatch(mutant, pattern) for pattern in options.mutants)]
    verdicts = _play(wanted, options.tests, options.jobs)
    _show_survivors(files, verdicts)
    _show_scores(verdicts)
    return int(_score(Counter(verdicts.values())) < GOAL)


def _mutate() -> dict[Path, MutatedFile]:
    """A copy of the project with all mutants in it."""
    shutil.rmtree(PLACE, ignore_errors=True)
    PLACE.mkdir()
    for path in filter(Path.exists, config().also_copy):
        if path.is_dir():
            shutil.copytree(path, PLACE / path, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(path, PLACE / path)
    files = {path: mutate_file_contents(str(path), path.read_text()) for path in walk_mutatable_files()}
    for path, file in files.items():
        (PLACE / path).write_text(file.code.replace("mutmut.mutation.trampoline", "tests.mutation.trampoline"))
    return files


def _all(files: Mapping[Path, MutatedFile]) -> Iterator[str]:
    for path, file in files.items():
        yield from (get_mutant_name(path, name) for name in file.mutant_names)


def _module(mutant: str) -> str:
    return mutant.rpartition(".")[0]


def _play(mutants: Sequence[str], tests: Sequence[str], jobs: int) -> dict[str, Verdict]:
    """In each of ``jobs`` processes its part of the mutants."""
    players = []
    for job in range(jobs):
        (PLACE / f"mutants.{job}").write_text("\n".join(mutants[job::jobs]))
        (PLACE / f"verdicts.{job}").touch()
        said = {MUTANTS: f"mutants.{job}", VERDICTS: f"verdicts.{job}", "PYTHONPATH": ".", "OPENBLAS_NUM_THREADS": "1"}
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-qq",
            "--assert=plain",
            "-p",
            "tests.mutation.judge",
            *config().pytest_add_cli_args,
            *tests,
        ]
        players.append(subprocess.Popen(command, cwd=PLACE, env=os.environ | said))
    with Progress(*Progress.get_default_columns(), MofNCompleteColumn()) as progress:
        task = progress.add_task("mutants", total=len(mutants))
        while any([player.poll() is None for player in players]):  # noqa: C419 (each is asked)
            progress.update(task, completed=len(_verdicts(jobs)))
            sleep(1)
    if any(player.returncode for player in players):
        sys.exit("The tests do not pass as they are.")
    return _verdicts(jobs)


def _verdicts(jobs: int) -> dict[str, Verdict]:
    """Those there are, by mutant."""
    lines = [line for job in range(jobs) for line in (PLACE / f"verdicts.{job}").read_text().splitlines(keepends=True)]
    return {mutant: Verdict(verdict) for mutant, verdict in (json.loads(line) for line in lines if line.endswith("\n"))}


def _show_survivors(files: Mapping[Path, MutatedFile], verdicts: Mapping[str, Verdict]) -> None:
    """What each survivor changes."""
    for path, file in files.items():
        for name in file.mutant_names:
            mutant = get_mutant_name(path, name)
            if mutant in verdicts and not verdicts[mutant].caught:
                say(f"{mutant}: {verdicts[mutant]}")
                say(*_changes(file, name), sep="\n")


def _changes(file: MutatedFile, name: str) -> Iterator[str]:
    """Lines of the original and of the mutant that differ, beside their names."""
    original, mutant = (
        file.code.splitlines()[span.start - 1 : span.end]
        for span in (file.line_span_by_function_name[each] for each in (f"{name.partition('__mutmut_')[0]}__mutmut_orig", name))
    )
    return (line for line in ndiff(original, mutant) if line[0] in "-+" and "__mutmut_" not in line)


def _show_scores(verdicts: Mapping[str, Verdict]) -> None:
    table = Table("module", *Verdict, "score")
    counts: dict[str, Counter[Verdict]] = {}
    for mutant, verdict in verdicts.items():
        counts.setdefault(_module(mutant), Counter())[verdict] += 1
    for module, count in (*sorted(counts.items()), ("all", Counter(verdicts.values()))):
        table.add_row(module, *(str(count[verdict]) for verdict in Verdict), f"{_score(count):.1%}")
    say(table)


def _score(count: Counter[Verdict]) -> float:
    return sum(number for verdict, number in count.items() if verdict.caught) / max(1, count.total())


if __name__ == "__main__":
    sys.exit(main())
