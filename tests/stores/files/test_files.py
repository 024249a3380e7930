"""What is particular to objects in a directory: kills, damage, several processes, the disk."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import IO, Any
from uuid import uuid4

import pytest

from neo_polystore.errors import (
    ConfigError,
    CorruptDataError,
    IntegrityError,
    NotFoundError,
    UnavailableError,
)
from neo_polystore.records.objects import StoredObject
from neo_polystore.records.query import Query
from neo_polystore.stores.files.config import FilesConfig
from neo_polystore.stores.files.names import path_of
from neo_polystore.stores.files.store import FilesStore
from tests.stores.files import crashing

OLD, NEW = b"old" * 20_000, b"new" * 20_000


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
async def store(directory: Path) -> FilesStore:
    store = FilesStore(FilesConfig(directory=directory, chunk_size=4096))
    await store.connect()
    return store


@pytest.fixture
def objects(store: FilesStore) -> Any:
    return store.port("objects")


class Crasher:
    """`crashing.py` at work in a directory."""

    def __init__(self, process: subprocess.Popen[str]):
        assert process.stdin is not None
        assert process.stdout is not None
        self._in: IO[str] = process.stdin
        self._out: IO[str] = process.stdout

    def run(self, calls: int, command: str) -> bool:
        """Whether the child was killed; the other end is that it was done."""
        print(calls, command, file=self._in, flush=True)
        answer = self._out.readline().strip()
        assert answer in ("killed", "done")
        return answer == "killed"


@pytest.fixture
def crasher(directory: Path) -> Iterator[Crasher]:
    command = [sys.executable, crashing.__file__, str(directory)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield Crasher(process)


def incoming(directory: Path) -> list[Path]:
    return list((directory / "%incoming").iterdir())


def everything(directory: Path) -> list[Path]:
    return [directory, *directory.rglob("*")]


async def content_of(objects: Any, name: str) -> bytes | None:
    try:
        found = (await objects.get(f"bucket/{name}")).content
    except NotFoundError:
        return None
    assert b"".join([c async for c in objects.open("bucket", name)]) == found
    return bytes(found)


async def test_a_kill_at_any_step_of_a_replacement_leaves_old_or_new(
    objects: Any, store: FilesStore, crasher: Crasher, directory: Path
) -> None:
    seen = []
    for calls in range(1, 200):
        await objects.write([StoredObject(bucket="bucket", name="a/x", content=OLD)])
        killed = crasher.run(calls, "put a/x new")
        seen.append(await content_of(objects, "a/x"))
        assert seen[-1] in (OLD, NEW)
        assert await objects.count(Query()) == 1
        await store.connect()
        assert incoming(directory) == []
        if not killed:
            break
    assert seen[-1] == NEW
    assert len(seen) > 20
    assert set(seen[:-1]) == {OLD, NEW}  # before the rename, and after it


async def test_a_kill_at_any_step_of_a_first_write_leaves_nothing_or_all(
    objects: Any, store: FilesStore, crasher: Crasher, directory: Path
) -> None:
    for calls in range(1, 200):
        killed = crasher.run(calls, f"put deep/{calls}/x new")
        found = await content_of(objects, f"deep/{calls}/x")
        assert found == NEW if not killed else found in (None, NEW)
        listed = [r.name for r in await objects.find(Query().where("name", f"deep/{calls}/x"))]
        assert bool(listed) == (found is not None)
        if not killed:
            break
    await store.connect()
    assert incoming(directory) == []


async def test_a_kill_at_any_step_of_a_deletion_leaves_all_or_nothing(
    objects: Any, crasher: Crasher
) -> None:
    for calls in range(1, 50):
        await objects.write([StoredObject(bucket="bucket", name="d/x", content=OLD)])
        killed = crasher.run(calls, "delete d/x")
        assert await content_of(objects, "d/x") in ((OLD, None) if killed else (None,))
        if not killed:
            break


WRITER = """
import asyncio, itertools, sys
from pathlib import Path
from neo_polystore.stores.files.config import FilesConfig
from neo_polystore.stores.files.store import FilesStore

