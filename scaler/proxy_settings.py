"""The request path's part of the configuration. It stands apart from `scaler.settings` because workers load this much and no more."""

import math
import re
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator

MAX_PORT = 65535
DEFAULT_BURST = 20
LOOPBACK = frozenset({"127.0.0.1", "localhost", "[::1]", "::1"})

Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


def _listen(value: str) -> str:
    found = re.fullmatch(r"(?:[^\s:\[\]/]+|\[[^\s\[\]/]+\]):([0-9]{1,5})", value)
    if found is None or int(found[1]) > MAX_PORT:
        raise ValueError("expected HOST:PORT, such as 127.0.0.1:8080 or [::1]:8080")
    return value


def _origin(value: str) -> str:
    if not re.fullmatch(r"https?://[A-Za-z0-9.\-\[\]:]+(/[A-Za-z0-9._~/\-]*)?", value) or not _can_be_called(value):
        raise ValueError("expected an http(s) URL of host, port and path only")
    if value.startswith("http://") and host_of(value) not in LOOPBACK:
        raise ValueError("expected https:// (plain http is accepted for loopback addresses only)")
    return value.rstrip("/")


def _can_be_called(url: str) -> bool:
    """Whether there can be such a host and port."""
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and parts.port != 0
    except ValueError:  # brackets around no address, or a port that is no number or too large
        return False


def _sha256(value: str) -> str:
    if not re.fullmatch(r"[0-9a-f]{64}", value):
        raise ValueError("expected the SHA-256 of the key, not the key itself: 64 hexadecimal digits in lower case")
    return value


Listen = Annotated[str, AfterValidator(_listen)]
Origin = Annotated[str, AfterValidator(_origin)]


def host_port(listen: str) -> tuple[str, int]:
    """Split ``HOST:PORT``; brackets of an IPv6 address are taken off."""
    host, _, port = listen.rpartition(":")
    return host.strip("[]"), int(port)


def host_of(url: str) -> str:
    """The host of an http(s) URL, brackets kept."""
    authority = url.split("://", 1)[1].split("/", 1)[0]
    return authority if authority.endswith("]") else re.sub(r":\d+$", "", authority)


class Section(BaseModel):
    """A branch of the tree: unknown keys are errors, values are frozen, docstrings are the documentation."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class ProxySettings(Section):
    """The request path."""

    listen: Listen = "127.0.0.1:8080"
    """Where clients send inference requests."""
    workers: Annotated[int, Field(ge=1, le=64)] = 1
    """Processes that share the work, and the limits of counts and bytes. With 1 it is done beside the controller."""
    upstream: Origin | None = None
    """Base of the inference API including ``/v1``; default: ``provider.base_url``, with ``/v1`` on it where v2 leaves it out.
    https is verified by the system's authorities, or by those in the file that SSL_CERT_FILE names."""
    max_body_bytes: Annotated[int, Field(gt=0)] = 16 * 1024 * 1024
    """Largest request body; beyond it 413."""
    max_head_bytes: Annotated[int, Field(ge=1024)] = 32 * 1024
    """Largest request head; beyond it 431."""
    max_url_bytes: Annotated[int, Field(gt=0)] = 8 * 1024
    """Longest request target; beyond it 414."""
    max_connections: Annotated[int, Field(gt=0)] = 10_000
    """Client connections at once; beyond it the newest is closed. Each may need two open files; where those run short, fewer are taken."""
    max_connections_per_address: Annotated[int, Field(gt=0)] = 10_000
    """Of those, from one address (IPv6: one /64). Lower it where clients come directly; behind another proxy all have its address."""
    max_buffered_bytes: Annotated[int, Field(gt=0, validate_default=True)] = 512 * 1024 * 1024
    """Request bodies held at once, of all connections; beyond it 503. Answers are held to 64 KiB for each connection."""
    header_timeout_seconds: Positive = 10.0
    """A request head must be complete in this time (408)."""
    body_timeout_seconds: Positive = 30.0
    """A request body must be complete in this time (408)."""
    connect_timeout_seconds: Positive = 10.0
    """A connection to the upstream must stand in this time (504)."""
    response_timeout_seconds: Positive = 600.0
    """The upstream may be silent this long before and between bytes of an answer (504, or a visible break)."""
    keepalive_seconds: Positive = 75.0
    """An idle client connection is kept this long."""
    upstream_idle_seconds: Positive = 30.0
    """An idle upstream connection is kept this long."""
    drain_seconds: Seconds = 60.0
    """On SIGTERM, streams in flight get this long to finish."""

    @field_validator("max_buffered_bytes")
    @classmethod
    def _holds_a_body(cls, value: int, info: ValidationInfo) -> int:
        if value < info.data.get("max_body_bytes", 0):
            raise ValueError("expected at least max_body_bytes")
        return value


