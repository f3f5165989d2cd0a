"""The corpus as nginx and HAProxy read it: what we pass they pass, and every difference is known and has a reason."""

import os
from pathlib import Path

import pytest

from tests.proxy.corpus import FORWARDED, REFUSED
from tests.proxy.house import Build
from tests.proxy.oracles import WHY, Bench, installed, oracle, page

DOCUMENT = Path(__file__).parents[2] / "docs" / "request-corpus.md"

pytestmark = pytest.mark.skipif(not (installed("nginx") and installed("haproxy")), reason="nginx and haproxy are not installed")


async def test_every_difference_from_nginx_and_haproxy_is_written_down(build: Build, tmp_path: Path) -> None:
    house = await build()
    ours = Bench("scaler", "", house.proxy.addresses[0][1])
    verdicts = {}
    async with ours.witness() as port, oracle("nginx", tmp_path) as nginx, oracle("haproxy", tmp_path) as haproxy:
        house.proxy._context.pool._origin.port = port
        for case, raw in (REFUSED | FORWARDED).items():
            verdicts[case] = (await ours.verdict(raw), await nginx.verdict(raw), await haproxy.verdict(raw))
    assert {case for case, words in verdicts.items() if words[0] == "passed"} == set(FORWARDED)
    assert {case for case, words in verdicts.items() if words[0].startswith("refused")} == set(REFUSED)
    assert [case for case in FORWARDED if verdicts[case] != ("passed",) * 3 and case not in WHY] == []
    text = page(verdicts, nginx.version, haproxy.version)
    if os.environ.get("CORPUS_TABLE") == "write":
        DOCUMENT.write_text(text)
    written = DOCUMENT.read_text()
    if f"nginx {nginx.version} and to HAProxy {haproxy.version}" not in written:
        pytest.skip(f"written for other versions than nginx {nginx.version} and HAProxy {haproxy.version}")
    assert written == text


def test_no_reason_is_left_over() -> None:
    assert set(WHY) <= set(REFUSED | FORWARDED)
