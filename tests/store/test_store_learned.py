"""What was learned of an endpoint outlives the process."""

from collections.abc import Awaitable, Callable
from dataclasses import replace

from scaler.knowledge import read
from scaler.policy.learned import Learned, at_rest
from scaler.settings import EndpointSettings, ReplicaSettings
from scaler.store.codec import encode
from scaler.store.sqlite import SqliteStore
from tests.policy.day import learn, office_day, play, world

Opener = Callable[[], Awaitable[SqliteStore]]


async def test_documents_are_there_after_reopening_each_in_place_of_the_last(store: SqliteStore, reopen: Opener) -> None:
    assert await store.learned("chat") is None
    for key, document in (("chat", "{}"), ("embed", "[]"), ("chat", "[1]")):
        await store.keep_learned(key, document)
    await store.close()
    again = await reopen()
    assert (await again.learned("chat"), await again.learned("embed")) == ("[1]", "[]")


def test_a_morning_of_the_world_is_read_back_bit_for_bit() -> None:
    settings = EndpointSettings(id="endpoint-one", max_replicas=8)
    learned = learn(play(world(ReplicaSettings(slots=4)), office_day(25_000), until=40_000.0), settings)
    assert learned.estimate is not None
    assert learned.estimate.knee is not None
    assert learned.demand.service_seconds is not None
    assert learned.cold_start.starts
    assert read(encode(at_rest(learned))) == at_rest(learned)
    assert len(encode(at_rest(learned))) < 50_000


def test_another_versions_document_counts_as_none() -> None:
    assert read(encode(replace(Learned(), serving=2)).replace('"serving"', '"serves"')) == Learned()
    assert read("no JSON") is None
