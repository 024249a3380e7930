"""What is particular to Elasticsearch: its template, midnight, what it refuses, its backup."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio
from pydantic import SecretStr

from neo_polystore.errors import BackupError, ConfigError, UnavailableError, UsageError
from neo_polystore.ports.backup import BackupScope
from neo_polystore.records.logs import LogEntry
from neo_polystore.records.query import Query
from neo_polystore.stores.elasticsearch.client import Client, opened
from neo_polystore.stores.elasticsearch.config import ElasticsearchConfig
from neo_polystore.stores.elasticsearch.store import ElasticsearchStore
from tests.opensearch.server import config_for

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
ALL = BackupScope()


class Clock:
    """A clock that stands until it is set."""

    def __init__(self, now: datetime = NOON) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def config(elasticsearch_server: str) -> ElasticsearchConfig:
    return config_for(elasticsearch_server)


@pytest_asyncio.fixture
async def store(config: ElasticsearchConfig, clock: Clock) -> AsyncIterator[ElasticsearchStore]:
    made = ElasticsearchStore(config, now=clock)
    await made.migrate()
    await made.connect()
    yield made
    await made.clear()
    await made.close()


def line(number: int, message: str = "") -> LogEntry:
    return LogEntry(id=f"a:{number:04}", timestamp=NOON, system="a", message=message)


async def days(store: ElasticsearchStore) -> dict[str, int]:
    cleared = await store.clear(dry_run=True)
    return {store.config.day(index): rows for index, rows in cleared.rows.items()}


async def test_without_its_template_a_store_does_not_open(config: ElasticsearchConfig) -> None:
    store = ElasticsearchStore(config)
    with pytest.raises(ConfigError, match="db migrate"):
        await store.connect()
    await store.close()


async def test_migrating_again_changes_nothing(store: ElasticsearchStore) -> None:
    assert (await store.migrate(dry_run=True)).pending == []
    assert (await store.migrate()).applied == []
    assert (await store.validate()).problems == []


async def test_another_template_on_the_server_is_found_and_replaced(
    store: ElasticsearchStore,
) -> None:
    name = store.config.prefix
    async with opened(store.config) as client:
        other = {"index_patterns": [store.config.pattern], "template": {"mappings": {}}}
        await client.ask("test", "PUT", ["_index_template", name], other)
    assert (await store.validate()).problems == [f"template {name} 1: not applied"]
    assert (await store.migrate()).applied == [f"template {name} 1"]
    assert (await store.validate()).problems == []


async def test_a_day_with_other_fields_is_named(store: ElasticsearchStore) -> None:
    await store.port("logs").write([line(1)])
    index = store.config.index("2026-03-01")
    async with opened(store.config) as client:
        added = {"properties": {"colour": {"type": "keyword"}}}
        await client.ask("test", "PUT", [index, "_mapping"], added)
    [problem] = (await store.validate()).problems
    assert problem.startswith(f"{index}: colour is ")


async def test_a_field_of_nobody_is_refused_by_the_server(store: ElasticsearchStore) -> None:
    path = [store.config.index("2026-03-01"), "_doc", "1"]
    async with opened(store.config) as client:
        with pytest.raises(UsageError, match=r"strict_dynamic_mapping.*colour"):
            await client.ask("test", "PUT", path, {"colour": "red"})


async def test_an_id_is_known_on_every_later_day(store: ElasticsearchStore, clock: Clock) -> None:
    lines = [line(number) for number in range(10)]
    await store.port("logs").write(lines)
    clock.now += timedelta(days=40)
    written = await store.port("logs").write([*lines, line(10)])
    assert (written.new, written.existing) == (1, 10)
    assert await days(store) == {"2026-03-01": 10, "2026-04-10": 1}


async def test_at_midnight_what_two_days_have_stays_in_the_earlier_one(
    config: ElasticsearchConfig, store: ElasticsearchStore
) -> None:
    """Two processes write the same lines, and their clocks are on two sides of midnight."""
    sides = [datetime(2026, 3, 2, tzinfo=UTC) + timedelta(seconds=s) for s in (-1, 1)]
    stores = [ElasticsearchStore(config, now=Clock(side)) for side in sides]
    for each in stores:
        await each.connect()
    for attempt in range(10):
        lines = [line(100 * attempt + number) for number in range(20)]
        written = await asyncio.gather(*(each.port("logs").write(lines) for each in stores))
        assert sum(one.new for one in written) >= 20
    for each in stores:
        await each.close()
    page = await store.port("logs").find(Query(limit=1000))
    assert len({entry.id for entry in page}) == len(page) == 200


async def test_long_ids_and_pairs_are_found_whole(store: ElasticsearchStore) -> None:
    long = line(1).model_copy(update={"id": "漢" * 255, "fields": {"k": "é" * 40_000}})
    other = long.model_copy(update={"id": "漢" * 254 + "字", "fields": {"k": "é" * 39_999 + "x"}})
    logs = store.port("logs")
    assert (await logs.write([long, other])).new == 2
    assert (await logs.write([long, other])).existing == 2
    assert await logs.get(long.id) == long
    assert await store.witness("logs", [long.id, other.id]) == 2
    assert (await logs.find(Query().where("fields.k", "é" * 40_000))).records == [long]


async def test_more_values_than_one_answer_holds_are_all_listed(store: ElasticsearchStore) -> None:
    lines = [
        line(number).model_copy(update={"fields": {"a": str(number), "a=": "x", "b": "y"}})
        for number in range(2_100)
    ]
    await store.port("logs").write(lines)
    found = await store.port("logs").distinct(Query(), "fields.a")
    assert found == sorted(str(number) for number in range(2_100))


async def test_a_batch_of_more_than_one_request_is_counted_right(
    store: ElasticsearchStore,
) -> None:
    lines = [line(number, "x" * 2_000) for number in range(7_000)]
    logs = store.port("logs")
    assert (await logs.write(lines[:3_000])).new == 3_000
    written = await logs.write(lines)
    assert (written.new, written.existing) == (4_000, 3_000)
    assert await logs.count(Query()) == 7_000


async def test_callers_at_once_share_requests(store: ElasticsearchStore) -> None:
    logs = store.port("logs")
    await logs.write([line(0)])
    written = await asyncio.gather(*(logs.write([line(number)]) for number in range(300)))
    assert sum(one.new for one in written) == 299
    assert store.activity.gathered["writes"].batches < 100


async def test_a_server_that_is_away_is_unavailable_and_unhealthy() -> None:
    config = ElasticsearchConfig(url=SecretStr("http://user:hidden@127.0.0.1:1"), timeout=2)
    store = ElasticsearchStore(config)
    with pytest.raises(UnavailableError) as caught:
        await store.connect()
    assert "hidden" not in str(caught.value)
    health = await store.health()
    assert health.status == "unhealthy"
    assert "hidden" not in health.detail + store.backing.place
    await store.close()


async def test_an_address_that_is_none_is_named_without_its_secrets() -> None:
    client = Client(ElasticsearchConfig(url=SecretStr("user:hidden@nowhere")))
    with pytest.raises(ConfigError, match="ELASTICSEARCH_URL") as caught:
        client.open()
    assert "hidden" not in str(caught.value)


async def test_health_names_the_server(store: ElasticsearchStore) -> None:
    await store.port("logs").write([line(1)])
    health = await store.health()
    assert health.status in ("healthy", "degraded")
    assert health.version is not None
    assert health.version.startswith(("OpenSearch ", "Elasticsearch "))
    assert health.facts["documents"] == 1


class Kept:
    """The streams of a snapshot, in memory."""

    before: Mapping[str, Any] = {}
    positions: Mapping[str, Any] = {}

    def __init__(self, streams: Mapping[str, bytes]):
        self.streams = streams

    @property
    def names(self) -> Sequence[str]:
        return list(self.streams)

    def rows(self, name: str) -> int | None:
        return self.streams[name].count(b"\n")

    async def read(self, name: str) -> AsyncIterator[bytes]:
        data = self.streams[name]
        for start in range(0, len(data), 1_000):
            yield data[start : start + 1_000]


async def taken(store: ElasticsearchStore) -> Kept:
    async with store.backing.snapshot(ALL) as snapshot:
        streams = {}
        for stream in snapshot.streams():
            streams[stream.name] = b"".join([piece async for piece in snapshot.read(stream.name)])
            assert snapshot.rows(stream.name) == streams[stream.name].count(b"\n")
        return Kept(streams)


async def test_a_backup_is_of_one_moment_and_restores_to_the_byte(
    store: ElasticsearchStore, clock: Clock
) -> None:
    logs = store.port("logs")
    lines = [line(number, f"größer {number}") for number in range(2_500)]
    await logs.write(lines[:2_000])
    clock.now += timedelta(days=1)
    await logs.write(lines[2_000:])
    async with store.backing.snapshot(ALL) as snapshot:
        await logs.write([line(9_000)])
        [first, second] = snapshot.streams()
        late = b"".join([piece async for piece in snapshot.read(second.name)])
        assert b"a:9000" not in late
        assert snapshot.rows(second.name) == 500
    kept = await taken(store)
    assert await store.backing.occupied(ALL)
    await store.backing.clear(ALL)
    assert await store.backing.occupied(ALL) is None
    assert await store.backing.restore(kept, ALL) == {"2026-03-01": 2_000, "2026-03-02": 501}
    assert (await taken(store)).streams == kept.streams
    assert await logs.count(Query(text="GRÖSSER")) == 2_500
    assert first.name == "2026-03-01.ndjson"


async def test_a_stream_that_ends_within_a_line_is_refused(store: ElasticsearchStore) -> None:
    await store.port("logs").write([line(1), line(2)])
    kept = await taken(store)
    [(name, data)] = kept.streams.items()
    await store.backing.clear(ALL)
    with pytest.raises(BackupError, match="within a line"):
        await store.backing.restore(Kept({name: data[:-5]}), ALL)
