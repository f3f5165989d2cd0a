"""Whether the budgets pay for what a person orders: the daemon's ledger, looked at beside it, whether or not the daemon runs.

Not guaranteed: that the daemon does not spend the same dollars in the same moment. Nothing is reserved for an order by hand; the daemon
sees what has become of it at its next tick, and charges for it.
"""

from contextlib import AsyncExitStack, suppress

from scaler.clock import VirtualClock
from scaler.ledger import Ledger, NotGranted
from scaler.model import Endpoint
from scaler.override import now_of
from scaler.policy.fleet import RUNNING, Fleet
from scaler.providers.base import ProviderError, Reader
from scaler.settings import Settings
from scaler.store.sqlite import SqliteStore


async def objection(settings: Settings, reader: Reader, endpoint: Endpoint, replicas: int) -> str | None:
    """Why ``endpoint`` may not have ``replicas``; None if it may, or is under no budget. Raises `StoreError` and `NoAnswer`."""
    if not any(cap.capped for cap in (settings.budget, *(own.budget for own in settings.endpoints.values()))):
        return None
    async with AsyncExitStack() as stack:
        clock, path = VirtualClock(now_of(settings)), settings.store.path
        if path.exists():
            store = await SqliteStore.look(path)
            stack.push_async_callback(store.close)
            ledger, declared = await Ledger.open(settings, store, clock), await store.declared()
        else:
            ledger, declared = Ledger(settings, SqliteStore(path), clock), {}
    ids = {own.id or declared.get(key): key for key, own in settings.endpoints.items()}
    key = ids.get(endpoint.id)
    if key is None or not ledger.capped(key):
        return None
    if endpoint.state not in RUNNING:
        ledger.observe(key, endpoint, Fleet())
    with suppress(ProviderError):  # the price that the daemon knew stands then
        for item in await reader.hardware(endpoint.model):
            if item.id == endpoint.hardware:
                ledger.set_price(key, item.price)
    granted = ledger.reserve(key, replicas)
    return granted.detail if isinstance(granted, NotGranted) else None
