"""A recovered cluster in production again: its own timeline, and the way back to the old one."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from neo_polystore.clusters import administrator, replace_embedded
from neo_polystore.errors import BackupError, ConflictError
from neo_polystore.pitr.archive import WalArchive
from neo_polystore.pitr.bases import shelf_of
from neo_polystore.pitr.check import check_all
from neo_polystore.pitr.plan import Goal, make_plan
from neo_polystore.pitr.points import make_point
from neo_polystore.pitr.restore import claim_timeline, shut_down
from tests.pitr.conftest import KEY, Rig, settings_of, started


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[Rig]:
    """A platform of its own, which can be stopped."""
    settings = settings_of(folder / "data", folder / "target")
    async with administrator(settings) as admin:
        yield Rig(settings, admin, folder / "target")


async def test_production_goes_on_on_a_new_timeline_and_the_old_one_can_be_had() -> None:
    folder = Path(tempfile.mkdtemp(prefix="neo-line-"))
    await asyncio.to_thread(folder.chmod, 0o755)
    try:
        await _timelines(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def _timelines(folder: Path) -> None:
    async with running(folder) as rig:
        async with rig.connection() as connection:
            await connection.execute("CREATE TABLE told (word text)")
            await rig.base()
            await connection.execute("INSERT INTO told VALUES ('before')")
            await make_point(rig.admin, rig.target, "branch", key=KEY)
            await connection.execute("INSERT INTO told VALUES ('abandoned')")
            await make_point(rig.admin, rig.target, "old-end", key=KEY)
        first, second = folder / "first", folder / "second"
        for into in (first, second):
            done = await rig.restore(Goal(point="branch"), into)
            assert done.timeline == 2  # a rehearsal takes no timeline from the next recovery
        archive = WalArchive(rig.target, KEY, done.system)
        with pytest.raises(ConflictError, match="runs: stop it first"):
            replace_embedded(rig.settings, first)
    assert await shut_down(rig.admin.programs, first)
    assert claim_timeline(archive, first) == ["00000002.history"]
    with pytest.raises(ConflictError, match=r"another recovery has taken timeline 2"):
        claim_timeline(archive, second)
    aside = replace_embedded(rig.settings, first)
    assert aside is not None
    assert not first.exists()
    async with running(folder) as rig:
        async with rig.connection() as connection:
            await connection.execute("INSERT INTO told VALUES ('after')")
            await make_point(rig.admin, rig.target, "new-end", key=KEY)
            base = await rig.base()
        assert base.positions.timeline == 2
        (found,) = await check_all(rig.target, KEY, deep=True)
        assert found.ok, found
        assert found.timelines == [1, 2]
        assert all(found.bases.values())
        with pytest.raises(BackupError, match="--timeline 1"):
            await make_plan(rig.target, KEY, Goal(point="old-end"))
        for goal, expected in (
            (Goal(), ["before", "after"]),
            (Goal(point="old-end", timeline=1), ["before", "abandoned"]),
            (Goal(point="new-end"), ["before", "after"]),
        ):
            into = folder / "again"
            await rig.restore(goal, into)
            async with started(into, rig) as connection:
                rows = await connection.fetch("SELECT word FROM told")
                assert [row["word"] for row in rows] == expected


async def test_archiving_goes_on_whoever_starts_the_server(folder: Path) -> None:
    """A command without the setting must not leave a hole in the archived WAL."""
    data, target = folder / "quiet", folder / "quiet-target"
    settings = settings_of(data, target)
    async with administrator(settings):
        pass
    unset = settings.model_copy(update={"neo_wal_archive": None, "neo_backup_target": None})
    async with (
        administrator(unset) as admin,
        Rig(unset, admin, target).connection() as connection,
    ):
        assert await connection.fetchval("SHOW archive_mode") == "on"
        assert await connection.fetchval("SHOW summarize_wal") == "on"
        command = await connection.fetchval("SHOW archive_command")
    assert bytes(range(32)).hex() not in command
    assert (data / "archiving.json").stat().st_mode & 0o077 == 0
    plain = settings.model_copy(update={"neo_backup_key": None})
    with pytest.raises(Exception, match="NEO_BACKUP_KEY is not set"):
        async with administrator(plain):
            pass
    off = settings.model_copy(update={"neo_wal_archive": False})
    async with administrator(off) as admin, Rig(off, admin, target).connection() as connection:
        assert await connection.fetchval("SHOW archive_mode") == "off"


async def test_a_point_of_another_cluster_is_told_apart(rig: Rig, tmp_path: Path) -> None:
    shelf = await asyncio.to_thread(shelf_of, rig.target, KEY)
    assert shelf.bases
    with pytest.raises(BackupError, match="no restore point"):
        await make_plan(rig.target, KEY, Goal(point="never-made"))
    with pytest.raises(BackupError, match="cannot be used: it is not there"):
        await make_plan(rig.target, KEY, Goal(base="20260101T000000-00000000"))
    with pytest.raises(BackupError, match="no timeline 9"):
        await make_plan(rig.target, KEY, Goal(timeline=9))
