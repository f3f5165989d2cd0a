"""How the platform says no. `code` is what the provider's error object carries; the HTTP face knows which status belongs to which."""


class Refused(Exception):  # noqa: N818 (a refusal is an answer, not an error of the world)
    """Nothing was changed. The message is for the caller."""

    code: str | None = None


class NotFound(Refused):
    """No such endpoint, model or configuration."""

    code = "not_found"


class Invalid(Refused):
    """The request contradicts itself or the catalog."""

    code = "invalid_request"


class NotRunning(Refused):
    """The endpoint exists, but serves nobody."""

    code = "endpoint_not_running"


class Overloaded(Refused):
    """The endpoint's queue is full; later may be better."""

    code = "overloaded"


class Conflict(Refused):
    """A name is taken, a version is stale, or something has to happen first."""

    code = "conflict"


class Unroutable(Refused):
    """No ready replica stands behind the name."""

    code = "routing_error"
