"""Sending and reading: bounded memory, side by side, nothing sent twice."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from neo_polystore.backup.manifest import folder_of, run_id
from neo_polystore.backup.sending import IN_FLIGHT, Sender
from neo_polystore.backup.targets import DirectoryTarget
from neo_polystore.errors import BackupError, ConfigError, NotFoundError, UnavailableError
from tests.backup.conftest import KEY

RUN = "20260101T000000-0123abcd"
PART = 1 << 12


async def pieces(count: int, size: int = PART) -> AsyncIterator[bytes]:
    source = random.Random(7)
    for _ in range(count):
        yield source.randbytes(size)


async def test_a_slow_target_holds_the_reader_back(tmp_path: Path) -> None:
    released = threading.Event()

    class Slow(DirectoryTarget):
        def put(self, name: str, data: bytes) -> None:
            released.wait(30)
            super().put(name, data)

    taken = 0

    async def counted() -> AsyncIterator[bytes]:
        nonlocal taken
        async for piece in pieces(100):
            taken += 1
            yield piece

    sender = Sender(Slow(tmp_path), RUN, key=KEY, existing={}, part_bytes=PART)
    sending = asyncio.create_task(sender.send("store", "stream", counted()))
    last = -1
    while taken != last:  # until nothing more is read
        last = taken
        await asyncio.sleep(0.1)
    assert taken <= IN_FLIGHT + 1
    released.set()
    assert len(await sending) == 100
    await sender.close()


async def test_parts_are_stored_while_more_is_read(tmp_path: Path) -> None:
    """The stream's end comes only after parts of it are stored."""
    target = DirectoryTarget(tmp_path)

    async def waiting() -> AsyncIterator[bytes]:
        async for piece in pieces(3):
            yield piece
        while not list(target.list()):
            await asyncio.sleep(0.01)
        yield b"the end"

    sender = Sender(target, RUN, key=None, existing={}, part_bytes=PART)
    assert len(await asyncio.wait_for(sender.send("s", "t", waiting()), 30)) == 4
    await sender.close()


async def test_what_is_there_is_not_sent_again(tmp_path: Path) -> None:
    target = DirectoryTarget(tmp_path)
    first = Sender(target, RUN, key=KEY, existing={}, part_bytes=PART)
    parts = await first.send("s", "t", pieces(20))
    await first.close()
    existing = {item.name: item.size for item in target.list(folder_of(RUN))}
    sent = []
    again = Sender(
        target, RUN, key=KEY, existing=existing, part_bytes=PART,
        advanced=lambda content, stored, bytes_sent: sent.append(bytes_sent),
    )  # fmt: skip
    assert await again.send("s", "t", pieces(20)) == parts
    await again.close()
    assert sent == [0] * 20


async def test_the_first_error_ends_the_stream_and_is_raised_itself(tmp_path: Path) -> None:
    class Full(DirectoryTarget):
        def put(self, name: str, data: bytes) -> None:
            raise BackupError("full")

    sender = Sender(Full(tmp_path), RUN, key=None, existing={}, part_bytes=PART)
    with pytest.raises(BackupError, match="full"):
        await sender.send("s", "t", pieces(1000))
    await sender.close()


async def test_an_empty_stream_has_one_empty_part(tmp_path: Path) -> None:
    sender = Sender(DirectoryTarget(tmp_path), RUN, key=KEY, existing={}, part_bytes=PART)
    [part] = await sender.send("s", "t", pieces(0))
    await sender.close()
    assert part.content_bytes == 0


@pytest.mark.parametrize("name", ["/etc/passwd", "../up", "a/../../up", "a\0b"])
def test_a_name_that_leads_out_of_the_directory_is_refused(tmp_path: Path, name: str) -> None:
    target = DirectoryTarget(tmp_path)
    with pytest.raises(BackupError, match="no name of a backup"):
        target.put(name, b"")
    with pytest.raises(BackupError, match="no name of a backup"):
        target.get(name, most=1)
    with pytest.raises(BackupError, match="no name of a backup"):
        target.delete(name)


def test_a_file_that_is_larger_than_expected_is_not_read_whole(tmp_path: Path) -> None:
    target = DirectoryTarget(tmp_path)
    target.put("a", b"12345")
    with pytest.raises(BackupError, match="larger than 4 bytes"):
        target.get("a", most=4)


def test_a_missing_file_and_a_missing_directory_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        DirectoryTarget(tmp_path).get("a", most=4)
    with pytest.raises(ConfigError, match="no such directory"):
        DirectoryTarget(tmp_path / "nowhere").check(writing=False)


def test_a_file_where_a_folder_should_be_is_said(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"")
    with pytest.raises((UnavailableError, ConfigError), match="a/b"):
        DirectoryTarget(tmp_path).put("a/b", b"x")


def test_ids_of_runs_sort_by_time() -> None:
    first = datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC)
    assert run_id(first, "fff") < run_id(first + timedelta(microseconds=1), "000")
    assert run_id(first, "fff") < run_id(first + timedelta(seconds=1), "000")
