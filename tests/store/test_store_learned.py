"""What was learned of an endpoint outlives the process."""

from collections.abc import Awaitable, Callable

import numpy as np

from scaler.knowledge import Document, Knowledge, read
from scaler.policy import Memory
from scaler.policy.forecast import Quantiles, Record, unfitted
from scaler.policy.forecast.record import DAY
from scaler.policy.learned import Learned, at_rest
from scaler.policy.outlook import Fitted, Outlook, resumed
from scaler.pooled import shipped
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
    kept = read(encode(Document(learned, Outlook(), 5.0)))
    assert kept is not None
    assert (kept.learned, kept.at) == (at_rest(learned), 5.0)
    assert len(encode(at_rest(learned))) < 50_000


def test_another_versions_document_counts_as_none() -> None:
    assert read(encode(Learned())) is None
    assert read("no JSON") is None


def test_a_fortnight_of_demand_goes_on_after_a_restart_with_a_gap() -> None:
    values = np.linspace(1.0, 5.0, 15 * DAY)
    text = encode(Document(Learned(), Outlook(Record(values, 15 * DAY), values.size), at=1e9))
    kept = read(text)
    assert kept is not None
    assert len(text) < 600_000
    again = resumed(kept.outlook, kept.at, 1e9 + 3600.0, now=7000.0)
    record = again.record.until(7000.0)
    assert record.values[: -3600 // 30].tolist() == values[3600 // 30 :].tolist()
    assert np.isnan(record.values[-3600 // 30 :]).all()
    backwards = resumed(kept.outlook, kept.at, 1e9 - 50.0, now=7000.0)
    assert backwards.record.end == 7000 // 30


async def test_a_fit_is_not_kept_but_made_again(store: SqliteStore) -> None:
    outlook = Outlook(Record(np.ones(500), 500), 500, Fitted(unfitted(shipped(), 180.0, Quantiles(0.9, 0.9)), 400))
    knowledge = Knowledge("endpoint-1", store)
    await knowledge.recall(Memory(), now=0.0, at=1e9)
    await knowledge.keep(Memory(outlook=outlook), now=15_000.0, at=1e9)
    text = await store.learned("endpoint-1")
    assert text is not None
    earlier = text.replace('"fitted":null', '"fitted":{"lead":6,"aims":{"up":0.9,"down":0.9},"own":null,"at":400}')
    assert earlier != text
    for version in (text, earlier):
        kept = read(version)
        assert kept is not None
        assert (kept.outlook.known, kept.outlook.fitted) == (500, None)


async def test_a_controller_remembers_what_another_process_kept(store: SqliteStore) -> None:
    first, second = Knowledge("endpoint-1", store), Knowledge("endpoint-1", store)
    memory = Memory(outlook=Outlook(Record(np.ones(500), 500), 500))
    assert (await first.recall(memory, now=0.0, at=1e9)) is memory
    await first.keep(memory, now=15_000.0, at=1e9)
    recalled = await second.recall(Memory(), now=30.0, at=1e9 + 60)
    assert recalled.outlook.known == 500
    assert (await second.recall(memory, now=30.0, at=1e9)) is memory