class ClientKeySettings(Section):
    """A client of the request path, known by its key."""

    sha256: Annotated[str, AfterValidator(_sha256)]
    """SHA-256 of the key, in hexadecimal. The key itself is kept nowhere; make it long and random."""
    requests_per_minute: Positive | None = None
    """Its sustained rate; beyond it 429. Default: no limit."""
    burst: Annotated[int | None, Field(gt=0, validate_default=True)] = None
    """With a rate: so many requests may come at once. Default: 20."""
    max_in_flight: Annotated[int, Field(gt=0)] | None = None
    """Its requests in flight at once; beyond it 429. Default: no limit."""

    @field_validator("burst")
    @classmethod
    def _of_a_rate(cls, value: int | None, info: ValidationInfo) -> int | None:
        if info.data.get("requests_per_minute", math.inf) is not None:  # infinite: one that is bad, and told already
            return value or DEFAULT_BURST
        if value is not None:
            raise ValueError("expected only beside requests_per_minute")
        return None


class FallbackSettings(Section):
    """Where requests go instead, on the same upstream with the same key; it has a budget, since it is usually billed by the token."""

    model: Annotated[str, Field(min_length=1, max_length=300, pattern=r"^[!-~]+$")]
    """A serverless model's name, or another endpoint or pool of this configuration."""
    requests_per_minute: Annotated[int, Field(gt=0)] = 60
    """Most requests sent there in any minute, on average; as many may come at once."""
    requests_per_day: Annotated[int, Field(gt=0)] = 10_000
    """Most requests sent there in 24 hours; counted anew when the daemon starts."""


WakeMode = Literal["hold", "keepalive", "fail", "fallback"]


class WakeSettings(Section):
    """What becomes of requests that cannot be served at once: the endpoint sleeps or wakes, or it is full."""

    mode: WakeMode = "hold"
    """While it sleeps or wakes: hold; keepalive: hold, and let streams see comments meanwhile; fail: 503 with Retry-After; fallback: go
    elsewhere. A request's header ``x-scaler-wake`` wins."""
    saturated: Literal["pass", "queue", "spill", "shed"] = "pass"
    """While it is full: pass, the platform has a queue of its own; queue here; spill: queue within the objective, then fall back; shed:
    queue within the objective, then 503."""
    hold_seconds: Positive = 540.0
    """A request is held this long, then answered with 504; OpenAI's clients give up after ten minutes themselves."""
    max_held: Annotated[int, Field(gt=0)] = 1_000
    """Most requests held; beyond it 503."""
    max_held_bytes: Annotated[int, Field(gt=0)] = 64 * 1024 * 1024
    """Most bytes of their bodies; beyond it 503."""
    comment_seconds: Positive = 10.0
    """With keepalive: time between two comments. Proxies and load balancers commonly cut what is silent for 30 or 60 s."""
    probe: bool = True
    """Whether readiness after a start is proven by a request of one token; else the provider's word is enough."""
    probe_seconds: Positive = 2.0
    """Time between two such requests."""
    fallback: Annotated[FallbackSettings | None, Field(validate_default=True)] = None
    """Where else requests may go."""

    @field_validator("fallback")
    @classmethod
    def _somewhere_else(cls, value: FallbackSettings | None, info: ValidationInfo) -> FallbackSettings | None:
        if value is None and (info.data.get("mode") == "fallback" or info.data.get("saturated") == "spill"):
            raise ValueError("expected beside mode: fallback and saturated: spill")
        return value
