"""Bytes of requests' bodies that are being read, wait, or are on their way upstream: counted once, bounded for all connections together."""

from scaler.proxy.errors import Refusal


class Room:
    """What there is for all connections."""

    __slots__ = ("limit", "taken")

    def __init__(self, limit: int) -> None:
        """``limit`` in bytes."""
        self.limit = limit
        self.taken = 0


class Share:
    """What one connection has taken of it."""

    __slots__ = ("_room", "taken")

    def __init__(self, room: Room) -> None:
        """Nothing yet."""
        self._room = room
        self.taken = 0

    def check(self, length: int) -> None:
        """Raises `Refusal` where there is not so much room left."""
        if self._room.taken + length > self._room.limit:
            raise Refusal("overloaded", "Too much is being sent at this moment.", retry_after=1)

    def take(self, length: int) -> None:
        """So much has come, and there is room for it."""
        self._room.taken += length
        self.taken += length

    def keep(self, length: int) -> None:
        """So much is held now."""
        self._room.taken += length - self.taken
        self.taken = length
