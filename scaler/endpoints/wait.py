"""Waiting until an endpoint is as it should be, with a deadline and an eye for what will never come."""

from scaler.clock import Clock
from scaler.model import Endpoint, EndpointState
from scaler.providers.base import NotFound, ProviderError, Reader

POLL_SECONDS = 1.0
FAILURES = {
    EndpointState.STARTED: frozenset({EndpointState.ERROR, EndpointState.STOPPED}),
    EndpointState.STOPPED: frozenset({EndpointState.ERROR}),
}
"""What ends the wait for a state in vain."""


class WaitFailed(Exception):  # noqa: N818 (reads as a sentence: "except WaitFailed")
    """The endpoint did not get where it should, and why."""


async def wait_for(reader: Reader, told: Endpoint, goal: EndpointState, seconds: float, clock: Clock) -> Endpoint:
    """The endpoint once it is in the state ``goal``, at most ``seconds`` from now; raises `WaitFailed`.

    ``told`` is what the provider said when it was asked for the change: a failure that it still shows is the old state, not the end.
    A single call that fails does not end the wait.
    """
    deadline = clock.monotonic() + seconds
    endpoint, trouble = told, ""
    old = told.state if told.state in FAILURES[goal] else None
    while endpoint.state is not goal:
        if clock.monotonic() >= deadline:
            raise WaitFailed(f"{endpoint.id} is {endpoint.state}, not {goal}, after {seconds:g} s{trouble}")
        await clock.sleep(POLL_SECONDS)
        try:
            endpoint, trouble = await reader.get(told.id), ""
        except NotFound as error:
            raise WaitFailed(f"{told.id} is gone: {error}") from error
        except ProviderError as error:
            trouble = f"; the last answer was: {error}"
            continue
        old = old if endpoint.state is old else None
        if endpoint.state in FAILURES[goal] and old is None:
            words = f" ({endpoint.message})" if endpoint.message else ""
            raise WaitFailed(f"{endpoint.id} will not be {goal}: it is {endpoint.state}{words}")
    return endpoint
