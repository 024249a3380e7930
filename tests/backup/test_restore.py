"""Restoring: what comes back, what is refused, what is left alone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from neo_polystore.backup.reading import RunReader
from neo_polystore.backup.restore import backing_of, execute, plan
from neo_polystore.backup.run import Options, run_backup
from neo_polystore.backup.targets import DirectoryTarget
from neo_polystore.backup.verify import verify
from neo_polystore.errors import ConflictError, UsageError
from neo_polystore.ports.backup import BackupScope
from neo_polystore.ports.store import Store
from tests.backup.conftest import KEY, Platform


@asynccontextmanager
async def emptied(scratch: dict[str, Store], *names: str) -> AsyncIterator[dict[str, Store]]:
    """The stores by name, empty now and cleared afterwards."""
    chosen = {name: scratch[name] for name in names}
    try:
        yield chosen
    finally:
        for name in names:
            await backing_of(scratch, name).clear(BackupScope())


ALL = ("clickhouse", "event_store", "files", "postgres", "tantivy", "timescale")


async def test_every_store_is_proven_to_the_byte(
    platform: Platform, scratch: dict[str, Store]
) -> None:
    reader = RunReader(platform.target, platform.manifest, key=KEY)
    async with emptied(scratch, *ALL):
        proof = await verify(reader, platform.target, scratch)
    await reader.close()
    assert {name: found.problems for name, found in proof.stores.items()} == dict.fromkeys(ALL, ())
    assert proof.ok


def test_every_store_is_in_the_manifest_or_named_with_the_reason(platform: Platform) -> None:
    for name in platform.stores:
        store = platform.manifest.store(name)
        assert bool(store.streams) + bool(store.not_saved) + bool(store.within) == 1
    assert platform.manifest.store("jsonb").within == "postgres"
    assert "wants no backup of cache, limits" in (platform.manifest.store("redis").not_saved or "")


async def test_a_target_that_is_not_empty_is_refused_before_anything_is_touched(
    platform: Platform,
) -> None:
    reader = RunReader(platform.target, platform.manifest, key=KEY)
    steps = await plan(reader, platform.stores)
    with pytest.raises(ConflictError, match="Nothing was touched"):
        await execute(reader, platform.stores, steps)
    await reader.close()
    assert all(step.occupied for step in steps)


async def test_one_schema_comes_back_beside_the_others(
    platform: Platform, scratch: dict[str, Store]
) -> None:
    reader = RunReader(platform.target, platform.manifest, key=KEY)
    async with emptied(scratch, "postgres") as stores:
        await execute(reader, stores, await plan(reader, stores, only=["postgres"]))
        for schema in ("documents", "security"):
            steps = await plan(reader, stores, only=["postgres"], schema=schema)
            assert schema in (steps[0].occupied or "")
            await execute(reader, stores, steps, force=True)
        snapshot = backing_of(stores, "postgres").snapshot(BackupScope())
        async with snapshot as found:
            streams = {stream.name for stream in found.streams()}
    await reader.close()
    assert streams == {s.name for s in platform.manifest.store("postgres").streams}


async def test_a_schema_that_others_refer_to_is_not_dropped(
    platform: Platform, scratch: dict[str, Store]
) -> None:
    reader = RunReader(platform.target, platform.manifest, key=KEY)
    async with emptied(scratch, "postgres") as stores:
        await execute(reader, stores, await plan(reader, stores, only=["postgres"]))
        steps = await plan(reader, stores, only=["postgres"], schema="core")
        with pytest.raises(ConflictError, match="needs core"):
            await execute(reader, stores, steps, force=True)
    await reader.close()


async def test_a_store_within_another_is_restored_by_its_schema(platform: Platform) -> None:
    reader = RunReader(platform.target, platform.manifest, key=KEY)
    [step] = await plan(reader, platform.stores, only=["jsonb"])
    await reader.close()
    assert (step.source, step.schema) == ("postgres", "documents")
    assert step.rows > 0


async def test_a_database_in_use_is_not_replaced_even_by_force(
    platform: Platform, scratch: dict[str, Store]
) -> None:
    reader = RunReader(platform.target, platform.manifest, key=KEY)
    async with emptied(scratch, "event_store") as stores:
        await execute(reader, stores, await plan(reader, stores, only=["event_store"]))
        await stores["event_store"].connect()
        steps = await plan(reader, stores, only=["event_store"])
        with pytest.raises(ConflictError, match="stop what is running"):
            await execute(reader, stores, steps, force=True)
        await stores["event_store"].close()
    await reader.close()


async def test_redis_is_backed_up_where_it_is_asked_for(
    platform: Platform, scratch: dict[str, Store], tmp_path: Path
) -> None:
    target = DirectoryTarget(tmp_path)
    cache = platform.stores["redis"]
    await cache.connect()
    await cache.port("cache").set("compute:1:result", b"\x00value\n", ttl=600)
    manifest = await run_backup(
        platform.stores, platform.routing, target, options=Options(stores=["redis"])
    )
    await cache.close()
    reader = RunReader(target, manifest, key=None)
    async with emptied(scratch, "redis") as stores:
        [done] = await execute(reader, stores, await plan(reader, stores))
        await stores["redis"].connect()
        value = await stores["redis"].port("cache").get("compute:1:result")
        await stores["redis"].close()
    await reader.close()
    assert value == b"\x00value\n"
    assert sum(done.rows.values()) == manifest.store("redis").rows


@pytest.mark.parametrize(
    ("only", "schema", "words"),
    [
        (["redis"], None, "has nothing of redis"),
        (["postgres"], "nowhere", "has no schema 'nowhere'"),
        (None, "core", "name the store"),
    ],
)
async def test_what_the_run_has_not_is_refused(
    platform: Platform, only: list[str] | None, schema: str | None, words: str
) -> None:
    reader = RunReader(platform.target, platform.manifest, key=KEY)
    with pytest.raises(UsageError, match=words):
        await plan(reader, platform.stores, only=only, schema=schema)
    await reader.close()
