"""Field masks: which parts of a PATCH body count."""

from collections.abc import Collection, Mapping
from typing import Any

from scaler.world.refusals import Invalid

KEPT = frozenset({"minReplicas", "maxReplicas"})
"""Left out of an update they keep their value; everything else that a mask names and the body leaves out is cleared."""

Document = dict[str, Any]


def paths_of(mask: str | None, body: Mapping[str, Any], updatable: Collection[str]) -> list[list[str]]:
    """The mask's dotted paths, or without a mask those of the body's fields. Raises `Invalid` when nothing, or no field, is named."""
    named = [path.strip() for path in mask.split(",") if path.strip()] if mask else [name for name in updatable if name in body]
    if not named:
        raise Invalid(f"No fields to update; expected one of {', '.join(updatable)}")
    paths = [path.split(".") for path in named]
    for path in paths:
        if path[0] not in updatable:
            raise Invalid(f"updateMask: {'.'.join(path)} cannot be updated; expected one of {', '.join(updatable)}")
    return paths


def merged(current: Mapping[str, Any], body: Mapping[str, Any], paths: list[list[str]]) -> Document:
    """``current`` with what ``paths`` name taken from ``body``; objects are merged, all else is replaced. Raises `Invalid`."""
    result = _copy(current)
    try:
        for path in paths:
            _take(result, body, path)
    except RecursionError as error:
        raise Invalid("The update is nested too deeply") from error
    return result


def _copy(value: Mapping[str, Any]) -> Document:
    return {key: _copy(item) if isinstance(item, Mapping) else item for key, item in value.items()}


def _take(target: Document, source: object, path: list[str]) -> None:
    name, *rest = path
    given = source.get(name) if isinstance(source, Mapping) else None
    if rest:
        below = target.get(name)
        target[name] = _copy(below) if isinstance(below, Mapping) else {}
        _take(target[name], given, rest)
    elif isinstance(given, Mapping):
        below = target.get(name)
        target[name] = _merge(below if isinstance(below, Mapping) else {}, given)
    elif given is not None:
        target[name] = given
    elif name not in KEPT:
        target.pop(name, None)


def _merge(current: Mapping[str, Any], given: Mapping[str, Any]) -> Document:
    result = _copy(current)
    for name in given:
        if given[name] is not None:
            _take(result, given, [name])
    return result
