"""Clearing a store takes what is ours, all of it, and nothing else."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest
from redis.asyncio import Redis

from neo_polystore.records.objects import StoredObject
from neo_polystore.stores.files.config import FilesConfig
from neo_polystore.stores.files.store import FilesStore
from neo_polystore.stores.redis.config import RedisConfig
from neo_polystore.stores.redis.store import RedisStore
from neo_polystore.stores.s3.config import S3Config
from neo_polystore.stores.s3.store import S3Store


@pytest.fixture
async def redis(redis_config: RedisConfig) -> AsyncIterator[Redis]:
    """The driver's own client."""
    client = Redis(
        host=redis_config.host,
        port=redis_config.port,
        password=redis_config.password.get_secret_value(),
    )
    yield client
    await client.aclose()


async def test_redis_loses_the_keys_of_its_namespace_and_no_others(
    redis_config: RedisConfig, redis: Redis
) -> None:
    # the characters are wildcards to SCAN, and nothing special in a namespace
    name = uuid4().hex[:8]
    namespace, lookalike = f"[ab]*?{name}:", f"axx?{name}:"
    store = RedisStore(redis_config.model_copy(update={"namespace": namespace}))
    await store.connect()
    cache = store.port("cache")
    for number in range(2_500):
        await cache.set(f"price:{number}", b"1", ttl=60)
    await redis.set(f"{lookalike}price:1", b"theirs", ex=60)
    dry = await store.clear(dry_run=True)
    assert list(dry.rows.values()) == [2_500]
    assert await cache.get("price:7") == b"1"
    assert await store.clear() == dry
    assert await cache.get("price:7") is None
    assert await redis.get(f"{lookalike}price:1") == b"theirs"
    await store.close()


async def test_without_a_namespace_redis_loses_the_keys_of_its_families_only(
    redis_config: RedisConfig, redis: Redis
) -> None:
    name = uuid4().hex
    store = RedisStore(redis_config.model_copy(update={"namespace": ""}))
    await store.connect()
    await redis.set(f"price:{name}", b"ours", ex=60)
    await redis.set(f"somebody:{name}", b"theirs", ex=60)
    await store.clear()
    assert await redis.get(f"price:{name}") is None
    assert await redis.get(f"somebody:{name}") == b"theirs"
    await store.close()


async def test_files_lose_every_object_over_more_than_one_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import neo_polystore.objectkit.clearing

    monkeypatch.setattr(sys.modules["neo_polystore.objectkit.clearing"], "_PAGE", 3)
    assert neo_polystore.objectkit.clearing
    store = FilesStore(FilesConfig(directory=tmp_path / "objects"))
    await store.connect()
    port = store.port("objects")
    await port.write(
        [StoredObject(bucket=f"bucket-{n % 2}", name=f"o/{n}", content=b"x") for n in range(10)]
    )
    assert (await store.clear(dry_run=True)).rows == {"bucket-0": 5, "bucket-1": 5}
    assert (await store.clear()).rows == {"bucket-0": 5, "bucket-1": 5}
    assert (await store.clear()).rows == {}


async def test_s3_loses_what_is_in_buckets_of_its_prefix(s3_config: S3Config) -> None:
    prefix = f"p{uuid4().hex[:8]}-"
    ours = S3Store(s3_config.model_copy(update={"bucket_prefix": prefix}))
    theirs = S3Store(s3_config)
    await ours.connect()
    await theirs.connect()
    record = StoredObject(bucket=f"b{uuid4().hex[:8]}", name="o", content=b"x")
    await ours.port("objects").write([record])
    await theirs.port("objects").write([record])
    assert (await ours.clear()).rows == {record.bucket: 1}
    assert (await theirs.clear()).not_applicable
    assert (await theirs.port("objects").get(record.key)).content == b"x"
    await ours.close()
    await theirs.close()
