"""Small traces, and the command as a person calls it."""

import json
import math
import sys
from pathlib import Path
from typing import Any

import pytest

from scaler import cli

HEADER = "t_seconds,requests,input_tokens,output_tokens\n"


def write_hill(path: Path, *, hours: float = 6.0, period_hours: float = 3.0) -> Path:
    """Requests that rise and fall; buckets of a minute; tokens that drift on their own."""
    lines = []
    for minute in range(round(hours * 60)):
        requests = round(60 - 55 * math.cos(minute / (period_hours * 60) * 2 * math.pi))
        lines.append(f"{minute * 60},{requests},{requests * 500},{requests * (100 + minute // 60)}\n")
    path.write_text(HEADER + "".join(lines))
    return path


def backtest(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """``scaler backtest`` with these arguments; its exit code."""
    monkeypatch.setattr(sys, "argv", ["scaler", "backtest", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


def rows_of(path: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(path.read_text())
    return rows
