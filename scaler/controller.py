"""One tick of one endpoint: sample, look, decide, record, act. The order is here and nowhere else.

Guarantees: a tick never raises for anything that traffic, provider or store do; what is not known is Unknown and reaches the policy
as such; a decision is in the journal before its action is tried. Not guaranteed: that a tick is on time (see `scheduler`).
"""

import asyncio
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from scaler.actuator import Actuator, Skipped, SkipReason
from scaler.clock import Clock
from scaler.knowledge import Knowledge
from scaler.ledger import Ledger
from scaler.model import (
    ActionKind,
    Allowance,
    Decision,
    Endpoint,
    EndpointState,
    Inputs,
    Known,
    Observation,
    Outcome,
    OutcomeStatus,
    Sample,
    Start,
    Unknown,
    Window,
)
from scaler.policy import Memory, step
from scaler.policy.fleet import Fleet
from scaler.policy.learned import Learned
from scaler.policy.outlook import Outlook
from scaler.pooled import LIVE
from scaler.providers.base import ProviderError, Reader
from scaler.replay import CHECKPOINT_SECONDS, checkpoint
from scaler.sampling import Source
from scaler.settings import EndpointSettings
from scaler.store.base import Store, StoreError

RECORD_SECONDS = 86_400.0
"""How often the provider is asked for its record of starts; in between they are seen as they happen."""
RETRY_SECONDS = 3600.0
"""And how soon again when it has not answered."""
RECENT = 20
"""Intents among which the last one that was sent is looked for."""


@dataclass(frozen=True, slots=True)
class Tick:
    """Everything one tick saw, decided and did; for metrics, log, status page and tests. ``price``: dollars of a replica for an hour."""

    key: str
    sample: Observation[Sample]
    endpoint: Observation[Endpoint]
    decision: Decision
    fleet: Fleet | None
    learned: Learned
    outlook: Outlook
    result: Outcome | Skipped
    journal_error: str | None
    seconds: float
    price: float | None = None


