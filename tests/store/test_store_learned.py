"""What was learned of an endpoint outlives the process."""

from collections.abc import Awaitable, Callable

import numpy as np

from scaler.knowledge import Document, Knowledge, read
from scaler.policy import Memory
from scaler.policy.forecast import Quantiles, Record
from scaler.policy.forecast.own import Own
from scaler.policy.forecast.record import DAY
from scaler.policy.learned import Learned, at_rest
from scaler.policy.outlook import Fitted, Outlook, resumed
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
    fitted = Fitted(6, Quantiles(0.9, 0.9), "n1", Own(np.ones((2, 3)), np.full((2, 5), 0.1)), 14 * DAY)
    outlook = Outlook(Record(values, 15 * DAY), values.size, fitted)
    text = encode(Document(Learned(), outlook, at=1e9))
    kept = read(text)
    assert kept is not None
    assert len(text) < 600_000
    again = resumed(kept.outlook, kept.at, 1e9 + 3600.0, now=7000.0)
    record = again.record.until(7000.0)
    assert record.values[: -3600 // 30].tolist() == values[3600 // 30 :].tolist()
    assert np.isnan(record.values[-3600 // 30 :]).all()
    assert again.fitted is not None
    assert again.fitted.own is not None
    assert again.fitted.own.line.tolist() == np.ones((2, 3)).tolist()
    assert again.fitted.own.correction.tolist() == np.full((2, 5), 0.1).tolist()
    assert record.end - again.fitted.at == DAY + 3600 // 30
    backwards = resumed(kept.outlook, kept.at, 1e9 - 50.0, now=7000.0)
    assert backwards.record.end == 7000 // 30


def test_another_versions_fit_is_left_out_and_the_record_goes_on() -> None:
    text = encode(Document(Learned(), Outlook(Record(np.ones(500), 500), 500, Fitted(6, Quantiles(0.9, 0.9), "n1", None, 400)), at=1e9))
    earlier = text.replace('"own":null', '"own":{"shape":[2,1],"float64":"AAAAAAAA8D8AAAAAAADwPw=="}')
    assert earlier != text
    kept = read(earlier)
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
