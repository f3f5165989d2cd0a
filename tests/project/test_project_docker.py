"""The image's recipe. It is linted and read here; no test builds it."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture
def stages(root: Path) -> list[list[str]]:
    """The instructions of each stage, continuation lines joined."""
    text = re.sub(r"^#.*\n", "", (root / "Dockerfile").read_text(), flags=re.MULTILINE)
    lines = [" ".join(line.split()) for line in text.replace("\\\n", " ").splitlines() if line]
    starts = [number for number, line in enumerate(lines) if line.startswith("FROM ")]
    return [lines[start:end] for start, end in zip(starts, [*starts[1:], len(lines)], strict=True)]


def argument(stage: list[str], instruction: str) -> str:
    [line] = [line for line in stage if line.startswith(f"{instruction} ")]
    return line.removeprefix(f"{instruction} ")


def test_hadolint_has_nothing_to_say(root: Path) -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    result = subprocess.run([hadolint, root / "Dockerfile"], capture_output=True, text=True, timeout=60, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_both_stages_stand_on_one_pinned_python(stages: list[list[str]]) -> None:
    bases = [argument(stage, "FROM").split()[0] for stage in stages]
    assert len(bases) == 2
    assert len({base.removesuffix("-slim") for base in bases}) == 1  # the whole one has a compiler
    assert re.fullmatch(r"python:3\.\d+(\.\d+)?-slim(-\w+)?", bases[1])


def test_everything_from_outside_is_installed_by_its_hash(stages: list[list[str]]) -> None:
    installs = [part for stage in stages for line in stage for part in re.findall(r"pip .*?install [^&]*", line)]
    assert len(installs) == 3
    for install in installs:
        assert ("--require-hashes" in install) or ("--no-deps dist/*.whl" in install), install


def test_it_runs_as_nobody_in_particular_and_without_a_shell(stages: list[list[str]]) -> None:
    final = stages[-1]
    user, group = map(int, argument(final, "USER").split(":"))
    assert user > 0
    assert group > 0
    assert json.loads(argument(final, "ENTRYPOINT")) == ["scaler"]
    assert json.loads(argument(final, "CMD"))[0] == "run"
    health = argument(final, "HEALTHCHECK").partition("CMD ")[2]
    assert json.loads(health) == ["scaler", "healthcheck", *json.loads(argument(final, "CMD"))[1:]]


def test_the_context_lets_in_what_is_copied_and_no_more(root: Path, stages: list[list[str]]) -> None:
    copied = {source for line in stages[0] if line.startswith("COPY ") for source in line.split()[1:-1]}
    rules = [line for line in (root / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert rules[0] == "*"
    assert {rule.removeprefix("!") for rule in rules if rule.startswith("!")} == copied
    assert all((root / source).exists() for source in copied)
