"""The journal of decisions, intents and outcomes, and the memory that outlives a restart."""

from scaler.clock import Clock
from scaler.settings import StoreSettings
from scaler.store.sqlite import SqliteStore


async def open_store(settings: StoreSettings, clock: Clock) -> SqliteStore:
    """The store that the settings ask for; raises `StoreError`."""
    return await SqliteStore.open(settings.path, clock.now())
