"""What the calendar asks for: floors, ceilings and multiples of the usual load, at this moment or one lead before they begin. Pure.

The highest floor wins, then the lowest ceiling; a floor wins over a ceiling, and ``max_replicas`` over both. Capacity for a floor must be
there when its window begins, so it is asked for one lead (the time of a cold start) before.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scaler.model import Reason, ReasonCode, Window, WindowKind
from scaler.policy.course import in_words, span

MARGIN_SECONDS = 60.0
"""What a start needs beside the cold start itself: the next tick, a step or two, the call."""


@dataclass(frozen=True, slots=True)
class Bound:
    """A floor or a ceiling in replicas, who asks for it, and the argument to give where it changes something.

    ``reason`` None: it is the endpoint's own, ``min_replicas`` or ``max_replicas``.
    """

    replicas: int
    by: str
    reason: Reason | None = None


@dataclass(frozen=True, slots=True)
class Usual:
    """What a window's multiplier is multiplied with, kept as its product in replicas. ``name`` and ``begins`` say whose it is."""

    name: str
    begins: float
    replicas: int


def due(window: Window, at: float, lead: float) -> bool:
    """Whether the window's capacity has to be there or on its way. ``lead``: seconds of a cold start; 0: not before it begins."""
    return window.begins - (lead + MARGIN_SECONDS if lead > 0 else 0) <= at < window.ends


def take_note(
    usual: Sequence[Usual], windows: Sequence[Window], needed: float, running: int, *, at: float, lead: float
) -> tuple[Usual, ...]:
    """The products of all multipliers that are due, once more.

    ``needed`` is what the load of this moment needs (replicas, not rounded), NaN if nobody knows; then what ran at first stands for it.
    Until the window begins the greatest product counts. After that the load is the event's own: it is not multiplied again, and
    where nobody saw the load before it, what runs is kept.
    """
    known = {(note.name, note.begins): note for note in usual}
    notes = []
    for window in windows:
        if window.multiplier is None or not due(window, at, lead):
            continue
        before = known.get((window.name, window.begins))
        if at >= window.begins or (before is not None and math.isnan(needed)):
            replicas = before.replicas if before else running
        else:
            product = math.ceil(window.multiplier * (running if math.isnan(needed) else needed) - 1e-9)
            replicas = max(product, before.replicas if before else 0)
        notes.append(Usual(window.name, window.begins, replicas))
    return tuple(notes)


def floors(windows: Sequence[Window], usual: Sequence[Usual], *, at: float, lead: float) -> list[Bound]:
    """All floors that are due."""
    products = {(note.name, note.begins): note.replicas for note in usual}
    asked = []
    for window in windows:
        if not due(window, at, lead):
            continue
        if window.floor is not None:
            asked.append(_floor(window, window.floor, "", at))
        product = products.get((window.name, window.begins)) if window.multiplier is not None else None
        if product:
            asked.append(_floor(window, product, f", {window.multiplier:g} times the load before it", at))
    return asked


def ceilings(windows: Sequence[Window], *, at: float) -> list[Bound]:
    """All ceilings in force."""
    return [
        Bound(
            window.ceiling,
            str(window),
            Reason(ReasonCode.CEILING, f"{_name(window, at)} allows at most {in_words(window.ceiling)}.", {"ceiling": window.ceiling}),
        )
        for window in windows
        if window.ceiling is not None and window.begins <= at < window.ends
    ]


def _floor(window: Window, replicas: int, how: str, at: float) -> Bound:
    code = ReasonCode.EVENT if window.kind is WindowKind.EVENT else ReasonCode.FLOOR
    sentence = f"{_name(window, at)} asks for at least {in_words(replicas)}{how}."
    return Bound(replicas, str(window), Reason(code, sentence, {"floor": replicas}))


def _name(window: Window, at: float) -> str:
    """Who asks, and for how long, with a capital letter."""
    name = str(window)
    when = f"begins in {span(window.begins - at)}" if at < window.begins else f"{span(window.ends - at)} more"
    return f"{name[:1].upper()}{name[1:]} ({when})"
