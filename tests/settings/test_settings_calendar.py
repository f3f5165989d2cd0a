"""Schedules and events in the configuration: what is accepted, and what a mistake is told."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from scaler.settings import ConfigError, EndpointSettings, Settings, load

OFFICE = {"name": "office", "start": "0 8 * * MON-FRI", "end": "0 18 * * *", "floor": 2}
LAUNCH = {"name": "launch", "at": "2026-11-03T09:00", "hours": 2, "multiplier": 3}


def settings(folder: Path, calendar: dict[str, Any] | None = None, **chat: Any) -> Settings:  # noqa: ANN401 (YAML)
    (folder / "key").write_text("s3cret")
    tree = {
        "provider": {"api_key_file": str(folder / "key")},
        "calendar": calendar or {},
        "endpoints": {"chat": {"id": "e", "max_replicas": 4, **chat}},
    }
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump(tree))
    return load(file)


def test_a_good_one_survives_json(tmp_path: Path) -> None:
    calendar = {"timezone": "Europe/Berlin", "holidays": ["2026-12-25"]}
    chat = settings(tmp_path, calendar, schedules=[OFFICE], events=[LAUNCH, {**LAUNCH, "at": "2026-11-03 09:00:00+01:00"}]).endpoints[
        "chat"
    ]
    assert EndpointSettings.model_validate_json(chat.model_dump_json()) == chat
    assert chat.events[0].at.tzinfo is None
    assert chat.events[1].at.utcoffset() is not None


@pytest.mark.parametrize(
    ("where", "change", "message"),
    [
        ("schedules", {"start": "0 8 * *"}, "endpoints.chat.schedules.0.start: expected five cron fields"),
        ("schedules", {"start": "0 0 8 * * *"}, "endpoints.chat.schedules.0.start: expected five cron fields"),
        ("schedules", {"end": "0 0 30 2 *"}, "endpoints.chat.schedules.0.end: expected five cron fields"),
        ("schedules", {"start": "0 25 * * *"}, "(Bad hour)"),
        ("schedules", {"timezone": "Berlin"}, "endpoints.chat.schedules.0.timezone: expected a time zone such as"),
        ("schedules", {"timezone": "../../etc/passwd"}, "expected a time zone such as"),
        ("schedules", {"floor": None}, "endpoints.chat.schedules.0: expected a floor, a ceiling or both"),
        ("schedules", {"floor": 5}, "endpoints.chat.schedules.0: expected floor <= max_replicas, got 5 > 4 (office)"),
        ("schedules", {"floor": 3, "ceiling": 2}, "endpoints.chat.schedules.0: expected floor <= ceiling, got 3 > 2 (office)"),
        ("events", {"multiplier": None}, "endpoints.chat.events.0: expected a multiplier, a floor or a ceiling"),
        ("events", {"multiplier": 1}, "endpoints.chat.events.0.multiplier"),
        ("events", {"at": "nine o'clock"}, "endpoints.chat.events.0.at"),
        ("events", {"hours": 0}, "endpoints.chat.events.0.hours"),
        ("events", {"floor": 5}, "endpoints.chat.events.0: expected floor <= max_replicas, got 5 > 4 (launch)"),
    ],
)
def test_a_bad_one_is_told_by_its_path(tmp_path: Path, where: str, change: dict[str, Any], message: str) -> None:
    base: dict[str, Any] = OFFICE if where == "schedules" else LAUNCH
    with pytest.raises(ConfigError) as caught:
        settings(tmp_path, None, **{where: [base | change]})
    assert message in str(caught.value)


def test_the_calendar_has_a_zone_that_exists(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"calendar\.timezone: expected a time zone"):
        settings(tmp_path, {"timezone": "Mars/Olympus"})
