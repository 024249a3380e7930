"""What is particular to documents in PostgreSQL: migrations, roles, plans."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from neo_polystore.errors import ConfigError, ConflictError
from neo_polystore.pgkit.database import Connection, PgConfig
from neo_polystore.records.collections import Collection, Index, read_collection
from neo_polystore.records.documents import document_model
from neo_polystore.records.query import Query
from neo_polystore.stores.jsonb.store import JsonbStore
from tests.conftest import MakeDatabase

READINGS = read_collection(Path(__file__).parents[2] / "data" / "mongo" / "readings.json")


def reading(number: int = 0, **changes: Any) -> dict[str, Any]:
    """A good reading."""
    time = datetime(2024, 1, 1, 0, 0, number, tzinfo=UTC)
    return {"_id": str(number), "station": "s", "taken_at": time, "level": number, **changes}


@asynccontextmanager
async def opened(config: PgConfig, collection: Collection) -> AsyncIterator[JsonbStore]:
    """A connected store of one collection, not migrated."""
    store = JsonbStore(config, models={collection.name: document_model(collection)})
    await store.connect()
    try:
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def session(config: PgConfig, *, as_owner: bool = False) -> AsyncIterator[Connection]:
    """A plain connection as the application or as the owner."""
    connection = await asyncpg.connect(**config.connect_arguments(as_owner=as_owner))
    try:
        yield connection
    finally:
        await connection.close()


async def test_a_dry_run_says_what_is_pending_and_does_nothing(make_database: MakeDatabase) -> None:
    async with opened(await make_database("documents"), READINGS) as store:
        for _ in range(2):
            report = await store.migrate(dry_run=True)
            assert (report.pending, report.applied, report.current) == (["readings 1"], [], None)


async def test_migrating_twice_applies_once(make_database: MakeDatabase) -> None:
    async with opened(await make_database("documents"), READINGS) as store:
        assert (await store.migrate()).applied == ["readings 1"]
        report = await store.migrate()
        assert (report.applied, report.pending, report.current) == ([], [], "readings 1")


async def test_two_runners_at_once_apply_once(make_database: MakeDatabase) -> None:
    async with opened(await make_database("documents"), READINGS) as store:
        reports = await asyncio.gather(*(store.migrate() for _ in range(4)))
        assert sorted(len(report.applied) for report in reports) == [0, 0, 0, 1]


async def test_before_the_migration_the_error_names_the_fix(make_database: MakeDatabase) -> None:
    async with opened(await make_database("documents"), READINGS) as store:
        with pytest.raises(ConfigError, match="db migrate"):
            await store.port("readings").count(Query())


async def test_a_raised_version_holds_for_later_writes(make_database: MakeDatabase) -> None:
    config = await make_database("documents")
    async with opened(config, READINGS) as store:
        await store.migrate()
        port = store.port("readings")
        await port.write([port.record.parse(reading(level=7))])
    rule = {**READINGS.validator, "required": [*READINGS.validator["required"], "note"]}
    indexes = tuple(index for index in READINGS.indexes if index.name != "level")
    raised = replace(READINGS, version=2, validator=rule, indexes=indexes, may_break=True)
    async with opened(config, raised) as store:
        report = await store.migrate()
        assert (report.applied, report.current) == (["readings 2"], "readings 2")
        assert (await store.port("readings").get("0")).body()["level"] == 7
        async with session(config) as connection:
            with pytest.raises(asyncpg.CheckViolationError, match="note: breaks required"):
                await connection.execute("UPDATE documents.readings SET body = body || '{}'")
            names = await connection.fetch(
                "SELECT indexname FROM pg_indexes WHERE schemaname = 'documents'"
            )
            assert "readings_level" not in {name for (name,) in names}


async def test_a_changed_file_of_the_same_version_is_a_problem(make_database: MakeDatabase) -> None:
    config = await make_database("documents")
    async with opened(config, READINGS) as store:
        await store.migrate()
    async with opened(config, replace(READINGS, indexes=())) as store:
        report = await store.migrate()
        assert report.problems == [
            "mongo/readings.json has changed since it was applied: raise its version"
        ]
    async with opened(config, replace(READINGS, version=2)) as store:
        await store.migrate()
    async with opened(config, READINGS) as store:
        report = await store.migrate(dry_run=True)
        assert report.problems == ["mongo/readings.json has version 1, 2 is applied"]


async def test_a_migration_that_fails_leaves_nothing_behind(make_database: MakeDatabase) -> None:
    config = await make_database("documents")
    async with opened(config, READINGS) as store:
        await store.migrate()
        port = store.port("readings")
        await port.write([port.record.parse(reading(n, level=1)) for n in range(2)])
    unique = Index(name="level_unique", keys=(("level", 1),), unique=True)
    raised = replace(READINGS, version=2, indexes=(unique,))
    async with opened(config, raised) as store:
        with pytest.raises(ConflictError):
            await store.migrate()
        assert (await store.migrate(dry_run=True)).current == "readings 1"


async def test_the_application_cannot_touch_the_rules(make_database: MakeDatabase) -> None:
    config = await make_database("documents")
    async with opened(config, READINGS) as store:
        await store.migrate()
    async with session(config) as connection:
        for statement in (
            "ALTER TABLE documents.readings DISABLE TRIGGER validate",
            "DROP TABLE documents.readings",
            "TRUNCATE documents.readings",
            "CREATE TABLE documents.mine (a int)",
            "SELECT * FROM documents._collections",
            "SET session_replication_role = replica",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(statement)


async def test_a_refusal_by_the_database_alone_is_one_rejection(
    make_database: MakeDatabase,
) -> None:
    """The server holds a stricter version than this process has read."""
    config = await make_database("documents")
    rule = {**READINGS.validator, "required": [*READINGS.validator["required"], "note"]}
    async with opened(config, replace(READINGS, version=2, validator=rule)) as store:
        await store.migrate()
    async with opened(config, READINGS) as store:
        port = store.port("readings")
        good = [port.record.parse(reading(n, note="n")) for n in range(20)]
        bad = port.record.parse(reading(30))
        written = await port.write([*good[:7], bad, *good[7:]])
        assert written.new == 20
        [rejection] = written.rejected
        assert (rejection.index, rejection.field) == (7, "note")
        assert rejection.reason == "breaks required of readings"


async def test_direct_dates_must_be_of_one_form(make_database: MakeDatabase) -> None:
    config = await make_database("documents")
    async with opened(config, READINGS) as store:
        await store.migrate()
        insert = (
            "INSERT INTO documents.readings (_id, body) VALUES ($1::text,"
            " jsonb_build_object('station', $1::text, 'level', 1, 'taken_at', $2::text))"
        )
        async with session(config) as connection:
            await connection.execute(insert, "good", "2024-01-01T00:00:00.000Z")
            for text in ("2024-01-01", "2024-01-01T00:00:00Z", "2024-13-01T00:00:00.000Z"):
                with pytest.raises(asyncpg.CheckViolationError, match="taken_at: breaks bsonType"):
                    await connection.execute(insert, "bad", text)
        assert (await store.port("readings").get("good")).body()["taken_at"].year == 2024


@pytest.mark.parametrize(
    ("condition", "index"),
    [
        ("station = 'x' AND taken_at > '2024-01-01T00:00:00Z'", "readings_station_1_taken_at_1"),
        ("level >= 5", "readings_level"),
        ("labels = x", "readings_labels_labels_items"),
        ("device.built > 2024-01-01T00:00:00Z", "readings_device_built"),
    ],
)
async def test_conditions_on_indexed_fields_use_the_index(
    make_database: MakeDatabase, condition: str, index: str
) -> None:
    from neo_polystore.pgkit.select import count_sql
    from neo_polystore.records.query import parse_condition

    config = await make_database("documents")
    async with opened(config, READINGS) as store:
        await store.migrate()
        port: Any = store.port("readings")
        parts = [part.replace("'", "") for part in condition.split(" AND ")]
        filters = tuple(parse_condition(port.record, part.replace(" ", "")) for part in parts)
        sql, arguments = count_sql(port.selection, Query(filters=filters))
        async with session(config) as connection:
            await connection.execute("SET enable_seqscan = off")
            plan = await connection.fetch(f"EXPLAIN {sql}", *_plain(arguments))
        assert index in "\n".join(row[0] for row in plan)


def _plain(arguments: list[Any]) -> list[Any]:
    """Parameters as a connection without the pool's JSON codec takes them."""
    import orjson

    return [orjson.dumps(a).decode() if isinstance(a, list) else a for a in arguments]


