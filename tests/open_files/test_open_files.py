"""Limits are those of processes, so each of these stories has one of its own."""

import subprocess
import sys

import pytest

STORY = """
import resource, sys
from scaler.open_files import fitting
from scaler.proxy_settings import ProxySettings
soft, hard, connections, workers = map(int, sys.argv[1:])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
settings = ProxySettings(max_connections=connections, workers=workers)
print(fitting(settings).max_connections, *resource.getrlimit(resource.RLIMIT_NOFILE), file=sys.stderr)
"""


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
    arguments = [sys.executable, "-c", STORY, *map(str, (*limits, connections, workers))]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr.split() == [str(taken), str(soft), str(limits[1])]
    assert ("fewer connections are taken" in done.stdout) == (taken < connections)
