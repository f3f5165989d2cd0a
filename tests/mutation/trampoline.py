"""What stands in for a function that has mutants: it calls the original, until a mutant is chosen."""

from collections.abc import Callable
from functools import wraps
from typing import Any

Function = Callable[..., Any]
MutantDict = dict[str, Function]
"""A function's original, as ``_mutmut_orig``, and its mutants, by name; the mutated module fills it in."""

touched: set[str] = set()
"""The functions that were called, by the stem of their mutants' names: ``module.x_function``, ``module.xǁClassǁmethod``."""
chosen: dict[str, str] = {}
"""By stem, the mutant that takes the function's place."""


def wrap_in_trampoline(mutants: MutantDict, is_classmethod: bool = False) -> Callable[[Function], Function]:  # noqa: FBT001, FBT002 (mutmut calls it)
    """The decorator in the sources that mutmut writes."""

    def decorate(function: Function) -> Function:
        owner, _, name = function.__qualname__.rpartition(".")
        stem = f"{function.__module__}." + (f"xǁ{owner}ǁ{name}" if owner else f"x_{name}")

        @wraps(function)
        def call(*args: object, **kwargs: object) -> object:
            touched.add(stem)
            used = mutants[chosen.get(stem, "_mutmut_orig")]
            return used(*args[1:], **kwargs) if is_classmethod else used(*args, **kwargs)

        return call

    return decorate
