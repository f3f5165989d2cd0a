"""The gate and the plan, as pure functions."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaler.actuator.actions import applied, plan, satisfied
from scaler.actuator.guard import Circumstances, Skipped, SkipReason, examine, pause_state
from scaler.ledger import NotGranted
from scaler.model import Action, ActionKind, Bounds, Decision, Endpoint, EndpointState, Intent, Power
from scaler.providers.base import BadReply
from scaler.providers.together_v1 import parse_endpoint
from scaler.settings import EndpointSettings, GuardSettings, IdleSettings

LIMITS = GuardSettings(max_actions_per_hour=5, max_decision_age_seconds=30)
COUNTS = st.integers(-1, 8)
BOUNDS = st.builds(Bounds, COUNTS, COUNTS)
ENDPOINTS = st.builds(
    Endpoint,
    id=st.sampled_from(["endpoint-1", "endpoint-2"]),
    name=st.just("n"),
    model=st.just("m"),
    hardware=st.just("h"),
    state=st.sampled_from(EndpointState),
    bounds=BOUNDS,
    inactive_timeout_minutes=st.none() | st.integers(0, 2),
)
ACTIONS = st.builds(
    Action,
    st.sampled_from(ActionKind),
    st.sampled_from(["endpoint-1", "endpoint-2"]),
    BOUNDS,
    st.integers(-1, 60),
)
CIRCUMSTANCES = st.builds(
    Circumstances,
    paused=st.sampled_from([None, None, "paused: because"]),
    dry_run=st.sampled_from([False, False, True]),
    decision_age=st.sampled_from([0.0, 29.9, 30.0, 30.1, -30.0, -30.1]),
    actions_last_hour=st.integers(0, 6),
    back_off_seconds=st.sampled_from([-5.0, 0.0, 0.1]),
    stop_is_final=st.sampled_from([None, "because"]),
)


@settings(max_examples=1000)
@given(action=ACTIONS, now=CIRCUMSTANCES, idle=st.builds(IdleSettings, allow_stop=st.booleans(), allow_irreversible_stop=st.booleans()))
def test_the_gate_opens_exactly_when_nothing_at_all_speaks_against_it(action: Action, now: Circumstances, idle: IdleSettings) -> None:
    endpoint = EndpointSettings(id="endpoint-1", min_replicas=1, max_replicas=4, idle=idle)
    stop = action.kind is ActionKind.STOP
    expected = [
        action.endpoint_id == "endpoint-1",
        idle.allow_stop or not stop,
        idle.allow_irreversible_stop or not stop or now.stop_is_final is None,
        stop or 1 <= action.bounds.min_replicas <= action.bounds.max_replicas <= 4,
        stop or action.inactive_timeout_minutes >= 0,
        not now.dry_run,
        now.paused is None,
        -30 <= now.decision_age <= 30,
        now.actions_last_hour < 5,
        now.back_off_seconds <= 0,
    ]
    objection = examine(action, endpoint, LIMITS, now)
    assert (objection is None) is all(expected)
    assert objection is None or (objection.action == action and objection.detail)


ENDPOINT = EndpointSettings(id="endpoint-1", min_replicas=1, max_replicas=4)
SLEEPER = EndpointSettings(id="endpoint-1", min_replicas=1, max_replicas=4, idle=IdleSettings(allow_stop=True))
QUIET = Circumstances(paused=None, dry_run=False, decision_age=0, actions_last_hour=0, back_off_seconds=0)
MORE = Action(ActionKind.UPDATE, "endpoint-1", Bounds(1, 4), 60)
STOP = Action(ActionKind.STOP, "endpoint-1", Bounds(1, 4), 60)


@pytest.mark.parametrize(
    ("action", "now", "reason", "detail"),
    [
        (replace(MORE, endpoint_id="endpoint-2"), QUIET, SkipReason.NOT_ALLOWED, "endpoint-2 is not endpoint-1"),
        (
            replace(MORE, bounds=Bounds(2, 9)),
            QUIET,
            SkipReason.OUT_OF_BOUNDS,
            "2..9 replicas, timeout 60 min is outside 1..4 replicas, timeout >= 0",
        ),
        (
            STOP,
            replace(QUIET, stop_is_final="no stock"),
            SkipReason.IRREVERSIBLE,
            "a stop might be for good: no stock (idle.allow_irreversible_stop)",
        ),
        (MORE, replace(QUIET, dry_run=True), SkipReason.DRY_RUN, "dry run: nothing is sent"),
        (MORE, replace(QUIET, paused="paused: because"), SkipReason.PAUSED, "paused: because"),
        (MORE, replace(QUIET, decision_age=31), SkipReason.STALE, "the decision is 31 s old; at most 30 s are allowed"),
        (MORE, replace(QUIET, actions_last_hour=5), SkipReason.RATE_LIMITED, "5 actions in the last hour; at most 5 are allowed"),
        (MORE, replace(QUIET, back_off_seconds=7), SkipReason.BACKING_OFF, "the provider wants to be left alone for 7 s more"),
        (MORE, replace(QUIET, not_granted=NotGranted("$3 are left")), SkipReason.OVER_BUDGET, "$3 are left"),
        (MORE, replace(QUIET, not_granted=NotGranted("no price", price_unknown=True)), SkipReason.PRICE_UNKNOWN, "no price"),
    ],
)
def test_each_objection_stands_alone_and_says_what_is_wrong_in_figures(
    action: Action, now: Circumstances, reason: SkipReason, detail: str
) -> None:
    assert examine(action, SLEEPER, LIMITS, now) == Skipped(reason, detail, action)


@pytest.mark.parametrize(
    ("bounds", "timeout", "within"),
    [
        (Bounds(1, 4), 0, True),  # 0 = never
        (Bounds(4, 4), 60, True),
        (Bounds(1, 4), -1, False),
        (Bounds(0, 4), 60, False),
        (Bounds(1, 5), 60, False),
        (Bounds(3, 2), 60, False),
    ],
)
def test_bounds_and_timeouts_are_checked_to_the_last_replica_and_minute(bounds: Bounds, timeout: int, within: bool) -> None:  # noqa: FBT001 (a row)
    action = Action(ActionKind.UPDATE, "endpoint-1", bounds, timeout)
    objection = examine(action, ENDPOINT, LIMITS, QUIET)
    assert (objection is None) is within
    assert objection is None or objection.reason is SkipReason.OUT_OF_BOUNDS


def test_a_stop_has_to_be_allowed_and_a_final_one_twice() -> None:
    final = replace(QUIET, stop_is_final="no stock")
    brave = SLEEPER.model_copy(update={"idle": IdleSettings(allow_stop=True, allow_irreversible_stop=True)})
    assert examine(STOP, ENDPOINT, LIMITS, QUIET) == Skipped(SkipReason.NOT_ALLOWED, "stopping is not allowed (idle.allow_stop)", STOP)
    assert examine(STOP, SLEEPER, LIMITS, QUIET) is None
    assert examine(STOP, brave, LIMITS, final) is None
    assert examine(MORE, SLEEPER, LIMITS, final) is None


def test_only_a_file_that_is_surely_not_there_means_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "paused"
    assert pause_state(file) is None
    file.touch()
    assert pause_state(file) == f"paused: {file} exists"
    assert pause_state(file / "below a file") is not None
    assert pause_state(tmp_path / "missing" / "paused") is not None
    assert pause_state(tmp_path / ("long" * 100)) is not None
    file.unlink()
    file.symlink_to(tmp_path / "nowhere")
    assert pause_state(file) is not None
    file.unlink()
    file.mkdir()
    assert pause_state(file) is not None
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    assert pause_state(loop / "paused") is not None
    monkeypatch.chdir(tmp_path)
    assert pause_state(Path("other")) is None


@pytest.mark.skipif(os.geteuid() == 0, reason="root may look everywhere")
def test_a_directory_that_cannot_be_looked_into_means_paused(tmp_path: Path) -> None:
    tmp_path.chmod(0o000)
    try:
        assert pause_state(tmp_path / "paused") is not None
    finally:
        tmp_path.chmod(0o700)


def test_a_look_that_is_denied_means_paused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(self: Path) -> os.stat_result:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "lstat", denied)
    assert pause_state(tmp_path / "paused") == f"paused: {tmp_path / 'paused'} cannot be looked for (Permission denied)"


def decide(bounds: Bounds, power: Power, hold: bool, timeout: int) -> Decision:  # noqa: FBT001 (a drawn value)
    return Decision("chat", 0.0, bounds, timeout, power, hold, ())


@settings(max_examples=1000)
@given(
    observed=ENDPOINTS,
    bounds=BOUNDS,
    power=st.sampled_from(Power),
    hold=st.booleans(),
    timeout=st.integers(0, 2),
    last=st.none() | st.integers(0, 2),
)
def test_a_plan_is_due_complete_and_leads_where_it_should(  # noqa: PLR0917 (drawn values)
    observed: Endpoint,
    bounds: Bounds,
    power: Power,
    hold: bool,  # noqa: FBT001 (a drawn value)
    timeout: int,
    last: int | None,
) -> None:
    action = plan(decide(bounds, power, hold, timeout), observed, last)
    known = last if observed.inactive_timeout_minutes is None else observed.inactive_timeout_minutes
    running = observed.state in {EndpointState.PENDING, EndpointState.STARTING, EndpointState.STARTED}
    wanted = {
        ActionKind.START: observed.state is EndpointState.STOPPED and power is Power.RUN,
        ActionKind.STOP: running and power is Power.STOP,
        ActionKind.UPDATE: running and power is not Power.STOP and (observed.bounds, known) != (bounds, timeout),
    }
    due = [kind for kind, yes in wanted.items() if yes and not hold]
    assert [action] == ([Action(due[0], observed.id, bounds, timeout)] if due else [None])


CHANGES = sorted(set(ActionKind) - {ActionKind.CREATE})


@settings(max_examples=500)
@given(observed=ENDPOINTS, bounds=BOUNDS, timeout=st.integers(0, 2), kind=st.sampled_from(CHANGES), before=st.none() | BOUNDS)
def test_a_lost_call_counts_as_applied_only_on_evidence(
    observed: Endpoint, bounds: Bounds, timeout: int, kind: ActionKind, before: Bounds | None
) -> None:
    intent = Intent(1, 0.0, "chat", Action(kind, "endpoint-1", bounds, timeout), "", before)
    verdict = applied(intent, observed)
    if observed.id != "endpoint-1":
        assert verdict is False
    elif observed.state is EndpointState.UNKNOWN:
        assert verdict is None
    elif verdict:
        assert satisfied(intent.action, observed)
        assert kind is ActionKind.STOP or observed.bounds == bounds
        assert kind is not ActionKind.UPDATE or before != bounds or observed.inactive_timeout_minutes == timeout
    else:
        assert verdict is False


SPOILT = st.dictionaries(
    st.sampled_from(["id", "state", "autoscaling", "name", "extra"]),
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.dictionaries(st.sampled_from(["min_replicas", "max_replicas"]), st.integers()),
    min_size=1,
)


@settings(max_examples=500)
@given(spoilt=SPOILT)
def test_a_spoilt_answer_never_becomes_a_start_or_stop(spoilt: dict[str, Any]) -> None:
    whole = {
        "id": "endpoint-1",
        "name": "n",
        "model": "m",
        "hardware": "h",
        "state": "STARTED",
        "autoscaling": {"min_replicas": 1, "max_replicas": 2},
    }
    try:
        observed = parse_endpoint(json.loads(json.dumps(whole | spoilt)))
    except BadReply:
        return
    action = plan(decide(Bounds(1, 2), Power.RUN, hold=False, timeout=60), observed, 60)
    assert action is None or (action.kind is ActionKind.UPDATE and observed.bounds != Bounds(1, 2)) or spoilt.get("state") == "STOPPED"
