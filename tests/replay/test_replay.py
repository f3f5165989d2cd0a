"""What the journal holds is enough to make every decision again, bit for bit."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from scaler.actuator import Skipped, SkipReason
from scaler.cli import app
from scaler.clock import VirtualClock
from scaler.controller import Controller
from scaler.model import Bounds, Decision, Endpoint, EndpointState, Known, Observation, Power, Sample, Start, Unknown
from scaler.providers.base import OutcomeUnknown
from scaler.replay import CHECKPOINT_SECONDS, Summary, replay
from scaler.settings import EndpointSettings, IdleSettings
from scaler.show import replayed
from scaler.store.sqlite import SqliteStore, read_journal

TICK = 10.0
SETTINGS = EndpointSettings(id="endpoint-1", max_replicas=8, idle=IdleSettings(allow_stop=True, stop_after_minutes=20))


class Platform:
    """Traffic with days, noise, silence and gaps in front of an endpoint that does what it is told; the provider is mute at times."""

    def __init__(self, clock: VirtualClock, seed: int) -> None:
        self.clock = clock
        self.dice = np.random.default_rng(seed)
        self.endpoint = Endpoint("endpoint-1", "o/m", "m", "1x_gpu", EndpointState.STARTED, Bounds(1, 1))

    def sample(self) -> Observation[Sample]:
        now = self.clock.monotonic()
        if self.dice.random() < 0.002:
            return Unknown("cut off", now)
        busy = 0.0 if now % 7200 > 5400 else 20 * (1 + np.sin(now / 1800)) * self.dice.uniform(0.8, 1.2)
        count = int(busy * TICK / 3)
        figures = (count, {"2xx": count}, float(busy), int(busy), 0, int(self.dice.integers(0, 3)), 3.1 * count, count, 0.3 * count, count)
        return Known(Sample(now - TICK, now, *figures, 100 * count, 20 * count), "platform", now)

    async def get(self, endpoint_id: str) -> Endpoint:
        assert endpoint_id == "endpoint-1"
        if self.dice.random() < 0.002:
            raise OutcomeUnknown("no answer")
        return self.endpoint

    async def starts(self, endpoint_id: str) -> tuple[Start, ...]:
        return (Start("replica-1", 0.0, 100.0),)

    async def reconcile(self, key: str, observed: Endpoint) -> tuple[()]:
        return ()

    async def carry_out(self, key: str, decision: Decision, observed: Endpoint) -> Skipped:
        state = {Power.STOP: EndpointState.STOPPED, Power.RUN: EndpointState.STARTED}.get(decision.power, self.endpoint.state)
        if not decision.hold:
            self.endpoint = replace(self.endpoint, bounds=decision.bounds, state=state)
        return Skipped(SkipReason.HELD, "done by the platform itself")


async def live(path: Path, ticks: int, *, seed: int = 1, start: float = 1e6) -> Controller:
    """A daemon's life: so many ticks, all of them in the journal of ``path``."""
    clock, store = VirtualClock(start), await SqliteStore.open(path, now=0.0)
    platform = Platform(clock, seed)
    partners = {"source": platform, "reader": platform, "actuator": platform, "store": store, "clock": clock}
    controller = Controller("chat", SETTINGS, **partners, report=lambda _: None)  # type: ignore[arg-type]  # one stands for three
    for _ in range(ticks):
        clock.advance(TICK)
        await controller.tick()
    await store.close()
    return controller


@pytest.mark.timeout(400)  # twenty thousand decisions and as many writes: a minute of one quiet core
async def test_ten_thousand_decisions_are_made_again_bit_for_bit(tmp_path: Path) -> None:
    await live(tmp_path / "scaler.db", 10_000)
    replayed = list(replay(read_journal(tmp_path / "scaler.db", "chat")))
    assert Summary.of(replayed) == Summary(same=10_000)
    assert sum(one.record.checkpoint is not None for one in replayed) == 1 + int(10_000 * TICK / CHECKPOINT_SECONDS)
    kinds = {reason.code for one in replayed for reason in one.record.decision.reasons}
    assert len(kinds) >= 10, f"a day with little in it proves little: {kinds}"


async def test_a_restart_and_new_settings_begin_a_new_chain(tmp_path: Path) -> None:
    path = tmp_path / "scaler.db"
    await live(path, 50)
    await live(path, 50, seed=2, start=7.0)
    records = list(read_journal(path, "chat"))
    assert [record.seq for record in records if record.checkpoint] == [1, 51]
    assert Summary.of(replay(records)) == Summary(same=100)
    assert Summary.of(replay(records[10:])) == Summary(same=50, without_checkpoint=40)


async def test_a_decision_that_comes_out_otherwise_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await live(tmp_path / "scaler.db", 40)
    records = list(read_journal(tmp_path / "scaler.db", "chat"))
    forged = replace(records[7], decision=replace(records[7].decision, bounds=Bounds(8, 8)))
    summary = Summary.of(replay([*records[:7], forged, *records[8:]]))
    assert (summary.same, summary.different) == (39, 1)
    assert summary.examples[0].record is forged
    console = Console(width=160, record=True)
    console.print(replayed("chat", summary))
    told = console.export_text().splitlines()
    assert told[0] == "chat: 39 decisions made again, bit for bit the same; 1 came out otherwise"
    assert told[3:] == ["    bounds, then: 8..8", f"    bounds, now:  {records[7].decision.bounds}"], "only what differs"


async def test_the_command_says_what_came_out(tmp_path: Path) -> None:
    (tmp_path / "scaler.yaml").write_text(
        f"store: {{path: {tmp_path}/scaler.db}}\nprovider: {{api_key_file: {tmp_path}/key}}\nendpoints: {{chat: {{id: endpoint-1}}}}\n"
    )
    (tmp_path / "key").write_text("secret\n")
    (tmp_path / "key").chmod(0o600)
    await live(tmp_path / "scaler.db", 30)
    result = CliRunner().invoke(app, ["replay", "chat", "--config", str(tmp_path / "scaler.yaml")])
    assert result.exit_code == 0, result.output
    assert "30 decisions made again, bit for bit the same; 0 came out otherwise" in " ".join(result.output.split())
    unknown = CliRunner().invoke(app, ["replay", "chta", "--config", str(tmp_path / "scaler.yaml")])
    assert str(unknown.exception) == "chta: expected an endpoint that the journal has decisions of: chat"
