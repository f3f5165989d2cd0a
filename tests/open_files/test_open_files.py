"""Limits are those of processes, so each of these stories has one of its own."""

import subprocess
import sys

import pytest

STORY = """
import resource, sys
from scaler.open_files import fitting
from scaler.proxy_settings import ProxySettings
soft, hard, workers, *connections = map(int, sys.argv[1:])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
settings = ProxySettings(workers=workers, **({"max_connections": connections[0]} if connections else {}))
print(fitting(settings).max_connections, *resource.getrlimit(resource.RLIMIT_NOFILE), file=sys.stderr)
"""


def fitted(*numbers: int) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", STORY, *map(str, numbers)], capture_output=True, text=True, timeout=60, check=True)


@pytest.mark.parametrize(
    ("limits", "connections", "workers", "taken", "soft"),
    [
        ((64, 600), 100, 1, 100, 456),  # the soft limit is raised as far as is needed
        ((64, 456), 100, 1, 100, 456),
        ((64, 454), 100, 1, 99, 454),  # and where the hard one is lower, fewer connections are taken
        ((500, 500), 100, 1, 100, 500),
        ((64, 456), 200, 2, 200, 456),  # each worker has files of its own
        ((64, 356), 200, 2, 100, 356),
        ((64, 64), 100, 1, 1, 64),
    ],
)
def test_connections_are_taken_for_which_there_are_files(
    limits: tuple[int, int], connections: int, workers: int, taken: int, soft: int
) -> None:
    done = fitted(*limits, workers, connections)
    assert done.stderr.split() == [str(taken), str(soft), str(limits[1])]
    assert ("fewer connections are taken" in done.stdout) == (taken < connections)


def test_it_is_a_warning_only_where_somebody_asked_for_more() -> None:
    asked, default = fitted(64, 1000, 1, 10_000), fitted(64, 1000, 1)
    assert asked.stderr == default.stderr == "372 1000 1000\n"
    assert ("warning" in asked.stdout, "warning" in default.stdout) == (True, False)
    for told in (asked.stdout, default.stdout):
        assert "fewer connections are taken" in told
        assert "raise the hard limit of open files to 20256: ulimit -n" in told
