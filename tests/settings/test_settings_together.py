"""What the generation of the API means to the rest of the configuration."""

from typing import Any

import pytest
from pydantic import ValidationError

from scaler.settings import Settings


def settings(provider: dict[str, Any], minutes: int = 60, **more: Any) -> Settings:  # noqa: ANN401 (branches of the tree)
    endpoint = {"id": "x_1", "idle": {"inactive_timeout_minutes": minutes}}
    return Settings.model_validate({"provider": {"api_key": "k", **provider}, "endpoints": {"chat": endpoint}, **more})


@pytest.mark.parametrize(
    ("provider", "upstream"),
    [
        ({}, "https://api.together.xyz/v1"),
        ({"base_url": "https://proxy.example/together"}, "https://proxy.example/together"),
        ({"kind": "together_v2", "base_url": "https://api.together.ai"}, "https://api.together.ai/v1"),
        ({"kind": "together_v2", "base_url": "https://api.together.ai/v1/"}, "https://api.together.ai/v1"),
        ({"kind": "auto", "base_url": "https://api.together.ai"}, "https://api.together.ai/v1"),
    ],
)
def test_inference_goes_to_v1_of_the_same_host_unless_said(provider: dict[str, Any], upstream: str) -> None:
    assert settings(provider).upstream == upstream
    assert settings(provider, proxy={"upstream": "https://elsewhere.example/v1"}).upstream == "https://elsewhere.example/v1"


@pytest.mark.parametrize("kind", ["together_v2", "auto"])
@pytest.mark.parametrize(("minutes", "good"), [(0, True), (1, False), (29, False), (30, True), (1440, True), (1441, False)])
def test_a_timer_that_v2_would_refuse_is_refused_at_once(kind: str, minutes: int, good: bool) -> None:  # noqa: FBT001 (a row of the table)
    assert settings({}, minutes).endpoints["chat"].idle.inactive_timeout_minutes == minutes
    if good:
        assert settings({"kind": kind}, minutes).provider.kind == kind
        return
    with pytest.raises(ValidationError, match=rf"endpoints\.chat\.idle\.inactive_timeout_minutes: {minutes}; together_v2 accepts 0"):
        settings({"kind": kind}, minutes)


@pytest.mark.parametrize("project", ["", ".", "..", "a/b", "a?b", "a b", "é", "a\n"])
def test_a_project_cannot_lead_to_another_path(project: str) -> None:
    assert settings({"project": "proj_1"}).provider.project == "proj_1"
    with pytest.raises(ValidationError, match="project"):
        settings({"project": project})
