"""The last gate before money. It knows nothing of why an action was decided, only whether it may be sent."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from scaler.ledger import NotGranted
from scaler.model import Action, ActionKind
from scaler.settings import EndpointSettings, GuardSettings


class SkipReason(StrEnum):
    """Why nothing was sent; the label in metrics."""

    HELD = "held"
    NO_OP = "no_op"
    OPEN_INTENT = "open_intent"
    NOT_ALLOWED = "not_allowed"
    OUT_OF_BOUNDS = "out_of_bounds"
    DRY_RUN = "dry_run"
    PAUSED = "paused"
    STALE = "stale"
    RATE_LIMITED = "rate_limited"
    BACKING_OFF = "backing_off"
    STORE_FAILED = "store_failed"
    IRREVERSIBLE = "irreversible"
    OVER_BUDGET = "over_budget"
    PRICE_UNKNOWN = "price_unknown"


@dataclass(frozen=True, slots=True)
class Skipped:
    """Nothing was sent, and why. ``action`` is what would have been, if it came that far."""

    reason: SkipReason
    detail: str
    action: Action | None = None


@dataclass(frozen=True, slots=True)
class Circumstances:
    """All that the guard looks at besides the action and the settings, read immediately before.

    paused:            why everything is paused, or None
    decision_age:      seconds since the decision was made; negative if the wall clock was set back
    actions_last_hour: calls of this endpoint in the last hour that were not refused, without this one
    back_off_seconds:  how long the provider still wants to be left alone; 0 = not
    stop_is_final:     why a stop could not be taken back, or None if nothing says so
    not_granted:       why the budget does not pay for it, or None if it does
    """

    paused: str | None
    dry_run: bool
    decision_age: float
    actions_last_hour: int
    back_off_seconds: float
    stop_is_final: str | None = None
    not_granted: NotGranted | None = None


def pause_state(path: Path) -> str | None:
    """Why everything is paused, or None if it is surely not.

    Paused means that the file exists, that nobody can tell whether it does, or that its directory is missing: there nobody could
    make one, and a button that cannot be pressed must not say "go".
    """
    try:
        path.parent.stat()
    except OSError as error:
        return f"paused: the directory of {path} cannot be seen ({error.strerror})"
    try:
        path.lstat()
    except FileNotFoundError:
        return None
    except OSError as error:
        return f"paused: {path} cannot be looked for ({error.strerror})"
    return f"paused: {path} exists"


def examine(action: Action, endpoint: EndpointSettings, limits: GuardSettings, now: Circumstances) -> Skipped | None:
    """The first objection to sending ``action`` now, or None. Pure."""
    unpaid = None if now.not_granted is None else over_budget(now.not_granted, action)
    return next(_objections(action, endpoint, limits, now), unpaid)


def _objections(action: Action, endpoint: EndpointSettings, limits: GuardSettings, now: Circumstances) -> Iterator[Skipped]:
    if action.endpoint_id != endpoint.id:
        yield Skipped(SkipReason.NOT_ALLOWED, f"{action.endpoint_id} is not {endpoint.id}", action)
    if action.kind is ActionKind.STOP and not endpoint.idle.allow_stop:
        yield Skipped(SkipReason.NOT_ALLOWED, "stopping is not allowed (idle.allow_stop)", action)
    if action.kind is ActionKind.STOP and now.stop_is_final is not None and not endpoint.idle.allow_irreversible_stop:
        detail = f"a stop might be for good: {now.stop_is_final} (idle.allow_irreversible_stop)"
        yield Skipped(SkipReason.IRREVERSIBLE, detail, action)
    if action.kind is not ActionKind.STOP and not _within(action, endpoint):
        allowed = f"{endpoint.min_replicas}..{endpoint.max_replicas}"
        asked = f"{action.bounds} replicas, timeout {action.inactive_timeout_minutes} min"
        yield Skipped(SkipReason.OUT_OF_BOUNDS, f"{asked} is outside {allowed} replicas, timeout >= 0", action)
    if now.dry_run:
        yield Skipped(SkipReason.DRY_RUN, "dry run: nothing is sent", action)
    if now.paused is not None:
        yield Skipped(SkipReason.PAUSED, now.paused, action)
    if abs(now.decision_age) > limits.max_decision_age_seconds:
        detail = f"the decision is {now.decision_age:.0f} s old; at most {limits.max_decision_age_seconds:g} s are allowed"
        yield Skipped(SkipReason.STALE, detail, action)
    if now.actions_last_hour >= limits.max_actions_per_hour:
        detail = f"{now.actions_last_hour} actions in the last hour; at most {limits.max_actions_per_hour} are allowed"
        yield Skipped(SkipReason.RATE_LIMITED, detail, action)
    if now.back_off_seconds > 0:
        yield Skipped(SkipReason.BACKING_OFF, f"the provider wants to be left alone for {now.back_off_seconds:.0f} s more", action)


def over_budget(refused: NotGranted, action: Action) -> Skipped:
    """The budget does not pay for ``action``."""
    return Skipped(SkipReason.PRICE_UNKNOWN if refused.price_unknown else SkipReason.OVER_BUDGET, refused.detail, action)


def _within(action: Action, endpoint: EndpointSettings) -> bool:
    low, high = action.bounds.min_replicas, action.bounds.max_replicas
    return endpoint.min_replicas <= low <= high <= endpoint.max_replicas and action.inactive_timeout_minutes >= 0
