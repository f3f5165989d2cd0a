"""From what a person typed to what is meant: hardware from GPUs, ids from names, and the sentences that say what is wrong."""

import secrets
from collections.abc import Sequence

from scaler.actuator.find import find_by_display_name
from scaler.model import Bounds, Endpoint, EndpointChange
from scaler.providers.base import Hardware, NotFound, Reader

ID_PREFIX = "endpoint-"


class BadOrder(Exception):  # noqa: N818 (reads as a sentence: "except BadOrder")
    """What was typed cannot be meant; the message says what could be."""


def make_display_name() -> str:
    """A display name that nothing else has, so that a create whose answer was lost can be found."""
    return f"scaler-{secrets.token_hex(6)}"


def require_model(word: str) -> str:
    """``word``, unless it is an endpoint's id; raises `BadOrder`."""
    if word.startswith(ID_PREFIX):
        raise BadOrder(f"--model takes the name of a model, such as org/model; {word} is the id of an endpoint")
    return word


def choose_hardware(catalog: Sequence[Hardware], gpu: str, count: int) -> str:
    """The id of the one configuration of ``count`` such GPUs: ``h100`` and 2 are ``2x_nvidia_h100_80gb_sxm``. Raises `BadOrder`."""
    begin = f"{count}x_nvidia_{gpu.lower().replace('-', '_')}"
    found = [item.id for item in catalog if item.id == begin or item.id.startswith(f"{begin}_")]
    if len(found) == 1:
        return found[0]
    what = f"{len(found)} hardware options are" if found else "no hardware option is"
    options = ", ".join(found or [item.id for item in catalog]) or "none"
    raise BadOrder(f"{what} {count} x {gpu} for this model; use --hardware with one of: {options}")


def change_of(min_replicas: int | None, max_replicas: int | None, inactive_timeout: int | None) -> EndpointChange:
    """What an update asks for: both bounds together, the timeout (minutes), or all of it. Raises `BadOrder`."""
    if (min_replicas is None) != (max_replicas is None):
        raise BadOrder("both --min-replicas and --max-replicas must be given together")
    if min_replicas is None or max_replicas is None:
        if inactive_timeout is None:
            raise BadOrder("nothing to update: give --min-replicas and --max-replicas, or --inactive-timeout")
        return EndpointChange(inactive_timeout_minutes=inactive_timeout)
    return EndpointChange(bounds=bounds_of(min_replicas, max_replicas), inactive_timeout_minutes=inactive_timeout)


def bounds_of(min_replicas: int, max_replicas: int) -> Bounds:
    """Both bounds; raises `BadOrder` if they contradict each other."""
    if min_replicas > max_replicas:
        raise BadOrder(f"expected --min-replicas <= --max-replicas, got {min_replicas} > {max_replicas}")
    return Bounds(min_replicas, max_replicas)


async def look_up(reader: Reader, word: str) -> Endpoint:
    """The endpoint of the id ``word``; raises `NotFound`, and `BadOrder` with the id if ``word`` is a name."""
    if "/" not in word:
        try:
            return await reader.get(word)
        except ValueError as error:
            raise BadOrder(str(error)) from error
        except NotFound as error:
            missing: Exception = error
    else:
        missing = BadOrder(f"management uses the id; {word} is a name, and none of your endpoints has it")
    if (owner := await _id_of_name(reader, word)) is not None:
        raise BadOrder(f"management uses the id; {word} is a name; its id is {owner}")
    raise missing


async def require_gone(reader: Reader, endpoint_id: str) -> None:
    """Raises `BadOrder` if the endpoint exists, and `ProviderError` if nobody can tell."""
    try:
        await reader.get(endpoint_id)
    except NotFound:
        return
    raise BadOrder(f"{endpoint_id} still exists; `scaler endpoints delete {endpoint_id}` first")


async def _id_of_name(reader: Reader, word: str) -> str | None:
    """The id of our endpoint that has this inference or display name."""
    for summary in await reader.list():
        if word in (summary.name, summary.display_name):
            return summary.id
    named = await find_by_display_name(reader, word) if "/" not in word else ()
    return named[0].id if named else None
