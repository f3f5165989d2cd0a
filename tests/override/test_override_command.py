"""`scaler override` as a person types it: into the store, whether or not a daemon runs, and out again."""

import asyncio
import subprocess
import sys
import time
from pathlib import Path

import pytest

from scaler.clock import SystemClock
from scaler.override import BadOverride, seconds_of
from scaler.settings import StoreSettings
from scaler.store import open_store
from scaler.store.beside import read_overrides

ROOT = Path(__file__).parents[2]


def scaler(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "scaler", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "key").write_text("s3cret\n")
    file = tmp_path / "config.yaml"
    file.write_text(
        f"provider: {{api_key_file: {tmp_path / 'key'}}}\nstore: {{path: {tmp_path / 'scaler.db'}}}\n"
        "endpoints:\n  chat: {id: endpoint-1, min_replicas: 2, max_replicas: 4}\n"
    )
    return file


async def make_store(path: Path) -> None:
    await (await open_store(StoreSettings(path=path), SystemClock())).close()


def test_set_list_and_clear(config: Path, tmp_path: Path) -> None:
    where = ("--config", str(config))
    early = scaler("override", "chat", "--floor", "3", "--for", "2h", *where)
    assert (early.returncode, "does not exist yet" in early.stderr) == (1, True)
    asyncio.run(make_store(tmp_path / "scaler.db"))
    done = scaler("override", "chat", "--floor", "3", "--ceiling", "4", "--for", "2h", *where)
    assert done.returncode == 0, done.stderr
    assert "chat: floor 3, ceiling 4 until" in done.stdout
    (override,) = read_overrides(tmp_path / "scaler.db")
    assert (override.endpoint, override.floor, override.ceiling, override.ends - override.begins) == ("chat", 3, 4, 7200)
    assert abs(override.begins - time.time()) < 120
    assert "floor 3, ceiling 4" in scaler("override", *where).stdout
    assert "is cleared" in scaler("override", "chat", "--clear", *where).stdout
    assert read_overrides(tmp_path / "scaler.db") == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("chat", "--floor", "5", "--for", "2h"), "expected floor <= max_replicas, got 5 > 4"),
        (("chat", "--ceiling", "1", "--for", "2h"), "expected ceiling >= min_replicas, got 1 < 2"),
        (("chat", "--floor", "4", "--ceiling", "3", "--for", "2h"), "expected floor <= ceiling"),
        (("chat", "--clear", "--floor", "3", "--for", "2h"), "expected --clear alone"),
        (("chat", "--floor", "3"), "and --for beside it"),
        (("chat", "--for", "2h"), "expected --floor or --ceiling"),
        (("caht", "--floor", "3", "--for", "2h"), "expected one of chat"),
        (("--floor", "3", "--for", "2h"), "expected the key of an endpoint"),
    ],
)
def test_what_cannot_be_ends_with_2_and_says_why(config: Path, arguments: tuple[str, ...], message: str) -> None:
    done = scaler("override", *arguments, "--config", str(config))
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("30m", 1800), ("2h", 7200), ("1.5d", 129_600), ("1h30m", 5400)])
def test_times(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "2", "h", "2h ", "-2h", "2w", "0s", "1000d", "2h3"])
def test_no_times(text: str) -> None:
    with pytest.raises(BadOverride):
        seconds_of(text)
