"""The objects port on every engine that serves it."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio

from neo_polystore.errors import NotFoundError, UnsupportedError, UsageError, ValidationError
from neo_polystore.ports.objects import Objects
from neo_polystore.records.objects import StoredObject
from neo_polystore.records.query import Filter, Query, parse_condition
from neo_polystore.stores.files.config import FilesConfig
from neo_polystore.stores.files.store import FilesStore
from neo_polystore.stores.s3.objects import S3Objects
from neo_polystore.stores.s3.store import S3Store
from tests.conformance.records import RecordsSuite


@pytest_asyncio.fixture(scope="module", loop_scope="session", params=["files", "s3"])
async def objects(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Objects]:
    """The port of each engine."""
    store: FilesStore | S3Store
    if request.param == "files":
        store = FilesStore(FilesConfig(directory=tmp_path_factory.mktemp("objects") / "o"))
    else:
        store = S3Store(request.getfixturevalue("s3_config"))
    await store.migrate()
    await store.connect()
    yield store.port("objects")
    await store.close()


def new_bucket() -> str:
    return f"b-{uuid4().hex}"


def stored(bucket: str, name: str, content: bytes = b"content", **values: Any) -> StoredObject:
    """As it is given to `write`."""
    return StoredObject(bucket=bucket, name=name, content=content, **values)


async def chunks(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


async def read(objects: Objects, bucket: str, name: str) -> bytes:
    return b"".join([chunk async for chunk in objects.open(bucket, name)])


class TestObjects(RecordsSuite):
    """Objects: mutable by bucket and name."""

    group = "bucket"
    ordered = "name"
    summable = "size"
    mutable = True

    @pytest.fixture
    async def port(self, objects: Objects) -> Objects:
        return objects

    def new_group(self) -> str:
        return new_bucket()

    def samples(self, count: int, *, group: str) -> Sequence[StoredObject]:
        return [
            stored(group, f"folder/{number:02}", content, size=len(content))
            for number in range(count)
            for content in [b"x" * number]
        ]

    def changed(self, record: Any) -> Any:
        return stored(record.bucket, record.name, b"changed")

    def comparable(self, record: Any) -> Any:
        return (record.key, record.content, record.content_type)

    async def test_text_with_sql_in_it_is_only_text(self, port: Objects) -> None:  # type: ignore[override]
        hostile = parse_condition(StoredObject, "name='; DROP TABLE x; --")
        assert await port.count(Query(filters=(hostile,))) == 0


NAMES = [
    "a",
    "a/b",
    "a/b/c",
    "a.obj",
    "a.obj/b",
    "a.obj.obj",
    "A",
    "%41",
    ".hidden",
    ".hidden/.x",
    "sp ace+plus",
    "quote'\"\\`$(x)",
    "grüße/日本語/\U0001f600",
    "~!@#$^&*()[]{}|;:,<>?=",
    "%long/x",
    "a-b",
    "a0",
    "l" * 1024,
    "/".join(["m" * 250] * 4),
    "n" * 199 + "/" + "o" * 300,
]


async def test_every_legal_name_survives_beside_the_others(objects: Objects) -> None:
    bucket = new_bucket()
    records = [stored(bucket, name, name.encode()) for name in NAMES]
    written = await objects.write(records)
    assert (written.new, written.rejected) == (len(NAMES), [])
    for record in records:
        assert (await objects.get(record.key)).content == record.content
    page = await objects.find(Query(limit=1000).where("bucket", bucket))
    assert [record.name for record in page] == sorted(NAMES)


async def test_a_name_with_a_line_break_survives(objects: Objects) -> None:
    if isinstance(objects, S3Objects) and "NEO_TEST_S3_URL" not in os.environ:
        pytest.skip("moto's server finds no route for a line break")
    record = stored(new_bucket(), "new\nline")
    await objects.write([record])
    assert (await objects.get(record.key)).content == record.content


async def test_pages_by_key_are_in_order_and_complete(objects: Objects) -> None:
    bucket = new_bucket()
    await objects.write([stored(bucket, name) for name in NAMES])
    for size in (1, 2, 5):
        seen: list[str] = []
        query: Query | None = Query(limit=size).where("bucket", bucket)
        while query is not None:
            page = await objects.find(query)
            seen += [record.name for record in page]
            query = (
                Query(limit=size, after=page.next).where("bucket", bucket) if page.next else None
            )
        assert seen == sorted(NAMES)


@pytest.mark.parametrize(
    "name", ["", "/", "/etc/passwd", "..", "../x", "a/../b", "a//b", "a/", ".", "a/./b", "\x00"]
)
async def test_names_that_lead_elsewhere_are_refused(objects: Objects, name: str) -> None:
    with pytest.raises(ValidationError, match="name"):
        await objects.put("bucket", name, chunks(b"x"))
    with pytest.raises(NotFoundError):
        await objects.get(f"bucket/{name}")
    with pytest.raises(NotFoundError):
        await objects.delete(f"bucket/{name}")
    with pytest.raises(NotFoundError):
        await read(objects, "bucket", name)


@pytest.mark.parametrize("bucket", ["", "..", "%incoming", "Upper", "a/b", "x" * 64])
async def test_buckets_that_lead_elsewhere_are_refused(objects: Objects, bucket: str) -> None:
    with pytest.raises(ValidationError, match="bucket"):
        await objects.put(bucket, "x", chunks(b"x"))
    assert await objects.count(Query().where("bucket", bucket)) == 0


async def test_a_stream_is_stored_with_its_checksum(objects: Objects) -> None:
    bucket = new_bucket()
    given = await objects.put(bucket, "s", chunks(b"a", b"", b"bc"), content_type="text/plain")
    assert (given.size, given.content_type) == (3, "text/plain")
    assert given.sha256 == hashlib.sha256(b"abc").hexdigest()
    assert await read(objects, bucket, "s") == b"abc"
    found = await objects.get(given.key)
    assert (found.content, found.sha256) == (b"abc", given.sha256)
    assert found.modified is not None
    assert abs(datetime.now(UTC) - found.modified) < timedelta(minutes=1)


async def test_an_empty_stream_is_an_empty_object(objects: Objects) -> None:
    bucket = new_bucket()
    await objects.put(bucket, "empty", chunks())
    assert await read(objects, bucket, "empty") == b""
    assert (await objects.get(f"{bucket}/empty")).content == b""


async def test_a_large_stream_comes_back_whole(objects: Objects) -> None:
    bucket, piece = new_bucket(), os.urandom(1 << 20)
    given = await objects.put(bucket, "large", chunks(*[piece] * 13, b"end"))
    digest, pieces = hashlib.sha256(), 0
    async for chunk in objects.open(bucket, "large"):
        digest.update(chunk)
        pieces += 1
    assert (digest.hexdigest(), given.size) == (given.sha256, 13 * len(piece) + 3)
    assert pieces > 5


async def test_a_stream_that_breaks_leaves_what_was_there(objects: Objects) -> None:
    async def breaking() -> AsyncIterator[bytes]:
        yield b"x" * (12 << 20)
        raise RuntimeError("the sender went away")

    bucket = new_bucket()
    await objects.put(bucket, "old", chunks(b"old"))
    for name in ("old", "new"):
        with pytest.raises(RuntimeError, match="went away"):
            await objects.put(bucket, name, breaking())
    assert await read(objects, bucket, "old") == b"old"
    with pytest.raises(NotFoundError):
        await objects.get(f"{bucket}/new")


async def test_a_cancelled_stream_leaves_nothing(objects: Objects) -> None:
    started = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        yield b"x" * (6 << 20)
        started.set()
        await asyncio.Event().wait()

    bucket = new_bucket()
    putting = asyncio.create_task(objects.put(bucket, "never", endless()))
    await started.wait()
    putting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await putting
    assert await objects.count(Query().where("bucket", bucket)) == 0


async def test_readers_of_a_replaced_object_see_one_content(objects: Objects) -> None:
    bucket = new_bucket()
    first, second = b"1" * (3 << 20), b"2" * (3 << 20)
    await objects.put(bucket, "x", chunks(first))
    reading = objects.open(bucket, "x")
    begun = await anext(reading)
    await objects.put(bucket, "x", chunks(second))
    assert begun + b"".join([chunk async for chunk in reading]) == first
    assert await read(objects, bucket, "x") == second


async def test_concurrent_writers_of_one_name_leave_one_content(objects: Objects) -> None:
    bucket = new_bucket()
    contents = [bytes([65 + number]) * 100_000 for number in range(8)]
    await asyncio.gather(*(objects.put(bucket, "x", chunks(content)) for content in contents))
    assert await read(objects, bucket, "x") in contents


async def test_another_content_type_is_another_object(objects: Objects) -> None:
    bucket = new_bucket()
    await objects.write([stored(bucket, "x")])
    written = await objects.write([stored(bucket, "x", content_type="text/css")])
    assert written.replaced == 1
    assert (await objects.get(f"{bucket}/x")).content_type == "text/css"


async def test_records_that_contradict_themselves_are_rejected(objects: Objects) -> None:
    bucket = new_bucket()
    written = await objects.write(
        [
            StoredObject(bucket=bucket, name="none"),
            stored(bucket, "good"),
            stored(bucket, "size", size=1),
            stored(bucket, "sum", sha256="0" * 64),
        ]
    )
    assert written.new == 1
    assert [(item.index, item.field) for item in written.rejected] == [
        (0, "content"),
        (2, "size"),
        (3, "sha256"),
    ]
    assert await objects.count(Query().where("bucket", bucket)) == 1


async def test_a_deleted_object_is_gone_and_can_come_back(objects: Objects) -> None:
    bucket = new_bucket()
    await objects.write([stored(bucket, "a/b/c"), stored(bucket, "a/d")])
    await objects.delete(f"{bucket}/a/b/c")
    with pytest.raises(NotFoundError):
        await objects.get(f"{bucket}/a/b/c")
    with pytest.raises(NotFoundError):
        await objects.delete(f"{bucket}/a/b/c")
    assert (await objects.write([stored(bucket, "a/b/c")])).new == 1
    assert await objects.count(Query().where("bucket", bucket)) == 2


async def test_listings_carry_everything_but_the_content(objects: Objects) -> None:
    bucket = new_bucket()
    await objects.write([stored(bucket, "x", b"12345", content_type="text/plain")])
    [found] = (await objects.find(Query().where("bucket", bucket))).records
    assert (found.content, found.size, found.content_type) == (None, 5, "text/plain")
    assert found.sha256 == hashlib.sha256(b"12345").hexdigest()


async def test_filters_choose_objects(objects: Objects) -> None:
    bucket = new_bucket()
    await objects.write(
        [
            stored(bucket, "logs/1", b"1", content_type="text/plain"),
            stored(bucket, "logs/2", b"22", content_type="text/csv"),
            stored(bucket, "logs-old", b"333", content_type="text/csv"),
        ]
    )
    soon = datetime.now(UTC) + timedelta(minutes=1)
    query = Query().where("bucket", bucket)
    assert await objects.count(query.where("name", "logs/", "prefix")) == 2
    assert await objects.count(query.where("name", "logs-old")) == 1
    assert await objects.count(query.where("name", "logs-old", "ne")) == 2
    assert await objects.count(query.where("size", 2, "ge")) == 2
    assert await objects.count(query.where("content_type", "text/csv")) == 2
    assert await objects.count(query.where("sha256", None)) == 0
    assert await objects.count(query.where("modified", soon, "lt")) == 3
    assert await objects.count(Query(filters=query.filters, since=soon)) == 0
    assert await objects.count(Query(filters=query.filters, until=soon)) == 3
    assert await objects.distinct(query, "content_type") == ["text/csv", "text/plain"]
    assert await objects.sum(query.where("content_type", "text/csv"), "size") == 5


async def test_pages_in_the_order_of_a_field_that_repeats(objects: Objects) -> None:
    bucket = new_bucket()
    kinds = ["text/b", "text/a", "text/b", "text/a", "text/c"]
    await objects.write(
        [stored(bucket, f"n{n}", content_type=kind) for n, kind in enumerate(kinds)]
    )
    seen, after = [], None
    while True:
        page = await objects.find(
            Query(order="content_type", descending=True, limit=2, after=after).where(
                "bucket", bucket
            )
        )
        seen += [record.name for record in page]
        if (after := page.next) is None:
            break
    assert seen == ["n4", "n2", "n0", "n3", "n1"]


async def test_listings_without_a_bucket_go_through_all_in_the_order_of_keys(
    objects: Objects,
) -> None:
    group = uuid4().hex
    buckets = [f"{group}", f"{group}-0", f"{group}.1"]
    await objects.write([stored(bucket, name) for bucket in buckets for name in ("a", "b")])
    seen, after = [], None
    while True:
        page = await objects.find(Query(limit=3, after=after).where("bucket", group, "prefix"))
        seen += [record.key for record in page]
        if (after := page.next) is None:
            break
    assert seen == sorted(f"{bucket}/{name}" for bucket in buckets for name in ("a", "b"))


@pytest.mark.parametrize("field", ["content", "nonsense"])
async def test_what_cannot_be_asked_is_refused(objects: Objects, field: str) -> None:
    with pytest.raises((UsageError, UnsupportedError), match=field):
        await objects.count(Query(filters=(Filter(field, "eq", b""),)))
    with pytest.raises(UsageError, match="text"):
        await objects.count(Query(text="words"))
    with pytest.raises(UsageError, match="compared"):
        bucket = new_bucket()
        await objects.write([stored(bucket, "x")])
        await objects.count(Query().where("bucket", bucket).where("size", "many", "gt"))
