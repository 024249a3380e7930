"""TimescaleDB's policies: as the settings say, changed with them, and left alone otherwise."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from neo_polystore.embedded import Membership
from neo_polystore.errors import ConfigError
from neo_polystore.pgkit.database import PgConfig
from neo_polystore.records.metrics import MetricPoint
from neo_polystore.stores.timescale.config import TimescaleConfig
from neo_polystore.stores.timescale.policies import wanted
from neo_polystore.stores.timescale.store import TimescaleStore
from tests.stores.timescale.databases import make_metrics_database, opened

JOBS = """
SELECT j.job_id, j.proc_name::text AS name, j.config::text AS config,
    coalesce(c.view_name, j.hypertable_name)::text AS relation
FROM timescaledb_information.jobs j
LEFT JOIN timescaledb_information.continuous_aggregates c
    ON c.materialization_hypertable_name = j.hypertable_name
WHERE coalesce(c.view_name, j.hypertable_name) LIKE 'metrics%' ORDER BY 1
"""


@pytest_asyncio.fixture(loop_scope="session")
async def store(embedded: Membership) -> AsyncIterator[TimescaleStore]:
    config = await make_metrics_database(embedded, "timescale", keep_raw="90 days")
    async with opened(config) as store:
        yield store


async def jobs(store: TimescaleStore) -> list[asyncpg.Record]:
    async with store.database.acquire("test") as connection:
        return await connection.fetch(JOBS)


def settings_of(rows: list[asyncpg.Record]) -> dict[tuple[str, str], str]:
    return {(row["name"], row["relation"]): row["config"] for row in rows}


async def again(store: TimescaleStore, **rules: str) -> None:
    await TimescaleStore(store.config.model_copy(update=rules)).migrate()


async def test_every_policy_is_there(store: TimescaleStore) -> None:
    found = settings_of(await jobs(store))
    assert set(found) == {
        ("policy_refresh_continuous_aggregate", "metrics_hourly"),
        ("policy_refresh_continuous_aggregate", "metrics_daily"),
        ("policy_retention", "metrics"),
        ("policy_retention", "metrics_hourly"),
        ("policy_retention", "metrics_daily"),
        ("policy_compression", "metrics"),
    }
    assert '"drop_after": "90 days"' in found["policy_retention", "metrics"]
    assert '"drop_after": "2 years"' in found["policy_retention", "metrics_hourly"]
    assert '"drop_after": "5 years"' in found["policy_retention", "metrics_daily"]


async def test_a_refresh_starts_where_points_are_sure_to_be(store: TimescaleStore) -> None:
    found = settings_of(await jobs(store))
    place = ("policy_refresh_continuous_aggregate", "metrics_hourly")
    assert '"start_offset": "89 days"' in found[place]
    assert '"end_offset": "01:00:00"' in found[place]


async def test_migrating_again_leaves_policies_alone(store: TimescaleStore) -> None:
    before = await jobs(store)
    await again(store)
    assert await jobs(store) == before


async def test_a_changed_setting_changes_its_policies_only(store: TimescaleStore) -> None:
    before = await jobs(store)
    await again(store, keep_raw="30 days", compress_after="3 days")
    after = settings_of(await jobs(store))
    assert '"drop_after": "30 days"' in after["policy_retention", "metrics"]
    assert '"compress_after": "3 days"' in after["policy_compression", "metrics"]
    kept = ("policy_retention", "metrics_hourly")
    same = {row["job_id"] for row in before} & {row["job_id"] for row in await jobs(store)}
    assert after[kept] == settings_of(before)[kept]
    assert len(same) == 3


async def test_what_is_kept_for_ever_has_no_policy(store: TimescaleStore) -> None:
    await again(store, keep_raw="indefinite", compress_after="indefinite")
    assert {name for name, _ in settings_of(await jobs(store))} == {
        "policy_refresh_continuous_aggregate"
    }


async def test_a_longer_retention_does_not_bring_what_was_dropped_into_reach(
    store: TimescaleStore,
) -> None:
    await again(store, keep_raw="indefinite")
    old = datetime.now(UTC) - timedelta(days=200)
    await store.port("metrics").write(
        [MetricPoint(time=old, service="s", name="cpu", value=value) for value in (1.0, 2.0)]
    )
    await store.metric_upkeep.refresh()
    await again(store, keep_raw="90 days")
    await store.metric_upkeep.retain()
    for keep in ("3 years", "indefinite"):
        await again(store, keep_raw=keep)
        found = settings_of(await jobs(store))
        place = ("policy_refresh_continuous_aggregate", "metrics_hourly")
        assert '"start_offset": "199 days"' in found[place]


async def test_compressed_points_can_be_read_replaced_and_added_to(store: TimescaleStore) -> None:
    day = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=20)

    def points(value: float, shift: int) -> list[MetricPoint]:
        return [
            MetricPoint(
                time=day + timedelta(seconds=30 * n + shift),
                service="s",
                name="cpu",
                value=value + n,
                tags={"host": f"node-{n % 5}"},
            )
            for n in range(2000)
        ]

    port = store.port("metrics")
    await port.write(points(0.5, 0))
    await store.metric_upkeep.refresh()
    owner = await asyncpg.connect(**store.config.connect_arguments(as_owner=True))
    chunks = await owner.fetch("SELECT show_chunks('metrics')::text AS chunk")
    for row in chunks:
        await owner.execute("SELECT compress_chunk($1::text::regclass, true)", row["chunk"])
    compressed = await owner.fetchval(
        "SELECT count(*) FROM timescaledb_information.chunks WHERE is_compressed"
    )
    await owner.close()
    assert compressed == len(chunks)
    assert (await port.write(points(0.5, 0))).existing == 2000
    assert (await port.write(points(7.5, 0))).replaced == 2000
    assert (await port.write(points(0.5, 7))).new == 2000
    await store.metric_upkeep.refresh()
    async with store.database.acquire("test") as connection:
        total = await connection.fetchval("SELECT sum(sum_value) FROM metrics_hourly")
    assert total == 2 * sum(range(2000)) + 2000 * 8.0


def test_old_versions_are_asked_by_the_old_names() -> None:
    config = TimescaleConfig(host="any", database="any", user="any")
    [old] = [
        p for p in wanted(config, {}, columnstore=False) if p.procedure == "policy_compression"
    ]
    [new] = [p for p in wanted(config, {}, columnstore=True) if p.procedure == "policy_compression"]
    assert ("add_compression_policy" in old.add, "add_columnstore_policy" in new.add) == (
        True,
        True,
    )


@pytest.mark.parametrize("age", ["3 days", "ninety days", "0 days", "ttl"])
def test_an_age_that_is_none_or_too_short_is_refused(age: str) -> None:
    place: dict[str, Any] = {"host": "any", "database": "any", "user": "any"}
    with pytest.raises(ConfigError, match="NEO_METRICS_RAW"):
        TimescaleConfig.of(PgConfig(**place), keep_raw=age)


def test_rollups_are_kept_as_long_as_what_they_are_made_from() -> None:
    config = TimescaleConfig(host="a", database="a", user="a", keep_raw="3 years")
    assert config.kept() == {"raw": "3 years", "hourly": "3 years", "daily": "5 years"}


def test_what_was_chosen_goes_before_the_routing_table() -> None:
    chosen = TimescaleConfig.of(PgConfig(host="a", database="a", user="a"), keep_raw="8 weeks")
    table = {"raw": "30 days", "hourly": "3 years", "daily": "9 years"}
    assert chosen.routed(table).kept() == {**table, "raw": "8 weeks"}
