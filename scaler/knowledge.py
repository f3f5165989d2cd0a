"""What was learned of an endpoint, over a restart: a small JSON document in the store.

Losing it costs what it took to learn, nothing else: a document that cannot be read counts as none, and a store that fails is asked again.
"""

from pydantic import TypeAdapter, ValidationError

from scaler.policy.learned import Learned, at_rest
from scaler.store.base import Store, StoreError
from scaler.store.codec import encode

KEEP_SECONDS = 300.0
"""At most so much is forgotten."""

_LEARNED: TypeAdapter[Learned] = TypeAdapter(Learned)


class Knowledge:
    """Of one endpoint, whatever the configuration calls it."""

    def __init__(self, endpoint_id: str, store: Store) -> None:
        """Nothing is read yet."""
        self._id = endpoint_id
        self._store = store
        self._recalled = False
        self._kept_at = float("-inf")

    async def recall(self) -> Learned | None:
        """What an earlier process has learned, once; None if there is nothing, or not yet."""
        if self._recalled:
            return None
        try:
            document = await self._store.learned(self._id)
        except StoreError:
            return None  # asked again with the next tick; until then nothing is kept over what may be there
        self._recalled = True
        return None if document is None else read(document)

    async def keep(self, learned: Learned, now: float) -> None:
        """Write down what is known at the monotonic second ``now``, if the last time was a while ago."""
        if not self._recalled or now - self._kept_at < KEEP_SECONDS:
            return
        try:
            await self._store.keep_learned(self._id, encode(at_rest(learned)))
        except StoreError:
            return  # the journal says what is wrong with the store; here the next tick tries again
        self._kept_at = now


def read(document: str) -> Learned | None:
    """A document as it was kept, None if it is another version's."""
    try:
        return at_rest(_LEARNED.validate_json(document))
    except ValidationError:
        return None
