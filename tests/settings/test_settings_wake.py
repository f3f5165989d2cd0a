"""The settings of waking: what contradicts itself is named."""

from typing import Any

import pytest
from pydantic import ValidationError

from scaler.settings import EndpointSettings, Settings


def settings(**endpoints: dict[str, Any]) -> Settings:
    return Settings.model_validate(
        {"provider": {"api_key": "k"}, "endpoints": {key: {"id": key} | rest for key, rest in endpoints.items()}}
    )


@pytest.mark.parametrize(
    ("wake", "expected"),
    [
        ({"mode": "fallback"}, "expected beside mode: fallback"),
        ({"saturated": "spill"}, "saturated: spill"),
        ({"mode": "doze"}, "hold"),
        ({"hold_seconds": 0}, "greater than 0"),
        ({"fallback": {"model": "two\r\nlines"}}, "pattern"),
        ({"fallback": {"model": ""}}, "at least 1"),
    ],
)
def test_a_bad_wish_is_refused(wake: dict[str, Any], expected: str) -> None:
    with pytest.raises(ValidationError, match=expected):
        EndpointSettings.model_validate({"id": "e", "wake": wake})


def test_pools_are_shared_names_and_no_others() -> None:
    assert settings(one={"pool": "any"}, two={"pool": "any"}).endpoints["two"].pool == "any"
    with pytest.raises(ValidationError, match=r"endpoints\.two\.pool: 'one' already names endpoints\.one"):
        settings(one={}, two={"pool": "one"})


def test_nobody_falls_back_to_himself() -> None:
    fallback = {"fallback": {"model": "small"}}
    assert settings(one={"wake": fallback}, small={}).endpoints["one"].wake.fallback is not None
    for name in ("one", "uno", "any"):
        with pytest.raises(ValidationError, match=r"endpoints\.one\.wake\.fallback\.model: .* is itself"):
            settings(one={"aliases": ("uno",), "pool": "any", "wake": {"fallback": {"model": name}}})