async def test_a_search_uses_the_index_of_words(make_database: MakeDatabase) -> None:
    from neo_polystore.pgkit.select import count_sql

    config = await make_database("documents")
    async with opened(config, READINGS) as store:
        await store.migrate()
        port: Any = store.port("readings")
        sql, arguments = count_sql(port.selection, Query(text="broken sensor"))
        async with session(config) as connection:
            await connection.execute("SET enable_seqscan = off")
            plan = await connection.fetch(f"EXPLAIN {sql}", *arguments)
        assert "readings_note_text_note_text" in "\n".join(row[0] for row in plan)


async def test_concurrent_batches_store_every_document_once(make_database: MakeDatabase) -> None:
    async with opened(await make_database("documents"), READINGS) as store:
        await store.migrate()
        port = store.port("readings")
        records = [port.record.parse(reading(n)) for n in range(50)]
        turned = list(reversed(records))
        batches = await asyncio.gather(*(port.write(b) for b in (records, turned) * 4))
        assert sum(written.new for written in batches) == 50
        assert sum(written.existing for written in batches) == 350


async def test_the_witness_counts_what_is_there(make_database: MakeDatabase) -> None:
    async with opened(await make_database("documents"), READINGS) as store:
        await store.migrate()
        port = store.port("readings")
        await port.write([port.record.parse(reading(n)) for n in range(2)])
        assert await store.witness("readings", ["0", "1", "2"]) == 2


