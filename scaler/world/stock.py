"""Hardware that can be placed: counts of whole replicas, by hardware id, shared out evenly over the zones."""

from collections.abc import Collection, Mapping

from scaler.world.catalog import ZONES

DEFAULT = 64


class Stock:
    """Never negative: what is not there cannot be taken."""

    def __init__(self, total: Mapping[str, int]) -> None:
        """``total`` replicas by hardware id; what is not named has `DEFAULT`."""
        self._total = dict(total)
        self._taken: dict[tuple[str, str], int] = {}

    def total(self, hardware_id: str) -> int:
        """How many there are, placed or not."""
        return self._total.get(hardware_id, DEFAULT)

    def share(self, hardware_id: str, zone: str) -> int:
        """How many of them stand in ``zone``: equal parts, the odd ones in the first zones."""
        even, odd = divmod(self.total(hardware_id), len(ZONES))
        return even + (ZONES.index(zone) < odd)

    def free(self, hardware_id: str, zones: Collection[str] = ()) -> int:
        """How many can be placed now, in one of ``zones``; none named = anywhere."""
        left = self.total(hardware_id) - sum(self._taken.get((hardware_id, zone), 0) for zone in ZONES)
        return max(0, min(left, sum(self._free_in(hardware_id, zone) for zone in zones or ZONES)))

    def set_total(self, hardware_id: str, replicas: int) -> None:
        """So many there are from now on; what is placed stays placed, even if it is more."""
        self._total[hardware_id] = replicas

    def take(self, hardware_id: str, zones: Collection[str] = ()) -> str:
        """Place one in the emptiest of ``zones`` and name it; `RuntimeError` when none is left, for the caller has to look first."""
        if self.free(hardware_id, zones) < 1:
            raise RuntimeError(f"no {hardware_id} left to place")
        zone = max(zones or ZONES, key=lambda zone: self._free_in(hardware_id, zone))
        self._taken[hardware_id, zone] = self._taken.get((hardware_id, zone), 0) + 1
        return zone

    def give(self, hardware_id: str, zone: str) -> None:
        """Put one back."""
        self._taken[hardware_id, zone] -= 1

    def _free_in(self, hardware_id: str, zone: str) -> int:
        return max(0, self.share(hardware_id, zone) - self._taken.get((hardware_id, zone), 0))
