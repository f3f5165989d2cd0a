"""Who may ask: clients known by their keys, which are kept as hashes, and how much each of them may ask.

Guarantees: no key is kept or shown; how long a lookup takes says nothing about any key, for what is compared is a hash under a secret
of this process; names and so labels come from the configuration alone; a seat that is taken is given back once.
"""

import secrets
from collections.abc import Mapping
from hashlib import blake2b, sha256
from math import ceil, inf
from time import monotonic

from scaler.proxy.errors import Refusal
from scaler.proxy_settings import ClientKeySettings


class Account:
    """One client: a bucket that fills at its rate, and the seats it takes.

    A request costs one token; the bucket holds ``burst`` of them. A request in flight takes one seat of ``max_in_flight``.
    """

    __slots__ = ("_burst", "_filled_at", "_limits", "_rate", "_tokens", "in_flight", "outcomes")

    def __init__(self, limits: ClientKeySettings) -> None:
        """With a full bucket."""
        self.in_flight = 0
        """Seats taken."""
        self.outcomes = {"admitted": 0, "rate": 0, "concurrency": 0}
        """Requests that passed, and those refused by each limit."""
        self._tokens = inf
        self._filled_at = monotonic()
        self.limit(limits)

    def limit(self, limits: ClientKeySettings) -> None:
        """Take over new limits; what is in flight stays."""
        self._limits = limits
        self._rate = inf if limits.requests_per_minute is None else limits.requests_per_minute / 60
        self._burst = inf if limits.burst is None else limits.burst
        self._tokens = min(self._tokens, self._burst)

    def spend(self) -> None:
        """A request came; raises `Refusal` when the client has had its share for now."""
        if self._rate == inf:
            return  # the bucket stays as it is, for a rate that it may be given one day
        now = monotonic()
        self._tokens = min(self._burst, self._tokens + self._rate * (now - self._filled_at))
        self._filled_at = now
        if self._tokens < 1:
            self.outcomes["rate"] += 1
            wait = ceil((1 - self._tokens) / self._rate)
            raise Refusal("rate_limit_exceeded", f"This key may send {self._limits.requests_per_minute:g} per minute.", retry_after=wait)
        self._tokens -= 1

    def enter(self) -> None:
        """A request takes a seat; raises `Refusal` when there is none."""
        most = self._limits.max_in_flight
        if most is not None and self.in_flight >= most:
            self.outcomes["concurrency"] += 1
            raise Refusal("too_many_in_flight", f"This key may have {most} requests in flight.", retry_after=1)
        self.outcomes["admitted"] += 1
        self.in_flight += 1

    def leave(self) -> None:
        """Its request has ended."""
        self.in_flight -= 1


class KeyRing:
    """All clients, by name and by key."""

    def __init__(self, keys: Mapping[str, ClientKeySettings]) -> None:
        """Of the configuration's names."""
        self._secret = secrets.token_bytes(32)
        self.accounts: Mapping[str, Account] = {}
        """By the client's name."""
        self.use(keys)

    def use(self, keys: Mapping[str, ClientKeySettings]) -> None:
        """Take over other keys; a client whose name stays keeps its figures."""
        accounts: dict[str, Account] = {}
        for name, limits in keys.items():
            accounts[name] = known = self.accounts.get(name) or Account(limits)
            known.limit(limits)
        self.accounts = accounts
        self._by_hash = {self._blind(bytes.fromhex(limits.sha256)): accounts[name] for name, limits in keys.items()}

    def find(self, authorization: bytes) -> Account:
        """Whose ``Authorization`` this is; raises `Refusal`."""
        scheme, _, key = authorization.partition(b" ")
        account = self._by_hash.get(self._blind(sha256(key.strip()).digest())) if scheme.lower() == b"bearer" else None
        if account is None:
            raise Refusal("invalid_api_key", "A valid API key is needed, as Authorization: Bearer KEY.")
        return account

    def _blind(self, digest: bytes) -> bytes:
        """What a client cannot know of its own guess, and so cannot steer."""
        return blake2b(digest, key=self._secret, digest_size=16).digest()
