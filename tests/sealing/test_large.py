"""Items of any size, part by part: over PostgreSQL, with the memory of a few chunks."""

from __future__ import annotations

import asyncio
import os
import random
import tracemalloc
from collections.abc import AsyncIterator

import pytest

from neo_polystore.errors import ConflictError, ForbiddenError, IntegrityError, ValidationError
from neo_polystore.sealing.drafts import Rules
from neo_polystore.sealing.items import OwnItems
from neo_polystore.sealing.rotation import rotate
from neo_polystore.sealing.spool import Spool
from tests.sealing.conftest import OPENER, Bench, draft

MIB = 1 << 20


async def parts_of(content: bytes, step: int = 100_000) -> AsyncIterator[bytes]:
    for at in range(0, len(content), step):
        yield content[at : at + step]


async def opened(own: OwnItems, key: str) -> bytes:
    found = await own.open_parts(key, OPENER)
    return b"".join([bytes(part) async for part in found.parts])


@pytest.fixture(params=["user", "service"])
def own(request: pytest.FixtureRequest) -> OwnItems:
    found: OwnItems = request.getfixturevalue("items" if request.param == "user" else "service")
    return found


@pytest.mark.parametrize("size", [0, 1, 1 << 18, (1 << 18) + 1, 5 * MIB + 17])
async def test_what_came_in_parts_opens_both_ways(own: OwnItems, size: int) -> None:
    content = random.Random(size).randbytes(size)
    one = draft(content=b"")
    head = await own.seal_parts(one, parts_of(content))
    assert (head.size, head.binding.version) == (size, 1)
    assert await opened(own, one.data_key) == content
    assert (await own.open(one.data_key, OPENER)).content == content


@pytest.mark.parametrize("size", [0, 100, 3 * MIB])
async def test_what_came_whole_opens_in_parts(own: OwnItems, size: int) -> None:
    one = draft(content=random.Random(size).randbytes(size))
    await own.seal(one)
    assert await opened(own, one.data_key) == one.content


async def test_versions_rise_and_a_stale_one_is_refused(own: OwnItems) -> None:
    one = draft(content=b"")
    await own.seal_parts(one, parts_of(b"1"))
    assert (await own.seal_parts(one, parts_of(b"2"))).binding.version == 2
    with pytest.raises(ConflictError, match="expected 1"):
        await own.seal_parts(draft(one.data_key, b"", expected=1), parts_of(b"3"))
    assert await opened(own, one.data_key) == b"2"


async def test_content_that_breaks_off_is_not_stored(own: OwnItems) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"x" * MIB
        raise ConnectionResetError

    one = draft(content=b"")
    with pytest.raises(ConnectionResetError):
        await own.seal_parts(one, broken())
    assert not await own.heads(prefix=one.data_key)


async def test_the_limit_holds_before_all_of_it_has_come(bench: Bench) -> None:
    own = bench.another(rules=Rules(largest=MIB)).of_service("small")

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 300_000

    with pytest.raises(ValidationError, match="NEO_SEALED_MAX_BYTES"):
        await own.seal_parts(draft(content=b""), endless())


async def test_nobody_else_opens_it_in_parts(own: OwnItems) -> None:
    one = draft(content=b"x" * 10)
    await own.seal(one)
    with pytest.raises(ForbiddenError, match="another label"):
        await own.open_parts(one.data_key, OPENER.model_copy(update={"label": "other"}))


async def test_an_altered_chunk_ends_the_parts_and_is_audited(
    service: OwnItems, bench: Bench
) -> None:
    content = os.urandom(3 * MIB)
    one = draft(content=content)
    await service.seal(one)
    await bench.administrator.execute(
        "UPDATE sgx.sealed_data_items SET sealed_data = set_byte(sealed_data, 2000000, 255"
        " - get_byte(sealed_data, 2000000)) WHERE item_key = $1",
        one.data_key,
    )
    before, came = bench.trail.counts.recorded, b""
    found = await service.open_parts(one.data_key, OPENER)
    with pytest.raises(IntegrityError):
        async for part in found.parts:
            came += part
    assert content.startswith(came)
    assert len(came) < 2_000_000
    assert bench.trail.counts.recorded - before == 2
    await service.delete(one.data_key)


async def test_a_cut_blob_is_refused_before_any_part(service: OwnItems, bench: Bench) -> None:
    one = draft(content=os.urandom(3 * MIB))
    await service.seal(one)
    await bench.administrator.execute(
        "UPDATE sgx.sealed_data_items SET sealed_data = substring(sealed_data FROM 1 FOR 1048576)"
        " WHERE item_key = $1",
        one.data_key,
    )
    with pytest.raises(IntegrityError):
        await service.open_parts(one.data_key, OPENER)
    await service.delete(one.data_key)


async def test_an_item_that_changes_meanwhile_ends_the_parts(service: OwnItems) -> None:
    one = draft(content=os.urandom(3 * MIB))
    await service.seal(one)
    found = await service.open_parts(one.data_key, OPENER)
    await service.seal(draft(one.data_key, b"new"))
    with pytest.raises(ConflictError, match="somebody else"):
        [part async for part in found.parts]


async def test_rotation_moves_large_items_too(bench: Bench, service: OwnItems) -> None:
    content = os.urandom(9 * MIB)
    large, small = draft(content=content), draft(content=b"small")
    await service.seal_all([large, small])
    done = await rotate(bench.sealing)
    assert not done.failed
    assert {head.key_id for head in await service.heads()} == {done.active}
    assert await opened(service, large.data_key) == content
    assert await opened(service, small.data_key) == b"small"


async def test_a_key_that_is_retired_meanwhile_is_not_sealed_under(
    bench: Bench, service: OwnItems
) -> None:
    content = os.urandom(2 * MIB)
    gate = asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield content[:MIB]
        await gate.wait()
        yield content[MIB:]

    one = draft(content=b"")
    other = bench.another().of(service.owner)
    await other.seal(draft())  # its ring holds the key that goes
    sealing = asyncio.create_task(other.seal_parts(one, slow()))
    await asyncio.sleep(0)
    done = await rotate(bench.sealing)
    gate.set()
    assert (await sealing).key_id == done.active
    assert await opened(service, one.data_key) == content


@pytest.mark.parametrize("mib", [16, pytest.param(64, marks=pytest.mark.long)])
async def test_memory_does_not_grow_with_the_item(service: OwnItems, mib: int) -> None:
    block = os.urandom(MIB)

    async def content() -> AsyncIterator[bytes]:
        for _ in range(mib):
            yield block

    one = draft(content=b"")
    tracemalloc.start()
    try:
        await service.seal_parts(one, content())
        length = 0
        found = await service.open_parts(one.data_key, OPENER)
        async for part in found.parts:
            length += len(part)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert length == mib * MIB
    assert peak < 12 * MIB
    await service.delete(one.data_key)


def test_what_is_put_aside_cannot_be_read() -> None:
    with Spool() as spool:
        spool.write(b"TOP-SECRET" * 1000)
        spool.finish()
        spool._file.seek(0)
        assert b"TOP-SECRET" not in spool._file.read()
        assert b"".join(spool.parts()) == b"TOP-SECRET" * 1000
