"""The nouns as JSON text and back, exactly."""

from typing import Any, TypeVar

import numpy as np
from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_json

from scaler.arrays import to_plain
from scaler.model import Action, Bounds, Decision, Endpoint, Inputs
from scaler.store.base import StoreError, StoreFault

T = TypeVar("T")

_ADAPTERS: dict[type, TypeAdapter[Any]] = {kind: TypeAdapter(kind) for kind in (Action, Bounds, Decision, Endpoint, Inputs)}


def encode(value: object) -> str:
    """JSON of one of the nouns; infinities and NaN are written as such, floats so that they read back bit for bit."""
    return to_json(value, inf_nan_mode="constants", fallback=_plain).decode()


def _plain(value: Any) -> dict[str, Any]:  # noqa: ANN401 (what JSON has no word for: arrays, and mappings that are no dict)
    return to_plain(value) if isinstance(value, np.ndarray) else dict(value)


def decode(kind: type[T], text: str) -> T:
    """The noun that `encode` wrote; text that is none is a `StoreError`."""
    try:
        value: T = _ADAPTERS[kind].validate_json(text)
    except ValidationError as error:
        raise StoreError(StoreFault.CORRUPT, f"a row holds no {kind.__name__} ({error.error_count()} faults)") from None
    return value
