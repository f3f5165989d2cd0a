"""kill -9 between any two steps: nothing is sent twice, nothing is forgotten."""

import asyncio
import random
import signal
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from scaler.actuator import Skipped, SkipReason
from scaler.model import Bounds, Outcome, OutcomeStatus
from scaler.store.sqlite import SqliteStore

DRIVER = Path(__file__).with_name("crash_driver.py")
STEPS = [
    f"{call}:{when}"
    for call in ("store.open_intents", "store.actions_since", "store.add_intent", "writer.apply", "reader.get", "store.add_outcome")
    for when in ("before", "after")
]


async def start(platform: Any, directory: Path, *step: str) -> asyncio.subprocess.Process:  # noqa: ANN401 (the fixture's judge)
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(sys.executable, str(DRIVER), platform.origin, str(directory), *step, stdout=pipe)


async def live(platform: Any, directory: Path) -> str:  # noqa: ANN401 (see above)
    """Two ticks that nothing disturbs; what the second said."""
    child = await start(platform, directory)
    said, _ = await child.communicate()
    assert child.returncode == 0
    return said.decode()


async def check(platform: Any, directory: Path) -> None:  # noqa: ANN401 (see above)
    """Sent once, confirmed once, sound, without gaps, nothing open."""
    assert platform.patches == [{"autoscaling": {"min_replicas": 2, "max_replicas": 4}, "inactive_timeout": 60}]
    store = await SqliteStore.open(directory / "scaler.db", 0.0)
    records = await store.intents("chat", 100)
    assert store.moved_aside is None
    assert await store.open_intents() == []
    await store.close()
    assert [record.intent.id for record in records] == list(range(len(records), 0, -1))
    ends = [record.outcomes[-1].status for record in records]
    assert ends.count(OutcomeStatus.CONFIRMED) == 1
    assert ends[0] is OutcomeStatus.CONFIRMED
    with closing(sqlite3.connect(directory / "scaler.db")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


@pytest.mark.parametrize("step", STEPS)
async def test_death_at_any_step_is_made_good_by_the_next_life(platform: Any, tmp_path: Path, step: str) -> None:  # noqa: ANN401 (see above)
    child = await start(platform, tmp_path, step)
    await child.communicate()
    assert child.returncode == -signal.SIGKILL
    assert "nothing is due" in await live(platform, tmp_path)
    await check(platform, tmp_path)


async def test_death_while_the_provider_is_answering_is_made_good_too(platform: Any, tmp_path: Path) -> None:  # noqa: ANN401 (see above)
    platform.faults = ["hang"]
    child = await start(platform, tmp_path)
    async with asyncio.timeout(20):
        await platform.committed.wait()
    child.kill()
    await child.communicate()
    assert "nothing is due" in await live(platform, tmp_path)
    await check(platform, tmp_path)


@pytest.mark.parametrize("seed", range(3))
async def test_a_hundred_ticks_of_chaos_send_nothing_illegal_and_settle_at_once_afterwards(house: SimpleNamespace, seed: int) -> None:
    dice = random.Random(seed)
    platform = house.platform
    faults = ["drop", "drop-before", "garbage", "garbage-before", "500", "500-before", "lie", "429", "403", "", "", "", "", "", ""]
    await house.set(guard=house.settings.guard.model_copy(update={"max_actions_per_hour": 40}))
    confirmed = 0
    for _ in range(100):
        platform.faults = [dice.choice(faults)]
        platform.deaf = 0
        before = len(platform.calls)
        result = await house.tick(f"{dice.randint(1, 3)}..4")
        confirmed += isinstance(result, Outcome) and result.status is OutcomeStatus.CONFIRMED
        assert len(platform.calls) - before <= 3
        if dice.random() < 0.1:
            await house.restart()
    assert confirmed > 20
    records = list(reversed(await house.store.intents("chat", 1000)))
    assert [record.intent.id for record in records] == list(range(1, len(records) + 1))
    assert len(records) == len(platform.patches)
    assert [record.intent.action.bounds for record in records] == [
        Bounds(patch["autoscaling"]["min_replicas"], patch["autoscaling"]["max_replicas"]) for patch in platform.patches
    ]
    platform.faults = []
    house.clock.advance(3600)
    results = [await house.tick("2..4") for _ in range(3)]
    assert isinstance(results[-1], Skipped)
    assert results[-1].reason is SkipReason.NO_OP
    assert platform.endpoint["autoscaling"] == {"min_replicas": 2, "max_replicas": 4}
    assert all(ends[-1] != "unknown" for ends in await house.ends())
