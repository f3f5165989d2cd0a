"""Prompts seen of late, whose prefill a replica need not repeat."""

from collections import OrderedDict

CAPACITY = 4_096
"""Prompts remembered for one endpoint; the one longest unused makes room."""
CACHED_SHARE = 0.9
"""Share of a repeated prompt's tokens that are not computed again: its end never is."""


class PromptCache:
    """Least recently used prompts of one endpoint, and so of one model, by key."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        """Remembers nothing."""
        self._capacity = capacity
        self._keys: OrderedDict[bytes, None] = OrderedDict()

    def cached_tokens(self, key: bytes | None, input_tokens: int) -> int:
        """How many of the prompt's tokens are known, and remember it from now on; None = a prompt like no other."""
        if key is None:
            return 0
        if key in self._keys:
            self._keys.move_to_end(key)
            return int(input_tokens * CACHED_SHARE)
        self._keys[key] = None
        if len(self._keys) > self._capacity:
            self._keys.popitem(last=False)
        return 0
