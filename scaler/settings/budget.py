"""What it may cost: one endpoint, and all together."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from scaler.proxy_settings import Positive, Section
from scaler.settings.calendar import Zone


class CapSettings(Section):
    """How much may be spent, by scaler's own ledger: its own clock times the price of what runs. None of them: no limit."""

    per_day_dollars: Positive | None = None
    """In a day of the budget's time zone."""
    per_month_dollars: Positive | None = None
    """In a calendar month."""
    per_hour_dollars: Positive | None = None
    """Burn rate: the price per hour of all that runs at once."""

    @property
    def capped(self) -> bool:
        """Whether there is any limit."""
        return (self.per_day_dollars, self.per_month_dollars, self.per_hour_dollars) != (None, None, None)


class EndpointBudgetSettings(CapSettings):
    """What one endpoint may cost."""

    expendable: bool = False
    """Whether it is stopped when a budget gets tight, so that others may go on; needs ``idle.allow_stop``."""
    at_cap: Literal["min", "stop"] | None = None
    """When a budget is used up: keep ``min_replicas``, whose cost is set aside from the beginning, or stop. Default: stop where
    ``idle.allow_stop`` allows it, else min."""
    price_dollars_per_hour: Positive | None = None
    """Of one replica; default: the provider's price list."""


class BudgetSettings(CapSettings):
    """What all endpoints together may cost, and what happens as it gets tight."""

    timezone: Zone | None = None
    """Where days and months begin; default: ``calendar.timezone``."""
    billed_from: Literal["start", "ready"] = "start"
    """Whether a replica is charged from when it is asked for or from when it serves (as Together bills); start is never too low."""
    minimum_run_seconds: Positive = 600.0
    """A start is made only if the budget pays for so long a run; so much is reserved for it beforehand."""
    cut_seconds: Positive = 60.0
    """A budget counts as used up so long before it is: the time that stopping may take."""
    no_prewarm_at: Annotated[float, Field(gt=0, le=1)] = 0.8
    """From this share on nothing is started ahead of need."""
    lower_max_at: Annotated[float, Field(gt=0, le=1)] = 0.85
    """From this share on the maximum is what can be paid until the period ends."""
    slow_up_at: Annotated[float, Field(gt=0, le=1)] = 0.9
    """From this share on replicas are added one after the other."""
    stop_expendable_at: Annotated[float, Field(gt=0, le=1)] = 0.95
    """From this share on expendable endpoints are stopped."""

    @model_validator(mode="after")
    def _stages_ordered(self) -> Self:
        stages = (self.no_prewarm_at, self.lower_max_at, self.slow_up_at, self.stop_expendable_at)
        if list(stages) != sorted(stages):
            raise ValueError("expected no_prewarm_at <= lower_max_at <= slow_up_at <= stop_expendable_at")
        return self
