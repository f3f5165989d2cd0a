"""How status and explanations look on a terminal."""

import dataclasses
import math
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from scaler.model import Decision
from scaler.observability.windows import windows_status
from scaler.replay import Summary
from scaler.schedules import once, upcoming
from scaler.settings import Settings


def moment(at: float) -> str:
    """Unix seconds as a readable UTC time."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _bounds(fields: dict[str, Any]) -> str:
    return f"{fields['min_replicas']}..{fields['max_replicas']}"


def status(answer: dict[str, Any]) -> RenderableType:
    """The answer of ``/status``: warnings, a table, and the last decision about each endpoint in words."""
    seen = {key: fields for key, fields in answer["endpoints"].items() if "sentence" in fields}
    warnings = [Text(f"! {warning}", style="bold yellow") for warning in _warnings(answer, seen)]
    return Group(*warnings, _table(answer), *_words(answer, seen))


def _warnings(answer: dict[str, Any], seen: dict[str, Any]) -> list[str]:
    """What is out of the ordinary, and what the calendar has in store."""
    warnings = [name for name, on in ((answer["paused"], answer["paused"]), ("dry run", answer["dry_run"])) if on]
    warnings += [f"the store: {answer['store']}"] if answer["store"] else []
    declared = answer["declared"].items()
    warnings += [f"{key} ({found['standing']}): {found['detail']}" for key, found in declared if found["standing"] != "settled"]
    unpriced = [key for key, fields in seen.items() if fields["price_dollars_per_hour"] is None]
    warnings += [f"{key}: nobody knows what a replica costs; endpoints.{key}.budget.price_dollars_per_hour can say it" for key in unpriced]
    return warnings + [f"{key}: {_window(window)}" for key, windows in answer["windows"].items() for window in windows]


def _table(answer: dict[str, Any]) -> Table:
    """How each endpoint is, and what it has cost by the ledger."""
    table = Table(title=f"scaler at {moment(answer['now'])} UTC", title_justify="left")
    for name in ("endpoint", "state", "ready", "starting", "bounds", "in flight", "today", "this month"):
        table.add_column(name)
    for key, fields in answer["endpoints"].items():
        spent = answer["budget"]["endpoints"].get(key, {})
        dollars = [f"${spent[period]:,.2f}" if spent else "" for period in ("day", "month")]
        table.add_row(key, *(_row(fields) if "sentence" in fields else (fields["state"], *[""] * 4)), *dollars)
    return table


def _words(answer: dict[str, Any], seen: dict[str, Any]) -> list[Text]:
    """What was decided and why, how the budgets stand, what others would have cost, what was learned."""
    words = [Text(f"{key}: {fields['sentence']}") for key, fields in seen.items()]
    words += [Text(line) for line in _budgets(answer["budget"])]
    words += [Text(f"{key}: {_compared(fields['shadow'])}") for key, fields in seen.items() if fields["shadow"]]
    return words + [Text(f"{key}: {_learned(fields['learned'])}", style="dim") for key, fields in seen.items()]


def _learned(learned: dict[str, Any]) -> str:
    """What was learned of an endpoint, in words."""
    capacity = learned["capacity"] or "Nothing is known of its capacity yet."
    p50, p90 = (learned[f"cold_start_{share}_seconds"] for share in ("p50", "p90"))
    if not learned["cold_starts_known"]:
        return f"{capacity} No cold start was seen yet; planned with: {p90:g} s." if p90 else capacity
    return f"{capacity} Cold starts: p50 {p50:g} s, p90 {p90:g} s ({learned['cold_starts_known']} seen)."


LANES = {
    "actual": "what ran",
    "scaler": "what was decided",
    "static": "always on at max_replicas",
    "together_v2": "the platform's autoscaler alone",
    "hpa": "Kubernetes' HPA",
}
"""Ways of scaling that are compared on the live traffic."""
LAG = 0.02
"""Share of the cost by which what runs may be behind what was decided though everything is sent."""


def _compared(shadow: dict[str, Any]) -> str:
    """What the live traffic would have cost whom, in words; what was decided only where that is more than a tick behind what ran."""
    alike = math.isclose(shadow["actual"]["dollars"], shadow["scaler"]["dollars"], rel_tol=LAG)
    lanes = [name for name in LANES if name in shadow and not (alike and name == "scaler")]
    costs = [f"{LANES[name]} ${shadow[name]['dollars']:,.2f} at {shadow[name]['attainment']:.1%}" for name in lanes]
    return f"in the model, cost and work on time of {shadow['actual']['hours']:g} h of traffic: {', '.join(costs)}."


def _budgets(budget: dict[str, Any]) -> list[str]:
    """The ``budget`` of ``/status`` in words, one line for each budget."""
    lines = []
    for cap in budget["budgets"]:
        claims = [
            f"${cap[name]:.2f} {words}"
            for name, words in (("reserved_dollars", "reserved"), ("set_aside_dollars", "set aside for floors"))
            if cap[name]
        ]
        hourly = " an hour" if cap["period"] == "hour" else ""
        stage = "" if cap["stage"] == "open" else f" [{cap['stage'].replace('_', ' ')}]"
        lines.append(
            f"budget {cap['budget']} {cap['period']}: ${cap['spent_dollars']:.2f} of ${cap['limit_dollars']:.2f}{hourly}"
            + (f", {', '.join(claims)}" if claims else "")
            + stage
        )
    return lines


def _window(window: dict[str, Any]) -> str:
    """A window of the calendar in words."""
    limits = [f"{name} {window[name]:g}" for name in ("floor", "ceiling", "multiplier") if window[name] is not None]
    since = "" if window["in_force"] else f"from {moment(window['begins'])} UTC "
    return f"{window['who']}: {', '.join(limits)}, {since}until {moment(window['ends'])} UTC"


def plans(settings: Settings, now: float) -> Iterator[str]:
    """What each endpoint's schedules and events ask for at ``now`` (Unix seconds), or next, in words."""
    for key, endpoint in settings.endpoints.items():
        windows = [upcoming(schedule, settings.calendar, now) for schedule in endpoint.schedules]
        windows += [once(event, settings.calendar) for event in endpoint.events]
        standing = [window for window in windows if window is not None and window.ends > now]
        yield from (f"{key}: {_window(each)}" for each in windows_status(standing, now))
        yield from (f"{key}: {window}: over" for window in windows if window is not None and window.ends <= now)


