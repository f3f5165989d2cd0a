"""The locks: whole, hashed, in agreement with each other and with pyproject.toml, and silent about where they came from."""

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

LOCKS = ("build", "dev", "native", "runtime")
COMPILER = ("hatch-mypyc", "setuptools")
"""What nothing but compiling needs."""
FLOORS = {"h11": "0.16", "starlette": "1.3.0"}
"""Older ones accept smuggled requests or mistake hosts."""
MAX_RUNTIME_PACKAGES = 36


@dataclass(frozen=True)
class Pin:
    """One entry of a lock."""

    version: str
    marker: str
    hashes: tuple[str, ...]


def read_lock(root: Path, name: str) -> dict[str, Pin]:
    text = (root / "requirements" / f"{name}.txt").read_text()
    pins = {}
    for entry in re.sub(r" *\\\n *", " ", text).splitlines():
        if entry.lstrip().startswith("#"):
            continue
        match = re.fullmatch(
            r"(?P<name>[a-z0-9-]+)==(?P<version>\S+)(?: ; (?P<marker>.+?))?(?P<hashes>(?: --hash=sha256:[0-9a-f]{64})+)", entry
        )
        assert match, entry
        pins[match["name"]] = Pin(match["version"], match["marker"] or "", tuple(match["hashes"].split()))
    return pins


@pytest.mark.parametrize("name", LOCKS)
def test_every_package_is_pinned_with_the_hashes_of_its_files(root: Path, name: str) -> None:
    pins = read_lock(root, name)
    assert pins
    for package, pin in pins.items():
        assert len(set(pin.hashes)) == len(pin.hashes) > 0, package
    if name != "build":
        assert len(pins["httpx"].hashes) == 2  # a wheel and a source distribution: all that was published


@pytest.mark.parametrize("path", [*(f"requirements/{name}.txt" for name in LOCKS), "Makefile", "Dockerfile", ".ci/run"])
def test_no_index_host_or_directory_of_a_machine_is_named(root: Path, path: str) -> None:
    text = (root / path).read_text()
    assert (
        re.findall(
            r"\w+://\S*|--(?:extra-)?index-url\S*|--find-links\S*|--trusted-host\S*|(?:/home|/root|/work\b|/opt/(?!scaler))\S*", text
        )
        == []
    )


def test_the_locks_agree(root: Path) -> None:
    dev = read_lock(root, "dev") | {name: pin for name, pin in read_lock(root, "native").items() if name in COMPILER}
    for name in ("build", "native", "runtime"):
        for package, pin in read_lock(root, name).items():
            assert (dev[package].version, dev[package].hashes) == (pin.version, pin.hashes), package


def test_what_the_project_asks_for_is_locked_in_a_version_that_will_do(root: Path) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text())
    groups = project["dependency-groups"]
    wanted = {
        "runtime": project["project"]["dependencies"],
        "build": [*project["build-system"]["requires"], *groups["build"]],
        "dev": [requirement for requirement in groups["dev"] if isinstance(requirement, str)],
    }
    for name, requirements in wanted.items():
        pins = read_lock(root, name)
        for requirement in map(Requirement, requirements):
            pin = pins[canonicalize_name(requirement.name)]
            assert requirement.specifier.contains(pin.version), requirement


def test_what_runs_in_production_is_little_and_not_known_to_be_bad(root: Path) -> None:
    runtime = read_lock(root, "runtime")
    here = [package for package, pin in runtime.items() if "win32" not in pin.marker]
    assert len(here) <= MAX_RUNTIME_PACKAGES
    for package, floor in FLOORS.items():
        assert Version(runtime[package].version) >= Version(floor), package
