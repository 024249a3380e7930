"""Back to a point, a time, or the end: exactly what came after is lost."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from neo_polystore.errors import BackupError, ConflictError, UsageError
from neo_polystore.pitr.plan import Goal, make_plan
from neo_polystore.pitr.points import list_points, make_point
from tests.pitr.conftest import KEY, Rig, started

Rows = list[tuple[int, str]]


async def rows(connection: Any, table: str) -> Rows:
    """All of a table, in order."""
    return [
        tuple(row) for row in await connection.fetch(f"SELECT id, word FROM {table} ORDER BY id")
    ]


async def write(connection: Any, table: str, first: int, count: int) -> None:
    """Rows with these ids, each its own transaction."""
    for number in range(first, first + count):
        await connection.execute(f"INSERT INTO {table} VALUES ($1, $2)", number, f"word {number}")


async def test_recovery_to_a_point_loses_exactly_what_came_after(rig: Rig, into: Path) -> None:
    async with rig.connection() as connection:
        await connection.execute("CREATE TABLE kept (id int PRIMARY KEY, word text)")
        await write(connection, "kept", 0, 50)
        await rig.base("incremental")
        await write(connection, "kept", 50, 50)
        before = await rows(connection, "kept")
        point = await make_point(rig.admin, rig.target, "before-the-mistake", key=KEY)
        await write(connection, "kept", 100, 7)
        await connection.execute("UPDATE kept SET word = 'gone'")
        await connection.execute("DELETE FROM kept WHERE id % 3 = 0")
        await connection.execute("CREATE TABLE later AS SELECT 1")
        after = await rows(connection, "kept")
    assert len(before) == 100
    assert before != after
    done = await rig.restore(Goal(point="before-the-mistake"), into)
    assert done.timeline > point.timeline
    assert "restore point" in done.reached
    async with started(into, rig) as connection:
        assert await rows(connection, "kept") == before
        assert await connection.fetchval("SELECT to_regclass('later')") is None
        await write(connection, "kept", 100, 1)  # it is no standby
    async with rig.connection() as connection:
        assert await rows(connection, "kept") == after  # the production server went on


async def test_recovery_to_a_time(rig: Rig, into: Path) -> None:
    async with rig.connection() as connection:
        await connection.execute("CREATE TABLE timed (id int PRIMARY KEY, word text)")
        await write(connection, "timed", 0, 20)
        moment = await connection.fetchval("SELECT clock_timestamp()")
        await asyncio.sleep(0.05)
        await connection.execute("DROP TABLE timed")
        await make_point(rig.admin, rig.target, "after-the-drop", key=KEY)
    done = await rig.restore(Goal(time=moment), into)
    assert done.reached.startswith("recovery stopping before commit")
    async with started(into, rig) as connection:
        assert len(await rows(connection, "timed")) == 20


async def test_recovery_to_the_end_has_all_that_was_archived(rig: Rig, into: Path) -> None:
    async with rig.connection() as connection:
        await connection.execute("CREATE TABLE latest (id int PRIMARY KEY, word text)")
        await write(connection, "latest", 0, 20)
        await make_point(rig.admin, rig.target, "the-end", key=KEY)
        expected = await rows(connection, "latest")
    await rig.restore(Goal(), into)
    async with started(into, rig) as connection:
        assert await rows(connection, "latest") == expected


async def test_a_moment_that_wal_does_not_reach_is_an_error_and_leaves_nothing(
    rig: Rig, into: Path
) -> None:
    async with rig.connection() as connection:
        later = await connection.fetchval("SELECT clock_timestamp() + interval '1 hour'")
    with pytest.raises(BackupError, match="before configured recovery target was reached"):
        await rig.restore(Goal(time=later), into)
    assert list(into.parent.iterdir()) == []


async def test_a_moment_before_every_base_backup_is_refused(rig: Rig, into: Path) -> None:
    async with rig.connection() as connection:
        early = await connection.fetchval("SELECT clock_timestamp() - interval '1 day'")
    with pytest.raises(BackupError, match="no base backup was made before that moment"):
        await make_plan(rig.target, KEY, Goal(time=early))


async def test_a_directory_with_anything_in_it_is_refused(rig: Rig, into: Path) -> None:
    precious = into / "precious"
    await asyncio.to_thread(precious.mkdir, parents=True)
    with pytest.raises(ConflictError, match="not empty"):
        await rig.restore(Goal(), into)
    assert sorted(into.parent.rglob("*")) == [into, precious]


async def test_the_name_of_a_point_is_taken_once(rig: Rig) -> None:
    await make_point(rig.admin, rig.target, "once", key=KEY)
    with pytest.raises(ConflictError, match="already"):
        await make_point(rig.admin, rig.target, "once", key=KEY)
    assert [point.name for point in list_points(rig.target)].count("once") == 1
    for name in ("", "..", "../x", "a/b", "x" * 64, "new\nline"):
        with pytest.raises(UsageError, match="no name"):
            await make_point(rig.admin, rig.target, name, key=KEY)
