"""What the rest of the house knows of the store: a journal that is only ever appended to, and the memory that outlives a restart."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from scaler.model import Account, Action, Bounds, Decision, Endpoint, Entry, Inputs, Intent, Outcome, Override


class StoreFault(StrEnum):
    """What is wrong with the store; the label in metrics. ``GONE``: its file was removed, and has been written anew."""

    FULL = "full"
    READ_ONLY = "read_only"
    LOCKED = "locked"
    CORRUPT = "corrupt"
    SCHEMA = "schema"
    SLOW = "slow"
    CLOSED = "closed"
    GONE = "gone"
    REPLACED = "replaced"
    IO = "io"
    CONSTRAINT = "constraint"


class StoreError(Exception):
    """The store did not do what was asked. What was to be written must be taken as not written."""

    def __init__(self, fault: StoreFault, message: str) -> None:
        """``message`` is safe to print."""
        super().__init__(message)
        self.fault = fault


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Where a replay can begin: what a decision was made with besides its inputs. Texts of whoever makes them, opaque here."""

    settings: str
    memory: str


@dataclass(frozen=True, slots=True)
class DecisionRecord:
    """A decision of the journal with what it was made from. ``seq`` grows by one without gaps."""

    seq: int
    decision: Decision
    inputs: Inputs
    checkpoint: Checkpoint | None = None


@dataclass(frozen=True, slots=True)
class IntentRecord:
    """An intent and what became of it, oldest first: at most one end, perhaps after an UNKNOWN; none while it is open."""

    intent: Intent
    outcomes: tuple[Outcome, ...]


class Store(Protocol):
    """All methods raise `StoreError`, and come back within a deadline."""

    @property
    def faults(self) -> Mapping[StoreFault, int]:
        """How often each has been met."""

    @property
    def trouble(self) -> str | None:
        """What has gone wrong last, in words, until something is written again; None: nothing."""

    async def record_decision(self, decision: Decision, inputs: Inputs, checkpoint: Checkpoint | None = None) -> int:
        """Append to the journal of decisions and return the row's sequence number. A checkpoint is kept together with it, or neither."""

    async def decisions(self, endpoint: str, limit: int) -> list[DecisionRecord]:
        """The newest ``limit`` decisions of an endpoint, newest first."""

    async def prune(self, before: float) -> int:
        """Remove the oldest decisions, up to the first that is not older than ``before`` (Unix seconds); return how many."""

    async def add_intent(self, at: float, endpoint: str, action: Action, why: str, before: Bounds | None = None) -> Intent:
        """Write an intent down; once this returns it survives the loss of power. The intent is open until its end is added."""

    async def add_outcome(self, outcome: Outcome) -> None:
        """Append an outcome. CONFIRMED and REFUSED end the intent, which happens once; UNKNOWN leaves it open."""

    async def open_intents(self) -> list[Intent]:
        """Intents that have no end yet, oldest first."""

    async def intents(self, endpoint: str, limit: int) -> list[IntentRecord]:
        """The newest ``limit`` intents of an endpoint, newest first."""

    async def actions_since(self, endpoint: str, at: float) -> int:
        """How many intents since ``at`` (Unix seconds) had an effect or may have had one: all but the refused."""

    async def last_confirmed_action(self, endpoint: str) -> Action | None:
        """The last UPDATE or START that was confirmed, which says what timeout the provider knows."""

    async def remember_endpoint(self, key: str, endpoint: Endpoint) -> None:
        """Keep the last thing known about an endpoint, so that a restart without the provider can still serve it."""

    async def known_endpoints(self) -> dict[str, Endpoint]:
        """What was remembered, by key."""

    async def remember_declared(self, key: str, endpoint_id: str) -> None:
        """Keep which endpoint a declaration has become; once this returns it survives the loss of power."""

    async def declared(self) -> dict[str, str]:
        """Ids of the endpoints that declarations have become, by key."""

    async def keep_learned(self, endpoint_id: str, document: str) -> None:
        """Keep what was learned of an endpoint, in place of what was kept before."""

    async def learned(self, endpoint_id: str) -> str | None:
        """What was kept of an endpoint; None if nothing was."""

    async def overrides(self) -> tuple[Override, ...]:
        """What people have imposed, over or not."""

    async def book(self, endpoint: str, account: Account, entries: Sequence[Entry]) -> None:
        """Write how an endpoint's account stands, and entries of the ledger in place of those of their quarters."""

    async def accounts(self) -> dict[str, Account]:
        """All accounts, by key."""

    async def entries(self, since: int) -> list[tuple[str, Entry]]:
        """The ledger from the quarter ``since`` on, by key, oldest first."""

    async def prune_ledger(self, before: int) -> None:
        """Remove what is older than the quarter ``before``."""

    async def close(self) -> None:
        """Let go of the file. Calls that come later raise `StoreError`."""
