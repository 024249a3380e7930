"""A PostgreSQL that archives, in a data directory of its own, and what was restored from it."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import pytest_asyncio
from pydantic import SecretStr

from neo_polystore.backup.keys import BackupKey
from neo_polystore.backup.manifest import folder_of
from neo_polystore.backup.targets import DirectoryTarget
from neo_polystore.clusters import administrator, recovered
from neo_polystore.embedded import Membership
from neo_polystore.pgkit.database import PgConfig
from neo_polystore.pitr.access import access_of
from neo_polystore.pitr.basebackup import Wish, make_base
from neo_polystore.pitr.bases import Base
from neo_polystore.pitr.names import Segment
from neo_polystore.pitr.plan import Goal, make_plan
from neo_polystore.pitr.points import make_point
from neo_polystore.pitr.restore import Recovered, restore
from neo_polystore.settings import Settings

KEY = BackupKey(bytes(range(32)))
SMALL = 1 << 20


@dataclass
class Rig:
    """The cluster, its administrator, and where it archives to."""

    settings: Settings
    admin: PgConfig
    root: Path

    @property
    def target(self) -> DirectoryTarget:
        """The target."""
        return DirectoryTarget(self.root)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Any]:
        """A connection of the administrator."""
        connection = await asyncpg.connect(**self.admin.connect_arguments())
        try:
            yield connection
        finally:
            await connection.close()

    async def base(self, kind: Any = None) -> Base:
        """A base backup, in small parts."""
        wish = Wish(kind=kind, part_bytes=SMALL, patience=120)
        return await make_base(self.admin, self.target, key=KEY, wish=wish)

    async def restore(self, goal: Goal, into: Path, root: Path | None = None) -> Recovered:
        """Bring it back from the target, or from a copy of it."""
        target = DirectoryTarget(root or self.root)
        access = access_of(self.settings, str(root or self.root))

        async def recover(data: Path, wanted: Mapping[str, str]) -> str:
            return await recovered(self.settings, data, access=access, target=wanted)

        plan = await make_plan(target, KEY, goal)
        return await restore(
            target, plan, into, key=KEY, programs=self.admin.programs, recover=recover
        )


def settings_of(data_dir: Path, root: Path) -> Settings:
    """The embedded profile with archiving, whatever the environment says."""
    return Settings(  # type: ignore[call-arg]
        _env_file=None,
        neo_profile="embedded",
        neo_data_dir=data_dir,
        neo_wal_archive=True,
        neo_backup_target=str(root),
        neo_backup_key=SecretStr(bytes(range(32)).hex()),
    )


@pytest.fixture(scope="session")
def folder() -> Iterator[Path]:
    """Short, because servers put sockets into it; others may go through it."""
    made = Path(tempfile.mkdtemp(prefix="neo-pitr-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def rig(folder: Path) -> AsyncIterator[Rig]:
    """Running, with a full base backup; who writes makes tables of his own."""
    settings = settings_of(folder / "data", folder / "target")
    async with administrator(settings) as admin:
        rig = Rig(settings, admin, folder / "target")
        await rig.base("full")
        yield rig


@asynccontextmanager
async def started(cluster: Path, rig: Rig) -> AsyncIterator[Any]:
    """A recovered cluster as an embedded server of its own: a connection to it."""
    home = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="neo-pitr-home-"))
    try:
        await asyncio.to_thread(shutil.move, cluster, home / "postgres")
        shutil.copy(rig.settings.neo_data_dir / "secrets.json", home)
        membership = await Membership.join(home)
        try:
            server = await membership.ensure("postgres")
            address = {"host": server.host, "port": server.port}
            admin = rig.admin.model_copy(update=address)
            connection = await asyncpg.connect(**admin.connect_arguments())
            try:
                yield connection
            finally:
                await connection.close()
        finally:
            await membership.leave()
    finally:
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def into(folder: Path) -> Iterator[Path]:
    """Where a restore goes: nothing is there yet."""
    parent = Path(tempfile.mkdtemp(prefix="into-", dir=folder))
    parent.chmod(0o755)
    yield parent / "cluster"
    shutil.rmtree(parent, ignore_errors=True)


@dataclass
class Chain:
    """A full base backup, an incremental one upon it, and more WAL, in a copy of the target."""

    full: Base
    last: Base
    root: Path

    @property
    def target(self) -> DirectoryTarget:
        """The copy."""
        return DirectoryTarget(self.root)

    def segment(self, number: int) -> Path:
        """The file of a segment so far behind the last one of the incremental base backup."""
        last = self.last.last
        (path,) = self.root.glob(
            f"wal/*/*/{Segment(last.timeline, last.number + number).name()}.wal"
        )
        return path

    def run(self, base: Base) -> Path:
        """The folder of a base backup."""
        return self.root / "base" / folder_of(base.id)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def original(rig: Rig, folder: Path) -> Chain:
    """Made once; tests damage copies of it."""
    full, last = await rig.base("full"), await rig.base("incremental")
    async with rig.connection() as connection:
        for _ in range(3):
            await connection.execute("SELECT pg_create_restore_point('step')")
            await connection.execute("SELECT pg_switch_wal()")
    await make_point(rig.admin, rig.target, "end-of-the-chain", key=KEY)
    await asyncio.to_thread(shutil.copytree, rig.root, folder / "original")
    return Chain(full, last, folder / "original")


@pytest.fixture
def chain(original: Chain, tmp_path: Path) -> Chain:
    """A copy, to be damaged."""
    shutil.copytree(original.root, tmp_path / "copy")
    return Chain(original.full, original.last, tmp_path / "copy")
