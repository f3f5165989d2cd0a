import subprocess
import sys
from pathlib import Path

import pytest

from scaler.store.base import StoreError, StoreFault
from scaler.store.sole import sole_owner

HOLD = """
import sys, pathlib
from scaler.store.sole import sole_owner
with sole_owner(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_owner_is_refused_until_the_first_is_gone_even_by_kill(tmp_path: Path) -> None:
    path = tmp_path / "scaler.db"
    with subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == b"held\n"
        with pytest.raises(StoreError, match="belongs to another scaler") as caught, sole_owner(path):
            pass
        assert caught.value.fault is StoreFault.LOCKED
        first.kill()
    with sole_owner(path):
        pass


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="No such file"), sole_owner(tmp_path / "nowhere" / "scaler.db"):
        pass
