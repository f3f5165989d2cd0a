"""An upstream that cannot be reached: whoever runs the proxy is told why, once in a while, and that it is over."""

import pytest

from scaler.proxy import reach
from tests.proxy.house import House
from tests.proxy.wire import request


@pytest.mark.interpreted
async def test_a_fault_is_told_once_in_a_while_and_that_it_is_over(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = house.proxy._context.pool
    assert isinstance(pool, reach.WatchedPool)
    told: list[str] = []
    pool._on_reach = told.append
    client = await house.client()

    async def ask(port: int) -> int:
        pool.close()
        pool._origin.port = port
        return (await client.ask(request())).status

    served = pool._origin.port
    assert [await ask(port) for port in (1, 1, served, served)] == [502, 502, 200, 200]
    (why, over) = told
    assert why.startswith("ConnectionRefusedError: ")
    assert over == ""
    assert [await ask(port) for port in (1, served)] == [502, 200]
    assert told == [why, over]  # so soon after the last one, neither is news
    monkeypatch.setattr(reach, "AGAIN_SECONDS", 0.0)
    assert [await ask(port) for port in (1, 1, served)] == [502, 502, 200]
    assert told == [why, over, why, why, over]
