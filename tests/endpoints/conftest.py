"""A platform to manage, and the commands as a person types them."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from typer.testing import CliRunner

from scaler.endpoints.commands import app
from tests.endpoints.served import Platform, platform_of


@pytest.fixture
async def platform() -> AsyncIterator[Platform]:
    async with platform_of() as served:
        yield served


@pytest.fixture
async def resting() -> AsyncIterator[Platform]:
    """A platform with one stopped endpoint, ``endpoint-one``."""
    async with platform_of(stopped=True) as served:
        yield served


@pytest.fixture
def typed() -> Callable[..., Any]:
    """``await typed(platform, "get", ID)``: the command's result; with ``answer=True`` its JSON."""

    async def run(platform: Platform, *words: str, answer: bool = False) -> Any:  # noqa: ANN401 (a result or any JSON)
        secret = platform.provider.key.get_secret_value()
        environment = {"SCALER_PROVIDER__BASE_URL": f"{platform.url}/v1", "SCALER_PROVIDER__API_KEY": secret}
        arguments = [*words, "--json"] if answer else list(words)
        result = await asyncio.to_thread(lambda: CliRunner(env=environment).invoke(app, arguments))
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        assert secret not in result.output
        if answer:
            assert result.exit_code == 0, result.stderr
            return json.loads(result.stdout)
        return result

    return run
