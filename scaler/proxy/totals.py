"""Figures of several proxies taken together: what grows is added up, gauges too, and what has ended stays counted."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from math import inf
from typing import Any

from scaler.proxy.messages import ClientReading, Report
from scaler.proxy.meter import WORKER_LOST
from scaler.proxy.readings import Call, GateReading, HistogramReading, Reading


def total(reports: Sequence[Report]) -> Report:
    """All of them as if they were one."""
    return Report(
        readings={key: total_reading([report.readings[key] for report in reports if key in report.readings]) for key in _keys(reports)},
        gates={
            key: _total_gate([report.gates[key] for report in reports if key in report.gates])
            for key in dict.fromkeys(key for report in reports for key in report.gates)
        },
        clients=_total_clients(reports),
        limits_hit=_sum(report.limits_hit for report in reports),
        connections=sum(report.connections for report in reports),
        tap_errors=sum(report.tap_errors for report in reports),
    )


def ended(report: Report) -> Report:
    """What a worker leaves behind: its counters. What was in flight has failed, if it ended before its time."""
    return Report(
        readings={key: _ended(reading) for key, reading in report.readings.items()},
        gates={
            key: dataclasses.replace(gate, standing=None, proven=True, capacity=0.0, waiting=0, waiting_bytes=0, call=None)
            for key, gate in report.gates.items()
        },
        clients={name: ClientReading(0, client.outcomes) for name, client in report.clients.items()},
        limits_hit=report.limits_hit,
        tap_errors=report.tap_errors,
    )


def total_reading(readings: Sequence[Reading]) -> Reading:
    """Of one route. The integral of requests in flight is carried on to the moment of the latest reading."""
    at = max(reading.at for reading in readings)
    whole = {name.name: _added([getattr(reading, name.name) for reading in readings]) for name in dataclasses.fields(Reading)}
    integral = sum(reading.in_flight_seconds + reading.in_flight * (at - reading.at) for reading in readings)
    return Reading(**whole | {"at": at, "in_flight_seconds": integral})


def _added(values: Sequence[Any]) -> Any:  # noqa: ANN401 (a number, counts by name or a histogram, whatever a reading holds)
    match values[0]:
        case HistogramReading():
            return _total_histogram(values)
        case Mapping():
            return _sum(values)
        case _:
            return sum(values)


def _keys(reports: Iterable[Report]) -> list[str]:
    return list(dict.fromkeys(key for report in reports for key in report.readings))


def _sum(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    whole: dict[str, int] = {}
    for count in counts:
        for name, value in count.items():
            whole[name] = whole.get(name, 0) + value
    return whole


def _total_histogram(readings: Sequence[HistogramReading]) -> HistogramReading:
    counts = tuple(map(sum, zip(*(reading.counts for reading in readings), strict=True)))
    return HistogramReading(readings[0].bounds, counts, sum(r.sum for r in readings), sum(r.count for r in readings))


def _total_clients(reports: Sequence[Report]) -> dict[str, ClientReading]:
    whole: dict[str, ClientReading] = {}
    for report in reports:
        for name, client in report.clients.items():
            before = whole.get(name, ClientReading(0, {}))
            whole[name] = ClientReading(before.in_flight + client.in_flight, _sum((before.outcomes, client.outcomes)))
    return whole


def _total_gate(gates: Sequence[GateReading]) -> GateReading:
    """Of one route; proven where all have proof."""
    calls = [gate.call for gate in gates if gate.call is not None]
    standings = [gate.standing for gate in gates if gate.standing is not None]
    call = Call(min(c.since for c in calls), max(c.last for c in calls), sum(c.requests for c in calls)) if calls else None
    return GateReading(
        standing=min(standings) if standings else None,
        proven=all(gate.proven for gate in gates),
        capacity=sum(gate.capacity for gate in gates) if gates else inf,
        waiting=sum(gate.waiting for gate in gates),
        waiting_bytes=sum(gate.waiting_bytes for gate in gates),
        call=call,
        held=sum(gate.held for gate in gates),
        hold_seconds=_total_histogram([gate.hold_seconds for gate in gates]),
        wakes=sum(gate.wakes for gate in gates),
        fallbacks=sum(gate.fallbacks for gate in gates),
        spills=sum(gate.spills for gate in gates),
        sheds=_sum(gate.sheds for gate in gates),
    )


def _ended(reading: Reading) -> Reading:
    lost = reading.in_flight
    return dataclasses.replace(
        reading,
        completions={**reading.completions, "failed": reading.completions["failed"] + lost},
        failures={**reading.failures, WORKER_LOST: reading.failures[WORKER_LOST] + lost},
        in_flight=0,
        waiting=0,
    )
