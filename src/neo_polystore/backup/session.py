"""A target, its key and a run, opened together: what every command about backups begins with."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from neo_polystore.addresses import ServerAddresses
from neo_polystore.backup import runs
from neo_polystore.backup.keys import BackupKey
from neo_polystore.backup.manifest import Manifest
from neo_polystore.backup.places import open_target
from neo_polystore.backup.reading import RunReader
from neo_polystore.backup.targets import Target
from neo_polystore.build import made_stores
from neo_polystore.errors import UnavailableError
from neo_polystore.ports.backup import Backed, BackupScope
from neo_polystore.ports.store import Store
from neo_polystore.registry import engine_class
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


@dataclass(frozen=True, slots=True)
class Proving:
    """Where a run is proven: `scratch` are empty stores to restore into, `referenced` are the
    installation's own stores whose backup is a list of what they hold, to be compared with it.
    """

    scratch: dict[str, Store]
    referenced: dict[str, Store]


@asynccontextmanager
async def proving(settings: Settings, manifest: Manifest) -> AsyncIterator[Proving]:
    """Empty stores that are gone afterwards; nothing of the installation is written to.

    They live in embedded servers made for it; documents of MongoDB, for which there is none, in a
    database `neo_proof_...` beside the installation's own.
    """
    folder = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="neo-polystore-proof-"))
    saved = {store.name for store in manifest.stores if store.streams}
    try:
        scratch = settings.model_copy(
            update={"neo_profile": "embedded", "neo_data_dir": folder, "neo_routing": None}
        )
        async with made_stores(scratch) as (_, stores), AsyncExitStack() as stack:
            made = {name: store for name, store in stores.items() if name not in _ELSEWHERE}
            referenced: dict[str, Store] = {}
            if "mongo" in saved:
                made["mongo"] = await stack.enter_async_context(_scratch_mongo(settings))
            if "s3" in saved:
                referenced["s3"] = await _installed(settings, "s3")
                stack.push_async_callback(referenced["s3"].close)
            yield Proving(made, referenced)
    finally:
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


_ELSEWHERE = frozenset({"s3", "mongo"})
"""Stores that may not be in the data directory."""


@asynccontextmanager
async def _scratch_mongo(settings: Settings) -> AsyncIterator[Store]:
    name = f"neo_proof_{uuid4().hex[:8]}"
    store = await _installed(settings, "mongo", database=name, archived_as=settings.mongo_db)
    try:
        yield store
    finally:
        if isinstance(store, Backed):
            with suppress(UnavailableError):  # then nothing was restored either
                await store.backing.clear(BackupScope())
        await store.close()


async def _installed(settings: Settings, engine: str, **changes: str) -> Store:
    config = await ServerAddresses(settings).config(engine)
    made: Any = engine_class(engine)  # constructors take their own engine's configuration
    store: Store = made(config.model_copy(update=changes))
    return store
