"""Declared endpoints: adopted if they exist, created once if they do not, and never deleted.

Guarantees: no create without a durable intent, past the same guard as every other action, and only at a known price; while the answer
to a create is missing nothing is created, and what is found under the display name is adopted. An endpoint that was settled once and is
gone is not created again until its memory is removed by hand. Not guaranteed: that two scalers with two stores which declare the same
display name in the same instant do not both create it.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from scaler.actuator import open_writer
from scaler.actuator.actuator import HOUR, REFUSED_SECONDS
from scaler.actuator.find import find_by_display_name
from scaler.actuator.guard import Circumstances, Skipped, examine, pause_state
from scaler.clock import Clock
from scaler.ledger import Hold, Ledger, NotGranted
from scaler.model import Action, ActionKind, Bounds, Endpoint, EndpointWish, Intent, Outcome, OutcomeStatus
from scaler.providers.base import Availability, NotFound, ProviderError, RateLimited, Reader, Refused, Unreachable, Writer
from scaler.providers.together_v2 import NotOffered
from scaler.settings import EndpointSettings, Settings, display_name_of
from scaler.store.base import Store, StoreError

SETTLE_SECONDS = 60.0
"""A create whose answer was lost counts as without effect once a search begun so long after it finds nothing."""


class Standing(StrEnum):
    """How a declared endpoint stands; the label in metrics.

    SETTLED:  its id is known
    LOOKING:  provider or store do not answer
    HELD:     the guard objects, or there is no price or hardware
    REFUSED:  the provider said no, or its API does not create endpoints
    CREATING: sent, but the answer was lost
    CONFLICT: what has its display name cannot be it
    GONE:     it was settled and is no more
    """

    SETTLED = "settled"
    LOOKING = "looking"
    HELD = "held"
    REFUSED = "refused"
    CREATING = "creating"
    CONFLICT = "conflict"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Finding:
    """How a declared endpoint stands, and why, in words."""

    standing: Standing
    detail: str


@dataclass(frozen=True, slots=True)
class Adopt:
    """This one is it."""

    endpoint: Endpoint


class Course(StrEnum):
    """What else may be due: create it, or call an earlier create without effect."""

    CREATE = "create"
    GIVE_UP = "give_up"


def wish_of(key: str, endpoint: EndpointSettings) -> EndpointWish:
    """What the declaration ``endpoints.<key>`` is created from: it begins at its floor."""
    low = endpoint.min_replicas
    return EndpointWish(
        display_name=display_name_of(key, endpoint),
        model=endpoint.model,
        hardware=endpoint.hardware,
        bounds=Bounds(low, min(low + endpoint.policy.burst_replicas, endpoint.max_replicas)),
        inactive_timeout_minutes=endpoint.idle.timeout_minutes,
        zone=endpoint.zone,
        speculative_decoding=endpoint.speculative_decoding,
    )


def plan(wish: EndpointWish, found: Sequence[Endpoint], waiting: float | None, taken: Collection[str]) -> Adopt | Course | Finding:
    """What is due for a declared endpoint whose id nobody knows. Pure.

    ``found`` is all that has its display name, ``waiting`` the seconds since a create without an answer was sent (None: there is none),
    ``taken`` the ids that belong to other keys.
    """
    if conflict := _conflict(wish, found, taken, ours=waiting is not None):
        return Finding(Standing.CONFLICT, f"{wish.display_name} as display name: {conflict}")
    if found:
        return Adopt(found[0])
    if waiting is None:
        return Course.CREATE
    if waiting < SETTLE_SECONDS:
        return Finding(Standing.CREATING, f"created {waiting:.0f} s ago without an answer; not found yet")
    return Course.GIVE_UP


def _conflict(wish: EndpointWish, found: Sequence[Endpoint], taken: Collection[str], *, ours: bool) -> str | None:
    """Why what was found cannot be it; ``ours``: a create of ours is open, so one that was found is what came of it."""
    if len(found) > 1:
        return f"{len(found)} endpoints have it: {', '.join(endpoint.id for endpoint in found)}"
    for endpoint in found:
        if endpoint.id in taken:
            return f"{endpoint.id} has it, but belongs to another key"
        if not ours and (endpoint.model, endpoint.hardware) != (wish.model, wish.hardware):
            return f"{endpoint.id} has it, but is {endpoint.model} on {endpoint.hardware}, not {wish.model} on {wish.hardware}"
    return None


class Declarer:
    """Settles what is declared. One per process; `round` is called by one tick at a time."""

    def __init__(
        self,
        settings: Settings,
        reader: Reader,
        writer: Writer,
        store: Store,
        clock: Clock,
        *,
        report: Callable[[str, Finding], None],
        ledger: Ledger | None = None,
    ) -> None:
        """Takes the writer over and closes it in the end; without a ledger it keeps an empty one.

        ``report`` is told of each new standing and must not raise.
        """
        self._settings = settings
        self._reader = reader
        self._writer = writer
        self._store = store
        self._clock = clock
        self._report = report
        self._ledger = ledger or Ledger(settings, store, clock)
        self._ids: dict[str, str] = {}
        self._findings: dict[str, Finding] = {}
        self._missed: dict[str, float] = {}
        self._quiet_until: dict[str, float] = {}

    @property
    def findings(self) -> Mapping[str, Finding]:
        """How each declared endpoint stands."""
        return self._findings

    def use(self, settings: Settings) -> None:
        """Go by these settings from now on; what is no longer declared is forgotten here, not in the store."""
        self._settings = settings
        self._findings = {key: finding for key, finding in self._findings.items() if key in self._declared()}

    def settled(self, settings: Settings) -> Settings:
        """``settings`` with the endpoints whose ids are known, and only these; an id that is configured belongs to that key."""
        configured = {endpoint.id for endpoint in settings.endpoints.values()}
        endpoints = {
            key: endpoint.model_copy(update={"id": self._ids[key]}) if endpoint.create else endpoint
            for key, endpoint in settings.endpoints.items()
            if not endpoint.create or self._ids.get(key, "") not in configured
        }
        return settings.model_copy(update={"endpoints": endpoints})

    async def recall(self) -> None:
        """Take up what the store remembers; raises `StoreError`."""
        self._ids = await self._store.declared()

    async def round(self, unseen: Collection[str] = ()) -> bool:
        """One look at everything declared; whether the ids have changed. ``unseen``: keys that this tick could not read."""
        before = dict(self._ids)
        await asyncio.gather(*(self._see_to(key, endpoint, missing=key in unseen) for key, endpoint in self._declared().items()))
        return self._ids != before

    async def _see_to(self, key: str, endpoint: EndpointSettings, *, missing: bool) -> None:
        """Find out how it stands; while nobody can tell, what was settled stays so."""
        try:
            self._note(key, await self._look_for(key, endpoint, missing=missing))
        except (ProviderError, StoreError) as error:
            if key not in self._ids:
                self._note(key, Finding(Standing.REFUSED if isinstance(error, NotOffered) else Standing.LOOKING, str(error)))

    async def close(self) -> None:
        """Close the writer."""
        await self._writer.close()

    def _declared(self) -> dict[str, EndpointSettings]:
        return {key: endpoint for key, endpoint in self._settings.endpoints.items() if endpoint.create}

    def _note(self, key: str, finding: Finding) -> None:
        before = self._findings.get(key)
        self._findings[key] = finding
        if before is None or before.standing is not finding.standing:
            self._report(key, finding)

    async def _look_for(self, key: str, endpoint: EndpointSettings, *, missing: bool) -> Finding:
        if key not in self._ids:
            return await self._settle(key, endpoint)
        if not missing:
            self._missed.pop(key, None)
        elif await self._is_gone(key):
            return await self._mourn(key)
        return Finding(Standing.SETTLED, self._ids[key])

    async def _is_gone(self, key: str) -> bool:
        """Two 404s by id, at least a tick apart, agree that it is; anything else leaves the question open."""
        try:
            await self._reader.get(self._ids[key])
        except NotFound:
            now = self._clock.monotonic()
            return now - self._missed.setdefault(key, now) >= self._settings.schedule.tick_seconds
        self._missed.pop(key, None)
        return False

    async def _mourn(self, key: str) -> Finding:
        """It stays gone for as long as the store remembers it."""
        gone = Finding(Standing.GONE, f"{self._ids[key]} is gone and is not created again; see `scaler endpoints recreate {key}`")
        if key not in await self._store.declared():
            del self._ids[key], self._missed[key]
            return Finding(Standing.LOOKING, "its memory was removed by hand; beginning anew")
        return gone

    async def _settle(self, key: str, endpoint: EndpointSettings) -> Finding:
        """Adopt it or create it, or say why neither is possible now."""
        wish = wish_of(key, endpoint)
        intent = await self._open_create(key)
        waiting = None if intent is None else self._clock.now() - intent.at
        others = {other.id for name, other in self._settings.endpoints.items() if name != key}
        taken = others | {self._ids[name] for name in self._declared() if name != key and name in self._ids}
        found = await find_by_display_name(self._reader, wish.display_name)
        step = plan(wish, found, waiting, taken)
        if isinstance(step, Finding):
            return step
        if isinstance(step, Adopt):
            return await self._adopt(key, step.endpoint, intent, "found by its display name")
        if step is Course.CREATE or intent is None:
            return await self._create(key, endpoint, wish)
        await self._end(intent, OutcomeStatus.REFUSED, f"not found {SETTLE_SECONDS:g} s after it was sent")
        return Finding(Standing.LOOKING, "an earlier create had no effect")

    async def _adopt(self, key: str, endpoint: Endpoint, intent: Intent | None, how: str) -> Finding:
        """Remember it first: an intent without an end can be closed later, an endpoint without a memory would be created again."""
        await self._store.remember_declared(key, endpoint.id)
        self._ids[key] = endpoint.id
        if intent is not None:
            await self._end(intent, OutcomeStatus.CONFIRMED, f"{endpoint.id}: {how}")
        return Finding(Standing.SETTLED, f"{endpoint.id}: {how}")

    async def _create(self, key: str, endpoint: EndpointSettings, wish: EndpointWish) -> Finding:
        """Write the intent down, send once, read back."""
        action = Action(ActionKind.CREATE, "", wish.bounds, wish.inactive_timeout_minutes, wish=wish)
        made = self._clock.monotonic()
        trouble = await self._price_trouble(key, wish)
        count = await self._store.actions_since(key, self._clock.now() - HOUR)
        objection = self._objection(key, endpoint, action, made, count)
        if objection or trouble:
            return Finding(Standing.HELD, objection.detail if objection else trouble)
        hold = self._ledger.reserve(key, wish.bounds.max_replicas)
        if isinstance(hold, NotGranted):
            return Finding(Standing.HELD, hold.detail)
        intent = await self._store.add_intent(self._clock.now(), key, action, f"endpoints.{key} is declared and does not exist.")
        if objection := self._objection(key, endpoint, action, made, count, hold=hold):
            self._ledger.release(hold)
            await self._end(intent, OutcomeStatus.REFUSED, f"not sent: {objection.detail}")
            return Finding(Standing.HELD, objection.detail)
        return await self._send(key, intent, wish, hold)

    async def _send(self, key: str, intent: Intent, wish: EndpointWish, hold: Hold) -> Finding:
        """The only place that creates."""
        try:
            created = await self._writer.create(wish)
        except (Unreachable, Refused) as error:
            self._ledger.release(hold)
            self._leave_alone(key, error)
            await self._end(intent, OutcomeStatus.REFUSED, str(error))
            return Finding(Standing.REFUSED, str(error))
        except ProviderError as error:
            return await self._lost(intent, str(error))
        try:
            seen = await self._reader.get(created.id)
        except ProviderError as error:
            return await self._lost(intent, f"{created.id} was created, but not read back: {error}")
        return await self._adopt(key, seen, intent, "created")

    async def _lost(self, intent: Intent, detail: str) -> Finding:
        await self._end(intent, OutcomeStatus.UNKNOWN, detail)
        return Finding(Standing.CREATING, detail)

    async def _price_trouble(self, key: str, wish: EndpointWish) -> str:
        """Why nobody knows what a replica would cost, or that there is none to be had; empty if all is well."""
        offers = {hardware.id: hardware for hardware in await self._reader.hardware(wish.model)}
        if wish.hardware not in offers:
            return f"{wish.hardware} has no price for {wish.model}; there is {', '.join(offers) or 'nothing'}"
        if offers[wish.hardware].availability is Availability.UNAVAILABLE:
            return f"{wish.hardware} is unavailable"
        self._ledger.set_price(key, offers[wish.hardware].price)
        return ""

    def _objection(
        self, key: str, endpoint: EndpointSettings, action: Action, made: float, count: int, *, hold: Hold | None = None
    ) -> Skipped | None:
        """What the guard says now.

        ``made`` is the monotonic second of the plan, ``count`` the actions of the last hour, ``hold`` what is reserved for it.
        """
        now = self._clock.monotonic()
        circumstances = Circumstances(
            paused=pause_state(self._settings.pause_file),
            dry_run=self._settings.dry_run,
            decision_age=now - made,
            actions_last_hour=count,
            back_off_seconds=self._quiet_until.get(key, 0.0) - now,
            not_granted=None if hold is None else self._ledger.confirm(hold),
        )
        return examine(action, endpoint, self._settings.guard, circumstances)

    def _leave_alone(self, key: str, error: ProviderError) -> None:
        """Do not ask again for as long as the provider said; after a definite no, for a while in any case."""
        definite = isinstance(error, Refused) and not isinstance(error, RateLimited)
        seconds = error.retry_after if error.retry_after is not None else REFUSED_SECONDS * definite
        self._quiet_until[key] = self._clock.monotonic() + seconds

    async def _open_create(self, key: str) -> Intent | None:
        waiting = [intent for intent in await self._store.open_intents() if intent.endpoint == key]
        return next((intent for intent in waiting if intent.action.kind is ActionKind.CREATE), None)

    async def _end(self, intent: Intent, status: OutcomeStatus, detail: str) -> None:
        await self._store.add_outcome(Outcome(intent.id, self._clock.now(), status, detail))


def open_declarer(
    settings: Settings, reader: Reader, store: Store, clock: Clock, *, report: Callable[[str, Finding], None], ledger: Ledger | None = None
) -> Declarer:
    """The declarer with the writer that the settings ask for; raises `BadProviderSettings`."""
    return Declarer(settings, reader, open_writer(settings.provider, reader), store, clock, report=report, ledger=ledger)
