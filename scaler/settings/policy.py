"""How traffic becomes replicas, and when none are needed."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from scaler.proxy_settings import Positive, Section

DEFAULT_CONCURRENCY = 8.0
"""Requests in flight that a replica is taken to serve well until it is known."""
DEFAULT_TIMEOUT = 60
"""Minutes of inactivity after which the platform stops an endpoint if nothing better is known; the platform's own default."""


class ObjectiveSettings(Section):
    """What a good answer is."""

    ttft_seconds: Positive | None = 2.0
    """A streamed answer should begin within this time."""
    latency_seconds: Positive | None = None
    """Any answer should be complete within this time."""
    share: Annotated[float, Field(gt=0, lt=1)] = 0.99
    """Share of requests that should meet both."""


class PolicySettings(Section):
    """How traffic becomes replicas."""

    target_concurrency: Positive | Literal["auto"] = "auto"
    """Requests in flight that one replica serves well; auto: learned from traffic, 8 (Together's own default) until it is known."""
    target_utilization: Annotated[float, Field(gt=0, le=1)] = 0.7
    """Share of that to plan with; the rest is headroom for the time a start takes."""
    stable_window_seconds: Positive = 60.0
    """Mean concurrency over this span drives ordinary changes."""
    panic_window_seconds: Positive = 20.0
    """Mean over this span drives the answer to a burst."""
    panic_threshold: Annotated[float, Field(gt=1)] = 2.0
    """A burst: the panic window wants this many times the ready replicas."""
    stabilization_seconds: Positive = 600.0
    """Down only to the highest need seen in this span; about two cold starts, since what is given back takes one to return."""
    tolerance: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Needs within this share of what runs change nothing."""
    max_step_up: Annotated[int, Field(gt=0)] = 4
    """Most replicas added at once (or doubling, whichever is more)."""
    max_step_down: Annotated[int, Field(gt=0)] = 1
    """Most replicas taken away at once."""
    cold_start_seconds: Positive = 300.0
    """Time from an update to a serving replica to plan with until starts were seen; from then on it is learned."""
    burst_replicas: Annotated[int, Field(ge=0)] = 0
    """How many replicas above our own count the platform's autoscaler may add; 0 pins min = max."""

    @property
    def per_replica(self) -> float:
        """``target_concurrency`` as a number."""
        return DEFAULT_CONCURRENCY if self.target_concurrency == "auto" else self.target_concurrency

    @model_validator(mode="after")
    def _windows_nest(self) -> Self:
        if self.panic_window_seconds > self.stable_window_seconds:
            raise ValueError("expected panic_window_seconds <= stable_window_seconds")
        return self


class IdleSettings(Section):
    """When the endpoint may sleep."""

    inactive_timeout_minutes: Annotated[int, Field(ge=0)] | Literal["auto"] = "auto"
    """Sent with every update: the platform stops the endpoint after this long without a request; 0 = never. auto: 60 until gaps in the
    traffic are known, then what costs least with them; where scaler stops the endpoint itself, a little more than that takes."""
    allow_stop: bool = False
    """Whether scaler may stop the endpoint itself. On Together v1 make sure first that your account may start it again."""
    allow_irreversible_stop: bool = False
    """Whether it may be stopped even where the provider is known not to start it again."""
    stop_after_minutes: Positive | Literal["auto"] = "auto"
    """Proven idle this long, then stopped (when allowed). auto: as soon as a cold call is cheaper than waiting for it, by the gaps in the
    endpoint's own traffic; and it is started again in time for a call that can be foreseen."""
    wake: bool = True
    """Whether scaler starts the endpoint again when requests come while it is stopped."""
    prewarm: bool = True
    """With auto: whether it is started before a call that is expected."""
    warm_share: Annotated[float, Field(gt=0, lt=1)] | None = None
    """With auto: of the ten-minute windows with traffic, the share that should find the endpoint awake. Default: the objective's share."""
    cold_request_dollars: Positive | None = None
    """With auto: what it is worth that a call does not find the endpoint asleep; where prices are known, it takes the place of a share."""
    keep_at_least_minutes: Positive = 10.0
    """With auto: kept this long after traffic in any case."""
    keep_at_most_minutes: Positive = 240.0
    """With auto: kept no longer for a call that may come, however dear."""
    min_sleep_minutes: Positive = 20.0
    """With auto: a shorter sleep is not worth a stop and a start."""

    @property
    def timeout_minutes(self) -> int:
        """The platform's idle timer as far as it is known beforehand."""
        return DEFAULT_TIMEOUT if self.inactive_timeout_minutes == "auto" else self.inactive_timeout_minutes

    @property
    def proof_seconds(self) -> float:
        """Idleness that must be proven without a gap before a stop."""
        return 60 * (self.keep_at_least_minutes if self.stop_after_minutes == "auto" else self.stop_after_minutes)

    @model_validator(mode="after")
    def _price_counts(self) -> Self:
        for name in ("warm_share", "cold_request_dollars"):
            if self.allow_stop and self.stop_after_minutes != "auto" and getattr(self, name) is not None:
                raise ValueError(f"{name}: expected only beside stop_after_minutes: auto; a fixed time leaves nothing to weigh")
        return self

    @model_validator(mode="after")
    def _keeps_ordered(self) -> Self:
        if self.keep_at_least_minutes > self.keep_at_most_minutes:
            raise ValueError("expected keep_at_least_minutes <= keep_at_most_minutes")
        return self
