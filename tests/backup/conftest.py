"""A platform with a sample of every data type, a run of it, and empty stores to restore into."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from neo_polystore.backup.keys import BackupKey
from neo_polystore.backup.manifest import Manifest
from neo_polystore.backup.run import Options, run_backup
from neo_polystore.backup.targets import DirectoryTarget
from neo_polystore.build import made_stores, open_polystore
from neo_polystore.ports.store import Store
from neo_polystore.routing import RoutingTable
from neo_polystore.samples import SAMPLED, samples
from neo_polystore.settings import Settings

KEY = BackupKey(bytes(range(32)))


@dataclass
class Platform:
    """Stores that hold the samples, and a run of them."""

    settings: Settings
    routing: RoutingTable
    stores: dict[str, Store]
    root: Path
    manifest: Manifest

    @property
    def target(self) -> DirectoryTarget:
        """Where the run is."""
        return DirectoryTarget(self.root)


def settings_in(folder: Path) -> Settings:
    """The embedded profile in a folder, whatever the environment says."""
    return Settings(_env_file=None, neo_profile="embedded", neo_data_dir=folder)  # type: ignore[call-arg]


@pytest.fixture(scope="session")
def folder() -> Iterator[Path]:
    """Short, because servers put sockets into it."""
    made = Path(tempfile.mkdtemp(prefix="neo-backup-"))
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def platform(folder: Path) -> AsyncIterator[Platform]:
    """Loaded, backed up encrypted in small parts, and still running."""
    settings = settings_in(folder / "platform")
    async with made_stores(settings) as (routing, stores):
        async with open_polystore(settings) as polystore:
            for data_type in SAMPLED:
                port = polystore.records(data_type, settings.scope())
                await port.write(samples(data_type))
        target = DirectoryTarget(folder / "target")
        options = Options(part_bytes=4096)
        manifest = await run_backup(stores, routing, target, key=KEY, options=options)
        yield Platform(settings, routing, stores, folder / "target", manifest)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def scratch(folder: Path) -> AsyncIterator[dict[str, Store]]:
    """Empty stores; who fills them clears them."""
    async with made_stores(settings_in(folder / "scratch")) as (_, stores):
        yield stores


@pytest.fixture
def copy(platform: Platform, tmp_path: Path) -> Path:
    """A copy of the run's target, to be damaged."""
    shutil.copytree(platform.root, tmp_path / "copy")
    return tmp_path / "copy"