def _row(fields: dict[str, Any]) -> tuple[str, ...]:
    provider, sample = fields["provider"], fields["sample"]
    ready, starting = ("unknown" if fields[name] is None else str(fields[name]) for name in ("ready", "starting"))
    return (
        provider.get("state", "unknown"),
        ready,
        starting,
        _bounds(fields),
        str(sample.get("in_flight", "unknown")),
    )


def explanation(answer: dict[str, Any], limit: int) -> RenderableType:
    """The answer of ``/explain`` as ``limit`` paragraphs, newest first: decisions in a row that were made alike are one."""
    if not answer["decisions"]:
        return Text(f"No decision about {answer['endpoint']} has been recorded yet.")
    runs = [list(run) for _, run in groupby(answer["decisions"], key=_gist)]
    return Group(*(_argument(run) for run in runs[:limit]))


def _gist(decision: dict[str, Any]) -> list[Any]:
    """What two decisions have in common that a person would call the same one."""
    return [decision[name] for name in ("min_replicas", "max_replicas", "hold", "power", "reasons", "bound_by")]


def replayed(endpoint: str, summary: Summary) -> RenderableType:
    """How a replay of the journal went, with examples of what came out otherwise."""
    lines = [Text(f"{endpoint}: {summary.same:,} decisions made again, bit for bit the same; {summary.different:,} came out otherwise")]
    if summary.without_checkpoint:
        lines.append(Text(f"{summary.without_checkpoint:,} more have no checkpoint before them and cannot be made again", style="dim"))
    if summary.different:
        lines.append(Text("as they do where another version of scaler made them, or where rows of the journal are missing", style="dim"))
    for one in summary.examples:
        then, now = _as_fields(one.record.decision), _as_fields(one.again)
        other = [name for name in then | now if then.get(name) != now.get(name)]
        lines.append(Text(f"  {moment(one.record.decision.at)} UTC (seq {one.record.seq})"))
        lines += [Text(f"    {name}, then: {then.get(name)}\n    {name}, now:  {now.get(name)}") for name in other]
    return Group(*lines)


def _as_fields(decision: Decision | None) -> dict[str, Any]:
    """All that a decision is, name by name, with its reasons' numbers among them; counts are as the journal gives them back."""
    if decision is None:
        return {}
    numbers = {name: float(value) for reason in decision.reasons for name, value in reason.numbers.items()}
    named = {field.name: getattr(decision, field.name) for field in dataclasses.fields(decision)}
    codes = ", ".join(reason.code for reason in decision.reasons)
    return named | {"reasons": codes, "sentence": decision.sentence} | numbers


def _argument(run: list[dict[str, Any]]) -> RenderableType:
    """The newest of a run of decisions, and how long it has been so."""
    decision, first = run[0], run[-1]
    verdict = "hold" if decision["hold"] else f"{_bounds(decision)} replicas"
    if decision["power"] != "keep":
        verdict = f"{decision['power']}, {verdict}"
    text = Text.assemble((f"{moment(decision['at'])} UTC  ", "dim"), (verdict, "bold"), f"  [{', '.join(decision['reasons'])}]\n  ")
    text.append(decision["sentence"] + "\n")
    if first is not decision:
        text.append(f"  so since {moment(first['at'])} UTC, {len(run):,} decisions\n", "dim")
    if decision["numbers"]:
        text.append("  numbers: " + ", ".join(_number(name, value) for name, value in decision["numbers"].items()) + "\n", "dim")
    for other in decision["alternatives"]:
        text.append(f"  not {other['replicas']} replicas: {other['why_not']}\n", "dim")
    if decision["bound_by"]:
        text.append(f"  bound by {decision['bound_by']}\n", "dim")
    return text


def _number(name: str, value: float) -> str:
    return f"{name} {moment(value)} UTC" if name == "until" else f"{name} {value:,.10g}"
