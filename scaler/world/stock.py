"""Hardware that can be placed: counts of whole replicas, by hardware id."""

from collections.abc import Mapping

DEFAULT = 64


class Stock:
    """Never negative: what is not there cannot be taken."""

    def __init__(self, total: Mapping[str, int]) -> None:
        """``total`` replicas by hardware id; what is not named has `DEFAULT`."""
        self._total = dict(total)
        self._taken: dict[str, int] = {}

    def total(self, hardware_id: str) -> int:
        """How many there are, placed or not."""
        return self._total.get(hardware_id, DEFAULT)

    def free(self, hardware_id: str) -> int:
        """How many can be placed now."""
        return max(0, self.total(hardware_id) - self._taken.get(hardware_id, 0))

    def set_total(self, hardware_id: str, replicas: int) -> None:
        """So many there are from now on; what is placed stays placed, even if it is more."""
        self._total[hardware_id] = replicas

    def take(self, hardware_id: str) -> None:
        """Place one; `RuntimeError` when none is left, for the caller has to look first."""
        if self.free(hardware_id) < 1:
            raise RuntimeError(f"no {hardware_id} left to place")
        self._taken[hardware_id] = self._taken.get(hardware_id, 0) + 1

    def give(self, hardware_id: str) -> None:
        """Put one back."""
        self._taken[hardware_id] -= 1
