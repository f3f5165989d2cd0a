"""What was learned of an endpoint and of its demand, over a restart: a JSON document in the store.

Losing it costs what it took to learn, nothing else: a document that cannot be read counts as none, and a store that fails is asked again.
"""

from dataclasses import dataclass, replace

from pydantic import TypeAdapter, ValidationError

from scaler.policy import Memory
from scaler.policy.learned import Learned, at_rest
from scaler.policy.outlook import Outlook, resumed
from scaler.store.base import Store, StoreError
from scaler.store.codec import encode

KEEP_SECONDS = 1800.0
"""At most so much is forgotten; a fortnight's record of demand is half a megabyte."""


@dataclass(frozen=True, slots=True)
class Document:
    """What is kept, and the Unix second at which it was so."""

    learned: Learned
    outlook: Outlook
    at: float


_DOCUMENT: TypeAdapter[Document] = TypeAdapter(Document)


class Knowledge:
    """Of one endpoint, whatever the configuration calls it."""

    def __init__(self, endpoint_id: str, store: Store) -> None:
        """Nothing is read yet."""
        self._id = endpoint_id
        self._store = store
        self._recalled = False
        self._kept_at = float("-inf")

    async def recall(self, memory: Memory, *, now: float, at: float) -> Memory:
        """The memory with what an earlier process has learned, once; the same one if there is nothing, or not yet."""
        if self._recalled:
            return memory
        try:
            text = await self._store.learned(self._id)
        except StoreError:
            return memory  # asked again with the next tick; until then nothing is kept over what may be there
        self._recalled = True
        kept = None if text is None else read(text)
        return memory if kept is None else replace(memory, learned=kept.learned, outlook=resumed(kept.outlook, kept.at, at, now))

    async def keep(self, memory: Memory, *, now: float, at: float) -> None:
        """Write down what is known at the monotonic second ``now``, if the last time was a while ago."""
        if not self._recalled or now - self._kept_at < KEEP_SECONDS:
            return
        try:
            await self._store.keep_learned(self._id, encode(Document(at_rest(memory.learned), memory.outlook, at)))
        except StoreError:
            return  # the journal says what is wrong with the store; here the next tick tries again
        self._kept_at = now


def read(text: str) -> Document | None:
    """A document as it was kept, None if it is another version's."""
    try:
        document = _DOCUMENT.validate_json(text)
    except ValidationError:
        return None
    return replace(document, learned=at_rest(document.learned))
