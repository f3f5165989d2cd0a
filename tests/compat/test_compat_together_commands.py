"""Every command of Together's dedicated endpoints page, and those that later versions put in their place, on several real CLIs.

What each version makes of each command is compared with the table in docs/together-clients.md.
"""

import shlex
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from tests.compat.clients import TogetherCli
from tests.compat.table import DOCUMENT, SILENT, WORKS, Table, Tables, complaint

MODEL = "mistralai/Mixtral-8x7B-Instruct-v0.1"
H100 = "2x_nvidia_h100_80gb_sxm"
ALL_HARDWARE = tuple(f"{count}x_nvidia_{gpu}_80gb_sxm" for count in (2, 4, 8) for gpu in ("a100", "h100"))
GPU = f"create --model {MODEL} --gpu h100 --gpu-count 2"
HARDWARE = f"create --model {MODEL} --hardware {H100}"
DEADLINE_SECONDS = 20


@dataclass(frozen=True)
class Command:
    """``line`` as typed; ``{id}`` is an endpoint in ``state``. Afterwards it is ``left`` so, ``made`` exists, ``said`` was printed."""

    line: str
    state: str = "STARTED"
    said: tuple[str, ...] = ()
    left: Mapping[str, object] = field(default_factory=dict)
    made: Mapping[str, object] = field(default_factory=dict)


RUNNING = {"state": "STARTED", "hardware": H100, "autoscaling": {"min_replicas": 1, "max_replicas": 1}}
THREE = RUNNING | {"autoscaling": {"min_replicas": 1, "max_replicas": 3}}
TWO_TO_FOUR = {"autoscaling": {"min_replicas": 2, "max_replicas": 4}}
LISTED = ("{id}",)

PAGE = [
    Command(f"hardware --model {MODEL}", said=ALL_HARDWARE),
    Command(f"{GPU} --no-speculative-decoding --wait", made=RUNNING),
    Command("availability-zones", said=("us-central-4b", "us-east-1a")),
    Command(f"{GPU} --availability-zone us-east-1a --no-speculative-decoding --wait", made=RUNNING),
    Command("get {id}", said=("{id}", "{name}", H100, MODEL)),
    Command("start {id}", state="STOPPED", left={"state": "STARTED"}),
    Command("stop {id}", left={"state": "STOPPED"}),
    Command("delete {id}", left={"state": None}),
    Command("list --mine true", said=LISTED),
    Command("list --mine true --type dedicated --usage-type on-demand", said=LISTED),
    Command(f"{GPU} --min-replicas 1 --max-replicas 3 --wait", made=THREE),
    Command("update --min-replicas 2 --max-replicas 4 {id}", left=TWO_TO_FOUR),
    *(
        Command(f"create --model {MODEL} --gpu {gpu} --gpu-count {count} --no-wait", made={"hardware": f"{count}x_nvidia_{gpu}_80gb_sxm"})
        for gpu in ("a100", "h100")
        for count in (2, 4, 8)
    ),
    Command(f"{GPU} --inactive-timeout 30 --wait", made=RUNNING | {"inactive_timeout_minutes": 30}),
    Command(f"{GPU} --no-prompt-cache --wait", made=RUNNING),
    Command(f"{GPU} --no-auto-start --no-wait", made={"state": "STOPPED"}),
    Command(f"{GPU} --display-name mine --no-wait", made={"display_name": "mine"}),
    Command("update --inactive-timeout 45 {id}", left={"inactive_timeout_minutes": 45}),
    Command("update {id} --min-replicas 2 --max-replicas 4", left=TWO_TO_FOUR),
    Command("update --display-name bar {id}", left={"display_name": "bar"}),
    Command("list", said=LISTED),
    Command("list --mine false", said=LISTED),
    Command("list --type dedicated", said=LISTED),
    Command("list --usage-type on-demand", said=LISTED),
    Command("hardware", said=ALL_HARDWARE),
]
"""What the page names, in its order, and the options it mentions; all of it works with 1.5.35."""
LATER = [
    Command(f"{HARDWARE} --wait", made=RUNNING),
    Command(f"{HARDWARE} --no-speculative-decoding --wait", made=RUNNING),
    Command(f"{HARDWARE} --availability-zone us-east-1a --min-replicas 1 --max-replicas 3 --wait", made=THREE),
    Command(f"{HARDWARE} --inactive-timeout 30 --wait", made=RUNNING | {"inactive_timeout_minutes": 30}),
    Command(f"{HARDWARE} --no-prompt-cache --no-auto-start", made={"state": "STOPPED"}),
    Command(f"{HARDWARE} --display-name mine", made={"display_name": "mine"}),
    Command("retrieve {id}", said=("{id}", "{name}", H100, MODEL)),
    Command("update --min-replicas 2 {id}", left={"autoscaling": {"min_replicas": 2, "max_replicas": 3}}),
    Command("update --max-replicas 5 {id}", left={"autoscaling": {"min_replicas": 1, "max_replicas": 5}}),
    Command("update --min-replicas 0 --max-replicas 2 {id}", left={"autoscaling": {"min_replicas": 0, "max_replicas": 2}}),
    Command("update --inactive-timeout 0 {id}", left={"inactive_timeout_minutes": 0}),
    Command("start {id} --wait", state="STOPPED", left={"state": "STARTED"}),
    Command("stop {id} --wait", left={"state": "STOPPED"}),
    Command("list --mine", said=LISTED),
]
"""What later versions say instead."""


