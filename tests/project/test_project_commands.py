"""The commands of a fresh checkout, with stand-ins for Python and apt-get that write down what they are asked."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

PYTHON = """#!/bin/sh
echo "python $*" >> "$LOG"
case "$*" in
    *version_info*) exit "${OLD:-0}" ;;
    *ensurepip*) exit "${NO_VENV:-0}" ;;
    "-m venv"*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" && for tool in ruff mypy lint-imports scaler; do
        printf '#!/bin/sh\\necho "%s $*" >> "$LOG"\\n' $tool > "$3/bin/$tool" && chmod +x "$3/bin/$tool"; done ;;
    *"pip"*"install"*) exit "${NO_INDEX:-0}" ;;
esac
"""
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def checkout(root: Path, tmp_path: Path) -> Path:
    """A fresh one, on a machine with nothing but make and python3."""
    for name in ("Makefile", "pyproject.toml", "requirements", ".ci"):
        source = root / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / name)
    for name in ("tests", "scaler"):
        (tmp_path / name).mkdir()
    for name in ("README.md", "LICENSE"):
        (tmp_path / name).touch()
    (tmp_path / "tests" / "setup.sh").write_text('#!/bin/sh\necho "setup $*" >> "$LOG"\n')
    (tmp_path / "tests" / "setup.sh").chmod(0o755)
    stand_in = tmp_path / "python3"
    stand_in.write_text(PYTHON)
    stand_in.chmod(0o755)
    return tmp_path


@pytest.fixture
def run(checkout: Path) -> Run:
    def run(*command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": os.environ["PATH"], "LOG": str(checkout / "log"), **variables}
        (checkout / "log").write_text("")
        return subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True, timeout=60, check=False)

    return run


def make(run: Run, *goals: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return run("make", "PYTHON=./python3", *goals, **variables)


def log(checkout: Path) -> str:
    return (checkout / "log").read_text()


def test_demo_installs_from_the_runtime_lock_and_plays(checkout: Path, run: Run) -> None:
    result = make(run, "demo")
    assert result.returncode == 0, result.stderr
    assert "requirements/runtime.txt" in result.stdout
    steps = log(checkout)
    assert "--require-hashes -r requirements/runtime.txt -r requirements/build.txt" in steps
    assert "--no-deps --no-build-isolation --editable ." in steps
    assert "dev.txt" not in steps
    assert steps.splitlines()[-1] == "scaler demo"


def test_a_second_run_installs_nothing_and_a_changed_lock_again(checkout: Path, run: Run) -> None:
    make(run, "demo")
    make(run, "demo")
    assert log(checkout).splitlines() == ["scaler demo"]
    lock = checkout / "requirements" / "runtime.txt"
    stamp = (checkout / ".venv" / ".runtime").stat().st_mtime
    os.utime(lock, (stamp + 10, stamp + 10))
    make(run, "demo")
    assert "--require-hashes" in log(checkout)
    assert "-m venv" not in log(checkout)


def test_test_is_everything_in_order(checkout: Path, run: Run) -> None:
    result = make(run, "test")
    assert result.returncode == 0, result.stderr
    steps = [line for line in log(checkout).splitlines() if "pip" not in line and "python -c" not in line and "python -Pc" not in line]
    assert steps == [
        "python -m venv .venv",
        "ruff check .",
        "ruff format --check .",
        "mypy scaler tests",
        "lint-imports ",
        "setup ",
        "python -m pytest -m not alone --numprocesses auto --dist loadfile",
        "python -m venv .venv-native",
        "python -m pytest --override-ini pythonpath= -m not interpreted --numprocesses auto --dist loadfile tests/proxy tests/workers",
        "python -m pytest -m alone",
    ]


def test_ci_is_test_in_earnest(checkout: Path, run: Run) -> None:
    setup = checkout / "tests" / "setup.sh"
    setup.write_text('#!/bin/sh\necho "setup CI=$CI" >> "$LOG"\n')
    shutil.copy(checkout / "python3", checkout / ".ci" / "python3")
    result = run("sh", ".ci/run", PATH=f"{checkout / '.ci'}:{os.environ['PATH']}")
    assert result.returncode == 0, result.stderr
    assert "setup CI=true" in log(checkout)
    assert log(checkout).splitlines()[-1] == "python -m pytest -m alone"


def test_an_old_python_is_named_and_nothing_is_done(checkout: Path, run: Run) -> None:
    result = make(run, "demo", OLD="1")
    assert result.returncode != 0
    assert "scaler needs Python 3.11 or newer" in result.stderr
    assert not (checkout / ".venv").exists()


def test_a_python_without_venv_gets_it_from_debian(checkout: Path, run: Run) -> None:
    make(run, "demo", NO_VENV="1")
    steps = log(checkout).splitlines()
    assert steps.index("setup python3-venv") < steps.index("python -m venv .venv")


def test_an_installation_that_fails_is_tried_again(checkout: Path, run: Run) -> None:
    assert make(run, "demo", NO_INDEX="1").returncode != 0
    assert "scaler demo" not in log(checkout)
    assert make(run, "demo").returncode == 0
    assert "--require-hashes" in log(checkout)


@pytest.fixture
def machine(root: Path, tmp_path: Path) -> Path:
    """A path with the few programs that tests/setup.sh needs, and none that it looks for."""
    shutil.copy(root / "tests" / "setup.sh", tmp_path)
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("sh", "rm", "tee", "chmod", "env"):
        (tools / name).symlink_to(shutil.which(name) or "")
    return tmp_path


def add_tool(machine: Path, name: str, script: str = "") -> None:
    tool = machine / "bin" / name
    tool.write_text(f'#!/bin/sh\necho "{name} $*" >> "{machine}/log"\n{script}\n')
    tool.chmod(0o755)


def setup(machine: Path, *packages: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """The real script, with nothing else in its path; /usr/sbin is where Debian keeps nginx."""
    script = (machine / "setup.sh").read_text().replace("/usr/sbin", str(machine / "sbin")).replace(":/sbin", "")
    (machine / "sbin").mkdir(exist_ok=True)
    (machine / "setup.sh").write_text(script)
    return subprocess.run(
        [machine / "bin" / "sh", machine / "setup.sh", *packages],
        env={"PATH": str(machine / "bin"), **variables},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@pytest.mark.parametrize(("ci", "code"), [("", 0), ("true", 1)])
def test_without_the_right_to_install_what_is_missing_is_named(machine: Path, ci: str, code: int) -> None:
    add_tool(machine, "id", "echo 1000")
    add_tool(machine, "openssl")
    result = setup(machine, CI=ci)
    assert result.returncode == code
    assert "install prometheus nginx-light" in result.stderr
    assert "openssl" not in result.stderr


@pytest.mark.parametrize(("ci", "code"), [("", 0), ("true", 1)])
def test_without_apt_what_is_missing_is_named(machine: Path, ci: str, code: int) -> None:
    add_tool(machine, "id", "echo 0")
    result = setup(machine, CI=ci)
    assert (result.returncode, "No apt-get" in result.stderr) == (code, True)


@pytest.mark.parametrize("user", ["0", "1000"])
def test_packages_are_installed_after_an_update_and_no_service_may_start(machine: Path, user: str) -> None:
    policy = machine / "sbin" / "policy-rc.d"
    add_tool(machine, "id", f"echo {user}")
    add_tool(machine, "sudo", '[ "$1" = -n ] && shift\n[ "$1" = true ] || exec "$@"')
    add_tool(machine, "apt-get", f'[ -x "{policy}" ] && echo "services held back" >> "{machine}/log"')
    result = setup(machine, CI="true")
    assert (result.returncode, result.stderr) == (0, "")
    steps = [line for line in (machine / "log").read_text().splitlines() if not line.startswith(("id", "sudo"))]
    assert steps == [
        "apt-get -qq update",
        "services held back",
        "apt-get -qq install -y --no-install-recommends prometheus nginx-light haproxy openssl",
        "services held back",
    ]
    assert not policy.exists()


def test_a_policy_of_the_machine_stays(machine: Path) -> None:
    for name, script in {"id": "echo 0", "apt-get": ""}.items():
        add_tool(machine, name, script)
    (machine / "sbin").mkdir()
    (machine / "sbin" / "policy-rc.d").write_text("mine")
    assert setup(machine).returncode == 0
    assert (machine / "sbin" / "policy-rc.d").read_text() == "mine"


@pytest.mark.parametrize(("ci", "code"), [("", 0), ("true", 1)])
def test_a_failed_installation_is_an_error_in_ci_only(machine: Path, ci: str, code: int) -> None:
    add_tool(machine, "id", "echo 0")
    add_tool(machine, "apt-get", "exit 100")
    assert setup(machine, CI=ci).returncode == code
    assert not (machine / "sbin" / "policy-rc.d").exists()


def test_what_is_asked_for_by_name_is_not_optional(machine: Path) -> None:
    add_tool(machine, "id", "echo 1000")
    assert setup(machine, "python3-venv").returncode == 1


def test_when_all_is_there_nothing_is_done(machine: Path) -> None:
    for name in ("prometheus", "promtool", "nginx", "haproxy", "openssl"):
        add_tool(machine, name)
    result = setup(machine, CI="true")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert not (machine / "log").exists()
