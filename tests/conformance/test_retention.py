"""The retention port on every engine that lets records go: only what is old, never what is held."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
import pytest_asyncio

from neo_polystore.embedded import Membership
from neo_polystore.ports.retention import Ages, Held, Portion
from neo_polystore.ports.store import Store
from neo_polystore.records.analytics import Fact
from neo_polystore.records.base import Record
from neo_polystore.records.events import Event
from neo_polystore.records.logs import LogEntry
from neo_polystore.records.objects import StoredObject
from neo_polystore.records.query import Filter, Query
from neo_polystore.retention.holds import query_of
from neo_polystore.stores.clickhouse.store import ClickHouseStore
from neo_polystore.stores.elasticsearch.store import ElasticsearchStore
from neo_polystore.stores.event_store.store import EventStore
from neo_polystore.stores.files import header
from neo_polystore.stores.files.config import FilesConfig
from neo_polystore.stores.files.store import FilesStore
from neo_polystore.stores.postgres.store import PostgresStore
from neo_polystore.stores.tantivy.config import TantivyConfig
from neo_polystore.stores.tantivy.store import TantivyStore
from tests.conformance.chains import CHAIN, hash32, load_network
from tests.conformance.documents import each_engine
from tests.conftest import MakeDatabase
from tests.opensearch.server import config_for as elasticsearch_config
from tests.retention.drafts import draft
from tests.stores.clickhouse.conftest import config_for
from tests.stores.postgres.test_partitions import insert

NOW = datetime.now(UTC).replace(microsecond=0)
YEARS_AGO = NOW.replace(month=6, day=1, hour=12, minute=0, second=0)
AGES = (YEARS_AGO - timedelta(days=365 * 8), YEARS_AGO - timedelta(days=365 * 7))
"""Two old times, in years of their own; a third of records is young."""
BEFORE = NOW - timedelta(days=365 * 5)
EACH = 3

Fill = Callable[[], Awaitable[dict[str, datetime]]]


@dataclass(frozen=True)
class Aging:
    """One engine with a data type of which records can be made as old as one likes.

    `fill` stores EACH records of each old time and EACH young ones; their keys and times.
    """

    data_type: str
    store: Any
    fill: Fill

    @property
    def ages(self) -> Ages:
        """What is tested."""
        found: Ages = self.store.ages(self.data_type)
        return found

    async def keys(self) -> set[str]:
        """All that is stored."""
        page = await self.store.port(self.data_type).find(Query(limit=1000))
        return {record.key for record in page.records}

    def held(self, key: str) -> Held:
        """A hold on one key."""
        return Held(0, (query_of(draft(self.data_type, key=key), self.data_type),))


Made = AsyncIterator[Aging]


async def _documents(request: pytest.FixtureRequest, make_database: MakeDatabase) -> Made:
    async for engine in each_engine(request, make_database):
        port = engine.store.port("audit_logs")

        async def fill(port: Any = port) -> dict[str, datetime]:
            made = _times()
            bodies = [
                {
                    "_id": key,
                    "timestamp": time,
                    "user_id": "u",
                    "action": "READ",
                    "resource": "r",
                    "tenant_id": "t1",
                    "changes": {"limit": {"before": [1, 2.5], "at": time}},
                }
                for key, time in made.items()
            ]
            assert (await port.write([port.record.parse(body) for body in bodies])).new == len(made)
            return made

        yield Aging("audit_logs", engine.store, fill)


def _tantivy(now: Callable[[], datetime], tmp: Path) -> Store:
    return TantivyStore(TantivyConfig(directory=tmp / "logs"), now=now)


def _elasticsearch(now: Callable[[], datetime], url: str) -> Store:
    return ElasticsearchStore(elasticsearch_config(url), now=now)


async def _logs(make: Callable[[Callable[[], datetime]], Store]) -> Made:
    clock = [NOW]
    store = make(lambda: clock[0])
    await store.migrate()
    await store.connect()

    async def fill() -> dict[str, datetime]:
        made = _times()
        for key, time in made.items():
            clock[0] = time
            # what a line says of its own time plays no part
            entry = LogEntry(id=key, timestamp=NOW - timedelta(days=9999), system="s", message="m")
            await store.port("logs").write([entry])
        return made

    yield Aging("logs", store, fill)
    await store.clear()
    await store.close()


async def _analytics(embedded: Membership) -> Made:
    config = config_for(await embedded.ensure("clickhouse"))
    store = ClickHouseStore(config.model_copy(update={"database": f"ret_{uuid4().hex[:8]}"}))
    await store.migrate()
    await store.connect()

    async def fill() -> dict[str, datetime]:
        made = {str(uuid4()): time for time in _times().values()}
        facts = [
            Fact(id=UUID(key), timestamp=NOW, fact_type="t", subject=key, value=Decimal(n))
            for n, key in enumerate(made)
        ]
        await store.port("analytics").write(facts)

        def age(driver: Any) -> None:
            for key, time in made.items():
                driver.command(
                    "ALTER TABLE facts UPDATE recorded_at = {time:DateTime} WHERE id = {id:UUID}",
                    parameters={"time": time.replace(tzinfo=None), "id": key},
                    settings={"mutations_sync": 2},
                )

        await store._client.run("age", age)
        return made

    yield Aging("analytics", store, fill)
    await store.close()


async def _events(make_database: MakeDatabase) -> Made:
    config = await make_database("events")
    store = EventStore(config)
    await store.migrate()
    await store.connect()

    async def fill() -> dict[str, datetime]:
        times = list(_times().values())
        stream = uuid4()
        events = [
            Event(aggregate_id=stream, aggregate_type="t", event_type="e", created_at=time)
            for time in times
        ]
        await store.port("events").append(stream, events, expected_version=0)
        connection = await asyncpg.connect(**config.connect_arguments())
        await connection.execute(
            "INSERT INTO snapshots (aggregate_id, aggregate_type, snapshot_version, snapshot_data)"
            " VALUES ($1, 't', $2, '{}')",
            stream,
            len(events),
        )
        await connection.close()
        return {event.key: event.created_at for event in events}

    yield Aging("events", store, fill)
    await store.close()


async def _transactions(make_migrated: MakeDatabase) -> Made:
    store = PostgresStore(await make_migrated("years"))
    await store.connect()
    await load_network(store)
    owner: Any = await asyncpg.connect(**store.config.connect_arguments(as_owner=True))

    async def fill() -> dict[str, datetime]:
        network = await owner.fetchval(
            "SELECT id FROM blockchain.networks WHERE chain_id = $1", CHAIN
        )
        made = {hash32(): time for time in _times().values()}
        for text, time in made.items():
            await _year(owner, time.year)
            await insert(owner, network, text, time)
        await owner.execute("UPDATE blockchain.transactions SET from_address = $1", "0x" + "a" * 40)
        return {f"{CHAIN}:{text}": time for text, time in made.items()}

    yield Aging("transactions", store, fill)
    await owner.close()
    await store.close()


async def _year(owner: Any, year: int) -> None:
    """The partition of a past year, as `ensure_transaction_partitions` once made it."""
    name = f"blockchain.transactions_{year}"
    if await owner.fetchval("SELECT to_regclass($1)", name) is None:
        await owner.execute(
            f"CREATE TABLE {name} PARTITION OF blockchain.transactions"
            f" FOR VALUES FROM ('{year}-01-01Z') TO ('{year + 1}-01-01Z')"
        )


async def _objects(tmp: Path) -> Made:
    store = FilesStore(FilesConfig(directory=tmp / "objects"))
    await store.connect()

    async def fill() -> dict[str, datetime]:
        made = _times()
        for key, time in made.items():
            record = StoredObject(bucket="old", name=key, content=key.encode())
            await store.port("objects").write([record])
            _age_file(next((tmp / "objects").rglob(f"{key}*")), time)
        return {f"old/{key}": time for key, time in made.items()}

    yield Aging("objects", store, fill)
    await store.close()


def _age_file(path: Path, time: datetime) -> None:
    """Have a file of the object store say that it was stored at another time."""
    with path.open("r+b") as file:
        found = header.read(file.fileno(), str(path))
        file.seek(0)
        file.write(header.encode(found.record.model_copy(update={"modified": time}), found.start))


def _times() -> dict[str, datetime]:
    """Keys and times of what `fill` stores."""
    times = [*AGES, NOW]
    return {uuid4().hex: time + timedelta(seconds=n) for time in times for n in range(EACH)}


@pytest_asyncio.fixture(
    loop_scope="session",
    params=[
        "jsonb",
        "mongo",
        "tantivy",
        "elasticsearch",
        "clickhouse",
        "event_store",
        "postgres",
        "files",
    ],
)
async def aging(
    request: pytest.FixtureRequest,
    make_database: MakeDatabase,
    make_migrated: MakeDatabase,
    embedded: Membership,
    tmp_path: Path,
) -> AsyncIterator[Aging]:
    """Each engine, empty."""
    match request.param:
        case "tantivy":
            made = _logs(partial(_tantivy, tmp=tmp_path))
        case "elasticsearch":
            url = request.getfixturevalue("elasticsearch_server")
            made = _logs(partial(_elasticsearch, url=url))
        case "clickhouse":
            made = _analytics(embedded)
        case "event_store":
            made = _events(make_database)
        case "postgres":
            made = _transactions(make_migrated)
        case "files":
            made = _objects(tmp_path)
        case _:
            made = _documents(request, make_database)
    async for each in made:
        yield each


async def portions(ages: Ages, held: Held = Held()) -> list[Portion]:  # noqa: B008
    """All portions, none dropped."""
    found: list[Portion] = []
    after = ""
    while (each := await ages.portion(BEFORE, held, after=after, limit=2)) is not None:
        found.append(each)
        after = each.after
    return found


async def drop(ages: Ages, held: Held = Held()) -> int:  # noqa: B008
    """Drop all that is old, as a run of retention does."""
    gone, after = 0, ""
    while (each := await ages.portion(BEFORE, held, after=after, limit=2)) is not None:
        gone += await ages.drop(each, held)
        after = each.after
    return gone


async def test_what_is_old_goes_and_what_is_young_stays(aging: Aging) -> None:
    made = await aging.fill()
    assert await drop(aging.ages) == 2 * EACH
    assert await aging.keys() == {key for key, time in made.items() if time > BEFORE}


async def test_counting_and_choosing_change_nothing(aging: Aging) -> None:
    made = await aging.fill()
    past = await aging.ages.past(BEFORE, Held())
    assert (past.rows, past.held) == (2 * EACH, 0)
    assert past.oldest is not None
    assert past.oldest <= AGES[0] + timedelta(seconds=1)
    assert sum(portion.rows for portion in await portions(aging.ages)) == 2 * EACH
    assert await aging.keys() == set(made)


async def test_a_second_run_finds_nothing(aging: Aging) -> None:
    await aging.fill()
    await drop(aging.ages)
    assert (await aging.ages.past(BEFORE, Held())).rows == 0
    assert await drop(aging.ages) == 0


async def test_a_held_key_stays_and_is_counted(aging: Aging) -> None:
    made = await aging.fill()
    kept = next(iter(made))
    held = aging.held(kept)
    past = await aging.ages.past(BEFORE, held)
    gone = await drop(aging.ages, held)
    keys = await aging.keys()
    assert kept in keys
    assert past.rows == gone == len(made) - len(keys)
    # a year of transactions stays as a whole
    assert past.held == (EACH if aging.data_type == "transactions" else 1)
    assert await drop(aging.ages, held) == 0


async def test_of_a_held_data_type_nothing_goes(aging: Aging) -> None:
    made = await aging.fill()
    everything = Held(0, (Query(),))
    past = await aging.ages.past(BEFORE, everything)
    assert (past.rows, past.held) == (0, 2 * EACH)
    assert await drop(aging.ages, everything) == 0
    assert await aging.keys() == set(made)


async def test_a_hold_that_came_after_the_choice_is_minded(aging: Aging) -> None:
    made = await aging.fill()
    if aging.data_type == "transactions":
        pytest.skip("asked for in the deleting transaction: see tests/retention/test_races.py")
    kept = next(iter(made))
    for portion in await portions(aging.ages):
        await aging.ages.drop(portion, aging.held(kept))
    young = {key for key, time in made.items() if time > BEFORE}
    assert await aging.keys() == {kept, *young}


async def test_two_holds_hold_what_either_names(aging: Aging) -> None:
    made = await aging.fill()
    first, *_, last = (key for key, time in made.items() if time < BEFORE)
    queries = (*aging.held(first).queries, *aging.held(last).queries)
    await drop(aging.ages, Held(0, queries))
    assert {first, last} <= await aging.keys()


async def test_a_portion_is_read_as_it_was_stored(aging: Aging) -> None:
    if not aging.ages.archivable:
        pytest.skip(f"{aging.data_type} are not archived")
    made = await aging.fill()
    port: Any = aging.store.port(aging.data_type)
    stored: dict[str, Record] = {}
    for key in made:
        stored[key] = await port.get(key)
    read: list[Record] = []
    for portion in await portions(aging.ages):
        async for batch in aging.ages.read(portion):
            read += _checked(batch)
    assert {record.key: record for record in read} == {
        key: stored[key] for key, time in made.items() if time < BEFORE
    }
    again = [type(r).model_validate_json(r.model_dump_json(by_alias=True)) for r in read]
    assert again == read


def _checked(batch: Sequence[Record]) -> Sequence[Record]:
    assert batch, "an empty batch"
    return batch


async def test_a_portion_that_is_gone_is_dropped_again_without_harm(aging: Aging) -> None:
    made = await aging.fill()
    chosen = await portions(aging.ages)
    for portion in chosen:
        await aging.ages.drop(portion, Held())
    if aging.data_type != "transactions":  # a year that is gone cannot be looked at again
        assert sum([await aging.ages.drop(portion, Held()) for portion in chosen]) == 0
    assert await aging.keys() == {key for key, time in made.items() if time > BEFORE}


@pytest.mark.parametrize("field", ["tenant_id", "resource"])
async def test_documents_are_held_by_any_field(aging: Aging, field: str) -> None:
    if aging.data_type != "audit_logs":
        pytest.skip("about documents")
    await aging.fill()
    value = {"tenant_id": "t1", "resource": "r"}[field]
    held = Held(0, (Query((Filter(field, "eq", value),)),))
    assert await drop(aging.ages, held) == 0
    other = Held(0, (Query((Filter(field, "eq", "another"),)),))
    assert await drop(aging.ages, other) == 2 * EACH


async def test_a_document_that_was_replaced_after_the_choice_stays(aging: Aging) -> None:
    if aging.data_type != "audit_logs":
        pytest.skip("other records are not replaced")
    made = await aging.fill()
    first = next(iter(made))
    chosen = await portions(aging.ages)
    port: Any = aging.store.port("audit_logs")
    document = await port.get(first)
    await port.write([port.record.parse({**document.body(), "resource": "changed"})])
    gone = sum([await aging.ages.drop(portion, Held()) for portion in chosen])
    assert (gone, first in await aging.keys()) == (2 * EACH - 1, True)
