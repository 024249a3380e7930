"""A target, its key and a run, opened together: what every command about backups begins with."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from neo_polystore.backup import runs
from neo_polystore.backup.keys import BackupKey
from neo_polystore.backup.places import open_target
from neo_polystore.backup.reading import RunReader
from neo_polystore.backup.targets import Target
from neo_polystore.build import made_stores
from neo_polystore.ports.store import Store
from neo_polystore.settings import Settings

Advanced = Callable[[int, int], None]


@asynccontextmanager
async def opened_target(
    settings: Settings, place: str | None = None
) -> AsyncIterator[tuple[Target, BackupKey | None]]:
    """The target that is named, or that of the settings, and the key; closed at the end."""
    key = BackupKey.of(settings.neo_backup_key)
    target = open_target(settings, place)
    try:
        yield target, key
    finally:
        await asyncio.to_thread(target.close)


@asynccontextmanager
async def opened_run(
    target: Target,
    key: BackupKey | None,
    run: str | None,
    *,
    advanced: Advanced = lambda content, stored: None,
) -> AsyncIterator[RunReader]:
    """A complete run, by default the newest, its manifest checked."""
    await asyncio.to_thread(target.check, writing=False)
    chosen = await asyncio.to_thread(runs.newest, target) if run is None else run
    manifest = await asyncio.to_thread(runs.load, target, chosen, key=key)
    reader = RunReader(target, manifest, key=key, advanced=advanced)
    try:
        yield reader
    finally:
        await reader.close()


async def newest_backups(settings: Settings) -> dict[str, runs.Newest]:
    """How old the newest backup and the newest proof of each store are, in the settings' target."""
    async with opened_target(settings) as (target, key):
        return await asyncio.to_thread(lambda: runs.newest_by_store(target, key=key))


@asynccontextmanager
async def scratch_stores(settings: Settings) -> AsyncIterator[dict[str, Store]]:
    """Empty stores on embedded servers that are gone afterwards; nothing of the installation.

    Only stores that live in their own data directory: never one at an address of the settings.
    """
    folder = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="neo-polystore-proof-"))
    try:
        scratch = settings.model_copy(
            update={"neo_profile": "embedded", "neo_data_dir": folder, "neo_routing": None}
        )
        async with made_stores(scratch) as (_, stores):
            yield {name: store for name, store in stores.items() if name not in _ELSEWHERE}
    finally:
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


_ELSEWHERE = frozenset({"s3", "mongo"})
