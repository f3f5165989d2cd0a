"""The one door to the provider: at most one verified call per endpoint at a time, written down before it is sent.

Guarantees: no call without a durable intent, none that starts something without its dollars reserved, none while an earlier one is
unresolved, none past the guard, which looks again in the instant of sending; an answer that was lost is never followed by a blind retry
but by a reading. Death between any two steps leaves an open intent, which the next reading closes. No guarantee: a call that is
still under way inside the provider when a later reading does not show it yet may take effect after that; the tick that sees it
corrects it.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable
from functools import partial

from scaler.actuator.actions import applied, news, plan, satisfied
from scaler.actuator.guard import Circumstances, Skipped, SkipReason, examine, over_budget, pause_state
from scaler.clock import Clock
from scaler.ledger import Hold, Ledger, NotGranted
from scaler.model import Action, ActionKind, Decision, Endpoint, Intent, Outcome, OutcomeStatus
from scaler.providers.auto_writer import AutoWriter
from scaler.providers.base import ProviderError, RateLimited, Reader, Refused, Unreachable, Writer
from scaler.providers.probe import CREATE_DISABLED
from scaler.settings import Settings
from scaler.store.base import Store, StoreError

HOUR = 3600.0
RECENT = 50
"""Intents among which the last start is looked for."""
REFUSED_SECONDS = 60.0
"""A definite no is not asked again before this; it will not turn into a yes within a tick, and each asking is a row forever."""

Check = Callable[[], Skipped | None]


class Actuator:
    """Carries decisions out. One per process; safe to call for several endpoints at once."""

    def __init__(
        self, settings: Settings, reader: Reader, writer: Writer, store: Store, clock: Clock, *, ledger: Ledger | None = None
    ) -> None:
        """Takes the writer over and closes it in the end; the rest belongs to others. Without a ledger it keeps an empty one."""
        self._settings = settings
        self._reader = reader
        self._writer = writer
        self._store = store
        self._clock = clock
        self._ledger = ledger or Ledger(settings, store, clock)
        self._turn: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._quiet_until: dict[str, float] = {}

    def use(self, settings: Settings) -> None:
        """Go by these settings from now on; the provider stays the same."""
        self._settings = settings

    async def carry_out(self, key: str, decision: Decision, observed: Endpoint) -> Outcome | Skipped:
        """Do what was decided for ``endpoints.<key>``, if anything is due and nothing speaks against it.

        ``observed`` is this tick's reading, already given to `reconcile`. Provider and store failures end in the result; cancelling
        while the call is under way leaves its intent open.
        """
        made = self._clock.monotonic() - (self._clock.now() - decision.at)
        async with self._turn[key]:
            try:
                return await self._carry_out(key, decision, observed, made)
            except StoreError as error:
                return Skipped(SkipReason.STORE_FAILED, str(error))

    async def _carry_out(self, key: str, decision: Decision, observed: Endpoint, made: float) -> Outcome | Skipped:
        if decision.hold:
            return Skipped(SkipReason.HELD, "the decision is to hold")
        if waiting := await self._open_intents(key):
            return Skipped(SkipReason.OPEN_INTENT, f"intent {waiting[0].id} is not resolved yet", waiting[0].action)
        last = await self._store.last_confirmed_action(key)
        timeout = last.inactive_timeout_minutes if last is not None and last.endpoint_id == observed.id else None
        action = plan(decision, observed, timeout)
        if action is None:
            return Skipped(SkipReason.NO_OP, "nothing is due")
        count = await self._store.actions_since(key, self._clock.now() - HOUR)
        check = partial(self._objection, key, action, made=made, count=count)
        if objection := check():
            return objection
        if action.kind is ActionKind.STOP:
            check = partial(check, stop_is_final=await self._why_stop_is_final(key))
            if objection := check():
                return objection
        return await self._commit(key, action, decision.sentence, observed, check)

    async def _commit(
        self, key: str, action: Action, why: str, observed: Endpoint, check: Callable[..., Skipped | None]
    ) -> Outcome | Skipped:
        """Reserve what it costs, write it down, send it."""
        hold = None if action.kind is ActionKind.STOP else self._ledger.reserve(key, action.bounds.max_replicas)
        if isinstance(hold, NotGranted):
            return over_budget(hold, action)
        try:
            intent = await self._store.add_intent(self._clock.now(), key, action, why, observed.bounds)
        except StoreError:
            self._release(hold)
            raise
        return await self._send(intent, partial(check, hold=hold), hold)

    async def _why_stop_is_final(self, key: str) -> str | None:
        """What the journal says of the last start or create, else what the provider says; None: nothing speaks against a stop."""
        for record in await self._store.intents(key, RECENT):
            if record.intent.action.kind in (ActionKind.START, ActionKind.CREATE) and record.outcomes:
                end = record.outcomes[-1]
                if end.status is OutcomeStatus.REFUSED and CREATE_DISABLED in end.detail:
                    return f"the last {record.intent.action.kind} was refused ({CREATE_DISABLED})"
                break
        return await self._writer.why_stop_is_final() if isinstance(self._writer, AutoWriter) else None

    def _objection(
        self, key: str, action: Action, *, made: float, count: int, stop_is_final: str | None = None, hold: Hold | None = None
    ) -> Skipped | None:
        """What speaks against sending now.

        ``made`` is the decision's monotonic second, ``count`` the actions of the last hour, ``hold`` what is reserved for it.
        """
        endpoint = self._settings.endpoints.get(key)
        if endpoint is None:
            return Skipped(SkipReason.NOT_ALLOWED, f"endpoints.{key} is no longer configured", action)
        now = Circumstances(
            paused=pause_state(self._settings.pause_file),
            dry_run=self._settings.dry_run,
            decision_age=self._clock.monotonic() - made,
            actions_last_hour=count,
            back_off_seconds=self._quiet_until.get(key, 0.0) - self._clock.monotonic(),
            stop_is_final=stop_is_final,
            not_granted=None if hold is None else self._ledger.confirm(hold),
        )
        return examine(action, endpoint, self._settings.guard, now)

    def _release(self, hold: Hold | None) -> None:
        """Nothing was started with it."""
        if hold is not None:
            self._ledger.release(hold)

    async def _send(self, intent: Intent, check: Check, hold: Hold | None) -> Outcome | Skipped:
        """The only place that calls the writer; between the last check and the call nothing is awaited."""
        if objection := check():
            self._release(hold)
            await self._end(intent, OutcomeStatus.REFUSED, f"not sent: {objection.detail}")
            return objection
        try:
            await self._writer.apply(intent.action)
        except (Unreachable, Refused) as error:
            self._release(hold)
            self._leave_alone(intent.endpoint, error)
            return await self._record(intent, OutcomeStatus.REFUSED, str(error))
        except ProviderError as error:
            self._leave_alone(intent.endpoint, error)
            return await self._record(intent, OutcomeStatus.UNKNOWN, str(error))
        return await self._read_back(intent)

    async def _read_back(self, intent: Intent) -> Outcome:
        """The provider has said yes; see whether it is so."""
        try:
            found = await self._reader.get(intent.action.endpoint_id)
        except ProviderError as error:
            return await self._record(intent, OutcomeStatus.UNKNOWN, f"accepted, but not read back: {error}")
        reading = f"{found.state}, {found.bounds} replicas{news(intent)}"
        if satisfied(intent.action, found):
            return await self._record(intent, OutcomeStatus.CONFIRMED, f"read back: {reading}")
        return await self._record(intent, OutcomeStatus.UNKNOWN, f"accepted, but read back: {reading}")

    async def reconcile(self, key: str, observed: Endpoint) -> tuple[Outcome, ...]:
        """Close the open intents of ``endpoints.<key>`` as far as ``observed``, a reading begun after they were sent, can tell.

        Found applied: CONFIRMED. Not applied: REFUSED, and the way is free for a new action. Raises `StoreError`.
        """
        async with self._turn[key]:
            ended = []
            for intent in await self._open_intents(key):
                reading = f"{observed.state}, {observed.bounds} replicas"
                match applied(intent, observed):
                    case True:
                        ended.append(await self._end(intent, OutcomeStatus.CONFIRMED, f"found applied on read-back: {reading}"))
                    case False:
                        ended.append(await self._end(intent, OutcomeStatus.REFUSED, f"not applied to {observed.id}: {reading}"))
                    case None:
                        pass
            return tuple(ended)

    async def close(self) -> None:
        """Close the writer."""
        await self._writer.close()

    async def _open_intents(self, key: str) -> list[Intent]:
        return [intent for intent in await self._store.open_intents() if intent.endpoint == key]

    async def _end(self, intent: Intent, status: OutcomeStatus, detail: str) -> Outcome:
        outcome = Outcome(intent.id, self._clock.now(), status, detail)
        await self._store.add_outcome(outcome)
        return outcome

    async def _record(self, intent: Intent, status: OutcomeStatus, detail: str) -> Outcome:
        """The outcome of a call that was made; what cannot be written down stays open, so it is UNKNOWN to everyone."""
        try:
            return await self._end(intent, status, detail)
        except StoreError as error:
            return Outcome(intent.id, self._clock.now(), OutcomeStatus.UNKNOWN, f"{status} ({detail}), but not written down: {error}")

    def _leave_alone(self, key: str, error: ProviderError) -> None:
        """Send nothing for as long as the provider asked; after a definite no, for a while in any case."""
        definite = isinstance(error, Refused) and not isinstance(error, RateLimited)
        seconds = error.retry_after if error.retry_after is not None else REFUSED_SECONDS * definite
        self._quiet_until[key] = self._clock.monotonic() + seconds