class Platform:
    """The emulator, seen through its API and its own status."""

    def __init__(self, base_url: str) -> None:
        self._client = httpx.Client(base_url=base_url.removesuffix("/v1"), headers={"authorization": "Bearer test"})

    def close(self) -> None:
        self._client.close()

    def ids(self) -> set[str]:
        return {endpoint["id"] for endpoint in self._client.get("/x/status").json()["endpoints"]}

    def look(self, endpoint_id: str) -> dict[str, Any]:
        """What the API says of it, and what it does not say; state None when it is gone."""
        inside = {endpoint["id"]: endpoint for endpoint in self._client.get("/x/status").json()["endpoints"]}
        response = self._client.get(f"/v1/endpoints/{endpoint_id}")
        return {"state": None} if response.status_code == 404 else inside[endpoint_id] | response.json()

    def reach(self, endpoint_id: str, wanted: Mapping[str, object]) -> None:
        """Wait until it is so."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not wanted.items() <= (seen := self.look(endpoint_id)).items():
            assert time.monotonic() < deadline, (wanted, seen)
            time.sleep(0.02)

    def make(self, state: str) -> str:
        """An endpoint of one to three replicas in this state."""
        bounds = {"min_replicas": 1, "max_replicas": 3}
        body = {"model": MODEL, "hardware": H100, "autoscaling": bounds, "state": state}
        endpoint_id: str = self._client.post("/v1/endpoints", json=body).json()["id"]
        self.reach(endpoint_id, {"state": state})
        return endpoint_id

    def clear(self, ids: set[str]) -> None:
        for endpoint_id in ids:
            self._client.delete(f"/v1/endpoints/{endpoint_id}")


@pytest.fixture
def platform(emulator_url: str) -> Iterator[Platform]:
    """Cleared of everything that the test has made."""
    seen = Platform(emulator_url)
    before = seen.ids()
    yield seen
    seen.clear(seen.ids() - before)
    seen.close()


def result_of(cli: TogetherCli, platform: Platform, command: Command) -> str:
    """Run it; *works* if it did what it says, else the client's complaint, or that it does not show what it should."""
    endpoint_id = platform.make(command.state) if "{id}" in command.line + "".join(command.said) else ""
    names = {"id": endpoint_id, "name": platform.look(endpoint_id)["name"] if endpoint_id else ""}
    before = platform.ids()
    ran = cli.run(*shlex.split(command.line.format(**names)))
    made = platform.ids() - before
    if ran.returncode:
        assert not made
        return complaint(ran.stdout + ran.stderr)
    if any(text.format(**names) not in ran.stdout + ran.stderr for text in command.said):
        return SILENT
    if command.left:
        platform.reach(endpoint_id, command.left)
    assert len(made) == bool(command.made)
    for new in made:
        assert platform.look(new)["state"] == "STARTED" or "--wait" not in command.line
        platform.reach(new, command.made)
    return WORKS


@pytest.mark.parametrize("version", ["1.5.35", "2.42.0", "3.1.1"])
@pytest.mark.parametrize("command", [*PAGE, *LATER], ids=lambda command: command.line)
def test_the_command_does_what_the_table_says(
    cli_of: Callable[[str], TogetherCli], platform: Platform, page: Table, command: Command, version: str
) -> None:
    result = result_of(cli_of(version), platform, command)
    if version == "1.5.35" and command in PAGE:
        assert result == WORKS
    page.record(command.line, version, result)


def test_the_table_has_a_row_for_each_command_and_no_other(page: Table) -> None:
    if not page.rewrite:
        assert {command for command, _ in page.committed} == {command.line for command in [*PAGE, *LATER]}


def test_the_document_has_the_form_that_is_written(page: Table) -> None:
    if not page.rewrite:
        text = DOCUMENT.read_text()
        assert Tables(text, rewrite=False).document() == text
