"""Reading JSON of a provider: strict about the fields that matter, blind to all others, and never quoting what it was given."""

from typing import Annotated, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from scaler.providers.base import BadReply

MAX_TEXT = 500


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("expected printable characters only")
    return text


def _shown(value: object) -> str:
    return value if isinstance(value, str) and len(value) <= MAX_TEXT and value.isprintable() else ""


Text = Annotated[str, Field(min_length=1, max_length=MAX_TEXT), AfterValidator(_printable)]
Shown = Annotated[str, BeforeValidator(_shown)]
"""For people's eyes only: what cannot be printed is left out, and spoils nothing."""
Count = Annotated[int, Field(ge=0, le=1_000_000)]


class Wire(BaseModel):
    """A shape of the provider's: no number for a string, no boolean for a number; unknown keys are ignored."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)


W = TypeVar("W", bound=Wire)


def read(kind: type[W], what: str, body: object) -> W:
    """``body`` as ``kind``; ``what`` names it in the `BadReply` that anything else is. The input itself is never shown."""
    try:
        return kind.model_validate(body)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_input=False, include_context=False)
        first = f"{'.'.join(map(str, faults[0]['loc']))}: {faults[0]['msg']}".removeprefix(": ")
        raise BadReply(f"{what}: {first}" + (f" (and {len(faults) - 1} more)" if len(faults) > 1 else "")) from None