async def test_health_names_the_server(make_database: MakeDatabase) -> None:
    async with opened(await make_database("documents"), READINGS) as store:
        health = await store.health()
        assert (health.status, (health.version or "")[:10]) == ("healthy", "PostgreSQL")


async def test_a_validator_that_stored_documents_break_is_refused_and_names_them(
    make_database: MakeDatabase,
) -> None:
    config = await make_database("documents")
    async with opened(config, READINGS) as store:
        await store.migrate()
        port = store.port("readings")
        await port.write([port.record.parse(reading(n)) for n in range(15)])
        await port.write([port.record.parse(reading(20, note="n"))])
    rule = {**READINGS.validator, "required": [*READINGS.validator["required"], "note"]}
    raised = replace(READINGS, version=2, validator=rule)
    async with opened(config, raised) as store:
        report = await store.migrate(dry_run=True)
        [problem] = report.problems
        assert "15 stored documents break the new validator" in problem
        assert "'0': note: breaks required of readings; '1': note" in problem
        with pytest.raises(ConflictError, match="15 stored documents"):
            await store.migrate()
        assert (await store.migrate(dry_run=True)).current == "readings 1"
    async with opened(config, replace(raised, may_break=True)) as store:
        assert (await store.migrate()).applied == ["readings 2"]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ("DROP INDEX documents.readings_level", "index readings_level is missing"),
        ("CREATE INDEX mine ON documents.readings (updated_at)", "no file names the index mine"),
        ("ALTER TABLE documents.readings DISABLE TRIGGER validate", "the trigger validate is"),
        (
            """CREATE OR REPLACE FUNCTION documents.check_readings() RETURNS trigger
            LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'""",
            "the function check_readings is not what the file makes",
        ),
        (
            """DROP INDEX documents.readings_level;
            CREATE INDEX readings_level ON documents.readings (_id)""",
            "index readings_level is not what the file makes",
        ),
    ],
)
async def test_validate_reports_what_was_changed_by_hand(
    make_database: MakeDatabase, change: str, problem: str
) -> None:
    config = await make_database("documents")
    async with opened(config, READINGS) as store:
        await store.migrate()
        assert (await store.validate()).problems == []
        async with session(config, as_owner=True) as connection:
            await connection.execute(change)
        [found] = (await store.validate()).problems
        assert problem in found


