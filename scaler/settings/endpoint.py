"""One endpoint that scaler looks after."""

from typing import Annotated, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from scaler.proxy_settings import Section, WakeSettings
from scaler.settings.budget import EndpointBudgetSettings
from scaler.settings.calendar import EventSettings, WindowSettings
from scaler.settings.policy import IdleSettings, ObjectiveSettings, PolicySettings

ModelName = Annotated[str, Field(min_length=1, max_length=300, pattern=r"^\S(.*\S)?$")]
"""What clients may write in ``model``: one line."""


class TrafficSettings(Section):
    """How the request path treats an endpoint's requests."""

    max_in_flight: Annotated[int, Field(gt=0)] | None = None
    """Requests at once, those that wait among them; beyond it 503. Default: 1024, or if more, four times what all
    replicas plan for, or once that and all that may be held."""
    retry_stale: bool = False
    """Send a request once more if its kept upstream connection ended without a byte of an answer. It may then be carried out twice."""


class EndpointSettings(Section):
    """One endpoint that scaler looks after. Its key in ``endpoints`` is a name for people, metrics and requests.

    It exists and has an ``id``, or it is declared: ``create: true`` beside what it is to be made of.
    """

    create: bool = False
    """Whether scaler may create it, once; it adopts one of its display name. It is never deleted, and never created again unasked."""
    id: Annotated[str, Field(max_length=200, pattern=r"^[A-Za-z0-9._-]*$", validate_default=True)] = ""
    """Management id, such as endpoint-e6c6b82f-...; none beside ``create``."""
    model: Annotated[str, Field(max_length=300, validate_default=True)] = ""
    """With ``create``: the model, such as org/model."""
    hardware: Annotated[str, Field(max_length=200, validate_default=True)] = ""
    """With ``create``: hardware id of a replica, such as 2x_nvidia_h100_80gb_sxm."""
    zone: str | None = None
    """With ``create``: availability zone; default: wherever there is room."""
    speculative_decoding: bool = False
    """With ``create``: better on average, worse in the tail."""
    display_name: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    """With ``create``: what it is recognised by among your own endpoints; default: ``scaler-`` and its key."""
    name: ModelName | None = None
    """Inference name; default: what the provider says."""
    aliases: tuple[ModelName, ...] = ()
    """More names under which clients may ask for it in ``model``."""
    pool: ModelName | None = None
    """A name that it shares with other endpoints; a request for it goes to the one with the most room."""
    wake: WakeSettings = WakeSettings()
    """What becomes of requests that cannot be served at once."""
    min_replicas: Annotated[int, Field(ge=1)] = 1
    """Floor while the endpoint runs."""
    max_replicas: Annotated[int, Field(ge=1)] = 1
    """Ceiling, always."""
    objective: ObjectiveSettings = ObjectiveSettings()
    """What a good answer is."""
    policy: PolicySettings = PolicySettings()
    """How traffic becomes replicas."""
    idle: IdleSettings = IdleSettings()
    """When it may sleep."""
    traffic: TrafficSettings = TrafficSettings()
    """How its requests are treated."""
    schedules: Annotated[tuple[WindowSettings, ...], Field(max_length=50)] = ()
    """Floors and ceilings that come again by the clock."""
    events: Annotated[tuple[EventSettings, ...], Field(max_length=200)] = ()
    """What is planned once. What is over may stay."""
    budget: EndpointBudgetSettings = EndpointBudgetSettings()
    """What it may cost."""

    @field_validator("id")
    @classmethod
    def _id_or_create(cls, value: str, info: ValidationInfo) -> str:
        if info.data.get("create") and value:
            raise ValueError("expected none beside create: true; remove one of the two")
        if not info.data.get("create") and not value:
            raise ValueError("expected the management id of an endpoint that exists, or create: true with model and hardware")
        return value

    @field_validator("model", "hardware")
    @classmethod
    def _made_of(cls, value: str, info: ValidationInfo) -> str:
        if info.data.get("create") and not value:
            raise ValueError("expected beside create: true")
        return value

    @field_validator("model", "hardware", "zone", "speculative_decoding", "display_name")
    @classmethod
    def _only_beside_create(cls, value: object, info: ValidationInfo) -> object:
        if value and not info.data.get("create"):
            raise ValueError("expected only beside create: true; an endpoint that exists has its own")
        return value

    @model_validator(mode="after")
    def _bounds_ordered(self) -> Self:
        if self.min_replicas > self.max_replicas:
            raise ValueError(f"expected min_replicas <= max_replicas, got {self.min_replicas} > {self.max_replicas}")
        return self

    @model_validator(mode="after")
    def _may_stop_for_budget(self) -> Self:
        for name, stops in (("expendable: true", self.budget.expendable), ("at_cap: stop", self.budget.at_cap == "stop")):
            if stops and not self.idle.allow_stop:
                raise ValueError(f"budget: expected idle.allow_stop: true beside {name}")
        return self

    @property
    def kept_at_cap(self) -> bool:
        """Whether ``min_replicas`` go on running when a budget is used up."""
        return self.budget.at_cap == "min" or (self.budget.at_cap is None and not self.idle.allow_stop)

    @model_validator(mode="after")
    def _windows_fit(self) -> Self:
        named = [(f"schedules.{i}", window.name, window.floor, window.ceiling) for i, window in enumerate(self.schedules)]
        named += [(f"events.{i}", event.name, event.floor, event.ceiling) for i, event in enumerate(self.events)]
        for where, name, floor, ceiling in named:
            if trouble := misfit(self, floor, ceiling):
                raise ValueError(f"{where}: {trouble} ({name})")
        return self


def misfit(endpoint: EndpointSettings, floor: int | None, ceiling: int | None) -> str:
    """Why a floor or a ceiling does not go with the endpoint's own bounds; empty if it does."""
    if floor is not None and floor > endpoint.max_replicas:
        return f"expected floor <= max_replicas, got {floor} > {endpoint.max_replicas}"
    if ceiling is not None and ceiling < endpoint.min_replicas:
        return f"expected ceiling >= min_replicas, got {ceiling} < {endpoint.min_replicas}"
    if floor is not None and ceiling is not None and floor > ceiling:
        return f"expected floor <= ceiling, got {floor} > {ceiling}"
    return ""


def display_name_of(key: str, endpoint: EndpointSettings) -> str:
    """What a declared endpoint is recognised by."""
    return endpoint.display_name or f"scaler-{key}"
