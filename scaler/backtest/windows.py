"""Extremes over sliding windows."""

from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Number = TypeVar("Number", bound=np.number[Any])


def window_max(values: NDArray[Number], width: int) -> NDArray[Number]:
    """``out[k] = max(values[k : k + width])``, ``width - 1`` shorter than ``values``; in a number of passes logarithmic in ``width``."""
    reach = 1
    while reach < width:
        hop = min(reach, width - reach)
        values = np.maximum(values[:-hop], values[hop:])
        reach += hop
    return values