async def test_a_document_that_is_bad_among_many_new_ones_leaves_the_others(
    make_database: MakeDatabase,
) -> None:
    """The server holds a stricter version than this process has read; COPY stops at the first."""
    config = await make_database("documents")
    rule = {**READINGS.validator, "required": [*READINGS.validator["required"], "note"]}
    async with opened(config, replace(READINGS, version=2, validator=rule)) as store:
        await store.migrate()
    async with opened(config, READINGS) as store:
        port = store.port("readings")
        records = [port.record.parse(many(n, note="n")) for n in range(600)]
        records.insert(300, port.record.parse(many(999)))
        written = await port.write(records)
        assert (written.new, [r.index for r in written.rejected]) == (600, [300])


def many(number: int, **changes: Any) -> dict[str, Any]:
    """A good reading of one of many stations; its key has what COPY's text format escapes."""
    return {**reading(**changes), "_id": f"a\\N\t\r\n'{number}", "station": f"s{number}"}


async def test_a_large_batch_is_copied_and_counted_as_a_small_one(
    make_database: MakeDatabase,
) -> None:
    async with opened(await make_database("documents"), READINGS) as store:
        await store.migrate()
        port = store.port("readings")
        old = [port.record.parse(many(n, note="a\\b\tc\nd")) for n in range(500)]
        assert (await port.write(old)).new == 500
        changed = [port.record.parse(many(n, note="other")) for n in range(100)]
        fresh = [port.record.parse(many(n, note="ü\\u0041\\")) for n in range(500, 1000)]
        written = await port.write([*changed, *old[100:], *fresh])
        assert (written.new, written.existing, written.replaced) == (500, 400, 100)
        assert (await port.get(old[300].key)) == old[300]
        assert (await port.get(fresh[0].key)) == fresh[0]


async def test_concurrent_callers_share_statements_and_each_has_an_answer_of_his_own(
    make_database: MakeDatabase,
) -> None:
    async with opened(await make_database("documents"), READINGS) as store:
        await store.migrate()
        port = store.port("readings")
        await port.write([port.record.parse(many(0))])
        taken = port.record.parse({**many(0), "_id": "another key"})
        records = [port.record.parse(many(n)) for n in range(300)]
        answers = await asyncio.gather(*(port.write([r]) for r in [*records, taken, records[5]]))
        assert sum(a.new for a in answers) == 299
        assert answers[0].existing == 1
        assert [r.field for r in answers[300].rejected] == ["station, taken_at"]
        assert answers[5].new + answers[301].new == 1
        assert store.gathered.counts.batches < 60
        assert await port.count(Query()) == 300


async def test_calls_for_one_key_are_stored_in_the_order_they_came(
    make_database: MakeDatabase,
) -> None:
    async with opened(await make_database("documents"), READINGS) as store:
        await store.migrate()
        port = store.port("readings")
        bodies = [port.record.parse(many(1, note=str(n))) for n in range(40)]
        answers = await asyncio.gather(*(port.write([b]) for b in bodies))
        assert sum(a.new for a in answers) == 1
        assert sum(a.new + a.replaced for a in answers) == 40


async def test_after_closing_a_store_opens_again(make_database: MakeDatabase) -> None:
    config = await make_database("documents")
    async with opened(config, READINGS) as store:
        await store.migrate()
        await store.close()
        await store.connect()
        port = store.port("readings")
        assert (await port.write([port.record.parse(many(1))])).new == 1


async def test_a_word_longer_than_an_index_entry_is_stored_and_found(
    make_database: MakeDatabase,
) -> None:
    async with opened(await make_database("documents"), READINGS) as store:
        await store.migrate()
        port = store.port("readings")
        word = "0123456789abcdef" * 1000
        note = f"short {word} end"
        assert (await port.write([port.record.parse(many(1, note=note))])).new == 1
        for text in ("short end", "END short", f"end {word}"):
            assert await port.count(Query(text=text)) == 1
        assert await port.count(Query(text=word[:250])) == 0
