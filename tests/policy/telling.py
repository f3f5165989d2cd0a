"""Stories as logs: what came, what was decided and why, by the clock; every decision is held against a line, and every line must be true.

    clock | comes      | decided | why              | in words
    08:20 | 0.4 .. 0.7 | 1       | steady           | To be expected: … there: 1
    08:30 | 0.5 .. 2   | 1 => 3  | forecast         | In 5 min, when a start would serve, a peak of … is to be expected
          |            |         | steady           |
    09:00 -- the provider is silent
    09:00 | 8          | held    | endpoint_unknown | The provider has not said

A line holds until the clock of the next one; one with nothing but a clock ends the story. ``decided`` is everything that was decided
meanwhile: replicas (``2``, or bounds ``2..4``), ``start 2``, ``stop`` or ``held``; ``1 -> stop -> held`` from what was decided before to
the last, ``1 => 3`` in whatever steps, none of them back. ``why`` are the codes of all reasons of a decision, joined by ``+``; the first
line's make the change, and whatever else was given as reason meanwhile has a line of its own. ``…`` stands for anything.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise

from scaler.model import Decision, Power


@dataclass(frozen=True, slots=True)
class Told:
    """One decision: when (as the clock shows it), what came (None: not known), and what was made of it."""

    clock: str
    comes: float | None
    decision: Decision

    @property
    def decided(self) -> str:
        """The decision as a log shows it."""
        bounds, power = self.decision.bounds, self.decision.power
        count = f"{bounds.min_replicas}" if bounds.min_replicas == bounds.max_replicas else f"{bounds}"
        if self.decision.hold:
            return "held"
        return {Power.STOP: "stop", Power.RUN: f"start {count}", Power.KEEP: count}[power]

    @property
    def why(self) -> str:
        """The codes of its reasons."""
        return "+".join(reason.code for reason in self.decision.reasons)


@dataclass(frozen=True, slots=True)
class Line:
    """What a story says of the time from its clock to the next line's. An event has a text and nothing else, the end not even that.

    comes: least and most; None: not known. ``reasons``: codes and words, those of the change first.
    """

    clock: str
    comes: tuple[float, float] | None = None
    decided: str = ""
    reasons: tuple[tuple[str, str], ...] = ()
    event: str = ""


def lines(script: str) -> list[Line]:
    """The lines of a script below its heading."""
    found: list[Line] = []
    for text in script.strip().splitlines()[1:]:
        if "|" not in text:
            clock, _, event = (part.strip() for part in text.partition("--"))
            found.append(Line(clock, event=event))
            continue
        clock, comes, decided, why, words = (cell.strip() for cell in text.split("|"))
        if clock:
            found.append(Line(clock, _span(comes), decided, ((why, words),)))
        else:
            found[-1] = replace(found[-1], reasons=(*found[-1].reasons, (why, words)))
    return found


def _span(comes: str) -> tuple[float, float] | None:
    """``2 .. 4`` or ``3``; ``?`` is not known."""
    if comes == "?":
        return None
    least, _, most = comes.partition("..")
    return float(least), float(most or least)


def play(
    script: str,
    tick: Callable[[float | None], Decision],
    clock: Callable[[], str],
    events: Mapping[str, Callable[[], object]] | None = None,
) -> None:
    """Let come what the script says, ``tick`` by tick; ``clock``: what it will show at the end of the next one. Then `tell` it."""
    told: list[Told] = []
    story = lines(script)
    for line, following in pairwise(story):
        if line.event:
            (events or {})[line.event]()
            continue
        comes = line.comes[0] if line.comes else None
        while (now := clock()) < following.clock:
            told.append(Told(now, comes, tick(comes)))
    tell(script, told)


def tell(script: str, told: Sequence[Told]) -> None:
    """Every line of the script is true of what was told."""
    story = [line for line in lines(script) if not line.event]
    assert story[0].clock <= told[0].clock, f"it began before the first line:\n{log(told[:1])}"
    assert not story[-1].reasons, "the last line ends the story"
    before: Told | None = None
    for line, following in pairwise(story):
        span = [one for one in told if line.clock <= one.clock < following.clock]
        assert span, f"{line.clock}: nothing was decided"
        _is_true(line, span, before)
        before = span[-1]


def _is_true(line: Line, span: Sequence[Told], before: Told | None) -> None:
    seen = f"{line}\nwas told as\n{log(span)}"
    for one in span:
        assert (one.comes is None) == (line.comes is None), seen
        assert one.comes is None or line.comes is None or line.comes[0] <= one.comes <= line.comes[1], seen
    first = re.split(" [-=]> ", line.decided)[0]
    path = [decided for decided, _ in groupby(one.decided for one in ([before, *span] if before and first != line.decided else span))]
    assert _went(line.decided, path), seen
    change = next((one for one in span if one.decided != first), span[0])
    assert _says(line.reasons[0], change), seen
    assert {one.why for one in span} == {why for why, _ in line.reasons}, seen
    for one in span:
        assert any(_says(reason, one) for reason in line.reasons), f"{one.why}: {one.decision.sentence}\n{seen}"


def _says(reason: tuple[str, str], one: Told) -> bool:
    """Whether the decision was made for this reason, in these words."""
    why, words = reason
    return one.why == why and re.search(".*?".join(re.escape(part) for part in words.split("…")), one.decision.sentence) is not None


def _went(decided: str, path: Sequence[str]) -> bool:
    """Whether what was decided, one thing after the other, is what the line says."""
    if " => " not in decided:
        return " -> ".join(path) == decided
    counts = [int(count) for count in path]
    return f"{path[0]} => {path[-1]}" == decided and counts in (sorted(counts), sorted(counts, reverse=True))


def log(told: Sequence[Told]) -> str:
    """What happened: a line for each stretch of the same decision for the same reasons."""
    stretches = ([*stretch] for _, stretch in groupby(told, key=lambda one: (one.decided, one.why)))
    return "\n".join(_stretch(span) for span in stretches)


def _stretch(span: Sequence[Told]) -> str:
    first, came = span[0], [one.comes for one in span if one.comes is not None]
    comes = f"{min(came):.2f} .. {max(came):.2f}" if came else "?"
    return f"{first.clock} - {span[-1].clock} | {comes} | {first.decided} | {first.why} | {first.decision.sentence}"


def hours(seconds: float) -> str:
    """The clock of a day's stories: ``08:05``."""
    return f"{int(seconds % 86400 // 3600):02}:{int(seconds // 60 % 60):02}"