async def pieces(text):
    for _ in range(40):
        yield text * 5000

async def main():
    store = FilesStore(FilesConfig(directory=Path(sys.argv[1]), chunk_size=4096))
    await store.connect()
    for n in itertools.count():
        await store.port("objects").put("bucket", "x", pieces(b"%d" % (n % 10)))
        print(n, flush=True)

asyncio.run(main())
"""


async def test_writers_killed_at_random_leave_one_whole_content(
    objects: Any, store: FilesStore, directory: Path
) -> None:
    chance = random.Random(7)
    for _ in range(5):
        writers = [
            subprocess.Popen([sys.executable, "-c", WRITER, str(directory)], stdout=subprocess.PIPE)
            for _ in range(2)
        ]
        for writer in writers:
            assert writer.stdout is not None
            writer.stdout.readline()
        await asyncio.sleep(chance.random() * 0.1)
        for writer in writers:
            writer.send_signal(signal.SIGKILL)
            writer.communicate()
        content = await content_of(objects, "x")
        assert content is not None
        assert (len(content), len(set(content))) == (200_000, 1)
    await store.connect()
    assert incoming(directory) == []


async def test_sweeping_spares_what_is_being_written(
    objects: Any, store: FilesStore, directory: Path
) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield b"x" * 10_000
        begun.set()
        await go_on.wait()

    putting = asyncio.create_task(objects.put("bucket", "slow", slow()))
    await begun.wait()
    (directory / "%incoming" / "left-by-a-kill").write_bytes(b"half")
    await store.connect()
    assert len(incoming(directory)) == 1
    go_on.set()
    assert (await putting).size == 10_000
    assert incoming(directory) == []


async def test_many_tasks_write_and_delete_in_the_same_folders(objects: Any) -> None:
    chance = random.Random(3)

    async def work(number: int) -> None:
        for _ in range(20):
            name = f"a/{chance.randrange(3)}/{number}"
            await objects.write([StoredObject(bucket="bucket", name=name, content=b"x")])
            await objects.delete(f"bucket/{name}")

    await asyncio.gather(*map(work, range(8)))
    assert await objects.count(Query()) == 0


async def test_concurrent_first_writes_are_new_exactly_once(objects: Any) -> None:
    record = StoredObject(bucket="bucket", name="once", content=b"same")
    written = await asyncio.gather(*(objects.write([record]) for _ in range(10)))
    assert sum(each.new for each in written) == 1
    assert sum(each.existing for each in written) == 9


async def test_a_flipped_bit_is_noticed(objects: Any, directory: Path) -> None:
    await objects.write([StoredObject(bucket="bucket", name="x", content=OLD)])
    path = directory / path_of("bucket", "x")
    damaged = bytearray(path.read_bytes())
    damaged[-1] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(IntegrityError, match="bucket/x"):
        await objects.get("bucket/x")
    with pytest.raises(IntegrityError):
        _ = [chunk async for chunk in objects.open("bucket", "x")]


@pytest.mark.parametrize("damage", ["header", "short", "long", "empty", "other"])
async def test_a_file_that_is_no_whole_object_is_noticed_and_can_be_replaced(
    objects: Any, directory: Path, damage: str
) -> None:
    record = StoredObject(bucket="bucket", name="x", content=OLD)
    await objects.write([record])
    path = directory / path_of("bucket", "x")
    content = path.read_bytes()
    path.write_bytes(
        {
            "header": content.replace(b"bucket", b"budget", 1),
            "short": content[:-1],
            "long": content + b"x",
            "empty": b"",
            "other": b"NEOOBJ1 x",
        }[damage]
    )
    with pytest.raises(CorruptDataError, match=r"x\.obj"):
        await objects.get("bucket/x")
    with pytest.raises(CorruptDataError):
        await objects.find(Query())
    assert (await objects.write([record])).replaced == 1
    assert (await objects.get("bucket/x")).content == OLD


async def test_a_file_under_another_objects_name_is_noticed(objects: Any, directory: Path) -> None:
    await objects.write([StoredObject(bucket="bucket", name="x", content=OLD)])
    (directory / path_of("bucket", "x")).rename(directory / path_of("bucket", "y"))
    with pytest.raises(CorruptDataError, match="another object"):
        await objects.find(Query())


async def test_the_content_starts_at_the_third_line(objects: Any, directory: Path) -> None:
    await objects.write([StoredObject(bucket="bucket", name="t", content=b"one\ntwo\n")])
    text = (directory / "bucket" / "t.obj").read_bytes()
    assert text.split(b"\n", 2)[2] == b"one\ntwo\n"


async def test_a_content_type_of_any_length_fits_the_header(objects: Any) -> None:
    kind = "x/" + "é\n" * 5000
    record = StoredObject(bucket="bucket", name="x", content=b"1", content_type=kind)
    await objects.write([record])
    assert (await objects.get("bucket/x")).content_type == kind


async def test_files_are_for_their_owner_only(objects: Any, directory: Path) -> None:
    await objects.write([StoredObject(bucket="bucket", name="a/b", content=b"x")])
    modes = {(path.is_dir(), path.stat().st_mode & 0o777) for path in everything(directory)}
    assert modes == {(True, 0o700), (False, 0o600)}


async def test_deleting_leaves_no_empty_folders(objects: Any, directory: Path) -> None:
    await objects.write([StoredObject(bucket="bucket", name="a/b/c", content=b"x")])
    await objects.delete("bucket/a/b/c")
    assert not (directory / "bucket").exists()


async def test_strange_files_in_a_bucket_are_left_alone(objects: Any, directory: Path) -> None:
    await objects.write([StoredObject(bucket="bucket", name="x", content=b"x")])
    (directory / "bucket" / "note.txt").write_text("mine")
    assert await objects.count(Query()) == 1


async def test_a_directory_that_holds_other_things_is_refused(tmp_path: Path) -> None:
    (tmp_path / "letters").mkdir()
    with pytest.raises(ConfigError, match="letters"):
        await FilesStore(FilesConfig(directory=tmp_path)).connect()
    assert [path.name for path in everything(tmp_path)] == [tmp_path.name, "letters"]


async def test_a_directory_of_another_format_is_refused(store: FilesStore, directory: Path) -> None:
    (directory / "%format").write_text("neo-polystore objects 2\n")
    with pytest.raises(ConfigError, match="another version"):
        await store.connect()


async def test_a_file_in_the_directorys_place_is_a_configuration_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(ConfigError, match="file"):
        await FilesStore(FilesConfig(directory=tmp_path / "file")).connect()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
async def test_a_full_disk_is_unavailable(tmp_path: Path) -> None:
    store = FilesStore(FilesConfig(directory=tmp_path / "s"))
    await store.connect()
    objects = store.port("objects")
    original = os.write

    def full(handle: int, data: Any) -> int:
        with Path("/dev/full").open("wb", buffering=0) as device:
            return original(device.fileno(), data)

    os.write = full
    try:
        with pytest.raises(UnavailableError, match="space"):
            await objects.write([StoredObject(bucket="bucket", name="x", content=b"x")])
    finally:
        os.write = original
    assert incoming(tmp_path / "s") == []
    assert await objects.count(Query()) == 0


async def test_health_names_the_free_space(store: FilesStore, directory: Path) -> None:
    health = await store.health()
    assert health.status in ("healthy", "degraded")
    assert health.facts["free_bytes"] > 0
    assert health.version == "1"
    assert incoming(directory) == []


async def test_a_missing_directory_is_unhealthy(tmp_path: Path) -> None:
    health = await FilesStore(FilesConfig(directory=tmp_path / "none")).health()
    assert (health.status, "does not exist" in health.detail) == ("unhealthy", True)


async def test_the_witness_asks_the_file_system(objects: Any, store: FilesStore) -> None:
    name = uuid4().hex
    await objects.write([StoredObject(bucket="bucket", name=name, content=b"x")])
    assert await store.witness("objects", [f"bucket/{name}", "bucket/none", "../x"]) == 1


async def test_migrating_is_not_applicable(store: FilesStore) -> None:
    assert (await store.migrate()).not_applicable
    await store.close()
