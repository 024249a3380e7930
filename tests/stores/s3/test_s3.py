"""What is particular to S3: long listings, multipart uploads, foreign objects, errors."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio
from pydantic import SecretStr

from neo_polystore.errors import ConfigError, IntegrityError, UnavailableError, ValidationError
from neo_polystore.records.objects import StoredObject
from neo_polystore.records.query import Query
from neo_polystore.stores.s3.client import make_driver
from neo_polystore.stores.s3.config import S3Config
from neo_polystore.stores.s3.store import S3Store


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def store(s3_config: S3Config) -> AsyncIterator[S3Store]:
    store = S3Store(s3_config)
    await store.connect()
    yield store
    await store.close()


@pytest.fixture
def objects(store: S3Store) -> Any:
    return store.port("objects")


@pytest.fixture(scope="module")
def driver(s3_config: S3Config) -> Any:
    """boto3's client, as any other program would use it."""
    driver = make_driver(s3_config)
    yield driver
    driver.close()


@pytest.fixture
def bucket(driver: Any) -> str:
    name = f"b-{uuid4().hex}"
    driver.create_bucket(Bucket=name)
    return name


async def pieces(count: int, size: int = 1 << 20) -> AsyncIterator[bytes]:
    for number in range(count):
        yield bytes([number % 256]) * size


def uploads(driver: Any, bucket: str) -> list[Any]:
    """Multipart uploads that have begun and not ended."""
    return driver.list_multipart_uploads(Bucket=bucket).get("Uploads", [])  # type: ignore[no-any-return]


async def test_a_listing_of_more_than_one_page_is_read_to_its_end(
    s3_config: S3Config, objects: Any, bucket: str
) -> None:
    store = S3Store(s3_config.model_copy(update={"page_size": 4}))
    await store.connect()
    paging, query = store.port("objects"), Query().where("bucket", bucket)
    names = [f"{number:02}" for number in range(13)]
    await objects.write([StoredObject(bucket=bucket, name=name, content=b"xy") for name in names])
    assert [record.name for record in await paging.find(query)] == names
    assert (await paging.count(query), await paging.sum(query, "size")) == (13, 26)
    assert await paging.count(query.where("name", "0", "prefix")) == 10
    await store.close()


async def test_a_small_object_is_one_request_and_a_large_one_many(
    objects: Any, driver: Any, bucket: str
) -> None:
    await objects.put(bucket, "small", pieces(1))
    await objects.put(bucket, "large", pieces(12))
    tags = [driver.head_object(Bucket=bucket, Key=name)["ETag"] for name in ("small", "large")]
    assert ["-" in tag for tag in tags] == [False, True]


async def test_the_checksum_is_in_the_metadata(objects: Any, driver: Any, bucket: str) -> None:
    stored = await objects.put(bucket, "x", pieces(12), content_type="text/plain")
    head = driver.head_object(Bucket=bucket, Key="x")
    assert head["Metadata"]["sha256"] == stored.sha256
    assert head["ContentType"] == "text/plain"


async def test_a_cancelled_upload_leaves_no_parts(objects: Any, driver: Any, bucket: str) -> None:
    async def put() -> None:
        await objects.put(bucket, "x", pieces(40))

    putting = asyncio.create_task(put())
    async with asyncio.timeout(20):
        while not putting.done() and not driver.list_multipart_uploads(Bucket=bucket).get(
            "Uploads"
        ):
            await asyncio.sleep(0.001)
    assert not putting.done()
    putting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await putting
    assert not uploads(driver, bucket)
    assert await objects.count(Query().where("bucket", bucket)) == 0


async def test_changed_content_is_noticed(objects: Any, driver: Any, bucket: str) -> None:
    driver.put_object(Bucket=bucket, Key="x", Body=b"changed", Metadata={"sha256": "0" * 64})
    with pytest.raises(IntegrityError, match=f"{bucket}/x"):
        await objects.get(f"{bucket}/x")
    with pytest.raises(IntegrityError):
        _ = [chunk async for chunk in objects.open(bucket, "x")]


