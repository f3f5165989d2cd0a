"""Orders whose answers get lost: whatever is billed is known, and nothing is billed twice."""

from collections.abc import AsyncIterator

import pytest

from scaler.actuator.by_hand import ByHand, MaybeCreated, NotSent, open_by_hand
from scaler.actuator.find import find_by_display_name
from scaler.model import Bounds, EndpointWish
from scaler.providers import open_reader
from scaler.providers.base import OutcomeUnknown, ProviderError, Reader, Refused
from tests.endpoints.served import HARDWARE, LOST, MODEL, Platform


def wish(number: int = 0) -> EndpointWish:
    return EndpointWish(f"mine-{number}", MODEL, HARDWARE, Bounds(1, 2), 0, start=False)


@pytest.fixture
async def reader(platform: Platform) -> AsyncIterator[Reader]:
    opened = open_reader(platform.provider)
    yield opened
    await opened.close()


@pytest.fixture
async def hand(platform: Platform, reader: Reader, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ByHand]:
    monkeypatch.setattr("scaler.actuator.by_hand.LOOK_SECONDS", 0.01)
    opened = open_by_hand(platform.provider, reader, None)
    yield opened
    await opened.close()


async def test_two_hundred_creates_with_lost_answers_create_two_hundred(platform: Platform, hand: ByHand) -> None:
    await platform.break_(LOST)
    for number in range(200):
        created = await hand.create(wish(number))
        assert [endpoint["id"] for endpoint in await platform.endpoints()] == [created.id]
        assert created.display_name == f"mine-{number}"
        await hand.delete(created.id)


async def test_a_create_that_vanished_is_not_claimed_to_exist_nor_not_to(platform: Platform, hand: ByHand) -> None:
    await platform.break_({"drop_request": True, "methods": ["POST"]})
    with pytest.raises(MaybeCreated, match="look for an endpoint of display name mine-0"):
        await hand.create(wish())
    assert await platform.endpoints() == []


async def test_a_refused_create_is_told_as_it_is(platform: Platform, hand: ByHand) -> None:
    await platform.break_({"status": 403, "methods": ["POST"]})
    with pytest.raises(Refused):
        await hand.create(wish())


async def test_nothing_is_created_while_nobody_can_tell_what_exists(platform: Platform, hand: ByHand) -> None:
    await platform.break_({"status": 500, "methods": ["GET"]})
    with pytest.raises(OutcomeUnknown):
        await hand.create(wish())
    assert await platform.endpoints() == []


async def test_a_display_name_is_given_once(platform: Platform, hand: ByHand, reader: Reader) -> None:
    created = await hand.create(wish())
    with pytest.raises(NotSent, match=created.id):
        await hand.create(wish())
    assert [endpoint.id for endpoint in await find_by_display_name(reader, "mine-0")] == [created.id]
    assert await find_by_display_name(reader, "mine-1") == ()


async def test_one_unreadable_endpoint_makes_the_search_fail_rather_than_end_empty(
    platform: Platform, hand: ByHand, reader: Reader
) -> None:
    created = await hand.create(wish())
    await platform.break_({"garbage": True, "path_prefix": f"/v1/endpoints/{created.id}"})
    with pytest.raises(ProviderError):
        await find_by_display_name(reader, "mine-0")
