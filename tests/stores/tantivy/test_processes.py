"""Several processes in one directory: nothing lost, nothing doubled, no lock left behind."""

from __future__ import annotations

import asyncio
import fcntl
import random
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from neo_polystore.errors import UnavailableError
from neo_polystore.records.query import Query
from neo_polystore.stores.tantivy.config import TantivyConfig
from neo_polystore.stores.tantivy.store import TantivyStore
from tests.stores.tantivy.writing import line


@pytest_asyncio.fixture
async def store(tmp_path: Path) -> AsyncIterator[TantivyStore]:
    opened = TantivyStore(TantivyConfig(directory=tmp_path / "logs"))
    await opened.connect()
    yield opened
    await opened.close()


async def start(store: TantivyStore, name: str, batches: int, size: int) -> Process:
    directory = str(store.config.directory)
    arguments = ("-m", "tests.stores.tantivy.writing", directory, name, str(batches), str(size))
    return await asyncio.create_subprocess_exec(
        sys.executable, *arguments, stdout=PIPE, stderr=PIPE
    )


async def count(store: TantivyStore, name: str) -> int:
    found: int = await store.port("logs").count(Query().where("system", name))
    return found


async def test_two_processes_writing_at_once_lose_nothing(store: TantivyStore) -> None:
    writers = [await start(store, name, 12, 40) for name in ("one", "two")]
    for _, errors in await asyncio.gather(*(writer.communicate() for writer in writers)):
        assert errors == b""
    assert [await count(store, name) for name in ("one", "two")] == [480, 480]


async def test_two_processes_writing_the_same_lines_store_them_once(store: TantivyStore) -> None:
    writers = [await start(store, "same", 8, 30) for _ in range(2)]
    ended = await asyncio.gather(*(writer.communicate() for writer in writers))
    new = sum(int(row.split()[1]) for output, _ in ended for row in output.splitlines())
    assert (new, await count(store, "same")) == (240, 240)


async def test_a_reader_sees_what_another_process_has_written(store: TantivyStore) -> None:
    assert await count(store, "other") == 0
    await (await start(store, "other", 1, 5)).communicate()
    assert await count(store, "other") == 5


async def test_a_killed_writer_loses_nothing_acknowledged_and_leaves_no_lock(
    store: TantivyStore,
) -> None:
    chance = random.Random(20)
    size = 25
    for attempt in range(5):
        name = f"killed-{attempt}"
        writer = await start(store, name, 10_000, size)
        assert writer.stdout is not None
        await writer.stdout.readline()
        await asyncio.sleep(chance.uniform(0, 0.08))  # the moment of death is the point
        writer.kill()
        output, _ = await writer.communicate()
        acknowledged = (1 + output.count(b"\n")) * size
        stored = await count(store, name)
        assert stored >= acknowledged
        assert stored % size == 0, "a batch is stored whole or not at all"
        again = [line(name, number) for number in range(stored + size)]
        written = await asyncio.wait_for(store.port("logs").write(again), 30)
        assert (written.new, written.existing) == (size, stored)


async def test_a_writer_that_waits_too_long_says_so(store: TantivyStore) -> None:
    config = store.config.model_copy(update={"lock_timeout": 0.05})
    hasty = TantivyStore(config)
    await hasty.connect()
    with (config.directory / "writer.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(UnavailableError, match="other processes"):
            await hasty.port("logs").write([line("hasty", 1)])
    assert (await hasty.port("logs").write([line("hasty", 1)])).new == 1
    await hasty.close()
