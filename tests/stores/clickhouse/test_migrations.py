"""The schema: made once, reported truly, with the durability that was asked for and no TTL."""

from __future__ import annotations

import asyncio

import pytest

from neo_polystore.errors import ConfigError
from neo_polystore.stores.clickhouse.client import open_driver
from neo_polystore.stores.clickhouse.config import ClickHouseConfig
from neo_polystore.stores.clickhouse.store import ClickHouseStore


async def native(config: ClickHouseConfig, sql: str) -> list[tuple[object, ...]]:
    """What ClickHouse itself answers in the database."""

    def ask() -> list[tuple[object, ...]]:
        driver = open_driver(config, database=config.database)
        try:
            return [tuple(row) for row in driver.query(sql).result_rows]
        finally:
            driver.close()

    return await asyncio.to_thread(ask)


REVISIONS = ["0001_facts", "0002_no_ttl"]


async def test_a_dry_run_reports_and_makes_nothing(config: ClickHouseConfig) -> None:
    store = ClickHouseStore(config)
    report = await store.migrate(dry_run=True)
    assert (report.pending, report.applied, report.current) == (REVISIONS, [], None)
    with pytest.raises(ConfigError, match="db migrate"):
        await store.connect()


async def test_the_second_run_finds_nothing_to_do(config: ClickHouseConfig) -> None:
    store = ClickHouseStore(config)
    first, second = await store.migrate(), await store.migrate()
    assert (first.applied, first.current) == (REVISIONS, REVISIONS[-1])
    assert (second.applied, second.pending, second.current) == ([], [], REVISIONS[-1])


async def test_several_runners_at_once_do_no_harm(config: ClickHouseConfig) -> None:
    stores = [ClickHouseStore(config) for _ in range(3)]
    await asyncio.gather(*(store.migrate() for store in stores))
    assert (await stores[0].migrate()).problems == []
    assert await native(config, "SELECT count() FROM schema_revisions FINAL") == [(2,)]


async def test_an_edited_revision_is_a_problem(config: ClickHouseConfig) -> None:
    store = ClickHouseStore(config)
    await store.migrate()
    driver = await asyncio.to_thread(open_driver, config, database=config.database)
    rows = [("0001_facts", "another"), ("9999_unknown", "x")]
    driver.insert("schema_revisions", rows, column_names=("revision", "checksum"))
    driver.close()
    changed, unknown = (await store.migrate()).problems
    assert "0001_facts" in changed
    assert "9999_unknown" in unknown


async def test_the_table_has_partitions_and_durable_inserts_and_nothing_goes_by_itself(
    config: ClickHouseConfig,
) -> None:
    await ClickHouseStore(config).migrate()
    [(statement,)] = await native(config, "SHOW CREATE TABLE facts")
    for part in (
        "ENGINE = ReplacingMergeTree",
        "PARTITION BY toYYYYMM(timestamp)",
        "TTL recorded_at + toIntervalYear(1) WHERE 0",
        "fsync_after_insert = 1",
        "fsync_part_directory = 1",
    ):
        assert part in str(statement)