class Controller:
    """The loop body of one endpoint; `tick` is called by the scheduler, one call at a time."""

    def __init__(
        self,
        key: str,
        settings: EndpointSettings,
        *,
        source: Source,
        reader: Reader,
        actuator: Actuator,
        store: Store,
        clock: Clock,
        report: Callable[[Tick], None],
        windows: Callable[[float], tuple[Window, ...]] = lambda _at: (),
        calls: Callable[[], int] = lambda: 0,
        ledger: Ledger | None = None,
    ) -> None:
        """How to look, decide, act and tell.

        report:   told of each tick; must not raise
        windows:  those of the calendar at a Unix second
        calls:    counts the requests that call the endpoint because it sleeps
        ledger:   told what runs, asked what may
        """
        self.key = key
        self.settings = settings
        self._source = source
        self._reader = reader
        self._actuator = actuator
        self._store = store
        self._clock = clock
        self._report = report
        self._windows = windows
        self._calls = calls
        self._ledger = ledger
        self._memory = Memory()
        self._knowledge = Knowledge(settings.id, store)
        self._starts_due = -math.inf  # monotonic seconds
        self._checkpoint_due = -math.inf  # monotonic seconds
        self._checkpoint_settings = settings

    async def tick(self) -> Tick:
        """Go round once."""
        started = self._clock.monotonic()
        inputs = await self._see()
        settings, before = self.settings, await self._recall()
        decision, self._memory = await asyncio.to_thread(step, self.key, settings, inputs, before, LIVE)  # a fit takes a while
        journal_error = await self._record(decision, inputs, settings, before) or await self._charge(inputs.endpoint)
        result = await self._act(decision, inputs.endpoint)
        await self._knowledge.keep(self._memory, now=inputs.now, at=inputs.at)
        tick = Tick(
            self.key,
            inputs.sample,
            inputs.endpoint,
            decision,
            self._memory.state.fleet,
            self._memory.learned,
            self._memory.outlook,
            result,
            journal_error,
            self._clock.monotonic() - started,
            inputs.price,
        )
        self._report(tick)
        return tick

    async def _see(self) -> Inputs:
        """All that this tick's decision is made of."""
        sample = self._source.sample()
        endpoint = await self._look()
        stopped_by_us = await self._stopped_by_us(endpoint)
        starts = await self._starts(endpoint)
        at = self._clock.now()
        return Inputs(
            sample,
            endpoint,
            self._clock.monotonic(),
            at,
            stopped_by_us,
            self._windows(at),
            self._calls(),
            starts,
            self._allowance(),
            price=None if self._ledger is None else self._ledger.price(self.key),
        )

    async def _recall(self) -> Memory:
        """What the policy remembers, and before the first decision what an earlier process has learned."""
        before = self._memory
        self._memory = await self._knowledge.recall(before, now=self._clock.monotonic(), at=self._clock.now())
        if self._memory is not before:
            self._checkpoint_due = -math.inf  # a replay cannot know of it otherwise
        return self._memory

    async def _starts(self, endpoint: Observation[Endpoint]) -> tuple[Start, ...]:
        """The provider's record of starts, when it is time to ask for it."""
        now = self._clock.monotonic()
        if now < self._starts_due or isinstance(endpoint, Unknown):
            return ()
        self._starts_due = now + RECORD_SECONDS
        try:
            return await self._reader.starts(self.settings.id)
        except ProviderError:
            self._starts_due = now + RETRY_SECONDS
            return ()

    def _allowance(self) -> Allowance | None:
        """What the budget lets the endpoint do now."""
        return None if self._ledger is None else self._ledger.allowance(self.key)

    async def _charge(self, endpoint: Observation[Endpoint]) -> str | None:
        """Tell the ledger what runs, and have it written; what cannot be is written with the next tick."""
        if self._ledger is None:
            return None
        if isinstance(endpoint, Known):
            self._ledger.observe(self.key, endpoint.value, self._memory.state.fleet or Fleet())
        else:
            self._ledger.accrue(self.key)
        try:
            await self._ledger.save(self.key)
        except StoreError as error:
            return str(error)
        return None

    async def _look(self) -> Observation[Endpoint]:
        """How the provider says the endpoint is."""
        try:
            endpoint = await self._reader.get(self.settings.id)
        except ProviderError as error:
            return Unknown(str(error), self._clock.monotonic())
        return Known(endpoint, "provider", self._clock.monotonic())

    async def _stopped_by_us(self, endpoint: Observation[Endpoint]) -> bool | None:
        """Of an endpoint that is stopped: whether the last action that was not refused was our stop. None if nobody knows, or it runs."""
        if isinstance(endpoint, Unknown) or endpoint.value.state is not EndpointState.STOPPED:
            return None
        try:
            records = await self._store.intents(self.key, RECENT)
        except StoreError:
            return None  # the journal will say that it is broken; here it only makes a sentence shorter
        sent = (r.intent.action for r in records if not (r.outcomes and r.outcomes[-1].status is OutcomeStatus.REFUSED))
        last = next((action for action in sent if action.endpoint_id == endpoint.value.id), None)
        return last is not None and last.kind is ActionKind.STOP

    async def _record(self, decision: Decision, inputs: Inputs, settings: EndpointSettings, before: Memory) -> str | None:
        """Write the decision down, and now and then all that it was made with.

        A store that fails is reported, and the actuator will find it failing too. The chain of a replay breaks with a decision that is
        missing, so the next one brings a checkpoint.
        """
        due = inputs.now >= self._checkpoint_due or settings != self._checkpoint_settings
        try:
            await self._store.record_decision(decision, inputs, checkpoint(settings, before) if due else None)
        except StoreError as error:
            self._checkpoint_due = -math.inf
            return str(error)
        if due:
            self._checkpoint_due, self._checkpoint_settings = inputs.now + CHECKPOINT_SECONDS, settings
        return None

    async def _act(self, decision: Decision, endpoint: Observation[Endpoint]) -> Outcome | Skipped:
        """Close what earlier actions left open by what was just seen, then carry the decision out."""
        if isinstance(endpoint, Unknown):
            return Skipped(SkipReason.HELD, endpoint.why)
        try:
            await self._actuator.reconcile(self.key, endpoint.value)
        except StoreError as error:
            return Skipped(SkipReason.STORE_FAILED, str(error))
        return await self._actuator.carry_out(self.key, decision, endpoint.value)


async def tick_all(controllers: Iterable[Controller]) -> tuple[list[Tick], list[Exception]]:
    """One tick of every endpoint, side by side: neither a slow provider answer nor a fault of ours in one touches the others.

    The ticks that came to an end, and the exceptions of those that did not.
    """
    results = await asyncio.gather(*(controller.tick() for controller in controllers), return_exceptions=True)
    ticks = [result for result in results if isinstance(result, Tick)]
    return ticks, [result for result in results if isinstance(result, Exception)]
