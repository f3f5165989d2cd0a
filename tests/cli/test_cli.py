"""The commands as a newcomer types them: exit codes, and what they say."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GOOD = "provider: {api_key_file: KEY}\nendpoints:\n  chat: {id: endpoint-1, max_replicas: 4}\n"


def scaler(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "scaler", *arguments], cwd=cwd, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "key").write_text("s3cret\n")
    (tmp_path / "key of two words").write_text("s3cret s3cret\n")
    file = tmp_path / "config.yaml"
    file.write_text(GOOD.replace("KEY", str(tmp_path / "key")))
    return file


def test_a_good_configuration_is_good(config: Path) -> None:
    done = scaler("check-config", "--config", str(config))
    assert done.returncode == 0
    assert "good; endpoints: chat" in done.stdout


BAD = {
    "unknown key": ("max_replicas", "max_replica", "endpoints.chat.max_replica: unknown key"),
    "min above max": ("max_replicas: 4", "min_replicas: 5, max_replicas: 4", "endpoints.chat: expected min_replicas <= max_replicas"),
    "duplicate key": ("max_replicas: 4", "max_replicas: 4, max_replicas: 5", "key 'max_replicas' stands more than once"),
    "missing secret file": ("key}", "nokey}", "provider.api_key_file: expected a readable text file"),
    "a key that cannot stand in a header": ("key}", "key of two words}", "provider.api_key: expected printable ASCII without spaces"),
    "a world that is not in the catalog": (
        "endpoints:",
        "world: {endpoints: [{model: no/such, hardware: 2x_nvidia_h100_80gb_sxm}]}\nendpoints:",
        "world.endpoints: Model no/such was not found",
    ),
    "a timeout v2 cannot keep": (
        "{id: endpoint-1,",
        "{id: dep_1, idle: {inactive_timeout_minutes: 10},",
        "endpoints.chat.idle.inactive_timeout_minutes: 10; together_v2 accepts 0 (never) or 30..1440",
    ),
}


@pytest.mark.parametrize("command", ["check-config", "run"])
@pytest.mark.parametrize(("old", "new", "message"), BAD.values(), ids=BAD.keys())
def test_a_bad_one_ends_with_2_names_the_field_and_shows_no_traceback(config: Path, command: str, old: str, new: str, message: str) -> None:
    config.write_text(
        config.read_text().replace(old, new).replace("provider: {", "provider: {kind: auto, " if "dep_" in new else "provider: {")
    )
    done = scaler(command, "--config", str(config))
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert "s3cret" not in done.stderr + done.stdout


def test_no_secret_at_all_ends_with_2(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("endpoints: {chat: {id: endpoint-1}}\n")
    done = scaler("check-config", "--config", str(file))
    assert done.returncode == 2
    assert f"{file}: provider.api_key: expected SCALER_PROVIDER__API_KEY" in done.stderr


@pytest.mark.parametrize("arguments", [["run"], ["run", "--config"], ["nonsense"], ["explain"]])
def test_wrong_usage_ends_with_2(arguments: list[str]) -> None:
    assert scaler(*arguments).returncode == 2


def test_the_ready_configurations_are_checked(tmp_path: Path) -> None:
    (tmp_path / "config").symlink_to(ROOT / "config")
    (tmp_path / "scaler.key").write_text("key\n")
    assert scaler("check-config", "--config", "config/embedded.yaml", cwd=tmp_path).returncode == 0
    assert scaler("check-config", "--config", "config/together-v1.yaml", cwd=tmp_path).returncode == 0
    assert scaler("check-config", "--config", "config/together-v2.yaml", cwd=tmp_path).returncode == 0
    assert scaler("check-config", "--config", "config/schedules-and-budget.yaml", cwd=tmp_path).returncode == 0


def test_pause_and_resume_are_a_file(config: Path, tmp_path: Path) -> None:
    button = tmp_path / "paused"
    config.write_text(config.read_text() + f"pause_file: {button}\n")
    assert scaler("pause", "--config", str(config)).returncode == 0
    assert button.exists()
    assert scaler("pause", "--config", str(config)).returncode == 0
    assert scaler("resume", "--config", str(config)).returncode == 0
    assert not button.exists()
    assert scaler("resume", "--config", str(config)).returncode == 0


@pytest.mark.parametrize("command", [["status"], ["explain", "chat"]])
def test_asking_a_daemon_that_is_not_there_ends_with_1_and_says_so(config: Path, command: list[str]) -> None:
    config.write_text(config.read_text() + "admin: {listen: '127.0.0.1:1'}\n")
    done = scaler(*command, "--config", str(config))
    assert done.returncode == 1
    assert "nobody answers at 127.0.0.1:1" in done.stderr
    assert "Traceback" not in done.stderr


def test_healthcheck_of_a_daemon_that_is_not_there_is_1(config: Path) -> None:
    config.write_text(config.read_text() + "admin: {listen: '127.0.0.1:1'}\n")
    assert scaler("healthcheck", "--config", str(config)).returncode == 1


def test_addresses_in_use_end_with_1_and_a_line_for_each(config: Path, tmp_path: Path) -> None:
    """As when scaler is started a second time, with a store of its own."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        for free, sections in (("127.0.0.1:0", ("admin",)), (listen, ("admin", "world"))):
            addresses = f"admin: {{listen: '{listen}'}}\nworld: {{listen: '{free}'}}\nproxy: {{listen: '127.0.0.1:0'}}\n"
            config.write_text(addresses + GOOD.replace("KEY", f"{tmp_path / 'key'}, base_url: 'http://127.0.0.1:1/v1'"))
            done = scaler("run", "--config", str(config), cwd=tmp_path)
            assert done.returncode == 1
            said = {f"scaler: {section}.listen: cannot listen on {listen}: Address already in use" for section in sections}
            assert {line for line in done.stderr.splitlines() if not line.startswith("{")} == said


def test_the_version_is_printed() -> None:
    assert scaler("--version").stdout.strip() == "0.1.0"
