"""Bytes of requests' bodies that are being read, wait, or are on their way upstream: counted once, bounded for all connections together."""


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

    def has_room(self, length: int) -> bool:
        """Whether there is so much left."""
        return self._room.taken + length <= self._room.limit

    def take(self, length: int) -> None:
        """So much has come, and there is room for it."""
        self._room.taken += length
        self.taken += length

    def keep(self, length: int) -> None:
        """So much is held now."""
        self._room.taken += length - self.taken
        self.taken = length
