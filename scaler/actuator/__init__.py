"""The last gate, intents and reconciliation; the only package that holds a provider's mutating calls."""

from scaler.actuator.actuator import Actuator
from scaler.actuator.guard import Skipped, SkipReason, pause_state
from scaler.clock import Clock
from scaler.ledger import Ledger
from scaler.providers.auto_writer import open_writer
from scaler.providers.base import Reader
from scaler.settings import Settings
from scaler.store.base import Store

__all__ = ["Actuator", "SkipReason", "Skipped", "open_actuator", "open_writer", "pause_state"]


def open_actuator(settings: Settings, reader: Reader, store: Store, clock: Clock, ledger: Ledger | None = None) -> Actuator:
    """The actuator with the writer that the settings ask for; raises `BadProviderSettings`."""
    return Actuator(settings, reader, open_writer(settings.provider, reader), store, clock, ledger=ledger)
