"""The ledger: what the endpoints cost, by our own clock and price table, and whether more of it can be paid for.

Guarantees: charged for is what the provider was last seen to run and what was granted since, from moment to moment, down times of the
daemon included; a grant and its reservation are one step, so of many that ask for the same dollar one gets it; without a price nothing
is granted under a budget. Not guaranteed: that it is the provider's bill, which rounds in its own way and is the truth.

It decides nothing: `scaler.policy.budget` does. Elapsed time is that of the monotonic clock; the wall clock says in which day it falls.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from scaler.clock import Clock
from scaler.model import Account, ActionKind, Allowance, Endpoint, Entry, Intent, Outcome, OutcomeStatus, Price, Stage
from scaler.policy.budget import HOUR, Burn, Purse, Share, allowance, billed, free_of_floor, refusal, stage_of
from scaler.policy.fleet import RUNNING, Fleet
from scaler.schedules import day_of, month_of
from scaler.settings import CapSettings, Settings
from scaler.store.base import Store

QUARTER = 900.0
RECENT = 50
"""Intents among which those are looked for that were sent since an account was last written."""
LONGEST_GAP = 400 * 86_400.0
"""Seconds without the daemon that are charged for at most; beyond it somebody has copied an old file."""
KEEP_DAYS = 400
"""Days that entries of the ledger are kept."""
TOTAL = "total"


@dataclass(eq=False, slots=True)
class Hold:
    """Dollars reserved for a start: ``added`` replicas until ``until`` (monotonic seconds), less as time goes by.

    ``replicas`` is what the endpoint was granted in all.
    """

    key: str
    replicas: int
    added: int
    until: float


@dataclass(frozen=True, slots=True)
class NotGranted:
    """The budget says no, and why. ``price_unknown``: because nobody knows what it would cost."""

    detail: str
    price_unknown: bool = False


@dataclass(frozen=True, slots=True)
class Cap:
    """A cap and how it stands, for those who watch. ``period``: day, month or hour (the burn rate, then all figures are dollars an hour).

    begins, ends: Unix seconds of the period; None for a burn rate
    stage:        the worst that it has for any endpoint in it
    """

    budget: str
    period: str
    dollars: float
    spent: float
    held: float
    set_aside: float
    stage: Stage
    begins: float | None = None
    ends: float | None = None


@dataclass(frozen=True, slots=True)
class Spending:
    """Dollars of one endpoint: in this day, in this month, since this process began; and by the hour at this moment."""

    day: float
    month: float
    total: float
    hourly: float


@dataclass(slots=True)
class _Book:
    """One endpoint's account in memory.

    at:      monotonic second up to which it is charged
    charged: replicas that the provider charges for, as last seen
    bound:   upper bound of what may run, as last seen
    granted: upper bound that was granted since
    sums:    dollars since a Unix second, kept up to date
    total:   dollars since this process began
    """

    at: float
    charged: int = 0
    bound: int = 0
    granted: int = 0
    price: float | None = None
    holds: list[Hold] = field(default_factory=list)
    entries: dict[int, Entry] = field(default_factory=dict)
    dirty: set[int] = field(default_factory=set)
    sums: dict[float, float] = field(default_factory=dict)
    total: float = 0.0

    @property
    def committed(self) -> int:
        """Replicas that may run."""
        return max(self.charged, self.bound, self.granted)

    def spent(self, begins: float) -> float:
        """Dollars since ``begins`` (Unix seconds, a whole quarter of an hour)."""
        if begins not in self.sums:
            if len(self.sums) > 3:  # noqa: PLR2004 (this day and month; older ones will not be asked for)
                self.sums.clear()
            self.sums[begins] = sum(entry.dollars for quarter, entry in self.entries.items() if quarter * QUARTER >= begins)
        return self.sums[begins]

    def charge(self, quarter: int, run: float) -> None:
        """``run`` replica-seconds in that quarter; without a price they wait for one."""
        entry = self.entries.get(quarter, Entry(quarter))
        entry = replace(entry, replica_seconds=entry.replica_seconds + run, unpriced_seconds=entry.unpriced_seconds + run)
        self.entries[quarter] = entry
        self.dirty.add(quarter)
        self.settle(entry)

    def settle(self, entry: Entry) -> None:
        """Turn what waits in ``entry`` into dollars, if there is a price."""
        if self.price is None:
            return
        dollars = entry.unpriced_seconds * self.price / HOUR
        self.entries[entry.quarter] = replace(entry, dollars=entry.dollars + dollars, unpriced_seconds=0.0)
        self.dirty.add(entry.quarter)
        self.total += dollars
        for begins in self.sums:
            if entry.quarter * QUARTER >= begins:
                self.sums[begins] += dollars


class Ledger:
    """All accounts. Made by `open`; every method that is not async is one step for everybody else."""

    def __init__(self, settings: Settings, store: Store, clock: Clock) -> None:
        """Empty: use `open`."""
        self._store = store
        self._clock = clock
        self._books: dict[str, _Book] = {}
        self._periods: dict[str, tuple[float, float]] = {}
        self.use(settings)

    @classmethod
    async def open(cls, settings: Settings, store: Store, clock: Clock) -> "Ledger":
        """The ledger as the store has it, charged up to now; raises `StoreError`."""
        ledger = cls(settings, store, clock)
        now = clock.now()
        accounts = await store.accounts()
        entries = await store.entries(int((now - 32 * 86_400) // QUARTER))
        for key in settings.endpoints:
            intents = [record.intent for record in await store.intents(key, RECENT) if _had_effect(record.outcomes)]
            ledger._recall(key, accounts.get(key), [entry for name, entry in entries if name == key], intents)
        return ledger

    def _recall(self, key: str, account: Account | None, entries: list[Entry], intents: list[Intent]) -> None:
        """Take up an endpoint's account where it was left."""
        book, now, monotonic = self._book(key), self._clock.now(), self._clock.monotonic()
        book.entries = {entry.quarter: entry for entry in entries}
        book.sums.clear()
        if account is not None:
            book.charged = book.bound = account.replicas
            book.price = book.price or account.dollars_per_hour
            book.at = monotonic - min(LONGEST_GAP, max(0.0, now - account.at))
        since = account.at if account is not None else now
        starts = [intent for intent in intents if intent.action.kind is not ActionKind.STOP]
        book.granted = max((intent.action.bounds.max_replicas for intent in starts if intent.at >= since), default=0)
        for intent in starts:
            left = self._settings.budget.minimum_run_seconds - (now - intent.at)
            added = intent.action.bounds.max_replicas - (intent.before.max_replicas if _was_running(intent) and intent.before else 0)
            if left > 0 and added > 0:
                book.holds.append(Hold(key, intent.action.bounds.max_replicas, added, monotonic + left))
        self.accrue(key)

    def use(self, settings: Settings) -> None:
        """Go by these settings from now on; endpoints that are no longer named are not charged for any more."""
        self._settings = settings
        self._periods.clear()
        self._books = {key: book for key, book in self._books.items() if key in settings.endpoints}
        for key in settings.endpoints:
            self._book(key)

    def _book(self, key: str) -> _Book:
        book = self._books.setdefault(key, _Book(self._clock.monotonic()))
        own = self._settings.endpoints[key].budget.price_dollars_per_hour
        if own is not None:
            self._reprice(book, own)
        return book

    def set_price(self, key: str, price: Price) -> None:
        """What one replica costs from now on, by the provider's list; a price of the configuration's own wins."""
        if key in self._books and self._settings.endpoints[key].budget.price_dollars_per_hour is None:
            self._reprice(self._books[key], price.cents_per_minute * 60 / 100)

    def _reprice(self, book: _Book, dollars_per_hour: float) -> None:
        """What was run up to now is charged at the old price, if there was one."""
        if book.price == dollars_per_hour:
            return
        self._accrue(book)
        book.price = dollars_per_hour
        for entry in [entry for entry in book.entries.values() if entry.unpriced_seconds > 0]:
            book.settle(entry)

    def price(self, key: str) -> float | None:
        """Dollars per hour of one replica."""
        return self._books[key].price

    def accrue(self, key: str) -> None:
        """Charge up to now for what has run."""
        if key in self._books:
            self._accrue(self._books[key])

    def _accrue(self, book: _Book) -> None:
        monotonic, now = self._clock.monotonic(), self._clock.now()
        begins, book.at = now - (monotonic - book.at), monotonic
        replicas = max(book.charged, book.granted if self._settings.budget.billed_from == "start" else 0)
        for quarter, seconds in quarters(begins, now) if replicas else ():
            book.charge(quarter, seconds * replicas)
        book.holds = [hold for hold in book.holds if hold.until > monotonic]

    def observe(self, key: str, endpoint: Endpoint, fleet: Fleet) -> None:
        """From now on what this reading shows is charged for; a state that does not tell leaves it as it is."""
        replicas = billed(endpoint, fleet, self._settings.budget.billed_from)
        if key not in self._books or replicas is None:
            return
        book = self._books[key]
        self._accrue(book)
        book.charged, book.granted = replicas, 0
        book.bound = endpoint.bounds.max_replicas if endpoint.state in RUNNING else 0

    async def save(self, key: str) -> None:
        """Write down what is new; raises `StoreError`, and then it is new still."""
        if key not in self._books:
            return
        book = self._books[key]
        written = {quarter: book.entries[quarter] for quarter in sorted(book.dirty)}
        at = self._clock.now() - (self._clock.monotonic() - book.at)
        await self._store.book(key, Account(at, book.committed, book.price), list(written.values()))
        book.dirty -= {quarter for quarter, entry in written.items() if book.entries[quarter] == entry}

    async def prune(self) -> None:
        """Forget what is older than `KEEP_DAYS`, and in memory what is older than any period; raises `StoreError`."""
        now = self._clock.now()
        for book in self._books.values():
            book.entries = {q: entry for q, entry in book.entries.items() if q * QUARTER > now - 32 * 86_400 or q in book.dirty}
        await self._store.prune_ledger(int((now - KEEP_DAYS * 86_400) // QUARTER))

    def allowance(self, key: str) -> Allowance | None:
        """What the budgets let endpoint ``key`` do now; None: there is none."""
        if not self.capped(key):
            return None
        return allowance(key, self._purses(key), self._burns(key), self._settings.budget)

    def capped(self, key: str) -> bool:
        """Whether the endpoint is under any budget."""
        return key in self._books and (self._settings.budget.capped or self._settings.endpoints[key].budget.capped)

    def reserve(self, key: str, replicas: int) -> Hold | NotGranted:
        """Grant endpoint ``key`` so many replicas in all, and hold the dollars of a minimum run of those that are new; or say no."""
        book = self._books.get(key)
        if book is None:
            return NotGranted(f"endpoints.{key} is not configured")
        self._accrue(book)
        hold = Hold(key, replicas, 0, book.at)
        if self.capped(key):
            if objection := self._refusal(key, replicas):
                return objection
            hold.added = free_of_floor(self._share(key), replicas)
            hold.until += self._settings.budget.minimum_run_seconds
        book.holds.append(hold)
        book.granted = max(book.granted, replicas)
        return hold

    def confirm(self, hold: Hold) -> NotGranted | None:
        """Look again in the instant of sending: prices and caps may have changed since."""
        if not self.capped(hold.key):
            return None
        book = self._books[hold.key]
        self._accrue(book)
        granted, holds = book.granted, book.holds
        book.granted, book.holds = 0, [other for other in holds if other is not hold]
        objection = self._refusal(hold.key, hold.replicas)
        book.granted, book.holds = granted, holds
        return objection

    def release(self, hold: Hold) -> None:
        """What it was for did not happen."""
        if (book := self._books.get(hold.key)) is not None:
            self._accrue(book)
            book.holds = [other for other in book.holds if other is not hold]
            book.granted = 0

    def _refusal(self, key: str, replicas: int) -> NotGranted | None:
        why = refusal(key, replicas, self._purses(key), self._burns(key), self._settings.budget)
        return None if why is None else NotGranted(why, price_unknown=self._books[key].price is None)

    def _caps(self, key: str | None) -> Iterator[tuple[str, CapSettings, tuple[str, ...]]]:
        """The budgets of ``key`` (None: all): name, settings and the endpoints in it."""
        if self._settings.budget.capped:
            yield TOTAL, self._settings.budget, tuple(self._settings.endpoints)
        for name in self._settings.endpoints if key is None else (key,):
            if self._settings.endpoints[name].budget.capped:
                yield name, self._settings.endpoints[name].budget, (name,)

    def _purses(self, key: str | None) -> list[Purse]:
        now = self._clock.now()
        for book in self._books.values():
            self._accrue(book)
        return [
            Purse(
                f"{name} {period}", dollars, sum(self._books[m].spent(begins) for m in members), (ends - now) / HOUR, self._shares(members)
            )
            for name, cap, members in self._caps(key)
            for period, dollars in (("day", cap.per_day_dollars), ("month", cap.per_month_dollars))
            if dollars is not None
            for begins, ends in (self.period(period),)
        ]

    def _burns(self, key: str | None) -> list[Burn]:
        return [
            Burn(f"{name} hour", cap.per_hour_dollars, self._shares(members))
            for name, cap, members in self._caps(key)
            if cap.per_hour_dollars is not None
        ]

    def _shares(self, members: tuple[str, ...]) -> tuple[Share, ...]:
        return tuple(self._share(key) for key in members)

    def _share(self, key: str) -> Share:
        book, endpoint, now = self._books[key], self._settings.endpoints[key], self._clock.monotonic()
        held = sum(hold.added * max(0.0, hold.until - now) for hold in book.holds) * (book.price or 0.0) / HOUR
        return Share(
            key=key,
            price=book.price,
            replicas=book.committed,
            floor=endpoint.min_replicas,
            ceiling=endpoint.max_replicas,
            held=held,
            kept=endpoint.kept_at_cap,
            expendable=endpoint.budget.expendable,
        )

    def period(self, name: str) -> tuple[float, float]:
        """Begin and end (Unix seconds) of this ``day`` or ``month``."""
        now = self._clock.now()
        begins, ends = self._periods.get(name, (now, now))
        if not begins <= now < ends:
            zone = self._settings.budget.timezone or self._settings.calendar.timezone
            self._periods[name] = begins, ends = day_of(now, zone) if name == "day" else month_of(now, zone)
        return begins, ends

    def spending(self) -> Mapping[str, Spending]:
        """How each endpoint's account stands."""
        day, month = self.period("day")[0], self.period("month")[0]
        return {
            key: Spending(book.spent(day), book.spent(month), book.total, book.charged * (book.price or 0.0))
            for key, book in self._books.items()
        }

    def caps(self) -> list[Cap]:
        """All budgets and how they stand."""
        return [*self._cap_purses(), *self._cap_burns()]

    def _cap_purses(self) -> Iterator[Cap]:
        for purse in self._purses(None):
            name, _, period = purse.name.rpartition(" ")
            stage = max(stage_of(purse, share.key, self._settings.budget) for share in purse.shares)
            yield Cap(name, period, purse.dollars, purse.spent, purse.held, purse.set_aside, stage, *self.period(period))

    def _cap_burns(self) -> Iterator[Cap]:
        for burn in self._burns(None):
            name, _, period = burn.name.rpartition(" ")
            yield Cap(name, period, burn.dollars_per_hour, burn.rate, 0.0, 0.0, Stage.OPEN)


def quarters(begins: float, ends: float) -> Iterator[tuple[int, float]]:
    """The quarters of an hour between two Unix seconds, and how many seconds lie in each."""
    quarter = int(begins // QUARTER)
    while quarter * QUARTER < ends:
        seconds = min(ends, (quarter + 1) * QUARTER) - max(begins, quarter * QUARTER)
        if seconds > 0:
            yield quarter, seconds
        quarter += 1


def _had_effect(outcomes: tuple[Outcome, ...]) -> bool:
    """Whether a call had an effect or may have had one."""
    return not outcomes or outcomes[-1].status is not OutcomeStatus.REFUSED


def _was_running(intent: Intent) -> bool:
    """Whether the bounds before it were those of replicas that ran."""
    return intent.action.kind is ActionKind.UPDATE