async def test_objects_of_other_programs_are_read_and_replaced(
    objects: Any, driver: Any, bucket: str
) -> None:
    driver.put_object(Bucket=bucket, Key="x", Body=b"theirs", ContentType="text/plain")
    for name in ("folder/", "a//b"):
        driver.put_object(Bucket=bucket, Key=name, Body=b"")
    found = await objects.get(f"{bucket}/x")
    assert (found.content, found.sha256) == (b"theirs", None)
    assert [r.name for r in await objects.find(Query().where("bucket", bucket))] == ["x"]
    ours = StoredObject(bucket=bucket, name="x", content=b"theirs", content_type="text/plain")
    assert (await objects.write([ours])).replaced == 1
    assert (await objects.write([ours])).existing == 1


async def test_a_missing_bucket_is_made_only_if_configured(s3_config: S3Config) -> None:
    store = S3Store(s3_config.model_copy(update={"create_buckets": False}))
    await store.connect()
    objects, bucket = store.port("objects"), f"b-{uuid4().hex}"
    written = await objects.write([StoredObject(bucket=bucket, name="x", content=b"x")])
    assert [(item.field, written.new) for item in written.rejected] == [("bucket", 0)]
    with pytest.raises(ValidationError, match="create_buckets"):
        await objects.put(bucket, "x", pieces(12))
    await store.close()


async def test_the_prefix_stands_before_every_bucket(s3_config: S3Config, driver: Any) -> None:
    prefix = f"p{uuid4().hex[:10]}-"
    store = S3Store(s3_config.model_copy(update={"bucket_prefix": prefix}))
    await store.connect()
    objects = store.port("objects")
    await objects.write([StoredObject(bucket="mine", name="x", content=b"x")])
    assert driver.head_object(Bucket=f"{prefix}mine", Key="x")["ContentLength"] == 1
    assert [record.key for record in await objects.find(Query())] == ["mine/x"]
    assert await store.witness("objects", ["mine/x", "mine/y", "none/x"]) == 1
    await store.close()


@pytest.mark.parametrize("kind", ["text/é", "text/\n"])
async def test_what_s3_cannot_keep_is_rejected(objects: Any, bucket: str, kind: str) -> None:
    records = [
        StoredObject(bucket=bucket, name="bad", content=b"x", content_type=kind),
        StoredObject(bucket=bucket, name="good", content=b"x"),
    ]
    written = await objects.write(records)
    assert written.new == 1
    assert [(item.index, item.field) for item in written.rejected] == [(0, "content_type")]


async def test_a_name_that_is_too_long_in_bytes_is_rejected(objects: Any, bucket: str) -> None:
    record = StoredObject(bucket=bucket, name="é" * 1000, content=b"x")
    written = await objects.write([record])
    assert [item.field for item in written.rejected] == ["name"]


async def test_no_service_is_unavailable_and_unhealthy(unused_tcp_port: int) -> None:
    config = S3Config(
        endpoint_url=f"http://127.0.0.1:{unused_tcp_port}",
        access_key_id="x",
        secret_access_key=SecretStr("y"),
        attempts=1,
    )
    store = S3Store(config)
    with pytest.raises(UnavailableError):
        await store.port("objects").get("bucket/x")
    with pytest.raises(UnavailableError, match="reach"):
        await store.connect()
    assert (await store.health()).status == "unhealthy"
    await store.close()


async def test_an_endpoint_that_is_no_url_is_a_configuration_error() -> None:
    with pytest.raises(ConfigError):
        await S3Store(S3Config(endpoint_url="nowhere")).connect()


async def test_health_names_the_server(store: S3Store) -> None:
    health = await store.health()
    assert health.status == "healthy"
    assert health.version
    assert (await store.migrate()).not_applicable


async def test_closing_twice_is_harmless(s3_config: S3Config) -> None:
    store = S3Store(s3_config)
    await store.connect()
    await store.close()
    await store.close()
