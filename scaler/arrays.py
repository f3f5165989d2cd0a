"""Arrays that are remembered: as text that gives the same bits back."""

from base64 import b64decode, b64encode
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import PlainValidator

Floats = NDArray[np.float64]


def to_plain(array: Floats) -> dict[str, Any]:
    """Shape and the bytes of its float64, little-endian, in base64."""
    return {"shape": array.shape, "float64": b64encode(array.astype("<f8").tobytes()).decode()}


def _from_plain(value: Any) -> Floats:  # noqa: ANN401 (what JSON holds)
    """What `to_plain` made; an array is left as it is. Raises `ValueError` for anything else."""
    if isinstance(value, np.ndarray):
        return value
    try:
        array = np.frombuffer(b64decode(value["float64"], validate=True), dtype="<f8").reshape(value["shape"]).astype(np.float64)
    except (KeyError, TypeError) as error:
        raise ValueError("expected an array as shape and float64") from error
    array.setflags(write=False)
    return array


Kept = Annotated[Floats, PlainValidator(_from_plain)]
"""An array in a value that is kept as JSON."""
