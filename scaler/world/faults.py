"""Faults on demand: which call is struck, as plain arithmetic, and what becomes of it, as a thin ASGI wrapper.

Delays and durations are clock seconds. A connection is closed through the ASGI scope's extension `HANG_UP`, which the server provides.
"""

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from scaler.clock import Clock
from scaler.settings import FaultSettings, FaultsSettings
from scaler.world.wire import error_object, send_bytes, send_json

Side = Literal["management", "inference"]

HANG_UP = "world.hang_up"
"""Name of the scope's extension: a function that closes the connection once what was written has been sent."""
GARBAGE = b"<html><body>Bad gateway</body></html>"


@dataclass(slots=True)
class _Armed:
    """A fault in force until ``until`` (clock seconds) and for ``left`` more calls (None = any number)."""

    fault: FaultSettings
    until: float
    left: int | None

    def fits(self, method: str, path: str, now: float) -> bool:
        """Whether it may strike this call."""
        fault = self.fault
        return now < self.until and self.left != 0 and path.startswith(fault.path_prefix) and (not fault.methods or method in fault.methods)


class Faults:
    """The faults in force on both sides. Same seed, same calls: same faults."""

    def __init__(self, seed: int) -> None:
        """None yet; ``seed`` decides which calls a fault with a share strikes."""
        self._dice = random.Random(f"{seed}/faults")
        self._armed: dict[Side, list[_Armed]] = {"management": [], "inference": []}

    def put(self, side: Side, faults: tuple[FaultSettings, ...], seconds: float | None, now: float) -> None:
        """These faults replace those of ``side``; ``seconds`` is how long they last where they do not say it themselves."""
        self._armed[side] = [
            _Armed(fault, now + (fault.seconds or seconds or math.inf), None if fault.count is None else fault.count) for fault in faults
        ]

    def strike(self, side: Side, method: str, path: str, now: float) -> FaultSettings | None:
        """The first fault that strikes this call, counted; None if the call goes well."""
        for armed in self._armed[side]:
            if armed.fits(method, path, now) and (armed.fault.share >= 1 or self._dice.random() < armed.fault.share):
                if armed.left is not None:
                    armed.left -= 1
                return armed.fault
        return None


def put_all(faults: Faults, wanted: FaultsSettings, now: float) -> None:
    """Replace the faults of each side that ``wanted`` names; the other one keeps what it has."""
    if "management" in wanted.model_fields_set:
        faults.put("management", wanted.management, wanted.seconds, now)
    if "inference" in wanted.model_fields_set:
        faults.put("inference", wanted.inference, wanted.seconds, now)


async def suffer(fault: FaultSettings, app: ASGIApp, scope: Scope, receive: Receive, send: Send, *, clock: Clock) -> None:
    """Do to this call what the fault demands; ``app`` is who would carry it out."""
    if fault.delay_seconds is not None:
        await clock.sleep(fault.delay_seconds)
    if fault.status is not None:
        body = error_object(fault.status, "Emulated fault", "emulated_fault")
        await send_json(send, fault.status, body, retry_after=fault.retry_after_seconds)
    elif fault.garbage:
        await send_bytes(send, 200, GARBAGE, b"text/html")
    elif fault.drop_request:
        await _hang_up(scope, receive)
    elif fault.drop_reply:
        await app(scope, receive, _nowhere)
        await _hang_up(scope, receive)
    elif fault.half_body:
        await app(scope, receive, _Half(send, scope["extensions"][HANG_UP]))
        await _hang_up(scope, receive)
    else:
        await app(scope, receive, send)


async def _nowhere(_: Message) -> None:
    """Send nothing."""


async def _hang_up(scope: Scope, receive: Receive) -> None:
    """Close the connection and wait until the server knows."""
    scope["extensions"][HANG_UP]()
    while (await receive())["type"] != "http.disconnect":
        pass


class _Half:
    """Sends the head and half of the first part of a body, hangs up and swallows the rest; without a body it sends nothing at all."""

    def __init__(self, send: Send, hang_up: Callable[[], None]) -> None:
        self._send = send
        self._hang_up = hang_up
        self._head: Message | None = None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._head = message
            return
        head, self._head = self._head, None
        body: bytes = message.get("body", b"")
        if head is None:
            return
        if body:
            await self._send(head)
            await self._send({"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True})
        self._hang_up()
