"""From a decision to the one call it needs, and from a reading to whether a call has worked. Pure."""

from scaler.model import Action, ActionKind, Decision, Endpoint, EndpointState, Intent, Power

RUNNING = frozenset({EndpointState.STARTED, EndpointState.STARTING, EndpointState.PENDING})
RESTING = frozenset({EndpointState.STOPPING, EndpointState.STOPPED})


def plan(decision: Decision, observed: Endpoint, last_confirmed_timeout: int | None) -> Action | None:
    """The call that brings the endpoint to what was decided, or None if none is due.

    Nothing is due on a hold, in a state we do not understand (or ERROR), while it is stopping, and when everything is already so.
    ``last_confirmed_timeout`` (minutes) stands in where the provider does not report the timeout; None there means that nobody
    knows it, so it is sent.
    """
    kind = None if decision.hold else _kind(decision, observed, last_confirmed_timeout)
    return None if kind is None else Action(kind, observed.id, decision.bounds, decision.inactive_timeout_minutes, observed.etag)


def _kind(decision: Decision, observed: Endpoint, last_confirmed_timeout: int | None) -> ActionKind | None:
    if observed.state is EndpointState.STOPPED and decision.power is Power.RUN:
        return ActionKind.START
    if observed.state not in RUNNING:
        return None
    if decision.power is Power.STOP:
        return ActionKind.STOP
    reported = observed.inactive_timeout_minutes
    timeout = last_confirmed_timeout if reported is None else reported
    same = observed.bounds == decision.bounds and timeout == decision.inactive_timeout_minutes
    return None if same else ActionKind.UPDATE


def satisfied(action: Action, observed: Endpoint) -> bool | None:
    """Whether the endpoint is as ``action`` wanted it; None if the reading cannot tell."""
    if observed.state is EndpointState.UNKNOWN:
        return None
    if action.kind is ActionKind.STOP:
        return observed.state in RESTING
    as_asked = observed.bounds == action.bounds and observed.inactive_timeout_minutes in (None, action.inactive_timeout_minutes)
    return as_asked and (action.kind is ActionKind.UPDATE or observed.state in RUNNING)


def news(intent: Intent) -> str:
    """What a call was for that left the bounds as they were, as more words of a sentence."""
    action = intent.action
    if action.kind is not ActionKind.UPDATE or intent.before != action.bounds:
        return ""
    return f"; sent for its idle timeout, {f'{action.inactive_timeout_minutes} min' if action.inactive_timeout_minutes else 'never'}"


def applied(intent: Intent, observed: Endpoint) -> bool | None:
    """Whether a call whose answer was lost has had its effect, judged by a reading that began after it; None if it cannot tell.

    An UPDATE that left the bounds as they were leaves no trace where the timeout is not reported. It counts as not applied:
    to send it again changes nothing. So does a call to an endpoint that is no longer the one we look after.
    A CREATE has: an endpoint that was declared is read only once its id is known.
    """
    action = intent.action
    if action.kind is ActionKind.CREATE:
        return True
    if observed.id != action.endpoint_id:
        return False
    traceless = action.kind is ActionKind.UPDATE and intent.before == action.bounds and observed.inactive_timeout_minutes is None
    verdict = satisfied(action, observed)
    return False if traceless and verdict else verdict
